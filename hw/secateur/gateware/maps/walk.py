"""From a map to what every processing element sees of a layer: position by position."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import LOOPS, Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.maps.loops import Loops
from secateur.gateware.maps.store import MapStore
from secateur.gateware.walk import pass_word, visit_layout

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["MapWalker"]


class MapWalker(wiring.Component):
    """Pass a layer's columns, ``lanes`` in each cycle, again for each of its positions.

    A position begins when a set of accumulators is free, with tag 0 for a layer's first, and its
    columns follow each other and those of the position before without a gap, but for positions of
    one word or two, of which one begins every three cycles.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    checked : bool
        Whether its weights can be checked.

    Members
    -------
    start, layer : In(1), In(layer table word)
        Strobe: begin with this layer, which is held until ``done``. Only while ``done`` and all
        sets are free.
    freed : In(1)
        Strobe: the oldest set of accumulators is free.
    room : In(1)
        All queues have room for what may still come.
    patch : Out(spec.address_width)
        Where a position's activations are.
    offset : Out(range(spec.column_depth))
        Address of a word's offsets, ``GATHER`` cycles before that of its counts.
    column : Out(range(spec.column_depth))
        Address of its counts.
    word : In(data.ArrayLayout(spec.activation_width, spec.lanes))
        Its activations.
    scan, scan_first, visit, o
        As in :class:`secateur.gateware.walk.Walker`.
    done : Out(1)
        Every column of every position since ``start`` was passed.
    take : Out(1)
        Strobe: a word is passed, ``LATENCY`` cycles later.
    waiting, blocked : Out(1)
        No set of accumulators is free; or one is, but a queue is full.
    """

    #: Cycles from the address of a word's offsets to that of its counts.
    GATHER = MapStore.LATENCY - 2
    #: Cycles from the address of its offsets until a word is passed.
    LATENCY = MapStore.LATENCY + 1

    start: Signal
    layer: data.View
    freed: Signal
    room: Signal
    patch: Signal
    offset: Signal
    column: Signal
    word: data.View
    scan: Signal
    scan_first: Signal
    visit: Signal
    o: data.View
    done: Signal
    take: Signal
    waiting: Signal
    blocked: Signal

    def __init__(self, spec: EngineSpec, *, checked: bool = False) -> None:
        self.spec, self.checked = spec, checked
        super().__init__({
            "start": In(1),
            "layer": In(struct(memories(spec)[Section.LAYERS].record)),
            "freed": In(1),
            "room": In(1),
            "patch": Out(spec.address_width),
            "offset": Out(range(spec.column_depth)),
            "column": Out(range(spec.column_depth)),
            "word": In(data.ArrayLayout(spec.activation_width, spec.lanes)),
            **({"scan": In(1), "scan_first": In(1)} if checked else {}),
            "visit": Out(1),
            "o": Out(data.ArrayLayout(visit_layout(spec), spec.lanes)),
            "done": Out(1),
            "take": Out(1),
            "waiting": Out(1),
            "blocked": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, layer = self.spec, self.layer
        m.submodules.loops = loops = Loops(spec)
        words = layer.source_words | (layer.source_words == 0)

        # Sets of accumulators.
        free = Signal(range(spec.tags + 1), init=spec.tags)
        tag = Signal(range(spec.tags))
        begin = Signal()
        m.d.sync += free.eq(free - begin + self.freed)

        # Where the next position is, known two cycles after the one before has begun.
        known = Signal()
        following = Signal.like(self.patch)
        step = Signal.like(self.patch)
        chosen = Signal()
        chooses = Signal()
        m.d.comb += [
            loops.start.eq(self.start),
            Value.cast(loops.counts).eq(Cat(layer[f"count{n}"] for n in range(LOOPS))),
            loops.advance.eq(chooses),
        ]
        m.d.sync += [chooses.eq(begin), chosen.eq(chooses & ~loops.ends.all())]
        # The innermost loop that goes on.
        m.d.sync += step.eq(layer[f"step{LOOPS - 1}"])
        for loop in reversed(range(LOOPS - 1)):
            with m.If(~loops.ends[loop]):
                m.d.sync += step.eq(layer[f"step{loop}"])
        with m.If(chosen):
            m.d.sync += [following.eq(self.patch + step), known.eq(1)]

        # A position.
        walking = Signal()
        left = Signal.like(layer.source_words)
        last = Signal()  # left == 1
        first = Signal()
        ends = Signal()
        m.d.comb += [
            # Unless a position follows, or it is not known yet whether one does.
            self.done.eq(~(walking | known | chooses | chosen)),
            self.take.eq(walking & self.room),
            ends.eq(self.take & last),
            begin.eq(known & (free != 0) & (~walking | ends)),
            self.waiting.eq(known & (free == 0) & ~walking),
            self.blocked.eq(walking & ~self.room),
        ]
        with m.If(self.take):
            m.d.sync += [
                self.offset.eq(self.offset + 1),
                left.eq(left - 1),
                last.eq(left == 2),
                first.eq(0),
                walking.eq(~last),
            ]
        with m.If(begin):
            m.d.sync += [
                walking.eq(1),
                known.eq(0),
                self.patch.eq(following),
                self.offset.eq(layer.column_base),
                left.eq(words),
                last.eq(words == 1),
                first.eq(1),
                tag.eq(tag + 1),
            ]
        with m.If(self.start):
            m.d.sync += [following.eq(layer.source_base), known.eq(1), tag.eq(~0)]

        # What is known of a word while its activations are read, cycle by cycle.
        beside = data.StructLayout({
            "valid": 1,
            "tag": tag.shape(),
            "first": 1,
            "end": 1,
        })
        read = [Signal(beside, name=f"read_{cycle}") for cycle in range(1, self.LATENCY)]
        columns = [Signal.like(self.column, name=f"column_{n}") for n in range(1, self.GATHER)]
        m.d.sync += [
            read[0].valid.eq(self.take),
            read[0].tag.eq(tag),
            read[0].first.eq(first),
            read[0].end.eq(last),
            *(late.eq(early) for early, late in itertools.pairwise(read)),
            *(
                late.eq(early)
                for early, late in itertools.pairwise([self.offset, *columns, self.column])
            ),
        ]
        word = Signal(data.StructLayout({**beside.members, "base": layer.weight_base.shape()}))
        m.d.comb += [
            *(word[name].eq(read[-1][name]) for name in beside.members),
            word.base.eq(layer.weight_base),
        ]
        pass_word(self, m, word, signed=layer.input_signed)
        return m
