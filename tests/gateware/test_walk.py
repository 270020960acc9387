"""Walker against lists of columns, cycle by cycle."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.walk import Walker
from secateur.technology import Memory

if TYPE_CHECKING:
    from collections.abc import Container

LATENCY = Walker.LATENCY
#: Cycles from a strobe until the activation memory shows the word.
TO_WORD = Memory.LATENCY


class Job(NamedTuple):
    """A layer of an inference, and its input's words: the bits of ``lanes`` activations in each."""

    tag: int
    hidden: bool
    column: int
    weight: int
    signed: bool
    input: list[list[int]]

    def visit(self, spec: EngineSpec, index: int) -> list[dict[str, int]]:
        """Say how a word is passed, lane by lane."""
        half = 1 << (spec.activation_width - 1)
        return [
            {
                "tag": self.tag,
                "first": index == 0,
                "base": self.weight,
                "end": index == len(self.input) - 1,
                "active": bits != 0,
                "value": bits - 2 * half if self.signed and bits >= half else bits,
            }
            for bits in self.input[index]
        ]


def run(
    spec: EngineSpec,
    jobs: list[Job],
    *,
    source: float = 1,
    sink: float = 1,
    pause: float = 0,
    resets: Container[int] = (),
    time_out: int = 6000,
) -> int:
    """Walk ``jobs``; a word is there ``source`` of the time, and room ``sink`` of it.

    A job begins as soon as the walker is done with the one before, or ``pause`` of the time later.
    A reset breaks it off, and the next one is begun. Every output is compared in every cycle.
    Returns the cycles from the first start until the last job was done.
    """
    rng = random.Random(len(jobs))
    dut = Walker(spec)
    reset = Signal()
    cycles = [0]

    async def bench(ctx: Any) -> None:
        waiting = iter(jobs)
        job: Job | None = None  # under way
        taken = 0
        words: dict[int, list[int]] = {}  # by cycle, what the memory shows
        visits: dict[int, list[dict[str, int]]] = {}
        ended = 0
        for cycle in range(time_out):
            where = f"cycle {cycle}, word {taken}"
            begins = None
            if not job and rng.random() >= pause:
                begins = next(waiting, None)
                if not begins and ended + LATENCY < cycle:
                    return
            there = {kind: rng.random() < source for kind in ("x", "hidden")}
            room = rng.random() < sink
            ctx.set(dut.start, begins is not None)
            # Garbage beside what is not valid.
            ctx.set(
                dut.job,
                {
                    "tag": begins.tag,
                    "hidden": begins.hidden,
                    "words": len(begins.input),
                    "column": begins.column,
                    "weight": begins.weight,
                    "signed": begins.signed,
                }
                if begins
                else {
                    "tag": rng.randrange(spec.jobs),
                    "hidden": rng.randrange(2),
                    "words": rng.randrange(4),
                    "column": rng.randrange(spec.column_depth),
                    "weight": rng.randrange(spec.weight_depth),
                    "signed": rng.randrange(2),
                },
            )
            ctx.set(dut.x_there, there["x"])
            ctx.set(dut.hidden_there, there["hidden"])
            ctx.set(dut.room, room)
            garbage = [rng.getrandbits(spec.activation_width) for _ in range(spec.lanes)]
            ctx.set(dut.word, words.pop(cycle, garbage))
            ctx.set(reset, cycle in resets)

            available = job and there["hidden" if job.hidden else "x"]
            take = bool(available and room)
            want = {
                "done": job is None,
                "take_x": take and job and not job.hidden,
                "take_hidden": take and job and job.hidden,
                "waiting": job and not available,
                "blocked": available and not room,
                "visit": cycle in visits,
            }
            for name, value in want.items():
                assert ctx.get(getattr(dut, name)) == bool(value), f"{where}: {name}"
            for lane, visit in enumerate(visits.pop(cycle, ())):
                got = ctx.get(dut.o)[lane]
                assert {name: got[name] for name in visit} == visit, f"{where}: lane {lane}"
            if job and take:
                assert ctx.get(dut.read_hidden) == bool(job.hidden), f"{where}: read_hidden"
                assert ctx.get(dut.column) == job.column + taken, f"{where}: column"
                words[cycle + TO_WORD] = job.input[taken]
                visits[cycle + LATENCY] = job.visit(spec, taken)
                taken += 1
                if taken == len(job.input):
                    job, ended = None, cycle
                    cycles[0] = cycle + 1
            await ctx.tick()
            if begins:
                job, taken = begins, 0
            if cycle in resets:
                job, ended = None, cycle
                words.clear()
                visits.clear()
        raise AssertionError(f"not done after {time_out} cycles")

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles[0]


def random_jobs(spec: EngineSpec, count: int, *, density: float = 0.6, seed: int = 1) -> list[Job]:
    """Draw jobs of 1 to 9 words, of which the share ``density`` is not zero."""
    rng = random.Random(seed)
    result = []
    for number in range(count):
        words = rng.choice((1, 1, 2, 3, 9))
        result.append(
            Job(
                tag=number % spec.jobs,
                hidden=rng.random() < 0.5,
                column=rng.choice((0, spec.column_depth - words)),
                weight=rng.randrange(spec.weight_depth),
                signed=rng.random() < 0.5,
                input=[
                    [
                        rng.randrange(1, 1 << spec.activation_width) * (rng.random() < density)
                        for _ in range(spec.lanes)
                    ]
                    for _ in range(words)
                ],
            )
        )
    return result


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
    run(spec, random_jobs(spec, 20, density=density), source=source, sink=sink, pause=pause)


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
    run(spec, [*pairs, chain], source=source, sink=sink, pause=pause)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [4, 8])
def test_every_value(width: int, signed: bool) -> None:
    """Each activation, in two's complement and unsigned."""
    spec = EngineSpec(pes=2, lanes=2, activation_width=width)
    values = [*range(1 << width)]
    words = [values[index : index + 2] for index in range(0, len(values), 2)]
    run(spec, [Job(0, False, 0, 0, signed, words)])


def test_throughput() -> None:
    """A word a cycle, whatever is in it; a job begins in the first cycle without one."""
    spec = EngineSpec(pes=4, lanes=4)
    for density in (0, 1):
        jobs = random_jobs(spec, 30, density=density)
        assert run(spec, jobs) == sum(1 + len(job.input) for job in jobs)


def test_longest() -> None:
    """As many words as the column memory holds."""
    spec = EngineSpec(pes=1, lanes=1, column_depth=32, bias_depth=16)
    job = random_jobs(spec, 1)[0]._replace(column=0, input=[[n % 7] for n in range(32)])
    run(spec, [job] * 3, source=0.9)


@pytest.mark.parametrize("again", [1, 2])
def test_reset(again: int) -> None:
    """It breaks a job off; none of its words is passed any more."""
    spec = EngineSpec(pes=2, lanes=2)
    resets = {cycle + more for cycle in range(9, 1000, 13) for more in range(again)}
    run(spec, random_jobs(spec, 200), source=0.9, sink=0.8, pause=0.2, resets=resets)
