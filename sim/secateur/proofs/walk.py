"""The walker: how many words a job takes, and what is passed of them."""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Mux, Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.walk import Walker, job_layout
from secateur.proofs.sizes import SPEC

__all__ = ["CLAIMS"]

ONE_LANE = dataclasses.replace(SPEC, pes=1, lanes=1)


def build() -> Harness:
    """Jobs begin while the one before is done; words are there, and room is, at any time.

    A column of a check may be passed in any cycle, in place of a job's.
    """
    walker = Walker(ONE_LANE, checked=True)
    h = Harness(walker)
    job = walker.job
    h.assume("started while done", ~walker.start | walker.done)
    h.assume("a job has words", job.words != 0)

    left = Signal.like(job.words)  # words of the job
    passed = Signal.like(job.column)  # of those that were taken, plus the job's base
    hidden, first = Signal(), Signal()
    tag, base = Signal.like(job.tag), Signal.like(job.weight)
    takes = walker.take_x | walker.take_hidden
    with h.m.If(walker.start):
        h.m.d.sync += [
            *(left.eq(job.words), passed.eq(job.column), first.eq(1)),
            *(hidden.eq(job.hidden), tag.eq(job.tag), base.eq(job.weight)),
        ]
    with h.m.Elif(takes):
        h.m.d.sync += [left.eq(left - 1), passed.eq(passed + 1), first.eq(0)]
    there = Mux(hidden, walker.hidden_there, walker.x_there)
    h.show("left", left)
    h.claim("done when all are taken", walker.done == (left == 0))
    h.claim("takes what there is", takes == ((left != 0) & there & walker.room))
    h.claim("from the right queue", ~takes | (walker.take_hidden == hidden))
    h.claim("its counts beside it", ~takes | (walker.column == passed))

    # What is passed, `LATENCY` cycles later.
    taken = h.late(takes, Walker.LATENCY)
    what = [h.late(value, Walker.LATENCY) for value in (tag, first, base, left == 1)]
    value = h.late(walker.word[0])
    visit = walker.o[0]
    scanned = h.late(walker.scan)
    h.claim("passed once", walker.visit == (taken | scanned))
    h.claim("the first is passed", walker.visit | ~visit.first)
    h.claim(
        "passed as it is",
        ~taken
        | scanned
        | (
            (visit.tag == what[0])
            & (visit.first == what[1])
            & (visit.base == what[2])
            & (visit.end == what[3])
            & (visit.active == (value != 0))
            & (visit.value[: len(value)] == value)
        ),
    )
    return h


CLAIMS = (
    Claim(
        name="walker",
        size=f"jobs of up to {2 ** job_layout(ONE_LANE)['words'].width - 1} words",
        make=build,
        faults=(
            Fault(
                "walk", "read[0].end.eq(left == 1)", "read[0].end.eq(left == 0)", "passed as it is"
            ),
            Fault(
                "walk",
                "under_way.eq(left != 1)",
                "under_way.eq(left != 0)",
                "done when all are taken",
            ),
            Fault(
                "walk",
                "under_way & self.room & job.hidden & self.hidden_there",
                "under_way & job.hidden & self.hidden_there",
                "takes what there is",
            ),
            Fault("walk", "known.first & known.valid", "known.first", "the first is passed"),
            Fault(
                "walk",
                "job.column.eq(job.column + 1)",
                "job.column.eq(job.column + 2)",
                "its counts beside it",
            ),
        ),
    ),
)
