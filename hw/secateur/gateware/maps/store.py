"""The maps of a network: what its layers read and write, by address."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.store import x_stream
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.technology import Technology

__all__ = ["MapStore"]


class MapStore(wiring.Component):
    """One bank of activations for each lane, of which any ``lanes`` in different banks are read.

    A word that is written lies in all banks at the same address. A word that is read consists of an
    activation for each lane, ``lane`` activations and ``offsets`` words behind ``patch``: these are
    in different banks, whatever the patch. So a layer's columns lie in the lane of their offset.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    technology : Technology
        Its cells.

    Members
    -------
    i_x : In(x_stream(spec))
        Words of x, to be written from address 0 on.
    words : In(range(spec.activation_depth))
        Words of an x, at least 1; held while ``open``.
    open : In(1)
        An x may begin from the next cycle on. Deasserted in the cycle after ``complete`` at last.
    begun : Out(1)
        An x is incomplete, or ``complete``.
    complete : Out(1)
        Strobe: an x was completed in the cycle before.
    write, address, written : In(1), In(range(spec.activation_depth)), In(word)
        A word to write; never while an x may come.
    patch : In(spec.address_width)
        Address of an activation.
    offsets : In(struct of the offsets)
        Two cycles later, of each lane.
    word : Out(data.ArrayLayout(spec.activation_width, spec.lanes))
        What was read, ``LATENCY`` cycles after its ``patch``.
    """

    #: Cycles from a patch until its word: until the offsets come, sum, memory, rotation.
    LATENCY = 6

    i_x: stream.Interface
    words: Signal
    open: Signal
    begun: Signal
    complete: Signal
    write: Signal
    address: Signal
    written: Signal
    patch: Signal
    offsets: data.View
    word: data.View

    def __init__(self, spec: EngineSpec, *, technology: Technology = PORTABLE) -> None:
        self.spec, self.technology = spec, technology
        activations = data.ArrayLayout(spec.activation_width, spec.lanes)
        super().__init__({
            "i_x": In(x_stream(spec)),
            "words": In(range(spec.activation_depth)),
            "open": In(1),
            "begun": Out(1),
            "complete": Out(1),
            "write": In(1),
            "address": In(range(spec.activation_depth)),
            "written": In(activations),
            "patch": In(spec.address_width),
            "offsets": In(struct(memories(spec)[Section.OFFSETS].record)),
            "word": Out(activations),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.spec.lanes
        banks = [
            self.technology.memory(
                unsigned(self.spec.activation_width), depth=self.spec.activation_depth
            )
            for _ in range(lanes)
        ]

        # Writing: x while it is open.
        taking = Signal()
        put = Signal()
        place = Signal.like(self.words)
        after = Signal.like(self.words, init=1)
        m.d.comb += [
            self.i_x.ready.eq(taking),
            put.eq(self.i_x.valid & taking),
            self.begun.eq((place != 0) | self.complete),
        ]
        # `open` falls only once `complete` is seen.
        m.d.sync += [
            self.complete.eq(0),
            taking.eq((self.open & ~self.complete) | (place != 0) | put),
        ]
        with m.If(put):
            m.d.sync += [place.eq(after), after.eq(after + 1)]
            with m.If(after == self.words):
                m.d.sync += [*(place.eq(0), after.eq(1)), *(self.complete.eq(1), taking.eq(0))]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank
            m.d.comb += [
                bank.write_enable.eq(put | self.write),
                bank.write_address.eq(Mux(taking, place, self.address)),
                bank.write_word.eq(Mux(taking, self.i_x.payload[index], self.written[index])),
            ]

        # Cycles 0 and 1: the offsets are read. Lanes that come behind the bank of the last one
        # begin in the next word.
        lane_bits = (lanes - 1).bit_length()
        patches = [self.patch, *(Signal.like(self.patch, name=f"patch_{n}") for n in range(1, 5))]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(patches)]
        behind = Signal(lanes)
        m.d.sync += behind.eq(Cat(lane + patches[1][:lane_bits] >= lanes for lane in range(lanes)))

        # Cycle 2: where each lane's activation lies.
        places = Signal(data.ArrayLayout(len(self.address), lanes))
        m.d.sync += [
            places[lane].eq(self.offsets[f"word{lane}"] + patches[2][lane_bits:] + behind[lane])
            for lane in range(lanes)
        ]

        # Cycles 3 and 4: its bank.
        first, then = patches[3][:lane_bits], patches[4][:lane_bits]
        for index, bank in enumerate(banks):
            m.d.comb += bank.read_address.eq(
                Array(places[(index - turn) % lanes] for turn in range(lanes))[first]
            )

        # Cycle 5: back to its lane.
        turned = Signal.like(then)
        m.d.sync += turned.eq(then)
        for lane in range(lanes):
            m.d.sync += self.word[lane].eq(
                Array(banks[(lane + turn) % lanes].read_word for turn in range(lanes))[turned]
            )
        return m
