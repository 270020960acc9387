"""The queue in front of a processing element: which entries each activation multiplies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.maps.walk import MapWalker
from secateur.gateware.queue import Queue
from secateur.gateware.walk import Walker, visit_layout

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["ColumnQueue", "in_flight", "slice_layout"]


def in_flight(spec: EngineSpec) -> int:
    """Count the columns under way to the queue when `room` is deasserted.

    In the walker's pipeline, two in the queue's, and one passed while `room` is registered on its
    way to the walker.
    """
    return (MapWalker if spec.positions else Walker).LATENCY + 3


def slice_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out a PE's entries of one column and the activation that they multiply."""
    visit = {name: field.shape for name, field in visit_layout(spec)}
    return data.StructLayout({
        "start": range(spec.weight_depth),
        "count": spec.count_width,
        "value": visit["value"],
        "tag": visit["tag"],
        "end": 1,  # the last of the job; it may have no entries
    })


class ColumnQueue(wiring.Component):
    """Follow the columns through the weight memory and queue those that give work.

    The entries of a layer's columns stand one behind the other, so that their first addresses are
    sums of the counts of the columns before: no pointers are stored. A column passed in cycle 0 is
    queued in cycle 1 if its activation is not zero and the PE has entries in it, and leaves the
    queue in cycle ``LATENCY`` at the earliest. A job's last column is always queued, as the sign of
    its end.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    visit, i : In(1), In(visit_layout(spec))
        A column is passed; only then ``i.first``. It is no stream, since all PEs see it at once:
        ``room`` says early enough whether the queue takes what may still come.
    count : In(spec.count_width)
        Entries of this PE in it.
    room : Out(1)
        ``in_flight(spec)`` more columns can be taken. A column that leaves counts for two more
        cycles.
    o : Out(stream.Signature(slice_layout(spec)))
        Queued columns.
    """

    #: Cycles from a column until it can leave the queue: a register, and the FIFO.
    LATENCY = 3

    visit: Signal
    i: data.View
    count: Signal
    room: Signal
    o: stream.Interface

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        super().__init__({
            "visit": In(1),
            "i": In(visit_layout(spec)),
            "count": In(spec.count_width),
            "room": Out(1, init=1),  # pyright: ignore[reportCallIssue]
            "o": Out(stream.Signature(slice_layout(spec))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = slice_layout(self.spec)
        depth = self.spec.queue_depth + in_flight(self.spec)
        m.submodules.queue = queue = Queue(width=layout.size, depth=depth)

        # Cycle 0: what all PEs get comes from afar; nothing is added to it before it is in a
        # register.
        works = Signal()
        m.d.comb += works.eq(self.i.active & (self.count != 0))
        visit = Signal.like(self.i)
        count = Signal.like(self.count)  # none where no column is passed
        worked = Signal()
        push = Signal()
        m.d.sync += [
            visit.eq(self.i),
            count.eq(Mux(self.visit, self.count, 0)),
            worked.eq(works),
            push.eq(self.visit & (works | self.i.end)),
        ]

        # Cycle 1: where the job has come to, and into the queue. A job's first column, in cycle 0,
        # puts its base in the place of the sum.
        pointer = Signal(range(self.spec.weight_depth))
        m.d.sync += pointer.eq(Mux(self.i.first, self.i.base, pointer + count))
        pushed = Signal(layout)
        m.d.comb += [
            pushed.start.eq(pointer),
            pushed.count.eq(Mux(worked, count, 0)),
            pushed.value.eq(visit.value),
            pushed.tag.eq(visit.tag),
            pushed.end.eq(visit.end),
            queue.w_data.eq(pushed),
            queue.w_en.eq(push),
        ]

        # From cycle 3 on: out of it.
        level = Signal(range(depth + 1))
        left = Signal()
        limit = self.spec.queue_depth
        m.d.comb += [
            Value.cast(self.o.payload).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        m.d.sync += [
            # What leaves counts a cycle late.
            left.eq(self.o.valid & self.o.ready),
            level.eq(level + push - left),
            self.room.eq((level < limit) | ((level == limit) & ~push)),
        ]
        return m
