"""ProcessingElement against a matrix product."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.format import Section, memories
from secateur.gateware.layout import words
from secateur.gateware.pe import ProcessingElement

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Cycles from `room` to the broadcast that it allows: the engine's registers.
ROOM_TO_BROADCAST = 2
#: Cycles from a broadcast to the first multiplication seen at `multiply`, and from the last
#: multiplication to `idle`.
LATENCY = 5
TO_IDLE = 2


class Slice:
    """A PE's slice of a layer: its dense matrix, and the words that stand for it.

    Parameters
    ----------
    matrix : int64[rows, columns]
        Weights.
    """

    def __init__(self, spec: EngineSpec, matrix: NDArray[np.int64], codebook: list[int]) -> None:
        self.matrix, self.codebook = matrix, codebook
        self.counts: list[int] = []
        weights: dict[str, list[int]] = {"code": [], "zeros": []}
        starts: list[int] = []
        for column in matrix.T:
            starts.append(len(weights["code"]))
            gap = 0
            for weight in column.tolist():
                # A count as high as can be, and a zero: an entry of its own.
                if weight or gap == (1 << spec.index_width) - 1:
                    weights["code"].append(codebook.index(weight) if codebook else weight)
                    weights["zeros"].append(gap)
                    gap = 0
                else:
                    gap += 1
            while len(weights["code"]) > starts[-1] and not self._is_weight(weights["code"][-1]):
                del weights["code"][-1], weights["zeros"][-1]
            self.counts.append(len(weights["code"]) - starts[-1])
        kinds = memories(spec)
        self.words = {
            Section.COLUMNS: words(
                kinds[Section.COLUMNS].record, {"start": starts, "count": self.counts}
            ),
            Section.WEIGHTS: words(kinds[Section.WEIGHTS].record, weights),
        }

    def _is_weight(self, code: int) -> bool:
        return (self.codebook[code] if self.codebook else code) != 0


class Bench:
    """Drives a processing element as the engine does."""

    def __init__(self, ctx: Any, dut: ProcessingElement, seed: int) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.rng = random.Random(seed)
        self.multiplications: list[int] = []  # cycles, since the first broadcast was possible
        self.idle_since = 0

    async def load(self, bank: int, part: Slice) -> None:
        for kind, strobe in (
            (Section.COLUMNS, self.dut.write_columns),
            (Section.WEIGHTS, self.dut.write_weights),
        ):
            self.ctx.set(self.dut.write_bank, bank)
            for address, word in enumerate(part.words[kind]):
                self.ctx.set(self.dut.write_address, address)
                self.ctx.set(self.dut.write_word, word)
                self.ctx.set(strobe, 1)
                await self.ctx.tick()
                self.ctx.set(strobe, 0)

    async def begin(self, bank: int, part: Slice) -> None:
        """Choose the program, copy its codebook and clear the accumulators."""
        self.ctx.set(self.dut.bank, bank)
        if self.spec.codebook_bits:
            for code, value in enumerate(part.codebook):
                self.ctx.set(self.dut.code, code)
                self.ctx.set(self.dut.code_value, value)
                self.ctx.set(self.dut.code_write, 1)
                await self.ctx.tick()
            self.ctx.set(self.dut.code_write, 0)
        for row in range(self.spec.row_depth):
            self.ctx.set(self.dut.clear, 1)
            self.ctx.set(self.dut.clear_address, row)
            await self.ctx.tick()
        self.ctx.set(self.dut.clear, 0)

    async def broadcast(
        self, activations: list[tuple[int, int]], *, source: float = 1, time_out: int = 2000
    ) -> int:
        """Send (column, value) until the PE is idle; return the cycle in which it was idle."""
        ctx, dut, rng = self.ctx, self.dut, self.rng
        waiting = deque(activations)
        room = deque([True] * ROOM_TO_BROADCAST)
        self.multiplications = []
        for cycle in range(time_out):
            valid = bool(waiting) and room[0] and rng.random() < source
            column, value = waiting.popleft() if valid else (rng.randrange(4), rng.randint(-9, 9))
            ctx.set(dut.i.column, column)
            ctx.set(dut.i.value, value)
            ctx.set(dut.i_valid, valid)
            if self.spec.codebook_bits:
                ctx.set(dut.code, rng.getrandbits(self.spec.codebook_bits))
                ctx.set(dut.code_value, rng.randint(-2, 1))
            room.popleft()
            room.append(ctx.get(dut.room))
            if ctx.get(dut.multiply):
                self.multiplications.append(cycle)
            if not waiting and not valid and ctx.get(dut.idle):
                return cycle
            await ctx.tick()
        raise AssertionError("the PE never gets idle")

    async def drain(self) -> list[int]:
        self.ctx.set(self.dut.drain_enable, 1)
        sums = []
        for row in range(self.spec.row_depth):
            self.ctx.set(self.dut.drain_address, row)
            await self.ctx.tick()
            sums.append(self.ctx.get(self.dut.drain_sum))
        self.ctx.set(self.dut.drain_enable, 0)
        return sums


def run(dut: ProcessingElement, body: Any, *, seed: int = 1) -> None:
    """Run ``body(bench)``."""

    async def testbench(ctx: Any) -> None:
        await body(Bench(ctx, dut, seed))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def random_slice(spec: EngineSpec, *, columns: int, density: float, seed: int) -> Slice:
    """Draw a matrix with extreme weights, some columns without any."""
    rng = np.random.default_rng(seed)
    half = 1 << (spec.weight_width - 1)
    codebook = []
    values = np.concatenate([[-half, half - 1], rng.integers(-half, half, 12)])
    if spec.codebook_bits:
        values = np.unique([*values[: (1 << spec.codebook_bits) - 1].tolist(), 0])
        codebook = values.tolist()
    matrix = rng.choice(values, (spec.row_depth, columns))
    matrix[rng.random(matrix.shape) >= density] = 0
    matrix[:, rng.random(columns) < 0.2] = 0
    return Slice(spec, matrix, codebook)


def random_activations(
    spec: EngineSpec, columns: int, count: int, seed: int
) -> list[tuple[int, int]]:
    """Draw columns and values, signed and unsigned."""
    rng = random.Random(seed)
    low, high = -(1 << (spec.activation_width - 1)), (1 << spec.activation_width) - 1
    return [
        (rng.randrange(columns), rng.choice((low, high, rng.randint(low, high))))
        for _ in range(count)
    ]


def product(part: Slice, activations: list[tuple[int, int]]) -> list[int]:
    """Multiply the dense matrix."""
    x = np.zeros(part.matrix.shape[1], dtype=np.int64)
    for column, value in activations:
        x[column] += value
    return (part.matrix @ x).tolist()


CASES = [
    pytest.param({"index_width": 4}, 0.3, id="direct"),
    pytest.param({"index_width": 1, "queue_depth": 4}, 0.15, id="many padding entries"),
    pytest.param({"index_width": 3, "weight_width": 12, "activation_width": 12}, 1, id="dense"),
    pytest.param({"codebook_bits": 4, "index_width": 2}, 0.3, id="codebook"),
    pytest.param({"codebook_bits": 1, "index_width": 8, "banks": 1}, 0.05, id="one value"),
]


@pytest.mark.parametrize("source", [1, 0.3], ids=["none", "source"])
@pytest.mark.parametrize(("fields", "density"), CASES)
def test_sums(fields: dict[str, int], density: float, source: float) -> None:
    """Two programs, one in each bank, loaded or initial; several layers after each other."""
    columns = 12
    spec = EngineSpec(
        **{"pes": 1, "lanes": 1, "row_depth": 16, "weight_depth": 256, "column_depth": 16}
        | {"accumulator_width": 36}
        | fields
    )
    parts = [
        random_slice(spec, columns=columns, density=density, seed=n) for n in range(spec.banks)
    ]

    async def body(bench: Bench) -> None:
        for bank, part in list(enumerate(parts))[1:]:
            await bench.load(bank, part)
        for trial in range(6):
            bank = trial % spec.banks
            part = parts[bank]
            await bench.begin(bank, part)
            activations = random_activations(spec, columns, (0, 1, 5, 40, 40, 40)[trial], trial)
            await bench.broadcast(activations, source=source)
            assert await bench.drain() == product(part, activations), f"trial {trial}"
            useful = sum(np.count_nonzero(part.matrix[:, column]) for column, _ in activations)
            assert len(bench.multiplications) == useful, f"trial {trial}"
        # The bank in use is not disturbed by the loader, which overwrites the other one, or, with
        # one bank, replaces the program.
        other = random_slice(spec, columns=columns, density=density, seed=9)
        bank = spec.banks - 1
        await bench.load(bank, other)
        for mine, part in (*list(enumerate(parts))[:bank], (bank, other)):
            await bench.begin(mine, part)
            activations = random_activations(spec, columns, 20, mine)
            await bench.broadcast(activations)
            assert await bench.drain() == product(part, activations), f"bank {mine}"

    run(ProcessingElement(spec, init=parts[0].words), body)


def test_gapless() -> None:
    """One entry a cycle from the first to the last, whatever the lengths of the columns."""
    spec = EngineSpec(pes=1, lanes=1, weight_depth=256, column_depth=32, queue_depth=8)
    rng = np.random.default_rng(4)
    matrix = rng.integers(1, 100, (16, 32))
    for column, length in enumerate(rng.choice((0, 1, 1, 2, 3, 16), 32)):
        matrix[length:, column] = 0
    matrix[0, 0] = 1  # the first broadcast has an entry
    part = Slice(spec, matrix, [])

    async def body(bench: Bench) -> None:
        for order in ([*range(32)], [0, *range(31, 0, -1)], [0] * 20):
            await bench.begin(0, part)
            # Some columns come again, so that an empty one never lets the queue run dry.
            activations = [(column, 3) for column in order if part.counts[column]]
            entries = sum(part.counts[column] for column, _ in activations)
            idle = await bench.broadcast(activations)
            assert bench.multiplications == [*range(LATENCY, LATENCY + entries)]
            assert idle == LATENCY + entries - 1 + TO_IDLE
            assert await bench.drain() == product(part, activations)

    run(ProcessingElement(spec, init=part.words), body)


def test_columns_without_entries_cost_nothing() -> None:
    """Between two columns of one entry, any number of empty ones takes its own cycles."""
    spec = EngineSpec(pes=1, lanes=1, weight_depth=16, column_depth=16)
    matrix = np.zeros((16, 3), dtype=np.int64)
    matrix[15, 0], matrix[2, 2] = -128, 127
    part = Slice(spec, matrix, [])

    async def body(bench: Bench) -> None:
        for empty in range(5):
            await bench.begin(0, part)
            activations = [(0, 255), *[(1, 9)] * empty, (2, -128)]
            await bench.broadcast(activations)
            assert bench.multiplications == [LATENCY, LATENCY + empty + 1]
            assert await bench.drain() == product(part, activations)

    run(ProcessingElement(spec, init=part.words), body)


@pytest.mark.parametrize("index_width", [1, 2, 3, 8])
def test_longest_gap(index_width: int) -> None:
    """A column with its only weight in each row: padding entries take their cycles and add zero."""
    rows = 64
    spec = EngineSpec(
        pes=1,
        lanes=1,
        row_depth=rows,
        index_width=index_width,
        weight_depth=2048,
        column_depth=rows,
    )
    part = Slice(spec, np.diag(np.arange(1, rows + 1)), [])
    assert part.counts == [row // (1 << index_width) + 1 for row in range(rows)]

    async def body(bench: Bench) -> None:
        for row in (0, 1, 2, 3, 7, 8, 62, 63):
            await bench.begin(0, part)
            idle = await bench.broadcast([(row, 2)])
            assert bench.multiplications == [LATENCY + part.counts[row] - 1]
            assert idle == bench.multiplications[0] + TO_IDLE
            assert await bench.drain() == [2 * (row + 1) * (n == row) for n in range(rows)]

    run(ProcessingElement(spec, init=part.words), body)
