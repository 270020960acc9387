"""The control: jobs and their tags."""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.control import Control
from secateur.proofs.sizes import SPEC

__all__ = ["CLAIMS"]

ENGINE = dataclasses.replace(SPEC, row_depth=2)


def build() -> Harness:
    """Let the rest of the engine say anything, but for the bits that PEs change for each job.

    No order of events may mix up tags.
    """
    control = Control(ENGINE, loaded=True)
    h = Harness(control)
    jobs = ENGINE.jobs
    start, walked = control.walk_start, control.walk_job.tag
    drain, drained = control.drain_start, control.drain_tag

    # Jobs that are walked or wait for their drain, those that are drained; which come in turn.
    in_use = Signal(jobs)
    draining = Signal()
    next_walked, next_drained = Signal.like(walked), Signal.like(drained)
    ends = draining & control.drain_done
    h.m.d.sync += [
        in_use.eq(
            (in_use | (start << walked)[:jobs]) & ~(ends << drained)[:jobs],
        ),
        next_walked.eq(next_walked + start),
        next_drained.eq(next_drained + ends),
    ]
    with h.m.If(drain):
        h.m.d.sync += draining.eq(1)
    with h.m.Elif(ends):
        h.m.d.sync += draining.eq(0)
    h.show("in_use", in_use)

    # Every PE changes its bit of a tag once for each job, when all of its products are stored.
    stored, mixed = h.free("stored", jobs), h.free("mixed", jobs)
    bits, under_way = Signal(jobs), Signal(jobs)
    h.assume("jobs under way are stored", (stored & ~under_way) == 0)
    h.m.d.sync += [
        bits.eq(bits ^ stored),
        under_way.eq((under_way | (start << walked)[:jobs]) & ~stored),
    ]
    h.m.d.comb += [
        control.all_ones.eq(bits & ~(mixed & under_way)),
        control.all_zeros.eq(~bits & ~(mixed & under_way)),
    ]
    h.claim("a tag is used once", ~start | ~in_use.bit_select(walked, 1))
    h.claim("tags in turn", ~start | (walked == next_walked))
    h.claim("what is walked is drained", ~drain | in_use.bit_select(drained, 1))
    h.claim("drained in turn", ~drain | (drained == next_drained))
    h.claim("drained when it is stored", ~drain | ~under_way.bit_select(drained, 1))
    h.claim("one drain at a time", ~(drain & draining))
    h.claim("busy is right", control.tag_busy == in_use)
    return h


CLAIMS = (
    Claim(
        name="control",
        size=f"{ENGINE.jobs} jobs, {ENGINE.layer_depth} layers",
        make=build,
        faults=(
            Fault(
                "control",
                "may_begin.eq(self.ready & (undrained != jobs))",
                "may_begin.eq(self.ready)",
                "a tag is used once",
            ),
            Fault(
                "control",
                "phase.eq(phase ^ (1 << self.drain_tag))",
                "phase.eq(phase)",
                "what is walked is drained",
            ),
            Fault(
                "control",
                "undrained + (resumed | launched) - (finished | landed)",
                "undrained + launched - landed",
                "a tag is used once",
            ),
            Fault(
                "control",
                "self.drain_tag.eq(self.drain_tag + 1)",
                "self.drain_tag.eq(0)",
                "drained in turn",
            ),
        ),
    ),
)
