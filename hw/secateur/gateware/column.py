"""Column lookup: which entries of a PE an activation is multiplied with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.scan import column_layout

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["IN_FLIGHT", "ColumnLookup", "slice_layout"]

#: Columns under way to the queue when `room` is deasserted: one in the engine's broadcast
#: register, one being looked up, one in the memory's output, and one sent in the same cycle.
IN_FLIGHT = 4


def slice_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out a PE's entries of one column and the activation that they multiply."""
    return data.StructLayout({
        **struct(memories(spec)[Section.COLUMNS].record).members,
        "value": column_layout(spec)["value"].shape,
    })


class ColumnLookup(wiring.Component):
    """Look a column up, drop it where the PE has no entry, queue it otherwise.

    Takes one column a cycle. A column waits 2 cycles before it can leave the queue. The
    broadcast goes to all PEs at once, so it is no stream: ``room`` says early enough whether the
    queue takes what may still come.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    i, i_valid : In(column_layout(spec)), In(1)
        The broadcast.
    room : Out(1)
        ``IN_FLIGHT`` more columns can be taken.
    word : In(column word)
        Output of the column memory for the column of the cycle before.
    o : Out(stream.Signature(slice_layout(spec)))
        Queued columns, each with at least one entry.
    idle : Out(1)
        Nothing is looked up or queued.
    """

    i: data.View
    i_valid: Signal
    room: Signal
    word: data.View
    o: stream.Interface
    idle: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        super().__init__({
            "i": In(column_layout(spec)),
            "i_valid": In(1),
            "room": Out(1),
            "word": In(struct(memories(spec)[Section.COLUMNS].record)),
            "o": Out(stream.Signature(slice_layout(spec))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = slice_layout(self.spec)
        m.submodules.queue = queue = fifo.SyncFIFO(
            width=layout.size, depth=self.spec.queue_depth + IN_FLIGHT
        )

        # Cycle 0: the column memory reads. Cycle 1: its word, beside the activation.
        valid = Signal()
        value = Signal.like(self.i.value)
        m.d.sync += [valid.eq(self.i_valid), value.eq(self.i.value)]
        pushed = data.View(layout, queue.w_data)
        m.d.comb += [
            pushed.start.eq(self.word.start),
            pushed.count.eq(self.word.count),
            pushed.value.eq(value),
            queue.w_en.eq(valid & (self.word.count != 0)),
        ]

        # Cycle 2: in the queue.
        m.d.comb += [
            Value.cast(self.o.payload).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            # The stubs do not know `level`.
            self.room.eq(queue.level <= self.spec.queue_depth),  # pyright: ignore[reportAttributeAccessIssue]
            self.idle.eq(~self.i_valid & ~valid & ~queue.r_rdy),
        ]
        return m
