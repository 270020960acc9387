"""ProcessingElement against matrix products, and a schedule of its multiplications."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.hostile import HOSTILE
from secateur.bench.lone_pe import with_codebooks
from secateur.engine import EngineSpec
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.column import ColumnQueue
from secateur.gateware.pe import ProcessingElement
from secateur.gateware.walk import Walker

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

    from secateur.technology import Codebooks

#: Cycles from `room` to the column that it allows: the engine's register, and the walker.
ROOM_TO_VISIT = 1 + Walker.LATENCY
#: Cycles from a column until the address of its first entry is read, and from a multiplication
#: until `ended` says that its sum is stored.
TO_ADDRESS = ColumnQueue.LATENCY + 1
TO_ENDED = Accumulator.LATENCY + 1


def to_product(spec: EngineSpec) -> int:
    """Count the cycles from a column until its first entry is multiplied."""
    return TO_ADDRESS + ProcessingElement.latency(spec)


class Layer:
    """A PE's part of a layer: its dense matrix, and the entries that stand for it.

    Parameters
    ----------
    matrix : int64[rows, columns]
        Weights.
    width : int
        Bits of its codes.
    codebook : list of int
        Weights by code; none where codes are weights.
    """

    def __init__(
        self, spec: EngineSpec, matrix: NDArray[np.int64], width: int, codebook: list[int]
    ) -> None:
        self.matrix, self.width, self.codebook = matrix, width, codebook
        self.base = self.number = 0
        longest = (1 << (spec.entry_width - width)) - 1
        self.columns: list[list[int]] = []  # weights by entry
        self.entries: list[int] = []
        for column in matrix.T.tolist():
            found = []
            gap = 0
            for weight in column:
                # A count as high as can be, and a zero: an entry of its own.
                if weight or gap == longest:
                    found.append((weight, gap))
                    gap = 0
                else:
                    gap += 1
            while found and not found[-1][0]:
                del found[-1]
            self.columns.append([weight for weight, _ in found])
            for weight, zeros in found:
                code = codebook.index(weight) if codebook else weight % (1 << width)
                self.entries.append(code + (zeros << width))


class Job(NamedTuple):
    """A layer and its input, a value for every column."""

    layer: Layer
    x: list[int]

    @property
    def sums(self) -> list[int]:
        return (self.layer.matrix @ np.array(self.x)).tolist()


class Program:
    """Jobs, and the weights of their layers: garbage between them, the last up to the end."""

    def __init__(self, spec: EngineSpec, jobs: list[Job], *, seed: int = 1) -> None:
        self.jobs = jobs
        rng = random.Random(seed)
        self.words = [rng.getrandbits(spec.entry_width) for _ in range(spec.weight_depth)]
        layers = list(dict.fromkeys(job.layer for job in jobs))
        spare = spec.weight_depth - sum(len(layer.entries) for layer in layers)
        assert spare >= 0, "the program does not fit"
        base = 0
        for number, layer in enumerate(layers):
            layer.number = number
            gap = spare if layer is layers[-1] else rng.randint(0, spare)
            spare -= gap
            base += gap
            layer.base = base % spec.weight_depth  # without entries it may stand at the end
            self.words[base : base + len(layer.entries)] = layer.entries
            base += len(layer.entries)
        assert len(self.words) == spec.weight_depth
        self.layers = layers


class Product(NamedTuple):
    """What is seen of a multiplication."""

    cycle: int
    tag: int
    useful: bool


@dataclass
class Trace:
    """What happened when, by cycle."""

    visits: list[int] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    ended: list[tuple[int, int]] = field(default_factory=list)  # with the tag

    @property
    def cycles(self) -> list[int]:
        return [product.cycle for product in self.products]


class Visit(NamedTuple):
    """A column that was passed."""

    cycle: int
    weights: list[int]  # by entry; none if the activation is zero
    tag: int
    end: bool


def schedule(spec: EngineSpec, visits: list[Visit], held: dict[int, int]) -> Trace:
    """Say what must be seen of columns that were passed, and of memories held, by cycle."""
    trace = Trace()
    free = 0  # first cycle in which an address can be read
    for visit in visits:
        if not visit.weights and not visit.end:
            continue
        cycle = max(free, visit.cycle + TO_ADDRESS)
        # What has no entries but ends a job takes the place of one.
        for weight in visit.weights or [None]:
            while held.get(cycle) == visit.tag % spec.accumulator_memories:
                cycle += 1
            if weight is not None:
                at = cycle + ProcessingElement.latency(spec)
                trace.products.append(Product(at, visit.tag, weight != 0))
            cycle += 1
        free = cycle
        if visit.end:
            trace.ended.append((free - 1 + ProcessingElement.latency(spec) + TO_ENDED, visit.tag))
    return trace


class Bench:
    """Plays the engine around a PE, as fast as it may be, or with pauses."""

    def __init__(
        self, ctx: Any, dut: ProcessingElement, reset: Signal, source: float, sink: float
    ) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.reset_signal, self.source, self.sink = reset, source, sink
        self.rng = random.Random(7)
        self.trace = Trace()
        self.now = 0
        self.bank = 0
        self.loading: deque[tuple[int, int]] = deque()
        self.sum: int | None = 0  # what is to be seen
        self.restart()

    def restart(self) -> None:
        """As after reset."""
        self.room = deque([False] * ROOM_TO_VISIT)
        self.visits: list[Visit] = []
        self.held: dict[int, int] = {}
        self.seen = Trace()
        self.begun = 0  # jobs since reset
        self.running: dict[int, Job] = {}  # by tag
        self.walking: deque[tuple[int, int, bool, bool]] = deque()  # column, value, first, end
        self.ended = [0] * self.spec.jobs
        self.finished: deque[int] = deque()  # tags to be drained
        self.rows: deque[int] = deque()  # to be read, of the first of those
        self.slots: dict[int, tuple[int, int]] = {}  # by cycle: row, tag
        self.captures: dict[int, tuple[int, int]] = {}  # memory, sum
        self.clears: dict[int, tuple[int, int]] = {}  # row, tag
        self.busy = 0  # first cycle after the last clear

    @property
    def idle(self) -> bool:
        return not (self.running or self.captures or self.clears)

    def _slot(self, slot: tuple[int, int] | None) -> dict[str, int]:
        """Make a slot, garbage where there is none."""
        row, tag = slot or (
            self.rng.randrange(self.spec.row_depth),
            self.rng.randrange(self.spec.jobs),
        )
        return {"row": row, "tag": tag}

    def _walk(self, waiting: deque[Job]) -> None:
        """Pass a column, of the next job where the tag is free."""
        ctx, dut, spec, rng = self.ctx, self.dut, self.spec, self.rng
        tag = self.begun % spec.jobs
        if waiting and tag not in self.running and not self.walking:
            job = waiting.popleft()
            last = len(job.x) - 1
            self.running[tag] = job
            self.begun += 1
            self.walking.extend((n, value, n == 0, n == last) for n, value in enumerate(job.x))
        jobs = [self.running.get(one) for one in range(spec.jobs)]
        if spec.codebook_bits:
            numbers = [job.layer.number if job else rng.randrange(spec.layer_depth) for job in jobs]
            ctx.set(dut.layers, numbers)
        if len(spec.code_widths) > 1:
            splits = [
                job.layer.width - spec.code_widths[0]
                if job
                else rng.randrange(len(spec.code_widths))
                for job in jobs
            ]
            ctx.set(dut.splits, splits)

        tag = (self.begun - 1) % spec.jobs
        valid = self.room.popleft() and bool(self.walking) and rng.random() < self.source
        fields = {
            "tag": rng.randrange(spec.jobs),
            "first": 0,
            "base": rng.randrange(spec.weight_depth),
            "end": 1,
            "active": 1,
            "value": 1,
        }
        count = 1
        if valid:
            column, value, first, end = self.walking.popleft()
            layer = self.running[tag].layer
            weights = layer.columns[column]
            count = len(weights)
            fields = {
                "tag": tag,
                "first": first,
                "base": layer.base,
                "end": end,
                "active": value != 0,
                "value": value,
            }
            self.visits.append(Visit(self.now, weights if value else [], tag, end))
        ctx.set(dut.visit, valid)
        ctx.set(dut.i, fields)
        ctx.set(dut.count, count)
        self.room.append(bool(ctx.get(dut.room)))

    def _drain(self) -> None:
        """Read and clear a slot of the first job that has ended."""
        ctx, dut, spec, rng = self.ctx, self.dut, self.spec, self.rng
        if self.finished and not self.rows:
            self.rows.extend(range(spec.row_depth))
        hold = bool(self.rows) and rng.random() < self.sink
        memories = spec.accumulator_memories
        memory = rng.randrange(memories)
        if hold:
            tag = self.finished[0]
            memory = tag % memories
            row = self.rows.popleft()
            # What is held is an address.
            slot = self.now + dut.held(spec)
            self.held[slot - dut.latency(spec)] = memory
            self.slots[slot] = (row, tag)
            self.captures[slot + Accumulator.DRAINED] = (memory, self.running[tag].sums[row])
            self.clears[slot + Accumulator.LATENCY] = (row, tag)
            if not self.rows:
                self.finished.popleft()
        ctx.set(dut.hold, {"valid": hold, "memory": memory})
        capture = self.captures.pop(self.now, None)
        clear = self.clears.pop(self.now, None)
        ctx.set(
            dut.drained,
            {
                "slot": self._slot(self.slots.pop(self.now, None)),
                "capture": capture is not None,
                "memory": capture[0] if capture else rng.randrange(memories),
                "clear": 1 << clear[1] % memories if clear else 0,
                "cleared": self._slot(clear),
            },
        )
        self.capture = capture
        if clear and clear[0] == spec.row_depth - 1:
            del self.running[clear[1]]

    def _load(self) -> None:
        """Write a word to the bank that is not in use."""
        address = self.rng.randrange(self.spec.weight_depth)
        word = self.rng.getrandbits(self.spec.entry_width)
        write = bool(self.loading) and self.rng.random() < 0.9
        if write:
            address, word = self.loading.popleft()
        self.ctx.set(self.dut.bank, self.bank)
        self.ctx.set(self.dut.write_bank, 1 - self.bank)
        self.ctx.set(self.dut.write_address, address)
        self.ctx.set(self.dut.write_word, word)
        self.ctx.set(self.dut.write_enable, write)

    async def cycle(self, waiting: deque[Job], *, reset: bool = False) -> None:
        """Pass a cycle, and begin those of the jobs ``waiting`` that it is time for."""
        ctx, dut = self.ctx, self.dut
        self._drain()
        self._walk(waiting)
        self._load()
        ctx.set(self.reset_signal, reset)
        if ctx.get(dut.occupied):
            useful = bool(ctx.get(dut.multiply))
            self.seen.products.append(Product(self.now, ctx.get(dut.working), useful))
        else:
            assert not ctx.get(dut.multiply), f"cycle {self.now}: multiply"
        ended = ctx.get(dut.ended)
        for tag in range(self.spec.jobs):
            if ended >> tag & 1 != self.ended[tag]:
                self.ended[tag] ^= 1
                self.seen.ended.append((self.now, tag))
                self.finished.append(tag)
        await ctx.tick()
        self.now += 1
        if self.capture:
            self.sum = self.capture[1]
        got = ctx.get(dut.sum)
        if reset:
            self.compare()
            self.restart()
            self.sum = 0
            got = ctx.get(dut.sum)
        assert got == self.sum, f"cycle {self.now}: {got}, not {self.sum}"

    def compare(self) -> None:
        """Check what was seen since reset against the schedule."""
        want = schedule(self.spec, self.visits, self.held)
        for have, due in (
            (self.seen.products, want.products),
            (self.seen.ended, want.ended),
        ):
            assert have == [one for one in due if one[0] < self.now]
        self.trace.visits += [visit.cycle for visit in self.visits]
        self.trace.products += self.seen.products
        self.trace.ended += self.seen.ended

    async def fill(self, codebooks: Codebooks, layers: list[Layer]) -> None:
        """Write the layers' values, in any order; nothing is under way."""
        ctx, bits = self.ctx, self.spec.codebook_bits
        values = [
            ((layer.number << bits) + code, value)
            for layer in layers
            for code, value in enumerate(layer.codebook)
        ]
        for address, value in self.rng.sample(values, len(values)):
            ctx.set(codebooks.write_enable, 1)
            ctx.set(codebooks.write_address, address)
            ctx.set(codebooks.write_value, value)
            await self.cycle(deque())
        ctx.set(codebooks.write_enable, 0)

    async def erase(self) -> None:
        """Clear the accumulators, which reset does not; what else comes is harmless."""
        ones = (1 << self.spec.accumulator_memories) - 1
        for tag in range(self.spec.jobs):
            for row in range(self.spec.row_depth):
                new = {"clear": ones, "cleared": {"row": row, "tag": tag}}
                self.ctx.set(self.dut.drained, new)
                self.ctx.set(self.dut.visit, 0)
                self.ctx.set(self.reset_signal, 0)
                await self.ctx.tick()
                self.now += 1


def run(
    spec: EngineSpec,
    programs: list[Program],
    *,
    source: float = 1,
    sink: float = 1,
    resets: Container[int] = (),
    time_out: int = 6000,
) -> Trace:
    """Do the programs' jobs; a column comes ``source``, a slot is read ``sink`` of the time.

    Two banks: a program is loaded while the one before is in use. A reset forgets the jobs begun.
    Every sum, every cycle with a product and every end is compared.
    """
    dut = ProcessingElement(spec, init=programs[0].words, technology=HOSTILE)
    beside, codebooks = with_codebooks(dut)
    reset = Signal()
    traces = []

    async def testbench(ctx: Any) -> None:
        bench = Bench(ctx, dut, reset, source, sink)
        await bench.erase()
        for number, program in enumerate(programs):
            following = programs[number + 1].words if number + 1 < len(programs) else []
            if spec.banks == 2:
                bench.loading.extend(enumerate(following))
            if codebooks is not None:
                await bench.fill(codebooks, program.layers)
            waiting = deque(program.jobs)
            while waiting or not bench.idle or bench.loading:
                breaks = bench.now in resets
                await bench.cycle(waiting, reset=breaks)
                if breaks:
                    bench.loading.extend(enumerate(following))
                    await bench.erase()
                assert bench.now < time_out, f"{len(waiting)} jobs left after {time_out} cycles"
            bench.loading.extend(enumerate(following if spec.banks == 1 else []))
            while bench.loading:
                await bench.cycle(waiting)
            bench.bank ^= spec.banks - 1
        for _ in range(2 * to_product(spec)):
            await bench.cycle(deque())
        bench.compare()
        traces.append(bench.trace)

    simulator = Simulator(ResetInserter(reset)(beside))
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return traces[0]


def random_layer(spec: EngineSpec, *, columns: int, density: float, width: int, seed: int) -> Layer:
    """Draw a matrix with extreme weights, some columns without any."""
    rng = np.random.default_rng(seed)
    half = 1 << ((spec.weight_width if spec.codebook_bits else width) - 1)
    values = np.concatenate([[-half, half - 1], rng.integers(-half, half, 12)])
    codebook = []
    if spec.codebook_bits:
        codebook = np.unique([*values[: (1 << width) - 1].tolist(), 0]).tolist()
        rng.shuffle(codebook)
        values = np.array(codebook)
    matrix = rng.choice(values, (spec.row_depth, columns))
    matrix[rng.random(matrix.shape) >= density] = 0
    matrix[:, rng.random(columns) < 0.2] = 0
    return Layer(spec, matrix, width, codebook)


def random_program(
    spec: EngineSpec, jobs: int, *, density: float, zeros: float = 0.2, seed: int = 1
) -> Program:
    """Draw ``jobs`` jobs of a few layers, whose codes have any width."""
    rng = random.Random(seed)
    layers = [
        random_layer(
            spec,
            columns=rng.choice((1, 2, 8)),
            density=density,
            width=spec.code_widths[number % len(spec.code_widths)],
            seed=100 * seed + number,
        )
        for number in range(3)
    ]
    low, high = -(1 << (spec.activation_width - 1)), (1 << spec.activation_width) - 1
    drawn = []
    for _ in range(jobs):
        layer = rng.choice(layers)
        x = [
            0 if rng.random() < zeros else rng.choice((low, high, rng.randint(low, high)))
            for _ in layer.columns
        ]
        drawn.append(Job(layer, x))
    return Program(spec, drawn, seed=seed)


CASES = [
    pytest.param({"jobs": 2, "accumulator_memories": 1}, 0.3, id="direct"),
    pytest.param({"jobs": 1, "accumulator_memories": 1}, 0.3, id="direct, one job"),
    pytest.param({"jobs": 4, "accumulator_memories": 2}, 0.3, id="direct, two memories"),
    pytest.param(
        {"index_width": 6, "entry_width": 9, "jobs": 4, "accumulator_memories": 1},
        0.2,
        id="widths",
    ),
    pytest.param(
        {"index_width": 2, "weight_width": 12, "entry_width": 13, "activation_width": 12}
        | {"accumulator_memories": 2, "queue_depth": 4},
        1,
        id="dense",
    ),
    pytest.param(
        {"codebook_bits": 4, "index_width": 4, "entry_width": 6, "jobs": 4, "pes": 4, "lanes": 4}
        | {"accumulator_memories": 2},
        0.3,
        id="codebook",
    ),
    pytest.param(
        {"codebook_bits": 1, "index_width": 8, "entry_width": 9, "banks": 1}, 0.05, id="one value"
    ),
    pytest.param({"index_width": 1, "entry_width": 9, "queue_depth": 4}, 0.15, id="padding"),
]


def engine(**fields: int) -> EngineSpec:
    return EngineSpec(
        **{"pes": 1, "lanes": 1, "row_depth": 16, "weight_depth": 256, "accumulator_width": 36}
        | fields
    )


@pytest.mark.parametrize(
    ("source", "sink"),
    [(1, 1), (0.3, 1), (1, 0.3), (0.6, 0.5)],
    ids=["none", "source", "sink", "both"],
)
@pytest.mark.parametrize(("fields", "density"), CASES)
def test_jobs(fields: dict[str, int], density: float, source: float, sink: float) -> None:
    """Jobs of several layers under way at once, some drained while others multiply; 3 programs."""
    spec = engine(**{"row_depth": 8, "weight_depth": 128} | fields)
    programs = [random_program(spec, 6, density=density, seed=seed) for seed in (1, 2, 3)]
    run(spec, programs, source=source, sink=sink)


def layer(spec: EngineSpec, matrix: Any, width: int = 8) -> Layer:
    """Make a layer of weights that are stored directly; ``matrix`` by row."""
    return Layer(spec, np.array(matrix), width, [])


def full_columns(spec: EngineSpec, lengths: list[int]) -> Layer:
    """Make a layer of columns whose first rows have weights."""
    rows = range(spec.row_depth)
    return layer(spec, [[(row + 3) * (row < length) for length in lengths] for row in rows])


def test_gapless() -> None:
    """One entry a cycle from the first to the last, whatever the columns' and jobs' lengths."""
    spec = engine(queue_depth=8, accumulator_memories=2, jobs=4)
    rng = random.Random(4)
    lengths = [1, *(rng.choice((1, 1, 2, 3, 16)) for _ in range(40))]
    jobs = [Job(full_columns(spec, lengths), [3] * len(lengths)) for lengths in (lengths, [2], [5])]
    trace = run(spec, [Program(spec, jobs)])
    entries = sum(lengths) + 2 + 5
    first = trace.visits[0] + to_product(spec)
    assert trace.cycles == [*range(first, first + entries)]
    assert trace.ended[-1] == (first + entries - 1 + TO_ENDED, 2)


@pytest.mark.parametrize("zeros", [False, True])
def test_columns_without_work_cost_nothing(zeros: bool) -> None:
    """Between two columns of an entry, any number without one, or of zeros, takes a cycle each."""
    spec = engine()
    for empty in range(5):
        middle = full_columns(spec, [1, *[2 * zeros] * empty, 1])
        job = Job(middle, [255, *[0 if zeros else 9] * empty, -128])
        trace = run(spec, [Program(spec, [job])])
        first = trace.visits[0] + to_product(spec)
        assert trace.cycles == [first, first + empty + 1]


def test_end_without_work() -> None:
    """A job's last column ends it after the products before, in a cycle of its own."""
    spec = engine(jobs=4)
    jobs = [
        Job(full_columns(spec, [4, 0]), [1, 5]),  # no entries
        Job(full_columns(spec, [3, 4]), [1, 0]),  # activation zero
        Job(full_columns(spec, [0]), [7]),  # nothing at all
        Job(full_columns(spec, [2]), [7]),
    ]
    trace = run(spec, [Program(spec, jobs)])
    first = trace.visits[0] + to_product(spec)
    assert trace.cycles == [first + n for n in (0, 1, 2, 3, 5, 6, 7, 10, 11)]
    ends = (4, 8, 9, 11)
    assert trace.ended == [(first + n + TO_ENDED, tag) for tag, n in enumerate(ends)]


@pytest.mark.parametrize("memories", [1, 2])
def test_what_a_drain_costs(memories: int) -> None:
    """A cycle for each slot, or none if the drained job has the other memory."""
    spec = engine(accumulator_memories=memories)
    jobs = [Job(full_columns(spec, [1]), [1]), Job(full_columns(spec, [16] * 8), [1] * 8)]
    trace = run(spec, [Program(spec, jobs)])
    first = trace.visits[0] + to_product(spec)
    drained = spec.row_depth if memories == 1 else 0
    assert len(trace.products) == 1 + 16 * 8
    assert trace.cycles[-1] == first + 16 * 8 + drained


@pytest.mark.parametrize("index_width", [1, 2, 3, 8])
def test_longest_gap(index_width: int) -> None:
    """A column with its only weight in each row: padding takes its cycles and adds zero."""
    spec = engine(
        row_depth=64,
        index_width=index_width,
        entry_width=8 + index_width,
        weight_depth=2048,
        count_width=6,
    )
    diagonal = layer(spec, np.diag(np.arange(1, 65)))
    assert [len(column) for column in diagonal.columns] == [
        row // (1 << index_width) + 1 for row in range(64)
    ]
    x = [2 * (row in (0, 1, 2, 3, 7, 8, 62, 63)) for row in range(64)]
    trace = run(spec, [Program(spec, [Job(diagonal, x)])])
    assert sum(product.useful for product in trace.products) == 8
    entries = [row // (1 << index_width) + 1 for row in range(64) if x[row]]
    assert len(trace.products) == sum(entries)


@pytest.mark.parametrize("memories", [1, 2])
def test_reset(memories: int) -> None:
    """Once the accumulators are cleared, nothing is left of what was under way."""
    spec = engine(jobs=4, accumulator_memories=memories, queue_depth=4, row_depth=4)
    program = random_program(spec, 60, density=0.6)
    trace = run(spec, [program], source=0.8, sink=0.7, resets=range(60, 6000, 43))
    assert len(trace.ended) > 20
