"""Walker against lists of columns, cycle by cycle."""

from __future__ import annotations

import random

import pytest

from secateur.bench.walker import Job, draw_jobs, run_walker
from secateur.engine import EngineSpec

STALLS = pytest.mark.parametrize(
    ("source", "sink", "pause"),
    [(1, 1, 0), (0.4, 1, 0), (1, 0.3, 0), (0.6, 0.5, 0), (0.6, 0.5, 0.7)],
    ids=["none", "source", "sink", "both", "pauses"],
)


@STALLS
@pytest.mark.parametrize("density", [0, 0.5, 1])
@pytest.mark.parametrize(
    "fields",
    [
        {"pes": 1, "lanes": 1},
        {"pes": 4, "lanes": 4, "jobs": 4, "weight_depth": 4},
        {"pes": 2, "lanes": 2, "jobs": 1},
        {"pes": 6, "lanes": 2, "activation_width": 12, "column_depth": 16},
    ],
    ids=["one", "four", "one job", "two"],
)
def test_jobs(
    fields: dict[str, int], density: float, source: float, sink: float, pause: float
) -> None:
    """Of x and of hidden layers, one behind the other, up to the last column."""
    spec = EngineSpec(**fields)
    run_walker(spec, draw_jobs(spec, 20, density=density), source=source, sink=sink, pause=pause)


@STALLS
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_every_pattern(lanes: int, source: float, sink: float, pause: float) -> None:
    """Two words with every set of lanes that are not zero, alone and one behind the other."""
    spec = EngineSpec(pes=lanes, lanes=lanes, activation_width=4, column_depth=512)
    rng = random.Random(lanes)
    words = [
        [rng.randint(1, 15) if pattern >> lane & 1 else 0 for lane in range(lanes)]
        for both in range(1 << (2 * lanes))
        for pattern in (both & ((1 << lanes) - 1), both >> lanes)
    ]
    pairs = [
        Job(both & 1, bool(both & 2), 2 * both, both, bool(both & 4), words[2 * both :][:2])
        for both in range(0, 1 << (2 * lanes), 1 if lanes < 4 else 3)
    ]
    chain = Job(1, False, 0, 3, True, words[: spec.column_depth])
    run_walker(spec, [*pairs, chain], source=source, sink=sink, pause=pause)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [4, 8])
def test_every_value(width: int, signed: bool) -> None:
    """Each activation, in two's complement and unsigned."""
    spec = EngineSpec(pes=2, lanes=2, activation_width=width)
    values = [*range(1 << width)]
    words = [values[index : index + 2] for index in range(0, len(values), 2)]
    run_walker(spec, [Job(0, False, 0, 0, signed, words)])


def test_throughput() -> None:
    """A word a cycle, whatever is in it; a job begins in the first cycle without one."""
    spec = EngineSpec(pes=4, lanes=4)
    for density in (0, 1):
        jobs = draw_jobs(spec, 30, density=density)
        assert run_walker(spec, jobs) == sum(1 + len(job.input) for job in jobs)


def test_longest() -> None:
    """As many words as the column memory holds."""
    spec = EngineSpec(pes=1, lanes=1, column_depth=32, bias_depth=16)
    job = draw_jobs(spec, 1)[0]._replace(column=0, input=[[n % 7] for n in range(32)])
    run_walker(spec, [job] * 3, source=0.9)


@pytest.mark.parametrize("again", [1, 2])
def test_reset(again: int) -> None:
    """It breaks a job off; none of its words is passed any more."""
    spec = EngineSpec(pes=2, lanes=2)
    resets = {cycle + more for cycle in range(9, 1000, 13) for more in range(again)}
    run_walker(spec, draw_jobs(spec, 200), source=0.9, sink=0.8, pause=0.2, resets=resets)
