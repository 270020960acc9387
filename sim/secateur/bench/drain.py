"""Drain against Requant.compute and a table of accumulators, in Amaranth's simulator."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from amaranth.sim import Simulator

from secateur.bench.accumulator import sets_and_rows
from secateur.bench.compare import expect
from secateur.bench.stream import plain
from secateur.errors import CheckFailedError
from secateur.fixed import NumberFormat, Requant
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.drain import Drain
from secateur.gateware.pe import ProcessingElement
from secateur.technology import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from secateur.engine import EngineSpec

__all__ = ["Layer", "RowBench", "draw_layer", "run_drain"]


class Layer(NamedTuple):
    """What the layer table says, and whose accumulators are drained."""

    rows_words: int
    bias_base: int
    shift: int
    output_signed: bool
    relu: bool
    last: bool
    tag: int


class RowBench:
    """A drain and what is around it: the PEs' accumulators, and the memory of the biases.

    Parameters
    ----------
    ctx : TestbenchContext
    dut : Drain or MapDrain
    seed : int
        Of all that is drawn.
    sets, rows : int
        Of accumulators, as their slots count them: tags, and the rows of each.
    """

    def __init__(self, ctx: Any, dut: Any, seed: int, *, sets: int, rows: int) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.rng = random.Random(seed)
        spec = self.spec
        #: The sum of a row's lanes and its bias never overflows.
        spare = 2 + (spec.lanes - 1).bit_length()
        self.limit = 1 << max(1, spec.accumulator_width - spare)
        self.biases = [
            self.numbers(min(self.limit, 1 << (spec.bias_width - 1)), spec.drain_lanes)
            for _ in range(spec.bias_depth)
        ]
        # By tag, row and PE.
        self.sums = [[self.numbers(self.limit, spec.pes) for _ in range(rows)] for _ in range(sets)]
        held = ProcessingElement.held(spec) + Accumulator.LATENCY
        self.held: deque[set[int]] = deque([set()] * (held + 1), held + 1)  # now, and before
        self.read: deque[list[int]] = deque([[0] * spec.pes] * Accumulator.DRAINED)
        self.bias: deque[list[int]] = deque([[0] * spec.drain_lanes] * Memory.LATENCY)
        self.holds = 0

    def numbers(self, limit: int, count: int) -> list[int]:
        """Draw numbers of every magnitude below the limit."""
        bits = limit.bit_length() - 1
        return [
            self.rng.choice((-1, 1)) * self.rng.getrandbits(self.rng.randint(1, bits))
            if self.rng.random() < 0.8
            else self.rng.choice((-limit, limit - 1))
            for _ in range(count)
        ]

    def results(self, layer: Layer, slots: list[list[int]]) -> NDArray[np.int64]:
        """Requantise the rows of accumulators, by slot and PE: int64[rows]."""
        spec = self.spec
        total = []
        for row in range(layer.rows_words * spec.lanes):
            slot, group = divmod(row, spec.groups)
            bias = self.biases[layer.bias_base + row // spec.drain_lanes][row % spec.drain_lanes]
            pes = range(group * spec.lanes, (group + 1) * spec.lanes)
            total.append(bias + sum(slots[slot][pe] for pe in pes))
        output = NumberFormat(width=spec.activation_width, signed=layer.output_signed)
        requant = Requant(shift=layer.shift, output=output, relu=layer.relu)
        return requant.compute(np.array(total))

    async def tick(self) -> None:
        """Pass a cycle, in which every PE multiplies wherever the drain lets it."""
        ctx, dut, spec = self.ctx, self.dut, self.spec
        memories = spec.accumulator_memories
        self.held.append({ctx.get(dut.hold.memory)} if ctx.get(dut.hold.valid) else set())
        self.holds += bool(self.held[-1])
        drained, *others = plain(ctx.get(dut.drained))
        expect(others, [drained] * len(others), "every PE gets the same")
        slot, cleared = drained["slot"], drained["cleared"]
        reads = slot["tag"] % memories in self.held[-1 - ProcessingElement.held(spec)]
        # Where it was not asked for, the memory reads for a product.
        self.read.append(
            [*self.sums[slot["tag"]][slot["row"]]] if reads else self.numbers(self.limit, spec.pes)
        )
        for memory in range(memories):
            if drained["clear"] >> memory & 1:
                expect(memory in self.held[0], True, "no product in a cycle that clears")
                expect(cleared["tag"] % memories, memory, "the memory that is cleared")
                self.sums[cleared["tag"]][cleared["row"]] = [0] * spec.pes
        self.bias.append(self.biases[ctx.get(dut.bias_address) % spec.bias_depth])
        read = self.read.popleft()
        self.bias.popleft()
        await ctx.tick()
        if drained["capture"]:
            ctx.set(dut.sums, read)
        ctx.set(dut.biases, {f"bias{n}": value for n, value in enumerate(self.bias[0])})


class DrainBench(RowBench):
    """A drain of jobs, one after the other."""

    def expected(self, layer: Layer) -> list[list[int]]:
        """Words of the layer's output, row by row."""
        bits = self.results(layer, self.sums[layer.tag]) & ((1 << self.spec.activation_width) - 1)
        return bits.reshape(-1, self.spec.lanes).tolist()

    async def drain(self, layer: Layer, ready: Callable[[int], bool]) -> list[int]:
        """Drain once; ``ready(cycle)`` says when a word is taken. Return when they were."""
        ctx, dut, spec = self.ctx, self.dut, self.spec
        for rows in self.sums[layer.tag]:
            rows[:] = self.numbers(self.limit, spec.pes)
        before = [[[*row] for row in rows] for rows in self.sums]
        want = self.expected(layer)
        slots = -(-len(want) * spec.lanes // spec.groups)
        self.holds = 0
        expect(ctx.get(dut.done), 1, "done before the start")
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
            expect(bool(valid or not held), True, f"cycle {cycle}: valid until the transfer")
            expect(ctx.get(other.valid), 0, f"cycle {cycle}: valid of the other stream")
            if valid:
                payload = plain(ctx.get(o.payload))
                word = payload["data"] if layer.last else payload
                # Compared in every cycle in which it waits.
                expect(word, want[len(got)], f"word {len(got)} of {len(want)}")
                if layer.last:
                    ends = int(len(got) == len(want) - 1)
                    expect(payload["last"], ends, f"word {len(got)} of {len(want)}: last")
                if take:
                    got.append(word)
                    cycles.append(cycle)
            held = bool(valid) and not take
            await self.tick()
            ctx.set(dut.start, 0)
            expect(bool(ctx.get(dut.done)), len(got) == len(want), f"cycle {cycle}: done")
            if len(got) == len(want):
                break
        else:
            raise CheckFailedError("the drain never ends")
        for _ in range(12):
            ctx.set(dut.o.ready, 1)
            ctx.set(dut.hidden.ready, 1)
            valid = ctx.get(dut.o.valid), ctx.get(dut.hidden.valid)
            expect(valid, (0, 0), "valid behind the last word")
            expect(ctx.get(dut.done), 1, "done behind the last word")
            await self.tick()
        expect(self.holds, slots, "cycles in which PEs are held, once for each slot")
        before[layer.tag][:slots] = [[0] * spec.pes] * slots
        expect(self.sums == before, True, "cleared what was read, and nothing else,")
        return cycles


def run_drain(
    spec: EngineSpec, layers: list[tuple[Layer, Callable[[int], bool]]]
) -> list[list[int]]:
    """Drain ``layers``, each with its pattern of ready, one after the other.

    Returns the cycles in which the words of each were taken.

    Raises
    ------
    CheckFailedError
        On the first difference.
    """
    dut = Drain(spec)
    cycles = []

    async def testbench(ctx: Any) -> None:
        sets, rows = sets_and_rows(spec)
        bench = DrainBench(ctx, dut, 1, sets=sets, rows=rows)
        for layer, ready in layers:
            cycles.append(await bench.drain(layer, ready))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return cycles


def draw_layer(spec: EngineSpec, rng: random.Random, rows_words: int, *, last: bool) -> Layer:
    """Draw what is done with so many words."""
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
