"""The columns in front of a processing element."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Mux, Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.column import ColumnQueue, in_flight
from secateur.gateware.walk import Walker
from secateur.proofs.fifo import count, follow
from secateur.proofs.sizes import SPEC

__all__ = ["CLAIMS"]


def build(*, order: bool) -> Harness:
    """Columns come while there was room when the walker took them."""
    column = ColumnQueue(SPEC)
    h = Harness(column)
    i, o, count_of = column.i, column.o, column.count

    # `room` passes a register on its way to the walker.
    room = column.room
    for _ in range(Walker.LATENCY + 1):
        room = h.late(room, init=1)
    h.assume("there was room", ~column.visit | room)
    h.assume("the first is passed", column.visit | ~i.first)

    # The first entry of the column, counted from the start of the job.
    start = Signal(range(SPEC.weight_depth))
    pointer = Signal.like(start)
    h.m.d.comb += start.eq(Mux(i.first, i.base, pointer))
    with h.m.If(column.visit):
        h.m.d.sync += pointer.eq(start + count_of)
    works = i.active & (count_of != 0)
    take = o.valid & o.ready
    put = column.visit & (works | i.end)
    level = count(
        h, "column", put=put, take=take, depth=SPEC.queue_depth + in_flight(SPEC), given=not order
    )
    if order:
        given = o.payload
        follow(
            h,
            "column",
            level,
            put=put,
            word=Cat(start, Mux(works, count_of, 0), i.value, i.tag, i.end),
            take=take,
            given=Cat(given.start, given.count, given.value, given.tag, given.end),
        )
    h.claim(
        "room is right",
        column.room == h.late(level + h.late(take) <= SPEC.queue_depth, init=1),
    )
    return h


SIZE = f"{SPEC.queue_depth} columns and {in_flight(SPEC)} on their way"
CLAIMS = (
    Claim(
        name="column queue, room",
        size=SIZE,
        make=partial(build, order=False),
        faults=(
            Fault("column", "(level == limit) & ~push", "level == limit", "room is right"),
            Fault("column", "level + push - left", "level + push", "room is right"),
            Fault(
                "column",
                "limit = self.spec.queue_depth",
                "limit = self.spec.queue_depth + 1",
                "room is right",
            ),
        ),
    ),
    Claim(
        name="column queue, order",
        size=SIZE,
        make=partial(build, order=True),
        cycles=14,
        faults=(
            Fault("column", "Mux(self.i.first,", "Mux(self.visit,", "column: in order"),
            Fault("column", "Mux(self.visit, self.count, 0)", "self.count", "column: in order"),
            Fault("column", "Mux(worked, count, 0)", "count", "column: in order"),
            Fault(
                "column",
                "depth = self.spec.queue_depth + in_flight(self.spec)",
                "depth = self.spec.queue_depth + in_flight(self.spec) - 1",
                "column: in order",
            ),
        ),
    ),
)
