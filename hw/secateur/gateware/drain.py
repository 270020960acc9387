"""From accumulators to activations: bias, requantisation, and on to the next layer or to y."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from secateur.gateware.accumulate import slot_layout
from secateur.gateware.queue import Queue
from secateur.gateware.rows import RowReader, drain_latencies, drain_room, drain_rounds
from secateur.gateware.store import x_stream

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Drain", "y_stream"]


def y_stream(spec: EngineSpec) -> stream.Signature:
    """Words of outputs; ``last`` marks the last word of an inference."""
    return stream.Signature(
        data.StructLayout({
            "data": data.ArrayLayout(spec.activation_width, spec.lanes),
            "last": 1,
        })
    )


class Drain(RowReader):
    """Read, requantise and clear a job's rows, and hand them on.

    Whatever waits there, nothing before it stands still: rows are read when there is room for them.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    start : In(1)
        Strobe: begin with the job below. Only while ``done``.
    tag, layer : In(range(spec.jobs)), In(layer table word)
        Held from ``start`` until ``done``; ``rows_words`` is at least 1.
    clear, hold, and so on
        As in :class:`RowReader`.
    hidden : Out(x_stream(spec))
        Words for the next layer.
    o : Out(y_stream(spec))
        Words of y.
    done : Out(1)
        Everything since ``start`` was delivered.
    """

    start: Signal
    tag: Signal
    hidden: stream.Interface
    o: stream.Interface
    done: Signal

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(
            spec,
            {
                "start": In(1),
                "tag": In(range(spec.jobs)),
                "hidden": Out(x_stream(spec)),
                "o": Out(y_stream(spec)),
                "done": Out(1, init=1),  # pyright: ignore[reportCallIssue]
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, layer = self.spec, self.layer
        lanes, width = spec.drain_lanes, spec.activation_width
        parts = spec.lanes // lanes  # of a word
        at, rounds, room = drain_latencies(spec), drain_rounds(spec), drain_room(spec)

        # Cycle 0: read the next rows? `left` counts them, `free` the room for them.
        left = Signal(len(layer.rows_words) + parts.bit_length() - 1)
        under_way = Signal()  # left != 0
        free = Signal(range(room + 1), init=room)
        any_free = Signal(init=1)  # free != 0
        round_ = Signal(range(rounds))
        slot = Signal(slot_layout(spec))
        read = Signal()
        popped = Signal()
        returned = Signal()  # popped, a cycle before
        m.d.comb += read.eq(under_way & any_free)
        m.d.sync += [returned.eq(popped), free.eq(free - read + returned)]
        with m.If(returned):
            m.d.sync += any_free.eq(1)
        with m.Elif(read):
            m.d.sync += any_free.eq(free != 1)
        with m.If(read):
            m.d.sync += [left.eq(left - 1), under_way.eq(left != 1)]
            with m.If(round_ == rounds - 1):
                m.d.sync += [round_.eq(0), slot.row.eq(slot.row + 1)]
            with m.Else():
                m.d.sync += round_.eq(round_ + 1)

        rows, outputs = self._read_rows(
            m, read=read, round_=round_, slot=slot, bias_next=self.bias_address + 1
        )

        # Out: rows wait here until their word goes away.
        m.submodules.queue = queue = Queue(width=lanes * width, depth=room)
        word = Signal(spec.lanes * width)
        complete = Signal()  # the queue's rows are a word's last
        taken = Signal()
        words_left = Signal.like(layer.rows_words)
        last = Signal()  # words_left == 1
        m.d.comb += [
            queue.w_data.eq(outputs),
            queue.w_en.eq(rows[at["o"]]),
            popped.eq(queue.r_rdy & queue.r_en),
            self.o.payload.data.eq(word),
            self.o.payload.last.eq(last),
            self.o.valid.eq(queue.r_rdy & complete & layer.last),
            self.hidden.payload.eq(word),
            self.hidden.valid.eq(queue.r_rdy & complete & ~layer.last),
            taken.eq(queue.r_rdy & complete & Mux(layer.last, self.o.ready, self.hidden.ready)),
            queue.r_en.eq(~complete | Mux(layer.last, self.o.ready, self.hidden.ready)),
        ]
        if parts == 1:
            m.d.comb += [complete.eq(1), word.eq(queue.r_data)]
        else:
            part = Signal(range(parts))
            held = Signal((parts - 1) * lanes * width)
            m.d.comb += word.eq(Cat(held, queue.r_data))
            with m.If(popped):
                m.d.sync += [
                    part.eq(part + 1),
                    complete.eq(part == parts - 2),
                    held.eq(word >> (lanes * width)),
                ]
        with m.If(taken):
            m.d.sync += [
                words_left.eq(words_left - 1),
                last.eq(words_left == 2),
                self.done.eq(last),
            ]

        with m.If(self.start):
            m.d.sync += [
                left.eq(layer.rows_words * parts),
                under_way.eq(1),
                self.done.eq(0),
                words_left.eq(layer.rows_words),
                last.eq(layer.rows_words == 1),
                round_.eq(0),
                slot.row.eq(0),
                slot.tag.eq(self.tag),
                self.bias_address.eq(layer.bias_base),
            ]
        return m
