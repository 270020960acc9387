"""The engine with counters around it, for simulation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.drain import y_stream
from secateur.gateware.engine import Engine, status_layout
from secateur.gateware.loader import load_stream
from secateur.gateware.store import x_stream
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.program import Program
    from secateur.technology import Technology

__all__ = ["COUNTER", "PES_COUNTER", "STATES", "InstrumentedEngine", "counters_layout"]

#: Bits of a counter of cycles, and of one of cycles of all PEs; they wrap.
COUNTER, PES_COUNTER = 32, 40
#: What the walker does in a cycle: it passes a word, a full queue holds it up, the next word of its
#: job is not there, it has no job.
STATES = ("walking", "blocked", "waiting", "standing")


def counters_layout(spec: EngineSpec, layers: int) -> data.StructLayout:
    """Lay out what was counted since reset."""
    each = data.ArrayLayout(COUNTER, spec.pes)
    layer = data.StructLayout({
        "cycles": COUNTER,  # from the start of its walk to the end of its drain
        # The walker's cycles for it, by state.
        "walking": COUNTER,
        "blocked": COUNTER,
        "waiting": COUNTER,
        "broadcasts": COUNTER,  # columns passed whose activation is not zero
        "multiplications": each,  # useful ones, by PE
        "padding": each,  # entries of weight zero, by PE
    })
    return data.StructLayout({
        "layers": data.ArrayLayout(layer, layers),
        "busy": COUNTER,  # cycles with an inference under way, or an x that has begun
        # PEs that multiply no entry in those cycles, by the walker's state.
        "idle": data.StructLayout(dict.fromkeys(STATES, PES_COUNTER)),
    })


class InstrumentedEngine(wiring.Component):
    """An engine whose monitor is counted by layer.

    Two jobs of the same layer may be under way at once: both are counted.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    layers : int
        Layers to count; what later layers do is not counted.
    program, technology
        As in :class:`secateur.gateware.engine.Engine`.

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

    def __init__(
        self,
        spec: EngineSpec,
        *,
        layers: int,
        program: Program | None = None,
        technology: Technology = PORTABLE,
    ) -> None:
        self.spec, self.layers = spec, layers
        self.program, self.technology = program, technology
        super().__init__({
            "i_load": In(load_stream()),
            "i_x": In(x_stream(spec)),
            "o_y": Out(y_stream(spec)),
            "status": Out(status_layout(spec)),
            "counters": Out(counters_layout(spec, layers)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.engine = engine = Engine(
            spec, program=self.program, technology=self.technology
        )
        wiring.connect(m, wiring.flipped(self.i_load), engine.i_load)
        wiring.connect(m, wiring.flipped(self.i_x), engine.i_x)
        wiring.connect(m, engine.o_y, wiring.flipped(self.o_y))
        m.d.comb += self.status.eq(engine.status)
        monitor = engine.monitor
        tag_layers = [monitor.tag_layers[tag] for tag in range(spec.jobs)]

        # The walker's job is the one whose tag became busy last.
        known = Signal(spec.jobs)
        kept = Signal(range(spec.jobs))
        walked = Signal(range(spec.jobs))
        m.d.comb += walked.eq(kept)
        for tag in range(spec.jobs):
            with m.If(monitor.tag_busy[tag] & ~known[tag]):
                m.d.comb += walked.eq(tag)
        m.d.sync += [known.eq(monitor.tag_busy), kept.eq(walked)]

        counts = [self.counters.layers[layer] for layer in range(self.layers)]
        for layer, count in enumerate(counts):
            under_way = [
                busy & (tag_layer == layer)
                for busy, tag_layer in zip(monitor.tag_busy, tag_layers, strict=True)
            ]
            m.d.sync += count.cycles.eq(count.cycles + sum(under_way))
            with m.If(Array(tag_layers)[walked] == layer):
                m.d.sync += [
                    count[state].eq(count[state] + monitor[state]) for state in STATES[:-1]
                ]
            with m.If(Array(tag_layers)[monitor.tag] == layer):
                m.d.sync += count.broadcasts.eq(count.broadcasts + _ones(monitor.active))
        for pe in range(spec.pes):
            with m.Switch(Array(tag_layers)[monitor.working[pe]]):
                for layer, count in enumerate(counts):
                    useful, padding = count.multiplications[pe], count.padding[pe]
                    with m.Case(layer):
                        m.d.sync += [
                            useful.eq(useful + monitor.multiply[pe]),
                            padding.eq(padding + (monitor.occupied[pe] & ~monitor.multiply[pe])),
                        ]
        with m.If(engine.status.busy):
            m.d.sync += self.counters.busy.eq(self.counters.busy + 1)
            for state in STATES:
                with m.If(monitor[state]):
                    idle = self.counters.idle[state]
                    m.d.sync += idle.eq(idle + _ones(~monitor.occupied))
        return m


def _ones(bits: Value) -> Value:
    """Count the ones, in a balanced tree of adders."""
    if len(bits) == 1:
        return bits
    middle = len(bits) // 2
    return _ones(bits[:middle]) + _ones(bits[middle:])
