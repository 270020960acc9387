"""ColumnLookup against a list of columns, cycle by cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any, NamedTuple

import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.column import IN_FLIGHT, ColumnLookup

#: Cycles from `room` to the broadcast that it allows: the engine's registers.
ROOM_TO_BROADCAST = 2


class Column(NamedTuple):
    """A broadcast and the column word that belongs to it."""

    value: int
    start: int
    entries: int


def spec(queue_depth: int) -> EngineSpec:
    return EngineSpec(pes=1, lanes=1, queue_depth=queue_depth, row_depth=8, weight_depth=64)


def columns(count: int, *, empty: float, seed: int) -> list[Column]:
    """Draw columns, ``empty`` of them without entries."""
    rng = random.Random(seed)
    return [
        Column(
            rng.randint(-128, 255),
            rng.randrange(64),
            0 if rng.random() < empty else rng.randint(1, 8),
        )
        for _ in range(count)
    ]


def run(
    queue_depth: int, sent: list[Column], *, source: float, sink: float, cycles: int
) -> tuple[list[Column], int]:
    """Broadcast as early as ``room`` allows, ``source`` of the time; take ``sink`` of the time.

    Returns what left the queue, and how many broadcasts there were within ``cycles``. Every
    output is compared in every cycle with what the docstring says.
    """
    rng = random.Random(queue_depth)
    dut = ColumnLookup(spec(queue_depth))
    got: list[Column] = []
    waiting = deque(sent)

    async def bench(ctx: Any) -> None:
        room = deque([False] * ROOM_TO_BROADCAST)
        looked_up: Column | None = None
        queue: deque[Column] = deque()
        for cycle in range(cycles):
            # Garbage beside every valid that is not asserted.
            column = Column(rng.randint(-256, 255), rng.randrange(64), rng.randrange(9))
            valid = bool(waiting) and room[0] and rng.random() < source
            if valid:
                column = waiting.popleft()
            ready = rng.random() < sink
            ctx.set(dut.i.column, rng.randrange(1024))
            ctx.set(dut.i.value, column.value)
            ctx.set(dut.i_valid, valid)
            word = looked_up or Column(0, rng.randrange(64), rng.randrange(9))
            ctx.set(dut.word.start, word.start)
            ctx.set(dut.word.count, word.entries)
            ctx.set(dut.o.ready, ready)
            offered = ctx.get(dut.o.valid)
            assert offered == bool(queue), f"cycle {cycle}: o.valid is {offered} with {len(queue)}"
            if offered:
                payload = ctx.get(dut.o.payload)
                head = Column(payload.value, payload.start, payload.count)
                assert head == queue[0], f"cycle {cycle}: {head}, not {queue[0]}"
            room.popleft()
            room.append(ctx.get(dut.room))
            assert room[-1] == (len(queue) <= queue_depth), f"cycle {cycle}: {len(queue)} queued"
            idle = not valid and looked_up is None and not queue
            assert ctx.get(dut.idle) == idle, f"cycle {cycle}: idle"
            await ctx.tick()
            if offered and ready:
                got.append(queue.popleft())
            if looked_up and looked_up.entries:
                queue.append(looked_up)
            looked_up = column if valid else None

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got, len(sent) - len(waiting)


@pytest.mark.parametrize("queue_depth", [4, 8])
@pytest.mark.parametrize("empty", [0, 0.4, 1])
@pytest.mark.parametrize(
    ("source", "sink"),
    [(1, 1), (0.4, 1), (1, 0.3), (0.6, 0.5)],
    ids=["none", "source", "sink", "both"],
)
def test_order_is_kept_and_nothing_lost(
    queue_depth: int, empty: float, source: float, sink: float
) -> None:
    sent = columns(200, empty=empty, seed=7)
    got, broadcasts = run(queue_depth, sent, source=source, sink=sink, cycles=900)
    assert broadcasts == len(sent)
    assert got == [column for column in sent if column.entries]


@pytest.mark.parametrize("queue_depth", [4, 8, 16])
def test_full(queue_depth: int) -> None:
    """All broadcasts that `room` lets through until it is deasserted find a place, and no fewer."""
    sent = columns(100, empty=0, seed=9)
    got, broadcasts = run(queue_depth, sent, source=1, sink=0, cycles=80)
    assert (got, broadcasts) == ([], queue_depth + IN_FLIGHT)


@pytest.mark.parametrize(("empty", "columns_out"), [(0, 50), (1, 0)])
def test_throughput_and_latency(empty: float, columns_out: int) -> None:
    """A column a cycle: 50 in 50 cycles, the first two cycles after its broadcast."""
    sent = columns(50, empty=empty, seed=3)
    cycles = ROOM_TO_BROADCAST + 50 + 2
    assert run(4, sent, source=1, sink=1, cycles=cycles) == (sent[:columns_out], 50)
    got, _ = run(4, sent, source=1, sink=1, cycles=cycles - 1)
    assert got == sent[: max(columns_out - 1, 0)]
