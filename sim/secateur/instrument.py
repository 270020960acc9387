"""The engine with counters around it, for simulation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.control import Phase
from secateur.gateware.drain import y_stream
from secateur.gateware.engine import Engine, status_layout
from secateur.gateware.input import x_stream
from secateur.gateware.loader import load_stream

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["InstrumentedEngine", "counters_layout"]

#: Bits of a counter; it wraps.
COUNTER = 32


def counters_layout(spec: EngineSpec, layers: int) -> data.ArrayLayout:
    """Lay out the counts of each layer since reset."""
    return data.ArrayLayout(
        data.StructLayout({
            "cycles": COUNTER,  # from reading the layer table to the last word drained
            "draining": COUNTER,  # of those, after the last product was added
            "blocked": COUNTER,  # of those, with a broadcast held up by a full queue
            "broadcasts": COUNTER,
            "multiplications": data.ArrayLayout(COUNTER, spec.pes),  # useful ones, by PE
        }),
        layers,
    )


class InstrumentedEngine(wiring.Component):
    """An engine whose monitor is counted by layer.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    layers : int
        Layers to count; what later layers do is not counted.

    Members
    -------
    i_load, i_x, o_y, status
        As in :class:`secateur.gateware.engine.Engine`.
    counters : Out(counters_layout(spec, layers))
        The counts.
    """

    i_load: stream.Interface
    i_x: stream.Interface
    o_y: stream.Interface
    status: data.View
    counters: data.View

    def __init__(self, spec: EngineSpec, *, layers: int) -> None:
        self.spec = spec
        self.layers = layers
        super().__init__({
            "i_load": In(load_stream()),
            "i_x": In(x_stream(spec)),
            "o_y": Out(y_stream(spec)),
            "status": Out(status_layout(spec)),
            "counters": Out(counters_layout(spec, layers)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = Engine(self.spec)
        wiring.connect(m, wiring.flipped(self.i_load), engine.i_load)
        wiring.connect(m, wiring.flipped(self.i_x), engine.i_x)
        wiring.connect(m, engine.o_y, wiring.flipped(self.o_y))
        m.d.comb += self.status.eq(engine.status)

        monitor = engine.monitor
        with m.Switch(monitor.layer):
            for layer in range(self.layers):
                with m.Case(layer):
                    count = self.counters[layer]
                    m.d.sync += [
                        count.cycles.eq(count.cycles + monitor.running),
                        count.draining.eq(count.draining + (monitor.phase == Phase.DRAIN)),
                        count.blocked.eq(count.blocked + monitor.blocked),
                        count.broadcasts.eq(count.broadcasts + monitor.broadcast),
                    ]
                    for pe in range(self.spec.pes):
                        pe_count = count.multiplications[pe]
                        m.d.sync += pe_count.eq(pe_count + monitor.multiply[pe])
        return m
