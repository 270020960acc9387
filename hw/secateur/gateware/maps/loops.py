"""Five nested loops: the positions of a convolution in the order of pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import LOOPS

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Loops", "counts_layout"]


def counts_layout(spec: EngineSpec) -> data.ArrayLayout:
    """Lay out how often each loop goes on, the innermost first."""
    return data.ArrayLayout(spec.address_width, LOOPS)


class Loops(wiring.Component):
    """Count positions.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    start : In(1)
        Strobe: begin anew in the next cycle.
    counts : In(counts_layout(spec))
        How often each loop goes on; held from ``start`` on.
    advance : In(1)
        Strobe: go to the next position; behind the last one, to the first.
    ends : Out(LOOPS)
        Each loop is in its last iteration.
    """

    start: Signal
    counts: data.View
    advance: Signal
    ends: Signal

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__({
            "start": In(1),
            "counts": In(counts_layout(spec)),
            "advance": In(1),
            "ends": Out(LOOPS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        goes_on = self.advance
        for loop in range(LOOPS):
            count = self.counts[loop]
            left = Signal.like(count, name=f"left_{loop}")
            end = self.ends[loop]
            with m.If(self.start | (goes_on & end)):
                m.d.sync += [left.eq(count), end.eq(count == 0)]
            with m.Elif(goes_on):
                m.d.sync += [left.eq(left - 1), end.eq(left == 1)]
            goes_on = goes_on & end
        return m
