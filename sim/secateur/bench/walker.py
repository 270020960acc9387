"""Walker against lists of columns, cycle by cycle, in Amaranth's simulator."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.errors import CheckFailedError
from secateur.gateware.walk import Walker
from secateur.technology import Memory

if TYPE_CHECKING:
    from collections.abc import Container

    from secateur.engine import EngineSpec

__all__ = ["Job", "draw_jobs", "run_walker"]

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


def run_walker(
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

    Raises
    ------
    CheckFailedError
        On the first difference, or if it is not done after ``time_out`` cycles.
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
                expect(bool(ctx.get(getattr(dut, name))), bool(value), f"{where}: {name}")
            passed = visits.pop(cycle, [{"first": 0}] * spec.lanes)
            for lane, visit in enumerate(passed):
                got = ctx.get(dut.o)[lane]
                expect({name: got[name] for name in visit}, visit, f"{where}: lane {lane}")
            if job and take:
                expect(ctx.get(dut.read_hidden), int(job.hidden), f"{where}: read_hidden")
                expect(ctx.get(dut.column), job.column + taken, f"{where}: column")
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
        raise CheckFailedError(f"the walker is not done after {time_out} cycles")

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles[0]


def draw_jobs(spec: EngineSpec, count: int, *, density: float = 0.6, seed: int = 1) -> list[Job]:
    """Draw jobs of 1 to 9 words, of which the share ``density`` is not zero."""
    rng = random.Random(seed)
    result = []
    for number in range(count):
        words = min(rng.choice((1, 1, 2, 3, 9)), spec.column_depth)
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
