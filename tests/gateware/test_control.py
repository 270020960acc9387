"""Control against the sequence that a program's layer table asks for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.format import Section, memories
from secateur.gateware.control import Control, Phase


def table(spec: EngineSpec, layers: int, seed: int) -> list[dict[str, int]]:
    """Draw a layer table; only the last of ``layers`` is marked, and what follows is garbage."""
    rng = random.Random(seed)
    fields = memories(spec)[Section.LAYERS].record.fields
    words = [
        {field.name: rng.getrandbits(field.width) for field in fields}
        for _ in range(spec.layer_depth)
    ]
    for index, word in enumerate(words[:layers]):
        word["last"] = int(index == layers - 1)
    return words


class Bench:
    """Plays the engine around a control: layer tables, inputs, scans and drains that take time."""

    def __init__(self, ctx: Any, dut: Control, tables: list[Any], reset: Signal, seed: int) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.tables, self.reset_signal = tables, reset
        self.rng = random.Random(seed)
        self.events: list[tuple[Any, ...]] = []
        self.inputs = 0  # whole inputs that wait
        self.partly = False
        self.word: dict[str, int] = tables[0][0]
        self.countdown: dict[str, int] = {}
        self.codes: list[int] = []
        self.code_read = 0
        self.begin = self.commit = False

    async def step(self, cycles: int = 1) -> None:
        for _ in range(cycles):
            await self._step()

    async def _step(self) -> None:
        ctx, dut = self.ctx, self.dut
        for name in ("scan", "drain"):
            ctx.set(getattr(dut, f"{name}_done"), self.countdown.get(name, 1) == 0)
        ctx.set(dut.descriptor, self.word)
        ctx.set(dut.input_full, self.inputs > 0)
        ctx.set(dut.input_occupied, self.inputs > 0 or self.partly)
        ctx.set(dut.begin, self.begin)
        ctx.set(dut.commit, self.commit)
        layer, bank = ctx.get(dut.layer), ctx.get(dut.bank)
        phase = Phase(ctx.get(dut.phase))
        # What is asserted in this cycle, with what must hold in it.
        if ctx.get(dut.clear):
            assert (phase, ctx.get(dut.running)) == (Phase.SETUP, 0)
            self.events.append(("clear", ctx.get(dut.clear_address)))
        if ctx.get(dut.scan_start):
            assert phase == Phase.SCAN
            assert not self.countdown.get("drain"), "scans before everything is drained"
            self.events.append(("scan", layer, tuple(self.codes)))
            self.codes = []
            self.countdown["scan"] = self.rng.randrange(1, 6)
        if ctx.get(dut.drain_start):
            assert self.countdown["scan"] == 0
            self.events.append(("drain", layer, ctx.get(dut.first), ctx.get(dut.last)))
            self.countdown["drain"] = self.rng.randrange(1, 6)
        if ctx.get(dut.input_release):
            assert ctx.get(dut.drain_start)
            self.events.append(("release",))
            self.inputs -= 1
        if self.spec.codebook_bits and ctx.get(dut.code_write):
            # The value read in the cycle before.
            assert ctx.get(dut.code) == self.code_read + 1
            self.codes.append(self.code_read)
        self.code_read = ctx.get(dut.code)
        if ctx.get(dut.begin) and ctx.get(dut.begun):
            self.events.append(("begun",))
            self.begin = False
        if ctx.get(dut.committed):
            assert self.commit
            assert not self.inputs
            assert not self.partly
            assert not ctx.get(dut.running)
            self.events.append(("committed", ctx.get(dut.write_bank)))
            self.commit = False
        if self.spec.banks == 2:
            assert ctx.get(dut.write_bank) == 1 - bank
        assert ctx.get(dut.running) or not self.countdown.get("drain"), "ends before its drain"
        assert (phase == Phase.DRAIN) <= ctx.get(dut.running)
        assert (phase == Phase.SCAN) <= ctx.get(dut.running)
        enabled = ctx.get(dut.layer_enable)
        await ctx.tick()
        if enabled:
            self.word = self.tables[bank][layer]
        self.countdown = {
            name: max(left - 1, 0) if (name == "scan" or left) else 0
            for name, left in self.countdown.items()
        }

    async def until(self, condition: Any) -> None:
        for _ in range(1500):
            if condition():
                return
            await self.step()
        raise AssertionError(f"nothing happens any more: {self.events}")

    def take(self) -> list[tuple[Any, ...]]:
        events, self.events = self.events, []
        return events

    async def ready(self) -> None:
        await self.until(lambda: self.ctx.get(self.dut.input_open))

    async def infer(self) -> None:
        self.inputs += 1
        await self.until(lambda: self.ctx.get(self.dut.running))
        await self.until(lambda: not self.ctx.get(self.dut.running))


def run(spec: EngineSpec, tables: list[Any], body: Any, *, loaded: bool, seed: int = 1) -> None:
    """Run ``body(bench)``."""
    dut = Control(spec, loaded=loaded)
    reset = Signal()

    async def testbench(ctx: Any) -> None:
        await body(Bench(ctx, dut, tables, reset, seed))

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def inference(spec: EngineSpec, layers: int) -> list[tuple[Any, ...]]:
    """List the events of one inference."""
    codes = tuple(range(1 << spec.codebook_bits)) if spec.codebook_bits else ()
    events: list[tuple[Any, ...]] = []
    for layer in range(layers):
        events += [
            ("scan", layer, codes),
            ("drain", layer, int(layer == 0), int(layer == layers - 1)),
        ]
        events += [("release",)] * (layer == 0)
    return events


def clears(spec: EngineSpec) -> list[tuple[Any, ...]]:
    return [("clear", row) for row in range(spec.row_depth)]


@pytest.mark.parametrize("layers", [1, 2, 3, 8])
@pytest.mark.parametrize("codebook_bits", [0, 1, 4])
def test_layers_in_turn(codebook_bits: int, layers: int) -> None:
    """Each layer is set up, scanned and drained; x is given back after the first scan."""
    spec = EngineSpec(pes=1, lanes=1, codebook_bits=codebook_bits, row_depth=4, layer_depth=8)
    tables = [table(spec, layers, layers)]

    async def body(bench: Bench) -> None:
        await bench.ready()
        assert bench.take() == clears(spec)
        first, last = tables[0][0], tables[0][layers - 1]
        assert bench.ctx.get(bench.dut.input_source) == first["source"]
        assert bench.ctx.get(bench.dut.input_words) == first["source_words"]
        assert bench.ctx.get(bench.dut.output_words) == last["rows_words"]
        await bench.step(10)
        assert bench.take() == []
        for _ in range(3):
            await bench.infer()
            assert bench.take() == inference(spec, layers)
        bench.inputs = 2
        await bench.until(lambda: len(bench.events) == 2 * len(inference(spec, layers)))
        await bench.step(30)
        assert bench.take() == 2 * inference(spec, layers)

    run(spec, tables * 2, body, loaded=True)


def test_a_table_without_a_last_layer_ends() -> None:
    spec = EngineSpec(pes=1, lanes=1, row_depth=2, layer_depth=4)
    words = table(spec, 1, 1)
    for word in words:
        word["last"] = 0

    async def body(bench: Bench) -> None:
        await bench.ready()
        assert bench.ctx.get(bench.dut.output_words) == words[3]["rows_words"]
        bench.take()
        await bench.infer()
        assert bench.take() == inference(spec, 4)

    run(spec, [words, words], body, loaded=True)


def test_setup_cycles() -> None:
    """One cycle for the layer table; with codebooks one for each value, and one more."""
    for codebook_bits in (0, 1, 3):
        spec = EngineSpec(pes=1, lanes=1, codebook_bits=codebook_bits, row_depth=2)
        found = []

        async def body(bench: Bench, found: list[int] = found) -> None:
            await bench.ready()
            bench.inputs = 1
            await bench.until(lambda: bench.ctx.get(bench.dut.running))
            cycles = 0
            while not bench.ctx.get(bench.dut.scan_start):
                assert bench.ctx.get(bench.dut.phase) == Phase.SETUP
                await bench.step()
                cycles += 1
            found.append(cycles)

        run(spec, [table(spec, 2, 1)] * 2, body, loaded=True)
        assert found == [1 + ((1 << codebook_bits) + 1 if codebook_bits else 0)]


@pytest.mark.parametrize("seed", range(4))
def test_two_banks(seed: int) -> None:
    """A program waits for inputs that are there or have begun; banks are exchanged, not before."""
    spec = EngineSpec(pes=1, lanes=1, row_depth=2, layer_depth=4)
    tables = [table(spec, 2, 10), table(spec, 3, 11)]
    rng = random.Random(seed)

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.step(20)
        assert not ctx.get(dut.loaded)
        assert not ctx.get(dut.input_open)
        in_use = 0
        for trial in range(8):
            busy = trial > 0 and trial % 3
            if busy:
                bench.take()
                bench.partly = busy == 2
                bench.inputs = 1
                await bench.step(rng.randrange(1, 20))
            bench.begin = True
            await bench.step()
            assert not bench.begin, "two banks: begin is answered at once"
            bench.commit = True
            await bench.step()
            assert not ctx.get(dut.input_open), "an input may begin while a program waits"
            if bench.partly:
                await bench.step(60)
                assert bench.commit, "exchanged while an input has begun"
                bench.partly = False
                bench.inputs += 1
            await bench.until(lambda: not bench.commit)
            assert not ctx.get(dut.input_open), "an input may begin before its length is known"
            events = [event for event in bench.take() if event != ("begun",)]
            in_use = 1 - in_use
            assert events[-1] == ("committed", in_use)
            assert (ctx.get(dut.bank), ctx.get(dut.loaded)) == (in_use, 1)
            if busy:
                assert events[:-1] == busy * inference(spec, 3 - in_use)
            await bench.ready()
            mine = tables[in_use]
            assert ctx.get(dut.input_words) == mine[0]["source_words"]
            assert ctx.get(dut.input_source) == mine[0]["source"]
            assert ctx.get(dut.output_words) == mine[1 + in_use]["rows_words"]
            bench.take()
            await bench.infer()
            assert bench.take() == inference(spec, 2 + in_use)

    run(spec, tables, body, loaded=False, seed=seed)


def test_one_bank() -> None:
    """The old program ends when a new one begins, which waits for what is under way."""
    spec = EngineSpec(pes=1, lanes=1, row_depth=2, layer_depth=4, banks=1)

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.ready()
        bench.inputs = 1
        bench.begin = True
        await bench.step(5)
        assert bench.begin
        assert not ctx.get(dut.input_open)
        await bench.until(lambda: not bench.begin)
        assert bench.take() == [*clears(spec), *inference(spec, 2), ("begun",)]
        bench.partly = True
        bench.begin = True
        await bench.step(30)
        bench.partly = False
        assert bench.begin
        await bench.until(lambda: not bench.begin)
        assert (ctx.get(dut.loaded), ctx.get(dut.input_open)) == (0, 0)
        await bench.step(30)
        assert (ctx.get(dut.loaded), ctx.get(dut.input_open)) == (0, 0)
        bench.commit = True
        await bench.until(lambda: not bench.commit)
        await bench.ready()
        assert (ctx.get(dut.loaded), ctx.get(dut.bank), ctx.get(dut.write_bank)) == (1, 0, 0)
        bench.take()
        await bench.infer()
        assert bench.take() == inference(spec, 2)

    run(spec, [table(spec, 2, 3)], body, loaded=True)


@pytest.mark.parametrize("loaded", [False, True])
def test_reset(loaded: bool) -> None:
    """Accumulators are cleared again; the program in use and its bank stay."""
    spec = EngineSpec(pes=1, lanes=1, row_depth=8, layer_depth=4)
    tables = [table(spec, 2, 5), table(spec, 3, 6)]

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.step(30)
        bench.commit = True
        await bench.until(lambda: not bench.commit)
        bank = ctx.get(dut.bank)
        for cycle in range(40):
            await bench.ready()
            bench.inputs = 2
            await bench.step(cycle)
            ctx.set(bench.reset_signal, 1)
            await ctx.tick()
            ctx.set(bench.reset_signal, 0)
            bench.inputs, bench.countdown, bench.codes = 0, {}, []
            bench.take()
            assert (ctx.get(dut.running), ctx.get(dut.input_open)) == (0, 0)
            assert (ctx.get(dut.bank), ctx.get(dut.loaded)) == (bank, 1)
            await bench.ready()
            assert bench.take() == clears(spec)
            await bench.infer()
            assert bench.take() == inference(spec, 3)

    run(spec, tables, body, loaded=loaded)


def test_table_is_garbage_behind_the_last_layer() -> None:
    """What `table` promises, so that a control that reads on is noticed."""
    spec = EngineSpec(pes=1, lanes=1, layer_depth=16)
    assert [word["last"] for word in table(spec, 2, 3)[:2]] == [0, 1]
    assert {word["last"] for word in table(spec, 2, 3)[2:]} == {0, 1}
