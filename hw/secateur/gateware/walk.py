"""From words of activations to what every processing element sees of a layer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Walker", "job_layout", "pass_word", "visit_layout"]


def job_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out a job: one layer of one inference."""
    layer = {f.name: f.width for f in memories(spec)[Section.LAYERS].record.fields}
    return data.StructLayout({
        "tag": range(spec.jobs),  # set of accumulators that it uses
        "hidden": 1,  # its input is a layer's output, not x
        "words": max(layer["source_words"], layer["rows_words"]),  # of its input
        "column": layer["column_base"],  # address of the first one's counts
        "weight": layer["weight_base"],  # address of every PE's first entry
        "signed": layer["input_signed"],
    })


def visit_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out how a column is passed, as the processing elements of one lane see it."""
    return data.StructLayout({
        "tag": range(spec.tags),
        "first": 1,  # the tag's first column is passed, whose entries begin at `base`
        "base": range(spec.weight_depth),
        "end": 1,  # the tag's last column
        "active": 1,  # its activation is not zero
        # One bit more than an activation, so that signed and unsigned ones share a multiplier.
        "value": signed(spec.activation_width + 1),
    })


class Passing(Protocol):
    """What passes columns: members as in :class:`Walker`."""

    spec: EngineSpec
    checked: bool
    word: data.View
    scan: Signal
    scan_first: Signal
    visit: Signal
    o: data.View


class Walker(wiring.Component):
    """Pass a job's words, ``lanes`` columns in each cycle, to the lanes' processing elements.

    A word takes one cycle, whatever is in it, unless it is not there yet or a queue is full. What
    is passed arrives ``LATENCY`` cycles later, beside the column memory's word.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    checked : bool
        Whether its weights can be checked.

    Members
    -------
    start, job : In(1), In(job_layout(spec))
        Strobe: begin. Only while ``done``.
    x_there, hidden_there : In(1)
        The activation memory has a word of x, of the hidden layers.
    room : In(1)
        All queues have room for what may still come.
    read_hidden : Out(1)
        The word that is read, where one is, is one of the hidden layers. Known early.
    take_x, take_hidden : Out(1)
        Strobes: read a word; it stands in ``word`` two cycles later.
    word : In(data.ArrayLayout(spec.activation_width, spec.lanes))
        That word.
    column : Out(range(spec.column_depth))
        Address of its counts.
    scan, scan_first : In(1), In(1)
        Strobe: pass a column for a check of the weights, from address 0 or going on. Only while
        nothing is walked, drained or multiplied; absent if they cannot be checked.
    visit, o : Out(1), Out(data.ArrayLayout(visit_layout(spec), spec.lanes))
        A column in every lane.
    done : Out(1)
        Everything since ``start`` was passed.
    waiting, blocked : Out(1)
        The next word is not there; or it is, but a queue is full.
    """

    #: Cycles from reading a word until it is passed: the memory, and a register.
    LATENCY = 3

    start: Signal
    job: data.View
    x_there: Signal
    hidden_there: Signal
    room: Signal
    read_hidden: Signal
    take_x: Signal
    take_hidden: Signal
    word: data.View
    column: Signal
    scan: Signal
    scan_first: Signal
    visit: Signal
    o: data.View
    done: Signal
    waiting: Signal
    blocked: Signal

    def __init__(self, spec: EngineSpec, *, checked: bool = False) -> None:
        self.spec, self.checked = spec, checked
        super().__init__({
            "start": In(1),
            "job": In(job_layout(spec)),
            "x_there": In(1),
            "hidden_there": In(1),
            "room": In(1),
            "read_hidden": Out(1),
            "take_x": Out(1),
            "take_hidden": Out(1),
            "word": In(data.ArrayLayout(spec.activation_width, spec.lanes)),
            "column": Out(range(spec.column_depth)),
            **({"scan": In(1), "scan_first": In(1)} if checked else {}),
            "visit": Out(1),
            "o": Out(data.ArrayLayout(visit_layout(spec), spec.lanes)),
            "done": Out(1),
            "waiting": Out(1),
            "blocked": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Signal(job_layout(self.spec))
        left = Signal.like(job.words)
        under_way = Signal()  # left != 0
        first = Signal()
        there = Signal()
        take = Signal()
        m.d.comb += [
            there.eq(Mux(job.hidden, self.hidden_there, self.x_there)),
            self.read_hidden.eq(job.hidden),
            self.take_x.eq(under_way & self.room & ~job.hidden & self.x_there),
            self.take_hidden.eq(under_way & self.room & job.hidden & self.hidden_there),
            take.eq(self.take_x | self.take_hidden),
            self.column.eq(job.column),
            self.done.eq(~under_way),
            self.waiting.eq(under_way & ~there),
            self.blocked.eq(under_way & there & ~self.room),
        ]
        with m.If(take):
            m.d.sync += [
                left.eq(left - 1),
                under_way.eq(left != 1),
                job.column.eq(job.column + 1),
                first.eq(0),
            ]
        with m.If(self.start):
            m.d.sync += [
                job.eq(self.job),
                left.eq(self.job.words),
                under_way.eq(1),
                first.eq(1),
            ]

        # What is known of the word while the memory reads it, cycle by cycle.
        known = data.StructLayout(
            {
                name: field.shape
                for name, field in visit_layout(self.spec)
                if name not in ("active", "value")
            }
            | {"valid": 1, "signed": 1}
        )
        read = [Signal(known, name=f"read_{cycle}") for cycle in range(1, self.LATENCY)]
        m.d.sync += [
            read[0].valid.eq(take),
            read[0].tag.eq(job.tag),
            read[0].first.eq(first),
            read[0].base.eq(job.weight),
            read[0].end.eq(left == 1),
            read[0].signed.eq(job.signed),
            *(late.eq(early) for early, late in itertools.pairwise(read)),
        ]

        word = read[-1]
        pass_word(self, m, word, signed=word.signed)
        return m


def pass_word(walker: Passing, m: Module, known: data.View, *, signed: Value) -> None:
    """Pass the word that has come, or a column of a check, to the lanes.

    Parameters
    ----------
    walker : Passing
    m : Module
    known : data.View
        What is known of the word beside its activations: whether it is ``valid``, and the fields of
        :func:`visit_layout` that all lanes have alike.
    signed : Value
        Its activations are two's complement.
    """
    m.d.sync += walker.visit.eq(known.valid)
    for lane in range(walker.spec.lanes):
        value, visit = walker.word[lane], walker.o[lane]
        m.d.sync += [
            visit.tag.eq(known.tag),
            visit.first.eq(known.first & known.valid),
            visit.base.eq(known.base),
            visit.end.eq(known.end),
            visit.active.eq(value != 0),
            visit.value.eq(Cat(value, value[-1] & signed).as_signed()),
        ]
    if walker.checked:
        # Active, so that its entries are multiplied; by zero, so that no sum changes. It is no
        # job's end: nothing is left to be walked.
        with m.If(walker.scan):
            m.d.sync += walker.visit.eq(1)
            for lane in range(walker.spec.lanes):
                visit = walker.o[lane]
                m.d.sync += [
                    *(visit.first.eq(walker.scan_first), visit.base.eq(0)),
                    *(visit.active.eq(1), visit.value.eq(0)),
                ]
