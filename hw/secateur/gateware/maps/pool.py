"""Pooling: one activation of each window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import AVERAGE_BITS
from secateur.gateware.rows import drain_rounds

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Pool", "kept_layout", "pool_depth", "rows_layout"]


def rows_layout(spec: EngineSpec) -> data.ArrayLayout:
    """Lay out the activations that are requantised in a cycle."""
    return data.ArrayLayout(spec.activation_width, spec.drain_lanes)


def pool_depth(spec: EngineSpec) -> int:
    """Count the cycles that the rows of a position take."""
    return spec.set_depth * drain_rounds(spec)


def kept_layout(spec: EngineSpec) -> data.ArrayLayout:
    """Lay out what is kept of a window: the largest of each row, or their sum."""
    return data.ArrayLayout(signed(spec.activation_width + 1 + AVERAGE_BITS), spec.drain_lanes)


class Pool(wiring.Component):
    """Keep the largest activation of each row over a window, or their sum for an average.

    Takes the rows of one position after the other, and gives, ``LATENCY`` cycles later, those of a
    window's last position. Computes what :class:`secateur.convolution.Pool` does.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    average, shift, output_signed : In
        As in the layer table; held while there is anything in it.
    move : In(1)
        Go on; without it every register holds.
    valid, i : In(1), In(rows_layout(spec))
        Rows.
    index : In
        Which ones of the windows that take turns; below :func:`pool_depth` where a window has
        several positions.
    first : In(1)
        The position is the window's first.
    o : Out(rows_layout(spec))
        ``LATENCY`` moves after the rows of a last position.
    """

    #: Moves from rows to the window's.
    LATENCY = 4

    average: Signal
    shift: Signal
    output_signed: Signal
    move: Signal
    valid: Signal
    i: data.View
    index: Signal
    first: Signal
    o: data.View

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        super().__init__({
            "average": In(1),
            "shift": In(range(AVERAGE_BITS + 1)),
            "output_signed": In(1),
            "move": In(1),
            "valid": In(1),
            "i": In(rows_layout(spec)),
            "index": In(range(pool_depth(spec))),
            "first": In(1),
            "o": Out(rows_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, kept = self.spec.drain_lanes, kept_layout(self.spec)
        m.submodules.running = running = memory.Memory(
            shape=Shape.cast(kept),
            depth=pool_depth(self.spec),
            init=[],
            attrs={"ram_style": "distributed"},
        )
        read, write = running.read_port(domain="comb"), running.write_port()
        index = Signal.like(self.index)  # in cycle 1

        # Cycle 0: what there is of the window. Rows that come a cycle after those that they go
        # with, as the only ones of a position do, find them in a register.
        value = Signal.like(self.i)
        kept_before = Signal(kept)
        whole = Signal(kept)
        valid, first, same = Signal(), Signal(), Signal()
        m.d.comb += [read.addr.eq(self.index), write.addr.eq(index)]
        with m.If(self.move):
            m.d.sync += [
                *(value.eq(self.i), valid.eq(self.valid), first.eq(self.first)),
                *(index.eq(self.index), same.eq(valid & (self.index == index))),
                Value.cast(kept_before).eq(read.data),
            ]

        # Cycle 1: with them.
        sums = Signal(kept)
        for lane in range(lanes):
            old = Mux(same, whole[lane], kept_before[lane])
            sign = value[lane][-1] & self.output_signed
            extended = Cat(value[lane], sign).as_signed()
            m.d.comb += sums[lane].eq(extended)
            with m.If(~first):
                m.d.comb += sums[lane].eq(
                    Mux(self.average, old + extended, Mux(old > extended, old, extended))
                )
        m.d.comb += [
            write.data.eq(sums),
            write.en.eq(valid),  # again while nothing moves
        ]

        # Cycle 2: rounded; cycle 3: divided.
        rounded = Signal(kept)
        half = Signal(AVERAGE_BITS)
        m.d.sync += half.eq((1 << self.shift) >> 1)
        with m.If(self.move):
            m.d.sync += whole.eq(sums)
            for lane in range(lanes):
                m.d.sync += [
                    rounded[lane].eq(whole[lane] + half),
                    self.o[lane].eq(rounded[lane] >> self.shift),
                ]
        return m
