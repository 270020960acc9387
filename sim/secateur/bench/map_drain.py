"""MapDrain against ``Requant.compute``, pooling and tables of accumulators and addresses.

In Amaranth's simulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from amaranth.sim import Simulator

from secateur.bench.accumulator import sets_and_rows
from secateur.bench.compare import expect
from secateur.bench.drain import RowBench, draw_layer
from secateur.bench.map_layers import Positions, draw_lengths, draw_positions, table_word
from secateur.bench.stream import plain
from secateur.convolution import Pool
from secateur.errors import CheckFailedError
from secateur.format import LOOPS
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.column import ColumnQueue
from secateur.gateware.maps.drain import MapDrain
from secateur.gateware.maps.pool import pool_depth
from secateur.gateware.maps.walk import MapWalker
from secateur.gateware.pe import ProcessingElement

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from secateur.bench.drain import Layer
    from secateur.engine import EngineSpec

__all__ = ["MapLayer", "draw_map_layer", "run_map_drain"]

#: Loops that go from window to window, and those inside one: its columns and its rows.
OUTSIDE, INSIDE = (0, 3, 4), (1, 2)


def to_stored(spec: EngineSpec) -> int:
    """Cycles from the strobe that frees a set until the next position's products may be there."""
    pe = ProcessingElement.latency(spec) + Accumulator.LATENCY
    return 2 + MapWalker.LATENCY + ColumnQueue.LATENCY + pe


class MapLayer(NamedTuple):
    """What the layer table says of rows, and where windows are written: words of the memory."""

    rows: Layer
    windows: Positions
    average: bool


def draw_map_layer(
    spec: EngineSpec,
    rng: random.Random,
    *,
    most: int = 24,
    most_words: int = 64,
    last: bool = False,
) -> MapLayer:
    """Draw a layer of 1 to ``most`` positions, whose rows fit their set and their pool."""
    parts = spec.lanes // spec.drain_lanes
    rounds = spec.groups // spec.drain_lanes
    while True:
        lengths = draw_lengths(rng, rng.choice((1, most)))
        inside = lengths[1] * lengths[2]
        average = rng.random() < 0.5 and inside & (inside - 1) == 0 and inside > 1
        slots = spec.set_depth if np.prod(lengths) > 1 else spec.row_depth
        reads = min(slots * rounds, spec.bias_depth)
        if inside > 1:  # windows that take turns are pooled at the same time
            reads = min(reads, pool_depth(spec) // lengths[0])
        if words := min(reads // parts, most_words):
            break
    rows = draw_layer(spec, rng, rng.choice((1, words, rng.randint(1, words))), last=last)
    return MapLayer(rows, draw_positions(rng, lengths, spec.activation_depth), average)


class MapDrainBench(RowBench):
    """A drain of positions; the PEs get done with one after the other, each in its own time."""

    def __init__(self, ctx: Any, dut: MapDrain, seed: int) -> None:
        sets, rows = sets_and_rows(dut.spec)
        super().__init__(ctx, dut, seed, sets=sets, rows=rows)
        self.sums = [[[0] * self.spec.pes for _ in range(rows)] for _ in range(sets)]
        self.ended = [[0] * self.spec.tags for _ in range(self.spec.pes)]

    def slots(self, tag: int, layer: Layer) -> list[tuple[int, int]]:
        """List the accumulators of a position, by memory and row, as PEs number them."""
        spec, memories = self.spec, self.spec.accumulator_memories
        # Pairs of positions take turns, where there are more.
        of_pairs = memories == 2 and spec.tags > 2
        memory = tag // 2 % 2 if of_pairs else tag % memories
        at = tag // 4 * 2 + tag % 2 if of_pairs else tag // memories
        first = memory * len(self.sums[0]) + at * spec.set_depth
        count = -(-layer.rows_words * spec.lanes // spec.groups)
        return [divmod(first + slot, len(self.sums[0])) for slot in range(count)]

    def expected(self, layer: MapLayer, sums: NDArray[np.int64]) -> list[tuple[int, list[int]]]:
        """List the addresses and words of a layer's output, in their order.

        Parameters
        ----------
        layer : MapLayer
        sums : int64[positions, slots, pes]
        """
        spec, rows, lengths = self.spec, layer.rows, layer.windows.lengths
        values = np.stack([self.results(rows, each.tolist()) for each in sums])
        # The last axis is the innermost loop of positions; rows come first.
        values = values.T.reshape(-1, *reversed(lengths))
        kind = Pool(kind="average" if layer.average else "max", size=(lengths[2], lengths[1]))
        axes = [LOOPS - loop for loop in (*reversed(OUTSIDE), *reversed(INSIDE))]
        pooled = kind.compute(values.transpose(0, *axes))[..., 0, 0]
        words = pooled.reshape(rows.rows_words, spec.lanes, -1).transpose(2, 0, 1)
        bits = words & ((1 << spec.activation_width) - 1)
        moved = Positions(
            lengths=tuple(lengths[loop] for loop in OUTSIDE),
            moves=tuple(layer.windows.moves[loop] for loop in OUTSIDE),
            base=layer.windows.base,
        )
        return [
            ((address + at) % spec.activation_depth, word)
            for address, window in zip(
                moved.addresses(spec.activation_depth), bits.tolist(), strict=True
            )
            for at, word in enumerate(window)
        ]

    def fields(self, layer: MapLayer) -> dict[str, int]:
        """Say what the layer table says of a layer."""
        rows, (lengths, moves) = layer.rows, (layer.windows.lengths, layer.windows.moves)
        size, behind, gaps = self.spec.activation_depth, rows.rows_words, {}
        for loop, name in zip(OUTSIDE, ("turn", "column", "row"), strict=True):
            # From the end of a window's words to the first of the next one.
            if lengths[loop] > 1:
                gaps[f"target_{name}"] = (moves[loop] - behind) % size
            behind += (lengths[loop] - 1) * moves[loop]
        inside = lengths[1] * lengths[2]
        return {
            # No word counts as one.
            "rows_words": rows.rows_words if rows.rows_words > 1 else self.rng.randrange(2),
            **{f"count{loop}": length - 1 for loop, length in enumerate(lengths)},
            **{name: getattr(rows, name) for name in ("bias_base", "shift", "output_signed")},
            **{name: getattr(rows, name) for name in ("relu", "last")},
            "target_base": layer.windows.base,
            **gaps,
            "average": layer.average,
            "average_shift": inside.bit_length() - 1 if layer.average else 0,
        }

    async def drain(self, layer: MapLayer, source: float, sink: float) -> list[int]:
        """Drain a layer; PEs are done ``source`` of the time, y is taken ``sink`` of it.

        Return when words were written or delivered.
        """
        ctx, dut, spec, rng = self.ctx, self.dut, self.spec, self.rng
        rows, positions = layer.rows, layer.windows.count
        sums = np.array([
            [self.numbers(self.limit, spec.pes) for _ in self.slots(0, rows)]
            for _ in range(positions)
        ])
        want = self.expected(layer, sums)
        expect(ctx.get(dut.done), 1, "done before the start")
        ctx.set(dut.layer, table_word(spec, rng, self.fields(layer)))
        ctx.set(dut.start, 1)
        stored = [0] * spec.pes
        free_from = [to_stored(spec)] * min(spec.tags, positions)
        freed, held, cycles = 0, False, []
        self.holds = 0
        for cycle in range(200 * (positions + len(want)) + 1000):
            where = f"cycle {cycle}, word {len(cycles)} of {len(want)}"
            for bits, of_all in ((dut.all_ones, 1), (dut.all_zeros, 0)):
                each = (all(e[tag] == of_all for e in self.ended) for tag in range(spec.tags))
                ctx.set(bits, sum(bit << tag for tag, bit in enumerate(each)))
            take = rng.random() < sink
            ctx.set(dut.o.ready, take)
            write, valid = ctx.get(dut.write), ctx.get(dut.o.valid)
            expect(bool(write and rows.last), False, f"{where}: write in the last layer")
            expect(bool(valid and not rows.last), False, f"{where}: o.valid in a hidden layer")
            expect(bool(valid or not held), True, f"{where}: o.valid until the transfer")
            if write or valid:
                expect(len(cycles) < len(want), True, f"{where}: a word that is expected")
                address, word = want[len(cycles)]
                if write:
                    expect(ctx.get(dut.address), address, f"{where}: address")
                    expect(plain(ctx.get(dut.written)), word, f"{where}: written")
                else:
                    ends = len(cycles) == len(want) - 1
                    given = plain(ctx.get(dut.o.payload))
                    expect(given, {"data": word, "last": ends}, f"{where}: o.payload")
                if write or take:
                    cycles.append(cycle)
            held = bool(valid) and not take
            if ctx.get(dut.freed):
                free_from.append(cycle + to_stored(spec))
                freed += 1
            for pe in range(spec.pes):
                at = stored[pe]
                # A set is used again once the position before in it is freed.
                if at < positions and at < len(free_from) and free_from[at] <= cycle:
                    if rng.random() >= source:
                        continue
                    stored[pe] += 1
                    self.ended[pe][at % spec.tags] ^= 1
                    for slot, (memory, row) in enumerate(self.slots(at % spec.tags, rows)):
                        expect(self.sums[memory][row][pe], 0, f"{where}: what was left in a set")
                        self.sums[memory][row][pe] = int(sums[at, slot, pe])
            await self.tick()
            ctx.set(dut.start, 0)
            expect(bool(ctx.get(dut.done)), len(cycles) == len(want), f"{where}: done")
            if len(cycles) == len(want):
                break
        else:
            raise CheckFailedError("the drain never ends")
        for _ in range(12):
            ctx.set(dut.o.ready, 1)
            ctx.set(dut.layer, table_word(spec, rng, {}))  # the control makes the next one's word
            seen = [ctx.get(signal) for signal in (dut.o.valid, dut.write, dut.freed)]
            expect(seen, [0, 0, 0], "o.valid, write and freed behind the last word")
            expect(ctx.get(dut.done), 1, "done behind the last word")
            await self.tick()
        expect(freed, positions, "sets that were freed")
        expect(self.holds, positions * len(self.slots(0, rows)), "cycles in which PEs are held")
        kept = {value for rows_ in self.sums for each in rows_ for value in each}
        expect(kept, {0}, "what is left in the accumulators")
        return cycles


def run_map_drain(
    spec: EngineSpec,
    layers: Sequence[MapLayer],
    *,
    source: float = 1,
    sink: float = 1,
    seed: int = 1,
) -> list[list[int]]:
    """Drain ``layers`` one after the other.

    Returns the cycles, from the start of each, in which its words were written or delivered.

    Raises
    ------
    CheckFailedError
        On the first difference.
    """
    dut = MapDrain(spec)
    cycles = []

    async def testbench(ctx: Any) -> None:
        bench = MapDrainBench(ctx, dut, seed)
        for layer in layers:
            cycles.append(await bench.drain(layer, source, sink))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return cycles
