"""Take inputs in while others are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["InputBuffer", "x_stream"]


def x_stream(spec: EngineSpec) -> stream.Signature:
    """Words of inputs, in the program's input order."""
    return stream.Signature(data.ArrayLayout(spec.activation_width, spec.lanes))


class InputBuffer(wiring.Component):
    """Write x into the two input regions of the activation memory, in turn.

    Takes one word a cycle while one of the regions is free.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    i : In(x_stream(spec))
        Inputs, one after the other.
    source, words : In
        First word and number of words of the first region; the second follows it. Both are held
        while ``occupied``.
    open : In(1)
        An input may begin.
    pause : In(1)
        The write port is needed elsewhere in this cycle.
    write, write_address, write_word : Out
        A word of activations.
    full : Out(1)
        A whole input is there, at ``full_source``.
    full_source : Out
        Its first word.
    release : In(1)
        Strobe: that input is not needed any more. Only while ``full``.
    occupied : Out(1)
        An input is there or has begun.
    """

    i: stream.Interface
    source: Signal
    words: Signal
    open: Signal
    pause: Signal
    write: Signal
    write_address: Signal
    write_word: data.View
    full: Signal
    full_source: Signal
    release: Signal
    occupied: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        fields = {f.name: f.width for f in memories(spec)[Section.LAYERS].record.fields}
        super().__init__({
            "i": In(x_stream(spec)),
            "source": In(fields["source"]),
            "words": In(fields["source_words"]),
            "open": In(1),
            "pause": In(1),
            "write": Out(1),
            "write_address": Out(fields["source"]),
            "write_word": Out(data.ArrayLayout(spec.activation_width, spec.lanes)),
            "full": Out(1),
            "full_source": Out(fields["source"]),
            "release": In(1),
            "occupied": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = Signal(range(3))  # whole inputs in the regions
        writing = Signal()  # region that the next word goes to
        reading = Signal()  # region of the oldest input
        position = Signal.like(self.words)
        ends = Signal()

        m.d.comb += [
            self.i.ready.eq((inputs != 2) & ~self.pause & (self.open | (position != 0))),
            self.write.eq(self.i.valid & self.i.ready),
            self.write_address.eq(self.source + Mux(writing, self.words, 0) + position),
            self.write_word.eq(self.i.payload),
            # Not an equality: a program that says 0 words must not take x for ever.
            ends.eq(self.write & (position + 1 >= self.words)),
            self.full.eq(inputs != 0),
            self.full_source.eq(self.source + Mux(reading, self.words, 0)),
            self.occupied.eq((inputs != 0) | (position != 0)),
        ]
        m.d.sync += inputs.eq(inputs + ends - self.release)
        with m.If(self.write):
            m.d.sync += position.eq(Mux(ends, 0, position + 1))
        with m.If(ends):
            m.d.sync += writing.eq(~writing)
        with m.If(self.release):
            m.d.sync += reading.eq(~reading)
        return m
