"""ColumnQueue against running sums of counts, cycle by cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.column import IN_FLIGHT, ColumnQueue
from secateur.gateware.walk import Walker

if TYPE_CHECKING:
    from collections.abc import Container

#: Cycles from `room` to the column that it allows: the engine's register, and the walker.
ROOM_TO_VISIT = 1 + Walker.LATENCY
#: Cycles from a column until `room` knows of it.
TO_ROOM = IN_FLIGHT - ROOM_TO_VISIT


class Column(NamedTuple):
    """A column as the walker passes it, and the PE's entries in it."""

    tag: int
    first: bool
    base: int
    end: bool
    value: int
    entries: int


class Slice(NamedTuple):
    """What must leave the queue; nothing but a job's end has no entries."""

    start: int | None
    entries: int
    value: int | None
    tag: int
    end: bool


FIELDS = ("start", "count", "value", "tag", "end")


def spec(**fields: int) -> EngineSpec:
    return EngineSpec(pes=1, lanes=1, **{"weight_depth": 256, "count_width": 4} | fields)


def columns(
    spec: EngineSpec, jobs: int, *, empty: float = 0.3, zeros: float = 0.3, seed: int = 1
) -> list[Column]:
    """Draw the columns of ``jobs`` jobs of up to 9 columns, of any length and from any entry on.

    ``empty`` of the columns have no entries, ``zeros`` of the activations are zero, and no layer
    goes beyond the end of the memory. Many end with it.
    """
    rng = random.Random(seed)
    drawn = []
    for job in range(jobs):
        length = rng.choice((1, 1, 2, 9))
        most = (1 << spec.count_width) - 1
        counts = [
            0 if rng.random() < empty else rng.choice((1, most, rng.randint(0, most)))
            for _ in range(length)
        ]
        while sum(counts) > spec.weight_depth:
            counts[counts.index(max(counts))] -= 1
        left = spec.weight_depth - sum(counts)
        base = rng.choice((0, left, rng.randint(0, left))) % spec.weight_depth
        for column, count in enumerate(counts):
            drawn.append(
                Column(
                    tag=job % spec.jobs,
                    first=column == 0,
                    # Said of the first one only.
                    base=rng.randrange(spec.weight_depth) if column else base,
                    end=column == length - 1,
                    value=0 if rng.random() < zeros else rng.choice((-128, -1, 1, 255)),
                    entries=count,
                )
            )
    return drawn


def slices(passed: list[Column]) -> list[Slice | None]:
    """Say what each column is in the queue: nothing, if it gives no work and ends no job."""
    result: list[Slice | None] = []
    for number, column in enumerate(passed):
        first = max(n for n in range(number + 1) if passed[n].first)
        start = passed[first].base + sum(one.entries for one in passed[first:number])
        if column.value and column.entries:
            result.append(Slice(start, column.entries, column.value, column.tag, column.end))
        else:
            result.append(Slice(None, 0, None, column.tag, True) if column.end else None)
    return result


def run(
    spec: EngineSpec,
    sent: list[Column],
    *,
    source: float,
    sink: Any,
    cycles: int,
    resets: Container[int] = (),
) -> tuple[list[Slice], int]:
    """Pass a column as early as ``room`` allows, ``source`` of the time; take when ``sink(cycle)``.

    In the cycles ``resets`` there is a reset; what was not passed before begins with the next job.
    Returns what left the queue, and how many columns were passed within ``cycles``. Every output
    is compared in every cycle with what the docstring says.
    """
    rng = random.Random(spec.queue_depth)
    dut = ColumnQueue(spec)
    reset = Signal()
    got: list[Slice] = []
    waiting = deque(zip(sent, slices(sent), strict=True))
    queue: deque[tuple[int, Slice]] = deque()  # with the cycle of the visit

    async def bench(ctx: Any) -> None:
        room = deque([False] * ROOM_TO_VISIT)
        left = deque([0, 0])  # in the cycles before, which `room` does not know of yet
        for cycle in range(cycles):
            # Garbage beside a visit that is not asserted.
            column = Column(
                rng.randrange(spec.jobs),
                rng.random() < 0.5,
                rng.randrange(spec.weight_depth),
                True,
                3,
                rng.randrange(1 << spec.count_width),
            )
            valid = room.popleft() and bool(waiting) and rng.random() < source
            if valid:
                column, part = waiting.popleft()
                if part:
                    queue.append((cycle, part))
            fields = column._asdict()
            ctx.set(dut.visit, valid)
            ctx.set(dut.count, fields.pop("entries"))
            ctx.set(dut.i, fields | {"active": column.value != 0})
            ready = sink(cycle)
            ctx.set(dut.o.ready, ready)
            offered = ctx.get(dut.o.valid)
            due = bool(queue) and queue[0][0] <= cycle - ColumnQueue.LATENCY
            assert offered == due, f"cycle {cycle}: o.valid is {offered}, {queue}"
            if offered:
                have, want = ctx.get(dut.o.payload), queue[0][1]
                for name, field in zip(FIELDS, want, strict=True):
                    assert field in (None, have[name]), f"cycle {cycle}: {name}: {have}, not {want}"
            level = sum(passed <= cycle - TO_ROOM for passed, _ in queue) + sum(left)
            room.append(ctx.get(dut.room))
            assert room[-1] == (level <= spec.queue_depth), f"cycle {cycle}: {level} queued"
            ctx.set(reset, cycle in resets)
            await ctx.tick()
            left.append(int(offered and ready))
            left.popleft()
            if left[-1]:
                got.append(queue.popleft()[1])
            if cycle in resets:
                queue.clear()
                left = deque([0, 0])
                room = deque([False] * ROOM_TO_VISIT)
                while waiting and not waiting[0][0].first:
                    waiting.popleft()

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got, len(sent) - len(waiting)


def sometimes(share: float, seed: int = 5) -> Any:
    rng = random.Random(seed)
    return lambda cycle: rng.random() < share


def busy(sent: list[Column]) -> list[Slice]:
    return [part for part in slices(sent) if part]


@pytest.mark.parametrize(
    "fields",
    [
        {"queue_depth": 4},
        {"queue_depth": 8, "jobs": 4, "weight_depth": 16},
        {"jobs": 1},
        {"queue_depth": 16, "count_width": 1, "weight_depth": 4},
    ],
)
@pytest.mark.parametrize("empty", [0, 0.4, 1])
@pytest.mark.parametrize(
    ("source", "sink"),
    [(1, 1), (0.4, 1), (1, 0.3), (0.6, 0.5)],
    ids=["none", "source", "sink", "both"],
)
def test_order_is_kept_and_nothing_lost(
    fields: dict[str, int], empty: float, source: float, sink: float
) -> None:
    """Jobs one behind the other, up to all of the PE's entries in one."""
    the = spec(**fields)
    sent = columns(the, 60, empty=empty)
    got, passed = run(the, sent, source=source, sink=sometimes(sink), cycles=1000)
    assert passed == len(sent)
    assert got == busy(sent)


@pytest.mark.parametrize("again", [1, 2, 3])
@pytest.mark.parametrize("sink", [0.05, 0.4, 1])
def test_reset(sink: float, again: int) -> None:
    """Nothing that was passed before it comes out, whatever is passed next; `room` is back."""
    the = spec(queue_depth=4, count_width=2, weight_depth=32)
    resets = {cycle + more for cycle in range(30, 300, 37) for more in range(again)}
    sent = columns(the, 120, empty=0.1, zeros=0.1)
    got, passed = run(the, sent, source=1, sink=sometimes(sink), cycles=1500, resets=resets)
    if sink == 1:
        assert passed == len(sent)
    assert len(got) > 20


@pytest.mark.parametrize("queue_depth", [4, 8, 11, 64])
def test_full(queue_depth: int) -> None:
    """What passes until `room` is deasserted and seen finds a place, no fewer; then all come."""
    the = spec(queue_depth=queue_depth, weight_depth=256)
    sent = [Column(0, n == 0, 0, False, 9, 1) for n in range(150)]
    most = queue_depth + IN_FLIGHT
    got, passed = run(the, sent, source=1, sink=lambda cycle: False, cycles=100)
    assert (got, passed) == ([], most)
    # Full, and then emptied by one, by two ..., so that `room` comes and goes.
    steps = {100 + n * (n + 1) // 2 for n in range(40)}
    got, passed = run(the, sent, source=1, sink=steps.__contains__, cycles=900)
    assert got == busy(sent)[: len(steps)]
    # As soon as one has left, `room` lets the next column in, or a full burst of them.
    got, passed = run(the, sent, source=1, sink=lambda cycle: cycle > 100, cycles=300)
    assert (got, passed) == (busy(sent), 150)


@pytest.mark.parametrize(("empty", "zeros", "out"), [(0, 0, 50), (1, 0, 0), (0, 1, 0)])
def test_throughput_and_latency(empty: float, zeros: float, out: int) -> None:
    """A column a cycle: 50 in 50 cycles, the last out ``LATENCY`` cycles after its visit."""
    the = spec(queue_depth=4, weight_depth=256)
    sent = [Column(1, n == 0, 7, False, int(not zeros), int(not empty)) for n in range(50)]
    cycles = ROOM_TO_VISIT + 50 + ColumnQueue.LATENCY
    assert run(the, sent, source=1, sink=lambda cycle: True, cycles=cycles) == (busy(sent), 50)
    assert len(busy(sent)) == out
    got, _ = run(the, sent, source=1, sink=lambda cycle: True, cycles=cycles - 1)
    assert got == busy(sent)[:-1]
    # The last column of a job passes through as the sign of its end.
    sent[-1] = sent[-1]._replace(end=True)
    got, _ = run(the, sent, source=1, sink=lambda cycle: True, cycles=cycles)
    assert got[-1].end
    assert got[-1].entries == (out != 0)
