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
    """Pass a stream on, a payload every other cycle, with nothing but registers at both ends.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i, o : In(stream.Signature(shape)), Out(stream.Signature(shape))
        What is taken at ``i`` stands at ``o`` a cycle later; while it does, nothing is taken.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(~self.o.valid):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
