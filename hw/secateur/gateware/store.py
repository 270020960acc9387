"""The activation memory: what waits to be multiplied, each word written once and read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.technology import Technology

__all__ = ["ActivationStore", "x_stream"]


def x_stream(spec: EngineSpec) -> stream.Signature:
    """Words of activations; of inputs in the program's input order."""
    return stream.Signature(data.ArrayLayout(spec.activation_width, spec.lanes))


class ActivationStore(wiring.Component):
    """Two queues in one memory: the words of x, and those of the layers in between.

    Takes one word a cycle, and gives one a cycle. Words of a hidden layer go first; the first of
    them may wait for one of x. A first word of x waits for a cycle. A word can be read in the cycle
    after it was taken.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    technology : Technology
        Its cells.

    Members
    -------
    i_x, i_hidden : In(x_stream(spec))
        Words to keep.
    words : In
        Words of an x; held while ``begun`` and ``open``, and a cycle longer.
    open : In(1)
        An x may begin from the next cycle on, and in the cycle after this is deasserted.
    begun : Out(1)
        Words of x are there, or an x is incomplete.
    complete : Out(1)
        Strobe: an x was completed in the cycle before.
    x_there, hidden_there : Out(1)
        A word can be read.
    read_hidden : In(1)
        Which of them is read, where one is.
    take_x, take_hidden : In(1)
        Strobes: read it. One of them in a cycle, and only a word that is there.
    word : Out(data.ArrayLayout(spec.activation_width, spec.lanes))
        Two cycles later.
    """

    i_x: stream.Interface
    i_hidden: stream.Interface
    words: Signal
    open: Signal
    begun: Signal
    complete: Signal
    x_there: Signal
    hidden_there: Signal
    read_hidden: Signal
    take_x: Signal
    take_hidden: Signal
    word: data.View

    def __init__(self, spec: EngineSpec, *, technology: Technology = PORTABLE) -> None:
        self.spec, self.technology = spec, technology
        layer = {f.name: f.width for f in memories(spec)[Section.LAYERS].record.fields}
        super().__init__({
            "i_x": In(x_stream(spec)),
            "i_hidden": In(x_stream(spec)),
            "words": In(layer["source_words"]),
            "open": In(1),
            "begun": Out(1),
            "complete": Out(1),
            "x_there": Out(1),
            "hidden_there": Out(1),
            "read_hidden": In(1),
            "take_x": In(1),
            "take_hidden": In(1),
            "word": Out(data.ArrayLayout(spec.activation_width, spec.lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self.spec.activation_depth
        m.submodules.memory = ram = self.technology.memory(
            data.ArrayLayout(self.spec.activation_width, self.spec.lanes), depth=2 * depth
        )

        def queue(name: str, put: Value, take: Value) -> tuple[Signal, ...]:
            """Count words: where the next goes to and comes from; any, no room, room for one."""
            write = Signal(range(depth), name=f"{name}_write")
            read = Signal(range(depth), name=f"{name}_read")
            there = Signal(name=f"{name}_any")
            full = Signal(name=f"{name}_full")
            fills = Signal(name=f"{name}_fills")  # with the next word, unless one is taken
            # All of this is known a cycle earlier than sums and comparisons would be.
            after_put = Signal(range(depth), init=1, name=f"{name}_after_put")
            after_take = Signal(range(depth), init=1, name=f"{name}_after_take")
            with m.If(put):
                m.d.sync += [write.eq(after_put), after_put.eq(after_put + 1)]
            with m.If(take):
                m.d.sync += [read.eq(after_take), after_take.eq(after_take + 1)]
            m.d.comb += fills.eq(after_put == read)
            with m.If(put & ~take):
                m.d.sync += [there.eq(1), full.eq(fills)]
            with m.Elif(take & ~put):
                m.d.sync += [there.eq(after_take != write), full.eq(0)]
            return write, read, there, full, fills

        put_x = Signal()
        put_hidden = Signal()
        x_write, x_read, x_there, x_full, x_fills = queue("x", put_x, self.take_x)
        hidden_write, hidden_read, hidden_there, hidden_full, _ = queue(
            "hidden", put_hidden, self.take_hidden
        )
        # Whose cycle it is, known in a register: both streams' `ready` have a long way to go.
        turn_x = Signal()
        left = Signal.like(self.words)  # words of the x after the one that comes
        last = Signal()  # left == 0, or fewer
        inside = Signal()  # an x is incomplete
        m.d.comb += [
            self.i_hidden.ready.eq(~hidden_full & ~turn_x),
            put_hidden.eq(self.i_hidden.valid & self.i_hidden.ready),
            self.i_x.ready.eq(turn_x),
            put_x.eq(self.i_x.valid & turn_x),
            self.begun.eq(inside | x_there),
            self.x_there.eq(x_there),
            self.hidden_there.eq(hidden_there),
            ram.write_enable.eq(put_x | put_hidden),
            ram.write_address.eq(Mux(turn_x, Cat(x_write, 0), Cat(hidden_write, 1))),
            ram.write_word.eq(
                Mux(turn_x, Value.cast(self.i_x.payload), Value.cast(self.i_hidden.payload))
            ),
            ram.read_address.eq(Mux(self.read_hidden, Cat(hidden_read, 1), Cat(x_read, 0))),
            self.word.eq(ram.read_word),
        ]
        m.d.sync += [
            self.complete.eq(put_x & last),
            inside.eq(Mux(put_x, ~last, inside)),
            # Words of a layer that fit go first, but for the one that comes in x's turn. The word
            # that is taken in this cycle does not make room for the next cycle's: too late. Where
            # a word of x comes at all, it is put in x's turn: all else is known before.
            turn_x.eq(
                self.i_x.valid
                & ~x_full
                & Mux(turn_x, ~x_fills & (self.open | ~last), self.open | inside)
                & ~(self.i_hidden.valid & ~hidden_full)
            ),
        ]
        with m.If(put_x & ~last):
            m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
        with m.Elif(put_x | ~inside):
            m.d.sync += [left.eq(self.words - 1), last.eq(self.words[1:] == 0)]
        return m
