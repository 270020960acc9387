# amaranth: UnusedElaboratable=no
"""Drain against Requant.compute and a table of accumulators."""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.bench.stream import plain
from secateur.engine import EngineSpec
from secateur.fixed import NumberFormat, Requant
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.drain import Drain, drain_latencies, drain_room
from secateur.gateware.pe import ProcessingElement
from secateur.technology import Memory


class Layer(NamedTuple):
    """What the layer table says, and whose accumulators are drained."""

    rows_words: int
    bias_base: int
    shift: int
    output_signed: bool
    relu: bool
    last: bool
    tag: int


class Bench:
    """A drain and what is around it: the PEs' accumulators, and the memory of the biases."""

    def __init__(self, ctx: Any, dut: Drain, seed: int) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.rng = random.Random(seed)
        spec = self.spec
        #: The sum of a row's lanes and its bias never overflows.
        self.limit = 1 << (spec.accumulator_width - 2 - (spec.lanes - 1).bit_length())
        self.biases = [
            self._numbers(min(self.limit, 1 << (spec.bias_width - 1)), spec.drain_lanes)
            for _ in range(spec.bias_depth)
        ]
        # By tag, row and PE.
        self.sums = [
            [self._numbers(self.limit, spec.pes) for _ in range(spec.row_depth)]
            for _ in range(spec.jobs)
        ]
        held = ProcessingElement.HELD + Accumulator.LATENCY
        self.held: deque[set[int]] = deque([set()] * (held + 1), held + 1)  # now, and before
        self.read: deque[list[int]] = deque([[0] * spec.pes] * Accumulator.DRAINED)
        self.bias: deque[list[int]] = deque([[0] * spec.drain_lanes] * Memory.LATENCY)
        self.holds = 0

    def _numbers(self, limit: int, count: int) -> list[int]:
        """Draw numbers of every magnitude below the limit."""
        bits = limit.bit_length() - 1
        return [
            self.rng.choice((-1, 1)) * self.rng.getrandbits(self.rng.randint(1, bits))
            if self.rng.random() < 0.8
            else self.rng.choice((-limit, limit - 1))
            for _ in range(count)
        ]

    def expected(self, layer: Layer) -> list[list[int]]:
        """Words of the layer's output, row by row."""
        spec, sums = self.spec, self.sums[layer.tag]
        total = []
        for row in range(layer.rows_words * spec.lanes):
            slot, group = divmod(row, spec.groups)
            bias = self.biases[layer.bias_base + row // spec.drain_lanes][row % spec.drain_lanes]
            pes = range(group * spec.lanes, (group + 1) * spec.lanes)
            total.append(bias + sum(sums[slot][pe] for pe in pes))
        output = NumberFormat(width=spec.activation_width, signed=layer.output_signed)
        requant = Requant(shift=layer.shift, output=output, relu=layer.relu)
        bits = requant.compute(np.array(total)) & ((1 << spec.activation_width) - 1)
        return bits.reshape(-1, spec.lanes).tolist()

    async def tick(self) -> None:
        """Pass a cycle, in which every PE multiplies wherever the drain lets it."""
        ctx, dut, spec = self.ctx, self.dut, self.spec
        memories = spec.accumulator_memories
        self.held.append({ctx.get(dut.hold.memory)} if ctx.get(dut.hold.valid) else set())
        self.holds += bool(self.held[-1])
        drained = plain(ctx.get(dut.drained))
        slot, cleared = drained["slot"], drained["cleared"]
        reads = slot["tag"] % memories in self.held[-1 - ProcessingElement.HELD]
        # Where it was not asked for, the memory reads for a product.
        self.read.append(
            [*self.sums[slot["tag"]][slot["row"]]] if reads else self._numbers(self.limit, spec.pes)
        )
        for memory in range(memories):
            if drained["clear"] >> memory & 1:
                assert memory in self.held[0], "cleared in a product's cycle"
                assert cleared["tag"] % memories == memory
                self.sums[cleared["tag"]][cleared["row"]] = [0] * spec.pes
        self.bias.append(self.biases[ctx.get(dut.bias_address) % spec.bias_depth])
        read = self.read.popleft()
        self.bias.popleft()
        await ctx.tick()
        if drained["capture"]:
            ctx.set(dut.sums, read)
        ctx.set(dut.biases, {f"bias{n}": value for n, value in enumerate(self.bias[0])})

    async def drain(self, layer: Layer, ready: Any) -> list[int]:
        """Drain once; ``ready(cycle)`` says when a word is taken. Return when they were."""
        ctx, dut, spec = self.ctx, self.dut, self.spec
        for rows in self.sums[layer.tag]:
            rows[:] = self._numbers(self.limit, spec.pes)
        before = [[[*row] for row in rows] for rows in self.sums]
        want = self.expected(layer)
        slots = -(-len(want) * spec.lanes // spec.groups)
        self.holds = 0
        assert ctx.get(dut.done)
        for name, value in layer._asdict().items():
            ctx.set(dut.tag if name == "tag" else dut.layer[name], value)
        ctx.set(dut.start, 1)
        o, other = (dut.o, dut.hidden) if layer.last else (dut.hidden, dut.o)
        got: list[list[int]] = []
        cycles: list[int] = []
        held = False
        for cycle in range(3000):
            take = ready(cycle)
            ctx.set(o.ready, take)
            ctx.set(other.ready, self.rng.getrandbits(1))
            valid = ctx.get(o.valid)
            assert valid or not held, "valid deasserted before the transfer"
            assert not ctx.get(other.valid), "a word for the other stream"
            if valid:
                payload = plain(ctx.get(o.payload))
                word = payload["data"] if layer.last else payload
                # Compared in every cycle in which it waits.
                assert word == want[len(got)], f"word {len(got)}: {word}, not {want[len(got)]}"
                if layer.last:
                    assert payload["last"] == (len(got) == len(want) - 1), f"word {len(got)}: last"
                if take:
                    got.append(word)
                    cycles.append(cycle)
            held = bool(valid) and not take
            await self.tick()
            ctx.set(dut.start, 0)
            assert ctx.get(dut.done) == (len(got) == len(want)), f"cycle {cycle}: done"
            if len(got) == len(want):
                break
        else:
            raise AssertionError("the drain never ends")
        for _ in range(12):
            ctx.set(dut.o.ready, 1)
            ctx.set(dut.hidden.ready, 1)
            assert (ctx.get(dut.o.valid), ctx.get(dut.hidden.valid)) == (0, 0), "a word too many"
            assert ctx.get(dut.done)
            await self.tick()
        assert got == want
        assert self.holds == slots, "PEs are held once for each slot"
        before[layer.tag][:slots] = [[0] * spec.pes] * slots
        assert self.sums == before, "cleared what was read, and nothing else"
        return cycles


def run(spec: EngineSpec, layers: list[tuple[Layer, Any]]) -> list[list[int]]:
    """Drain ``layers``, each with its pattern of ready, one after the other."""
    dut = Drain(spec)
    cycles = []

    async def testbench(ctx: Any) -> None:
        bench = Bench(ctx, dut, 1)
        for layer, ready in layers:
            cycles.append(await bench.drain(layer, ready))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return cycles


def random_layer(spec: EngineSpec, rng: random.Random, rows_words: int, *, last: bool) -> Layer:
    bias_words = rows_words * spec.lanes // spec.drain_lanes
    return Layer(
        rows_words=rows_words,
        bias_base=rng.randrange(spec.bias_depth - bias_words + 1),
        shift=rng.randrange(min(48, spec.accumulator_width + 2)),
        output_signed=rng.random() < 0.5,
        relu=rng.random() < 0.5,
        last=last,
        tag=rng.randrange(spec.jobs),
    )


def probably(share: float, seed: int) -> Any:
    """Take a word in ``share`` of the cycles."""
    rng = random.Random(seed)
    return lambda cycle: rng.random() < share


#: Of every kind: rows of a slot in one cycle or in several, words of one cycle or of several.
SIZES = [(1, 1), (2, 1), (3, 1), (4, 4), (8, 4), (12, 2), (12, 4), (16, 1), (16, 4), (16, 8)]


@pytest.mark.parametrize("memories", [1, 2])
@pytest.mark.parametrize("sink", [1, 0.5, 0.1], ids=["none", "sink", "long"])
@pytest.mark.parametrize(("pes", "lanes"), SIZES)
def test_rows(pes: int, lanes: int, sink: float, memories: int) -> None:
    """Any number of words, which fill the last accumulators of the PEs or not; hidden and last."""
    spec = EngineSpec(
        pes=pes,
        lanes=lanes,
        row_depth=4,
        bias_depth=128,
        accumulator_width=26,
        jobs=4,
        accumulator_memories=memories,
    )
    rng = random.Random(pes)
    most = spec.row_depth * spec.groups // lanes
    lengths = [*range(1, most + 1)] if sink == 1 and most < 20 else [1, 2, most - 1, most]
    layers = [
        random_layer(spec, rng, words, last=last)
        for words in lengths
        if 0 < words <= most
        for last in (True, False)
    ]
    cycles = run(spec, [(layer, probably(sink, layer.rows_words)) for layer in layers])
    if sink == 1:
        parts = lanes // spec.drain_lanes
        # `drain_lanes` rows a cycle, and the first word always as early.
        assert {b - a for mine in cycles for a, b in itertools.pairwise(mine)} <= {parts}
        assert len({mine[0] for mine in cycles}) == 1
        assert 0 < cycles[0][0] - drain_latencies(spec)["o"] - parts < 4


@pytest.mark.parametrize(("activation", "accumulator"), [(4, 9), (8, 24), (12, 33), (16, 48)])
def test_formats(activation: int, accumulator: int) -> None:
    """Every shift that there is, signed and unsigned, with and without ReLU."""
    spec = EngineSpec(
        pes=4,
        lanes=2,
        row_depth=4,
        bias_depth=64,
        activation_width=activation,
        accumulator_width=accumulator,
        bias_width=accumulator - 1,
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


@pytest.mark.parametrize(("pes", "lanes"), [(4, 2), (4, 4), (12, 2)])
def test_one_stall_in_every_cycle(pes: int, lanes: int) -> None:
    """Held up once, for one, three or many cycles, beginning with each cycle of the drain."""
    spec = EngineSpec(pes=pes, lanes=lanes, row_depth=16, bias_depth=64)
    rng = random.Random(8)
    words = 7 * lanes // spec.drain_lanes
    layers = []
    for length in (1, 3, 60):
        for at in range(0, drain_latencies(spec)["o"] + 12, 1 + 3 * (length == 60)):
            layer = random_layer(spec, rng, min(words, spec.groups * 16 // lanes), last=at % 2 == 0)
            layers.append((
                layer,
                lambda cycle, at=at, length=length: not at <= cycle < at + length,
            ))
    run(spec, layers)


def test_rows_that_wait_are_not_lost() -> None:
    """A long output that is held up as long as all fit that may wait, and longer."""
    spec = EngineSpec(pes=4, lanes=1, row_depth=32, bias_depth=128)
    rng = random.Random(2)
    room = drain_room(spec)
    assert room < 128
    layers = [random_layer(spec, rng, 128, last=last) for last in (True, False)]
    for share in (lambda cycle: cycle > 300, lambda cycle: cycle % (room + 3) > room):
        run(spec, [(layer, share) for layer in layers])


def test_a_layer_table_of_garbage_ends() -> None:
    """As many words as it says, whatever they are."""
    spec = EngineSpec(pes=2, lanes=1, row_depth=2, bias_depth=4)
    dut = Drain(spec)
    ends = []

    async def testbench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.hidden.ready, 1)
        for words in (*range(1, 8), 7, 2):
            ctx.set(dut.layer, {"rows_words": words, "bias_base": 3, "last": words % 2})
            ctx.set(dut.start, 1)
            taken = 0
            for _ in range(100):
                taken += ctx.get(dut.o.valid) + ctx.get(dut.hidden.valid)
                await ctx.tick()
                ctx.set(dut.start, 0)
            assert ctx.get(dut.done)
            ends.append(taken == words)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert ends == [True] * 9
