"""From the accumulators of positions to maps: bias, requantisation, pooling, and where they go."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from secateur.format import LOOPS
from secateur.gateware.accumulate import first_slot, slot_layout
from secateur.gateware.drain import y_stream
from secateur.gateware.maps.loops import Loops
from secateur.gateware.maps.pool import Pool
from secateur.gateware.queue import Queue
from secateur.gateware.rows import RowReader, drain_latencies, drain_room, drain_rounds

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["MapDrain"]


class MapDrain(RowReader):
    """Read, requantise, clear and pool a layer's rows, position by position, and write its map.

    Positions are read in their order, each when all PEs have stored its products, one behind the
    other without a gap.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    start, layer : In(1), In(layer table word)
        Strobe: begin with this layer, which is held until ``done``. Only while ``done``.
    all_ones, all_zeros : In(spec.tags)
        The bit of a tag of every PE is one, is zero: it toggles when all products are stored.
    freed : Out(1)
        Strobe: the oldest position's accumulators may be used by another, not within the cycles
        that a column takes to reach them.
    clear, hold, and so on
        As in :class:`RowReader`.
    write, address, written : Out(1), Out(range(spec.activation_depth)), Out(word)
        A word of the map.
    o : Out(y_stream(spec))
        Words of y.
    done : Out(1)
        Everything since ``start`` was written or delivered.
    """

    start: Signal
    all_ones: Signal
    all_zeros: Signal
    freed: Signal
    write: Signal
    address: Signal
    written: data.View
    o: stream.Interface
    done: Signal

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(
            spec,
            {
                "start": In(1),
                "all_ones": In(spec.tags),
                "all_zeros": In(spec.tags),
                "freed": Out(1),
                "write": Out(1),
                "address": Out(range(spec.activation_depth)),
                "written": Out(data.ArrayLayout(spec.activation_width, spec.lanes)),
                "o": Out(y_stream(spec)),
                "done": Out(1, init=1),  # pyright: ignore[reportCallIssue]
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, layer = self.spec, self.layer
        width = spec.drain_lanes * spec.activation_width
        parts = spec.lanes // spec.drain_lanes  # of a word
        at, rounds, room = drain_latencies(spec), drain_rounds(spec), drain_room(spec)
        words = layer.rows_words | (layer.rows_words == 0)
        reads = Cat(C(0, (parts - 1).bit_length()), words)  # of a position

        # The next position: all of its products are stored, which is known a cycle late.
        tag = Signal(range(spec.tags))
        phase = Signal(spec.tags, init=~0)  # what a tag's bit of every PE will be
        ended = (phase & self.all_ones) | (~phase & self.all_zeros)
        stored = Signal()
        begin = Signal()
        m.d.sync += stored.eq(ended.bit_select(tag, 1) & ~begin)

        # Cycle 0: read its next rows?
        left = Signal(len(reads))
        under_way = Signal()  # left != 0
        last = Signal()  # left == 1
        free = Signal(range(room + 1), init=room)
        round_ = Signal(range(rounds))
        slot = Signal(slot_layout(spec))
        number = Value.cast(slot)
        read = Signal()
        popped = Signal()
        returned = Signal()  # popped, a cycle before
        m.d.comb += [
            read.eq(under_way & (free != 0)),
            begin.eq(stored & (~under_way | (read & last))),
        ]
        m.d.sync += [
            returned.eq(popped),
            free.eq(free - read + returned),
            self.freed.eq(read & last),
        ]
        with m.If(read):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2), under_way.eq(~last)]
            with m.If(round_ == rounds - 1):
                m.d.sync += [round_.eq(0), number.eq(number + 1)]
            with m.Else():
                m.d.sync += round_.eq(round_ + 1)
        with m.If(begin):
            m.d.sync += [
                *(left.eq(reads), last.eq(reads == 1), under_way.eq(1)),
                *(round_.eq(0), number.eq(first_slot(spec, tag))),
                *(tag.eq(tag + 1), phase.eq(phase ^ (1 << tag))),
            ]

        # What follows is fixed; each position has the same biases.
        bias_left = Signal(len(reads))
        bias_last = Signal()
        rows, outputs = self._read_rows(
            m,
            read=read,
            round_=round_,
            slot=slot,
            bias_next=Mux(bias_last, layer.bias_base, self.bias_address + 1),
        )
        with m.If(rows[at["bias"]]):
            m.d.sync += [
                bias_left.eq(Mux(bias_last, reads, bias_left - 1)),
                bias_last.eq(Mux(bias_last, reads == 1, bias_left == 2)),
            ]
        m.submodules.queue = queue = Queue(width=width, depth=room)
        m.d.comb += [queue.w_data.eq(outputs), queue.w_en.eq(rows[at["o"]])]

        # Out of the queue, into the windows.
        m.submodules.loops = loops = Loops(spec)
        m.submodules.pool = pool = Pool(spec)
        move = Signal()
        row_left = Signal(len(reads))
        row_last = Signal()
        row = Signal.like(pool.index)
        first = Signal()  # position of the window
        m.d.comb += [
            queue.r_en.eq(move),
            popped.eq(queue.r_rdy & move),
            loops.start.eq(self.start),
            Value.cast(loops.counts).eq(Cat(layer[f"count{n}"] for n in range(LOOPS))),
            loops.advance.eq(popped & row_last),
            pool.average.eq(layer.average),
            pool.shift.eq(layer.average_shift),
            pool.output_signed.eq(layer.output_signed),
            pool.move.eq(move),
            pool.valid.eq(popped),
            Value.cast(pool.i).eq(queue.r_data),
            pool.index.eq(row),
            pool.first.eq(first),
        ]
        with m.If(popped):
            m.d.sync += [row.eq(row + 1), row_left.eq(row_left - 1), row_last.eq(row_left == 2)]
            with m.If(row_last):
                m.d.sync += [row_left.eq(reads), row_last.eq(reads == 1)]
                with m.If(loops.ends[0]):
                    m.d.sync += [row.eq(0), first.eq(loops.ends[1:3].all())]

        # Beside the pool.
        beside = data.StructLayout({
            "valid": 1,  # rows of a window's last position
            "pixel": 1,  # the last ones of a window
            "turns": 1,  # the last window that takes turns
            "line": 1,  # and the last ones of a row
            "layer": 1,  # the last ones of the layer
        })
        steps = [Signal(beside, name=f"beside_{n}") for n in range(Pool.LATENCY + 1)]
        m.d.comb += [
            steps[0].valid.eq(popped & loops.ends[1:3].all()),
            steps[0].pixel.eq(row_last),
            steps[0].turns.eq(loops.ends[0]),
            steps[0].line.eq(loops.ends[3]),
            steps[0].layer.eq(row_last & loops.ends.all()),
        ]
        made, before = steps[-1], steps[-2]
        gap = Signal.like(self.address)  # words to be left out
        with m.If(move):
            m.d.sync += [
                *(late.eq(early) for early, late in itertools.pairwise(steps)),
                gap.eq(Mux(before.line, layer.target_row, layer.target_column)),
            ]
            with m.If(~before.turns):
                m.d.sync += gap.eq(layer.target_turn)
            with m.If(~before.pixel):
                m.d.sync += gap.eq(0)

        # Whole words go to where the next layer reads them, or are y.
        complete = Signal()
        word = Signal(spec.lanes * spec.activation_width)
        m.d.comb += [
            Value.cast(self.written).eq(word),
            self.write.eq(made.valid & complete & ~layer.last),
            Value.cast(self.o.payload.data).eq(word),
            self.o.payload.last.eq(made.layer),
            self.o.valid.eq(made.valid & complete & layer.last),
            move.eq(~self.o.valid | self.o.ready),
        ]
        if parts == 1:
            m.d.comb += [complete.eq(1), word.eq(Value.cast(pool.o))]
        else:
            part = Signal(range(parts))
            held = Signal((parts - 1) * width)
            m.d.comb += [complete.eq(part == parts - 1), word.eq(Cat(held, pool.o))]
            with m.If(made.valid & move):
                m.d.sync += [part.eq(part + 1), held.eq(word >> width)]
        with m.If(made.valid & complete & move):
            m.d.sync += [
                self.address.eq(self.address + 1 + gap),
                self.done.eq(made.layer),
            ]

        with m.If(self.start):
            m.d.sync += [
                *(self.done.eq(0), self.address.eq(layer.target_base), tag.eq(0)),
                *(self.bias_address.eq(layer.bias_base), bias_left.eq(reads)),
                bias_last.eq(reads == 1),
                *(row.eq(0), row_left.eq(reads), row_last.eq(reads == 1), first.eq(1)),
            ]
        return m
