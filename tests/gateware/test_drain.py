"""Drain against Requant.compute and a table of accumulators."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.fixed import NumberFormat, Requant
from secateur.gateware.drain import Drain


class Layer(NamedTuple):
    """What the layer table says, and whether the layer is the last."""

    rows_words: int
    bias_base: int
    destination: int
    shift: int
    output_signed: bool
    relu: bool
    last: bool


class Bench:
    """A drain and the memories around it."""

    def __init__(self, ctx: Any, dut: Drain, seed: int) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.rng = random.Random(seed)
        limit = 1 << (self.spec.accumulator_width - 2)
        self.biases = [self._numbers(limit, self.spec.lanes) for _ in range(self.spec.bias_depth)]
        self.sums: list[list[int]] = []
        self.activations: dict[int, list[int]] = {}

    def _numbers(self, limit: int, count: int) -> list[int]:
        """Draw numbers of every magnitude; two of them never overflow."""
        bits = limit.bit_length() - 1
        return [
            self.rng.choice((-1, 1)) * self.rng.getrandbits(self.rng.randint(1, bits))
            if self.rng.random() < 0.8
            else self.rng.choice((-limit, limit - 1))
            for _ in range(count)
        ]

    def expected(self, layer: Layer) -> list[list[int]]:
        """Words of the layer's output, by row: accumulator ``i // pes`` of PE ``i % pes``."""
        spec = self.spec
        rows = range(layer.rows_words * spec.lanes)
        total = [
            self.sums[row // spec.pes][row % spec.pes]
            + self.biases[layer.bias_base + row // spec.lanes][row % spec.lanes]
            for row in rows
        ]
        output = NumberFormat(width=spec.activation_width, signed=layer.output_signed)
        requant = Requant(shift=layer.shift, output=output, relu=layer.relu)
        bits = requant.compute(np.array(total)) & ((1 << spec.activation_width) - 1)
        return bits.reshape(-1, spec.lanes).tolist()

    async def tick(self) -> None:
        """Pass a cycle; memories hold their words without enable, and are read before written."""
        ctx, dut = self.ctx, self.dut
        read = [*self.sums[ctx.get(dut.address)]]
        bias = self.biases[ctx.get(dut.bias_address)]
        enable = ctx.get(dut.enable)
        if ctx.get(dut.clear):
            self.sums[ctx.get(dut.clear_address)] = [0] * self.spec.pes
        if ctx.get(dut.write):
            word = ctx.get(dut.write_word)
            address = ctx.get(dut.write_address)
            assert address not in self.activations, f"word {address} is written twice"
            self.activations[address] = [word[lane] for lane in range(self.spec.lanes)]
        await ctx.tick()
        if enable:
            ctx.set(dut.sums, read)
            ctx.set(dut.biases, {f"bias{lane}": value for lane, value in enumerate(bias)})

    async def drain(self, layer: Layer, ready: Any) -> None:
        """Drain once; ``ready(cycle)`` says when y is taken. Checks all but a stalled duration."""
        ctx, dut, spec = self.ctx, self.dut, self.spec
        limit = 1 << (spec.accumulator_width - 2)
        self.sums = [self._numbers(limit, spec.pes) for _ in range(spec.row_depth)]
        self.activations = {}
        want = self.expected(layer)
        untouched = -(-len(want) * spec.lanes // spec.pes)
        kept = [[*row] for row in self.sums[untouched:]]
        assert ctx.get(dut.done)
        for name, value in layer._asdict().items():
            ctx.set(dut.last if name == "last" else dut.layer[name], value)
        ctx.set(dut.start, 1)
        got: list[list[int]] = []
        held = False
        stalled = 0
        for cycle in range(2000):
            take = ready(cycle)
            ctx.set(dut.o.ready, take)
            valid = ctx.get(dut.o.valid)
            assert not (held and not valid), "o.valid deasserted before the transfer"
            if valid:
                payload = ctx.get(dut.o.payload)
                word = [payload.data[lane] for lane in range(spec.lanes)]
                # Compared in every cycle in which it waits.
                assert word == want[len(got)], f"word {len(got)}: {word}, not {want[len(got)]}"
                assert payload.last == (len(got) == len(want) - 1), f"word {len(got)}: last"
                if take:
                    got.append(word)
            held = bool(valid) and not take
            stalled += held
            seen = len(got) if layer.last else len(self.activations) + ctx.get(dut.write)
            due = cycle - stalled - Drain.LATENCY + 1
            if not held:
                assert seen == min(max(due, 0), len(want)), f"cycle {cycle}: {seen} words"
            finished = cycle > 0 and ctx.get(dut.done)
            assert finished == (cycle - stalled >= Drain.LATENCY + len(want)), (
                f"cycle {cycle}: done"
            )
            if finished:
                break
            await self.tick()
            ctx.set(dut.start, 0)
        else:
            raise AssertionError("the drain never ends")
        for _ in range(8):
            ctx.set(dut.o.ready, 1)
            assert not ctx.get(dut.o.valid), "a word too many"
            assert not ctx.get(dut.write), "a word too many"
            await self.tick()
        if layer.last:
            assert (got, self.activations) == (want, {})
        else:
            assert got == []
            assert self.activations == {
                layer.destination + index: word for index, word in enumerate(want)
            }
        assert self.sums[:untouched] == [[0] * spec.pes] * untouched, "not cleared"
        assert self.sums[untouched:] == kept, "cleared what was not read"


def run(spec: EngineSpec, layers: list[tuple[Layer, Any]]) -> None:
    """Drain ``layers``, each with its pattern of ready, one after the other."""
    dut = Drain(spec)

    async def testbench(ctx: Any) -> None:
        bench = Bench(ctx, dut, 1)
        for layer, ready in layers:
            await bench.drain(layer, ready)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def random_layer(spec: EngineSpec, rng: random.Random, rows_words: int, *, last: bool) -> Layer:
    return Layer(
        rows_words=rows_words,
        bias_base=rng.randrange(spec.bias_depth - rows_words + 1),
        destination=rng.randrange(spec.activation_depth - rows_words + 1),
        shift=rng.randrange(min(48, spec.accumulator_width + 2)),
        output_signed=rng.random() < 0.5,
        relu=rng.random() < 0.5,
        last=last,
    )


def probably(share: float, seed: int) -> Any:
    """Take y in ``share`` of the cycles."""
    rng = random.Random(seed)
    return lambda cycle: rng.random() < share


SIZES = [(1, 1), (2, 1), (3, 1), (4, 4), (8, 4), (12, 2), (16, 4)]


@pytest.mark.parametrize("sink", [1, 0.5, 0.1], ids=["none", "sink", "long"])
@pytest.mark.parametrize(("pes", "lanes"), SIZES)
def test_rows(pes: int, lanes: int, sink: float) -> None:
    """Any number of words, which fill the last accumulators of the PEs or not; hidden and last."""
    spec = EngineSpec(
        pes=pes, lanes=lanes, row_depth=4, bias_depth=64, activation_depth=64, accumulator_width=26
    )
    rng = random.Random(pes)
    most = 4 * pes // lanes
    lengths = [*range(1, most + 1)] if sink == 1 else [1, 2, most - 1, most]
    run(
        spec,
        [
            (random_layer(spec, rng, words, last=last), probably(sink, words))
            for words in lengths
            if words > 0
            for last in (True, False)
        ],
    )


@pytest.mark.parametrize(("activation", "accumulator"), [(4, 9), (8, 24), (12, 33), (16, 48)])
def test_formats(activation: int, accumulator: int) -> None:
    """Every shift that there is, signed and unsigned, with and without ReLU."""
    spec = EngineSpec(
        pes=4,
        lanes=2,
        row_depth=2,
        bias_depth=64,
        activation_depth=64,
        activation_width=activation,
        accumulator_width=accumulator,
    )
    rng = random.Random(activation)
    layers = [
        random_layer(spec, rng, 4, last=shift % 3 == 0)._replace(
            shift=shift, output_signed=bool(kind & 1), relu=bool(kind & 2)
        )
        for shift in range(min(accumulator + 2, 48))
        for kind in range(4)
    ]
    run(spec, [(layer, probably(0.8, 1)) for layer in layers])


def test_one_stall_in_every_cycle() -> None:
    """y is held up once, for one or three cycles, beginning with each cycle of the drain."""
    spec = EngineSpec(pes=4, lanes=2, row_depth=4, bias_depth=16, activation_depth=16)
    rng = random.Random(8)
    layers = []
    for length in (1, 3):
        for at in range(20):
            layer = random_layer(spec, rng, 7, last=True)
            layers.append((
                layer,
                lambda cycle, at=at, length=length: not at <= cycle < at + length,
            ))
    run(spec, layers)


def test_hidden_layers_do_not_wait_for_y() -> None:
    spec = EngineSpec(pes=2, lanes=1, row_depth=4, bias_depth=16, activation_depth=16)
    rng = random.Random(9)
    run(spec, [(random_layer(spec, rng, 5, last=False), lambda cycle: False)] * 2)
