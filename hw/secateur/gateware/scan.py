"""From words of activations to a stream of the columns that are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Scanner", "column_layout"]


def column_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out a non-zero activation and the address of its column word."""
    return data.StructLayout({
        "column": range(spec.column_depth),
        # One bit more than an activation, so that signed and unsigned ones share a multiplier.
        "value": signed(spec.activation_width + 1),
    })


class Scanner(wiring.Component):
    """Read a layer's input and deliver its non-zero activations in ascending order.

    A word with k non-zero activations takes max(1, k) cycles while ``o.ready`` is asserted; the
    first payload is valid 3 cycles after ``start``.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    start : In(1)
        Strobe: begin with the descriptor below. Only while ``done``.
    source, source_words, column_base, input_signed : In
        As in the layer table; held from ``start`` on.
    address, enable, word : Out, Out, In
        Read port of the activation memory, one cycle of latency; the word holds while
        ``enable`` is deasserted.
    o : Out(stream.Signature(column_layout(spec)))
        Non-zero activations.
    done : Out(1)
        Everything since ``start`` was delivered.
    """

    start: Signal
    source: Signal
    source_words: Signal
    column_base: Signal
    input_signed: Signal
    address: Signal
    enable: Signal
    word: data.View
    o: stream.Interface
    done: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        fields = {f.name: f.width for f in memories(spec)[Section.LAYERS].record.fields}
        inputs = ("source", "source_words", "column_base", "input_signed")
        super().__init__({
            "start": In(1),
            **{name: In(fields[name]) for name in inputs},
            "address": Out(fields["source"]),
            "enable": Out(1),
            "word": In(data.ArrayLayout(spec.activation_width, spec.lanes)),
            "o": Out(stream.Signature(column_layout(spec))),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, width = self.spec.lanes, self.spec.activation_width

        # Stage 0: addresses. `left` words are still to be read.
        left = Signal.like(self.source_words)
        fetched = Signal()  # the memory's output holds a word that stage 2 has not taken
        take = Signal()  # stage 2 takes it
        m.d.comb += self.enable.eq((left != 0) & (~fetched | take))
        with m.If(self.enable):
            m.d.sync += [self.address.eq(self.address + 1), left.eq(left - 1), fetched.eq(1)]
        with m.Elif(take):
            m.d.sync += fetched.eq(0)

        # Stage 2: the word under scan; `pending` marks its activations still to be delivered.
        column = Signal.like(self.o.payload.column)  # of lane 0 of the word in the memory's output
        base = Signal.like(column)
        values = Signal(data.ArrayLayout(width, lanes))
        pending = Signal(lanes)
        rest = Signal(lanes)
        m.d.comb += [
            rest.eq(pending & (pending - 1)),
            take.eq(fetched & ((pending == 0) | ((rest == 0) & self.o.ready))),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += pending.eq(rest)
        with m.If(take):
            m.d.sync += [
                values.eq(self.word),
                pending.eq(Cat(self.word[lane] != 0 for lane in range(lanes))),
                base.eq(column),
                column.eq(column + lanes),
            ]

        m.d.comb += self.o.valid.eq(pending != 0)
        for lane in reversed(range(lanes)):
            with m.If(pending[lane]):
                value = values[lane]
                sign = value[-1] & self.input_signed
                m.d.comb += [
                    self.o.payload.column.eq(base + lane),
                    self.o.payload.value.eq(Cat(value, sign).as_signed()),
                ]
        m.d.comb += self.done.eq((left == 0) & ~fetched & (pending == 0))

        with m.If(self.start):
            m.d.sync += [
                self.address.eq(self.source),
                left.eq(self.source_words),
                column.eq(self.column_base),
            ]
        return m
