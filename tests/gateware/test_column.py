"""ColumnQueue against running sums of counts, cycle by cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any, NamedTuple

import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.column import IN_FLIGHT, ColumnQueue
from secateur.gateware.walk import Walker

#: Cycles from `room` to the column that it allows: the engine's register, and the walker.
ROOM_TO_VISIT = 1 + Walker.LATENCY


class Column(NamedTuple):
    """A column as the walker passes it, and the PE's entries in it."""

    tag: int
    inference: int
    restart: bool
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
    """Draw the columns of ``jobs`` jobs of up to 9 columns.

    Of ``spec.jobs`` inferences any may come next, and any may begin again. ``empty`` of the
    columns have no entries, ``zeros`` of the activations are zero, and no inference has more
    entries than the PE.
    """
    rng = random.Random(seed)
    left = [0] * spec.jobs
    drawn = []
    for job in range(jobs):
        inference = rng.randrange(spec.jobs)
        begins = rng.random() < 0.3 or not left[inference]
        for column in range(length := rng.choice((1, 1, 2, 9))):
            restart = begins and column == 0
            if restart:
                left[inference] = spec.weight_depth
            most = min(left[inference], (1 << spec.count_width) - 1)
            count = 0 if rng.random() < empty else rng.choice((1, most, rng.randint(0, most)))
            count = min(count, most)
            left[inference] -= count
            value = 0 if rng.random() < zeros else rng.choice((-128, -1, 1, 255))
            end = column == length - 1
            drawn.append(Column(job % spec.jobs, inference, restart, end, value, count))
    return drawn


def slices(passed: list[Column]) -> list[Slice | None]:
    """Say what each column is in the queue: nothing, if it gives no work and ends no job."""
    result: list[Slice | None] = []
    for number, column in enumerate(passed):
        mine = [n for n in range(number + 1) if passed[n].inference == column.inference]
        first = max(n for n in mine if passed[n].restart)
        start = sum(passed[n].entries for n in mine if first <= n < number)
        if column.value and column.entries:
            result.append(Slice(start, column.entries, column.value, column.tag, column.end))
        else:
            result.append(Slice(None, 0, None, column.tag, True) if column.end else None)
    return result


def run(
    spec: EngineSpec, sent: list[Column], *, source: float, sink: Any, cycles: int
) -> tuple[list[Slice], int]:
    """Pass a column as early as ``room`` allows, ``source`` of the time; take when ``sink(cycle)``.

    Returns what left the queue, and how many columns were passed within ``cycles``. Every output
    is compared in every cycle with what the docstring says.
    """
    rng = random.Random(spec.queue_depth)
    dut = ColumnQueue(spec)
    got: list[Slice] = []
    waiting = deque(zip(sent, slices(sent), strict=True))
    queue: deque[tuple[int, Slice]] = deque()  # with the cycle of the visit

    async def bench(ctx: Any) -> None:
        room = deque([False] * ROOM_TO_VISIT)
        for cycle in range(cycles):
            # Garbage beside a visit that is not asserted.
            tag = rng.randrange(spec.jobs)
            column = Column(tag, tag, rng.random() < 0.5, True, 3, rng.randrange(16))
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
            # The queue's own two registers are before its count.
            level = sum(passed <= cycle - 2 for passed, _ in queue)
            room.append(ctx.get(dut.room))
            assert room[-1] == (level <= spec.queue_depth), f"cycle {cycle}: {level} queued"
            await ctx.tick()
            if offered and ready:
                got.append(queue.popleft()[1])

    simulator = Simulator(dut)
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
    """Inferences in any order and under way at once, each with all of the PE's entries."""
    the = spec(**fields)
    sent = columns(the, 60, empty=empty)
    got, passed = run(the, sent, source=source, sink=sometimes(sink), cycles=1000)
    assert passed == len(sent)
    assert got == busy(sent)


@pytest.mark.parametrize("queue_depth", [4, 8, 16, 64])
def test_full(queue_depth: int) -> None:
    """What passes until `room` is deasserted and seen finds a place, no fewer; then all come."""
    the = spec(queue_depth=queue_depth, weight_depth=256)
    sent = [Column(0, 0, n == 0, False, 9, 1) for n in range(150)]
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
    sent = [Column(0, 0, n == 0, False, int(not zeros), int(not empty)) for n in range(50)]
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
