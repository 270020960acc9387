"""MapControl against what a layer table asks for: each layer in its cycle, programs in between."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from secateur.bench.map_layers import table_word
from secateur.bench.program_changes import ProgramBench, run_bench
from secateur.engine import EngineSpec
from secateur.gateware.maps.control import MapControl
from secateur.technology import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from amaranth.hdl import Signal

#: Cycles from what allows a layer until it starts.
TO_START = 4


def spec_of(codebook_bits: int = 0, **fields: int) -> EngineSpec:
    """Make a small engine."""
    codes = {"codebook_bits": codebook_bits, "entry_width": codebook_bits + 4}
    small = {
        **{"pes": 1, "lanes": 1, "jobs": 1, "positions": 1, "row_depth": 2, "layer_depth": 4},
        **{"activation_depth": 16, "bias_depth": 16},
    }
    return EngineSpec(**small | (codes if codebook_bits else {}) | fields)


def table(spec: EngineSpec, layers: int, seed: int) -> list[dict[str, int]]:
    """Draw a layer table; only the last of ``layers`` is marked, and what follows is garbage."""
    rng = random.Random(seed)
    words = [table_word(spec, rng, {}) for _ in range(spec.layer_depth)]
    for index, word in enumerate(words[:layers]):
        word["last"] = int(index == layers - 1)
    # x has as many words as come before what the first layer writes.
    words[0] |= {"target_base": rng.randrange(1, 5)}
    return words


class Bench(ProgramBench):
    """Plays the engine around a control, and checks whatever it starts."""

    PATIENCE = 4000

    dut: MapControl

    def __init__(
        self, ctx: Any, dut: MapControl, tables: list[Any], reset: Signal, seed: int
    ) -> None:
        self.x, self.pace = 0.7, 0.2
        super().__init__(ctx, dut, tables, reset, seed)

    def restart(self) -> None:
        """Begin as after reset."""
        super().restart()
        self.cycle = 0
        self.offered = 0  # inputs to come
        self.position, self.completed, self.was_open = 0, False, False
        self.inferences = 0
        self.layer: int | None = None  # that is to start, or under way
        self.starts: int | None = None  # in which cycle
        self.done = True
        self.words = deque([self.tables[0][-1]] * Memory.LATENCY)

    def is_last(self, layer: int) -> bool:
        return bool(self.program[layer]["last"]) or layer == self.spec.layer_depth - 1

    @property
    def layers(self) -> int:
        return 1 + next(n for n in range(self.spec.layer_depth) if self.is_last(n))

    @property
    def input_words(self) -> int:
        return max(1, self.program[0]["target_base"])

    async def _step(self) -> None:
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.x_begun, self.position > 0 or self.completed)
        ctx.set(dut.x_complete, self.completed)
        ctx.set(dut.done, self.done)
        ctx.set(dut.layer, self.words.popleft())
        self._ask()
        self._look_at_layers()
        self._look_at_programs()
        self._step_x()
        bank, address = ctx.get(dut.bank), ctx.get(dut.layer_address)
        await ctx.tick()
        self.words.append(self.tables[bank][address])
        self.cycle += 1

    def _look_at_layers(self) -> None:
        ctx, dut = self.ctx, self.dut
        assert ctx.get(dut.running) == (self.layer is not None)
        starts = self.starts == self.cycle
        assert ctx.get(dut.start) == starts, f"cycle {self.cycle}: start of {self.layer}"
        if self.layer is not None and self.starts is not None and self.cycle > self.starts:
            word = self.program[self.layer] | {"last": self.is_last(self.layer)}
            current = ctx.get(dut.current)
            assert {name: current[name] for name in word} == word, f"layer {self.layer}"
            assert ctx.get(dut.number) == self.layer
            if len(self.spec.code_widths) > 1:
                assert ctx.get(dut.splits[0]) == word["code_extra"]
            if self.done and self.cycle >= self.starts + 2:
                last = self.is_last(self.layer)
                self._next(None if last else self.layer + 1)
                self.inferences += last
        if self.completed:
            assert self.layer is None
            self._next(0)
        if starts:
            self.done = False
        elif self.rng.random() < self.pace and self.cycle != (self.starts or 0) + 1:
            self.done = True

    def _next(self, layer: int | None) -> None:
        self.layer = layer
        self.starts = None if layer is None else self.cycle + TO_START

    def _look_at_programs(self) -> None:
        super()._look_at_programs()
        ctx, dut = self.ctx, self.dut
        if ctx.get(dut.ready):
            assert ctx.get(dut.input_words) == self.input_words
            last = self.program[self.layers - 1]
            assert ctx.get(dut.output_words) == max(1, last["output_words"])

    def _assert_quiet(self) -> None:
        assert (self.layer, self.position, self.completed) == (None, 0, False)
        assert not self.ctx.get(self.dut.x_open)

    def _step_x(self) -> None:
        """Take words as the store does: from the cycle after `x_open` on, until x is complete."""
        open_ = bool(self.ctx.get(self.dut.x_open))
        may = self.position > 0 or (self.was_open and not self.completed)
        self.was_open = open_ and not self.completed
        self.completed = False
        if may and self.offered and self.rng.random() < self.x:
            self.position += 1
            self.was_open = True
            if self.position == self.input_words:
                self.position, self.completed, self.was_open = 0, True, False
                self.offered -= 1

    # What tests ask for.

    async def infer(self, inputs: int) -> None:
        """Offer inputs; every layer of each starts once, which `_step` sees."""
        before, self.offered = self.inferences, inputs
        await self.until(lambda: self.inferences == before + inputs)
        await self.step(20)
        assert self.inferences == before + inputs


def run(
    spec: EngineSpec,
    tables: list[Any],
    body: Callable[[Bench], Coroutine[Any, Any, None]],
    *,
    loaded: bool,
    checked: bool = False,
    seed: int = 1,
) -> None:
    """Run ``body(bench)``."""
    dut = MapControl(spec, loaded=loaded, checked=checked)
    run_bench(dut, lambda ctx, reset: Bench(ctx, dut, tables, reset, seed), body)


def clears(spec: EngineSpec) -> list[tuple[Any, ...]]:
    codes = spec.layer_depth << spec.codebook_bits if spec.codebook_bits else 0
    return [("clear", at) for at in range(max(spec.row_depth, spec.activation_depth, codes))]


@pytest.mark.parametrize("pace", [1, 0.1])
@pytest.mark.parametrize(
    ("layers", "codebook_bits", "fields"),
    [
        *((1, 0, {}), (2, 1, {"row_depth": 64}), (4, 3, {})),
        (3, 0, {"index_width": 4, "entry_width": 10}),
    ],
)
def test_layers_in_turn(
    layers: int, codebook_bits: int, fields: dict[str, int], pace: float
) -> None:
    """Every layer of every input starts once, in its cycle."""
    spec = spec_of(codebook_bits, **fields)

    async def body(bench: Bench) -> None:
        bench.pace = pace
        await bench.ready()
        assert bench.take() == clears(spec)
        await bench.infer(1)
        await bench.infer(8)
        assert bench.take() == []

    run(spec, [table(spec, layers, layers)] * 2, body, loaded=True)


@pytest.mark.parametrize("seed", range(3))
def test_garbage_does_not_hang(seed: int) -> None:
    """A table of any bits, one of zeros; the last layer of the table is the program's last."""
    spec = spec_of(seed)
    rng = random.Random(seed)
    zeros = dict.fromkeys(table_word(spec, rng, {}), 0)
    words = [table_word(spec, rng, {} if seed else zeros) for _ in range(spec.layer_depth)]
    words[1:] = [word | {"last": 0} for word in words[1:]]

    async def body(bench: Bench) -> None:
        await bench.ready()
        await bench.infer(5)

    run(spec, [words] * 2, body, loaded=True)


@pytest.mark.parametrize("checked", [False, True], ids=["", "checked"])
@pytest.mark.parametrize("banks", [1, 2])
def test_a_program_or_a_check_comes_at_any_time(banks: int, checked: bool) -> None:
    """Inputs are offered all the time: each is computed by one program, none by both."""
    spec = spec_of(1, banks=banks)
    tables = [table(spec, 2, 20), table(spec, 3, 11)]
    done: list[str] = []

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        assert not ctx.get(dut.loaded)
        for trial in range(30):
            bench.offered = 1000 if trial else 0
            bench.x = bench.rng.choice((0.1, 0.5, 1))
            await bench.step(bench.rng.randrange(60))
            bench.check = checked and trial > 0 and bench.rng.random() < 0.7
            await bench.step(bench.rng.randrange(8) if bench.check else 0)
            bank = ctx.get(dut.bank)
            bench.begin = True
            # `Bench` asserts that nothing is under way or has begun.
            await bench.until(lambda: not bench.begin)
            await bench.step()
            assert ctx.get(dut.loaded) == (banks == 2 and trial > 0)
            await bench.step(bench.rng.randrange(40))
            bench.commit = True
            await bench.until(lambda: not bench.commit)
            assert ctx.get(dut.bank) == (1 - bank if banks == 2 else 0)
            await bench.ready()
            await bench.until(lambda: not bench.check)
            events = bench.take()
            at = events.index(("committed", ctx.get(dut.bank)))
            assert [event for event in events[at:] if event[0] == "clear"] == clears(spec)
            assert events.count(("begun",)) == 1
            done.extend(name for name, *_ in events if name in ("committed", "checked"))
        bench.offered = 1  # or the rest of one
        await bench.until(lambda: not bench.offered)

    run(spec, tables, body, loaded=False, checked=checked)
    assert done.count("committed") == 30
    assert (done.count("checked") > 10) == checked


def test_a_check_between_two_inputs() -> None:
    """It waits for the inference under way and holds the next x up, for as long as it takes."""
    spec = spec_of()

    async def body(bench: Bench) -> None:
        await bench.ready()
        bench.offered = 40
        for _ in range(12):
            await bench.step(bench.rng.randrange(50))
            bench.check = True
            await bench.until(lambda: not bench.check)
            assert bench.take()[-1] == ("checked",)
        await bench.until(lambda: bench.inferences == 40)

    run(spec, [table(spec, 2, 1)] * 2, body, loaded=True, checked=True)


def test_a_program_comes_as_a_check_ends() -> None:
    """In any cycle around the one in which the next x begins: one of them is first."""
    spec = spec_of()
    first = set()

    async def body(bench: Bench) -> None:
        bench.x = 1
        for wait in range(8):
            await bench.ready()
            bench.check = True
            await bench.until(lambda: bench.ctx.get(bench.dut.checking))
            bench.offered = 1
            await bench.until(lambda: not bench.check)
            await bench.step(wait)
            begun = bench.inferences
            bench.commit = True
            # `Bench` asserts that no x has begun until all is cleared.
            await bench.until(lambda: not bench.commit)
            first.add(bench.inferences - begun)
            await bench.until(lambda begun=begun: bench.inferences == begun + 1)

    run(spec, [table(spec, 1, 1)] * 2, body, loaded=True, checked=True)
    assert first == {0, 1}


@pytest.mark.parametrize("codebook_bits", [0, 2])
def test_reset(codebook_bits: int) -> None:
    """Everything is cleared again; the program in use and its bank stay."""
    spec = spec_of(codebook_bits)
    tables = [table(spec, 2, 5), table(spec, 3, 6)]

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.step(40)
        bench.commit = True
        await bench.until(lambda: not bench.commit)
        for cycle in range(60):
            if cycle % 5:  # otherwise while it clears and reads the table
                await bench.ready()
            bench.offered, bench.commit = 3, cycle % 3 == 2
            await bench.step(cycle)
            # Programs may change in the very cycle of the reset.
            bank, bench.commit = ctx.get(dut.bank) ^ ctx.get(dut.committed), False
            await bench.reset()
            assert (ctx.get(dut.running), ctx.get(dut.x_open), ctx.get(dut.ready)) == (0, 0, 0)
            assert (ctx.get(dut.bank), ctx.get(dut.loaded)) == (bank, 1)
            await bench.ready()
            assert bench.take() == clears(spec)
            await bench.infer(2)

    run(spec, tables, body, loaded=False)
