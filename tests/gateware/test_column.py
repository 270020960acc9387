"""ColumnQueue against running sums of counts, cycle by cycle."""

from __future__ import annotations

import random
from typing import Any

import pytest

from secateur.bench.columns import ROOM_TO_VISIT, Column, busy_slices, draw_columns, run_columns
from secateur.engine import EngineSpec
from secateur.gateware.column import ColumnQueue, in_flight


def spec(**fields: int) -> EngineSpec:
    return EngineSpec(pes=1, lanes=1, **{"weight_depth": 256, "count_width": 4} | fields)


def sometimes(share: float, seed: int = 5) -> Any:
    rng = random.Random(seed)
    return lambda cycle: rng.random() < share


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
    sent = draw_columns(the, 60, empty=empty)
    got, passed = run_columns(the, sent, source=source, sink=sometimes(sink), cycles=1000)
    assert passed == len(sent)
    assert got == busy_slices(sent)


@pytest.mark.parametrize("again", [1, 2, 3])
@pytest.mark.parametrize("sink", [0.05, 0.4, 1])
def test_reset(sink: float, again: int) -> None:
    """Nothing that was passed before it comes out, whatever is passed next; `room` is back."""
    the = spec(queue_depth=4, count_width=2, weight_depth=32)
    resets = {cycle + more for cycle in range(30, 300, 37) for more in range(again)}
    sent = draw_columns(the, 120, empty=0.1, zeros=0.1)
    got, passed = run_columns(the, sent, source=1, sink=sometimes(sink), cycles=1500, resets=resets)
    if sink == 1:
        assert passed == len(sent)
    assert len(got) > 20


@pytest.mark.parametrize("queue_depth", [4, 8, 11, 64])
def test_full(queue_depth: int) -> None:
    """What passes until `room` is deasserted and seen finds a place, no fewer; then all come."""
    the = spec(queue_depth=queue_depth, weight_depth=256)
    sent = [Column(0, n == 0, 0, False, 9, 1) for n in range(150)]
    most = queue_depth + in_flight(the)
    got, passed = run_columns(the, sent, source=1, sink=lambda cycle: False, cycles=100)
    assert (got, passed) == ([], most)
    # Full, and then emptied by one, by two ..., so that `room` comes and goes.
    steps = {100 + n * (n + 1) // 2 for n in range(40)}
    got, passed = run_columns(the, sent, source=1, sink=steps.__contains__, cycles=900)
    assert got == busy_slices(sent)[: len(steps)]
    # As soon as one has left, `room` lets the next column in, or a full burst of them.
    got, passed = run_columns(the, sent, source=1, sink=lambda cycle: cycle > 100, cycles=300)
    assert (got, passed) == (busy_slices(sent), 150)


@pytest.mark.parametrize(("empty", "zeros", "out"), [(0, 0, 50), (1, 0, 0), (0, 1, 0)])
def test_throughput_and_latency(empty: float, zeros: float, out: int) -> None:
    """A column a cycle: 50 in 50 cycles, the last out ``LATENCY`` cycles after its visit."""
    the = spec(queue_depth=4, weight_depth=256)
    sent = [Column(1, n == 0, 7, False, int(not zeros), int(not empty)) for n in range(50)]
    cycles = ROOM_TO_VISIT + 50 + ColumnQueue.LATENCY
    assert run_columns(the, sent, source=1, sink=lambda cycle: True, cycles=cycles) == (
        busy_slices(sent),
        50,
    )
    assert len(busy_slices(sent)) == out
    got, _ = run_columns(the, sent, source=1, sink=lambda cycle: True, cycles=cycles - 1)
    assert got == busy_slices(sent)[:-1]
    # The last column of a job passes through as the sign of its end.
    sent[-1] = sent[-1]._replace(end=True)
    got, _ = run_columns(the, sent, source=1, sink=lambda cycle: True, cycles=cycles)
    assert got[-1].end
    assert got[-1].entries == (out != 0)
