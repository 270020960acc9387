"""The weights that the codes of all PEs stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.technology import OWN, PORTABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secateur.engine import EngineSpec
    from secateur.gateware.pe import ProcessingElement
    from secateur.technology import Technology

__all__ = ["Lookup", "codebook_layout", "number_shape"]


def number_shape(spec: EngineSpec) -> range:
    """Return the numbers of the values of all layers' codebooks: the layer, and below it a code."""
    return range(spec.layer_depth << spec.codebook_bits)


def codebook_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out one value of the codebooks."""
    return data.StructLayout({
        "write": 1,
        "number": number_shape(spec),
        "value": signed(spec.weight_width),
    })


class Lookup(wiring.Component):
    """Hold the codebooks of all layers, in memories that some PEs share, and look codes up.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    technology : Technology
        Its cells.

    Members
    -------
    codebook : In(codebook_layout(spec))
        What to write, a cycle later. What is looked up then is undefined.
    numbers, weights : In, Out
        For each PE: which value it looks up, and ``Codebooks.LATENCY`` cycles later that value.
    """

    codebook: data.View
    numbers: data.View
    weights: data.View

    def __init__(self, spec: EngineSpec, *, technology: Technology = PORTABLE) -> None:
        self.spec, self.technology = spec, technology
        super().__init__({
            "codebook": In(codebook_layout(spec)),
            "numbers": In(data.ArrayLayout(number_shape(spec), spec.pes)),
            "weights": Out(data.ArrayLayout(signed(spec.weight_width), spec.pes)),
        })

    def serve(self, m: Module, pes: Iterable[ProcessingElement]) -> None:
        """Connect all PEs, in the module that has them and this."""
        for index, pe in enumerate(pes):
            m.d.comb += [
                self.numbers[index].eq(pe.number),
                pe.weight.eq(self.weights[index]),
            ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, lanes = self.spec, self.spec.lanes
        # PEs of a lane lie together.
        pes = [pe for lane in range(lanes) for pe in range(lane, spec.pes, lanes)]
        readers = self.technology.codebooks.READERS
        for index, first in enumerate(range(0, len(pes), readers)):
            served = pes[first : first + readers]
            memory = self.technology.codebooks(
                signed(spec.weight_width), depth=len(number_shape(spec)), readers=len(served)
            )
            m.submodules[f"codebook_{index}"] = memory
            # A register for each memory: they may lie far apart.
            written = Signal(codebook_layout(spec), name=f"written_{index}", attrs={OWN: 1})
            m.d.sync += written.eq(self.codebook)
            m.d.comb += [
                memory.write_enable.eq(written.write),
                memory.write_address.eq(written.number),
                memory.write_value.eq(written.value),
            ]
            for reader, pe in enumerate(served):
                m.d.comb += [
                    memory.read_address[reader].eq(self.numbers[pe]),
                    self.weights[pe].eq(memory.read_value[reader]),
                ]
        return m
