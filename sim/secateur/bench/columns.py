"""ColumnQueue against running sums of counts, cycle by cycle, in Amaranth's simulator."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.gateware.column import ColumnQueue
from secateur.gateware.walk import Walker

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from secateur.engine import EngineSpec

__all__ = ["ROOM_TO_VISIT", "Column", "Slice", "busy_slices", "draw_columns", "run_columns"]

#: Cycles from `room` to the column that it allows: the engine's register, and the walker.
ROOM_TO_VISIT = 1 + Walker.LATENCY
#: Cycles from a column until `room` knows of it.
TO_ROOM = Walker.LATENCY + 3 - ROOM_TO_VISIT


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


def draw_columns(
    spec: EngineSpec, jobs: int, *, empty: float = 0.3, zeros: float = 0.3, seed: int = 1
) -> list[Column]:
    """Draw the columns of ``jobs`` jobs of up to 9 columns, of any length and from any entry on.

    ``empty`` of the columns have no entries, ``zeros`` of the activations are zero, and no layer
    goes beyond the end of the memory. Many end with it.
    """
    rng = random.Random(seed)
    half = 1 << (spec.activation_width - 1)
    values = -half, -1, 1, 2 * half - 1
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
                    tag=job % spec.tags,
                    first=column == 0,
                    # Said of the first one only.
                    base=rng.randrange(spec.weight_depth) if column else base,
                    end=column == length - 1,
                    value=0 if rng.random() < zeros else rng.choice(values),
                    entries=count,
                )
            )
    return drawn


def expected_slices(passed: list[Column]) -> list[Slice | None]:
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


def run_columns(
    spec: EngineSpec,
    sent: list[Column],
    *,
    source: float,
    sink: Callable[[int], bool],
    cycles: int,
    resets: Container[int] = (),
) -> tuple[list[Slice], int]:
    """Pass a column as early as ``room`` allows, ``source`` of the time; take when ``sink(cycle)``.

    In the cycles ``resets`` there is a reset; what was not passed before begins with the next job.
    Returns what left the queue, and how many columns were passed within ``cycles``. Every output
    is compared in every cycle with what the docstring says.

    Raises
    ------
    CheckFailedError
        On the first difference.
    """
    rng = random.Random(spec.queue_depth)
    dut = ColumnQueue(spec)
    reset = Signal()
    got: list[Slice] = []
    waiting = deque(zip(sent, expected_slices(sent), strict=True))
    queue: deque[tuple[int, Slice]] = deque()  # with the cycle of the visit

    async def bench(ctx: Any) -> None:
        room = deque([False] * ROOM_TO_VISIT)
        left = deque([0, 0])  # in the cycles before, which `room` does not know of yet
        for cycle in range(cycles):
            # Garbage beside a visit that is not asserted, but for `first`.
            column = Column(
                rng.randrange(spec.tags),
                False,
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
            expect(bool(offered), due, f"cycle {cycle}: o.valid")
            if offered:
                have, want = ctx.get(dut.o.payload), queue[0][1]
                for name, field in zip(FIELDS, want, strict=True):
                    if field is not None:
                        expect(have[name], field, f"cycle {cycle}: {name}")
            level = sum(passed <= cycle - TO_ROOM for passed, _ in queue) + sum(left)
            room.append(ctx.get(dut.room))
            expect(bool(room[-1]), level <= spec.queue_depth, f"cycle {cycle}: room")
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


def busy_slices(sent: list[Column]) -> list[Slice]:
    """Say what leaves the queue, one behind the other."""
    return [part for part in expected_slices(sent) if part]
