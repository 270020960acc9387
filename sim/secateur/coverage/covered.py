"""The engine with a count of cycles for every point of coverage, for simulation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.hdl import Fragment
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.coverage.conditions import Conditions
from secateur.coverage.map_conditions import MapConditions
from secateur.coverage.map_points import MAP_POINTS
from secateur.coverage.points import POINTS
from secateur.gateware.drain import y_stream
from secateur.gateware.engine import Engine, status_layout
from secateur.gateware.loader import load_stream
from secateur.gateware.store import x_stream

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["COUNT", "CoveredEngine", "coverage_layout", "points_of"]

#: Bits of a count of cycles; it wraps.
COUNT = 32


def points_of(spec: EngineSpec) -> dict[str, str]:
    """Give the points of an engine, and what happens in a cycle in which each is seen."""
    return MAP_POINTS if spec.positions else POINTS


def coverage_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out the cycles in which each point was seen."""
    return data.StructLayout(dict.fromkeys(points_of(spec), COUNT))


class CoveredEngine(wiring.Component):
    """An engine, and the cycles in which each of :func:`points_of` it was seen.

    It reads signals inside the engine's components by the names that they have there: one that is
    renamed is missed when the Verilog is made. Points that no engine of this size meets count 0.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    i_load, i_x, o_y, status
        As in :class:`secateur.gateware.engine.Engine`.
    counters : Out(coverage_layout(spec))
        The counts since the beginning, which reset leaves alone.
    """

    i_load: stream.Interface
    i_x: stream.Interface
    o_y: stream.Interface
    status: data.View
    counters: data.View

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        super().__init__({
            "i_load": In(load_stream()),
            "i_x": In(x_stream(spec)),
            "o_y": Out(y_stream(spec)),
            "status": Out(status_layout(spec)),
            "counters": Out(coverage_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        engine = Engine(self.spec)
        m.submodules.engine = whole = Fragment.get(engine, platform)
        wiring.connect(m, wiring.flipped(self.i_load), engine.i_load)
        wiring.connect(m, wiring.flipped(self.i_x), engine.i_x)
        wiring.connect(m, engine.o_y, wiring.flipped(self.o_y))
        m.d.comb += self.status.eq(engine.status)
        conditions = MapConditions if self.spec.positions else Conditions
        seen, points = conditions(m, engine, whole).all(), points_of(self.spec)
        assert seen.keys() == points.keys()
        for name in points:
            count = Signal(COUNT, name=f"count_{name}", reset_less=True)
            m.d.sync += count.eq(count + seen[name])
            m.d.comb += self.counters[name].eq(count)
        return m
