"""A register between two components, so that neither's logic adds to the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

if TYPE_CHECKING:
    from amaranth.hdl import ShapeLike

__all__ = ["StreamBuffer"]


class StreamBuffer(wiring.Component):
    """Pass a stream on, a payload a cycle, with nothing but registers at ``o`` and ``i.ready``.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i, o : In(stream.Signature(shape)), Out(stream.Signature(shape))
        What is taken at ``i`` stands at ``o`` a cycle later.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # What came in the cycle in which `o` began to wait: `i.ready` tells it a cycle late.
        spare = Signal.like(self.i.payload)
        full = Signal()
        m.d.comb += self.i.ready.eq(~full)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | full),
                self.o.payload.eq(Mux(full, spare, self.i.payload)),
                full.eq(0),
            ]
        with m.Elif(self.i.valid & ~full):
            m.d.sync += [spare.eq(self.i.payload), full.eq(1)]
        return m
