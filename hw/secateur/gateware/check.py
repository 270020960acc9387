"""Read the weights of one processing element while the engine rests, and sum them up."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import crc, data, stream, wiring  # pyright: ignore[reportAttributeAccessIssue]
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.protocol import CHECK

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Checker", "check_stream", "crc_stream", "cycles_per_entry"]

#: Entries that a LUT joins.
JOINED = 4


def check_stream() -> stream.Signature:
    """Ask for a check: whose entries, and how many of them."""
    return stream.Signature(struct(CHECK))


def crc_stream() -> stream.Signature:
    """CRC-32 of these entries, as :mod:`secateur.checksum` defines it."""
    return stream.Signature(32)


def cycles_per_entry(spec: EngineSpec) -> int:
    """Count the cycles that an entry takes: on its way to a PE and back, and one for each bit."""
    levels, joined = 0, spec.pes
    while joined > 1:
        levels, joined = levels + 1, -(-joined // JOINED)
    return 10 + levels + 8 * memories(spec)[Section.WEIGHTS].record.size


class Checker(wiring.Component):
    """Read a PE's entries one by one, in the bank in use, through the pipeline that there is.

    An entry is asked for by passing a column that has one entry in every PE and the activation
    zero: all PEs read theirs and add nothing. It takes ``cycles_per_entry(spec)`` for each, in
    which the product is stored, too, and two cycles more from ``granted`` to the answer.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    i : In(check_stream())
        Taken when all entries were read. A PE that the engine does not have reads as zeros; of
        ``count``, bits beyond those of twice the memory's depth do not count.
    o : Out(crc_stream())
        One answer for each.
    wanted, granted, done : Out(1), In(1), Out(1)
        A check waits or is under way, until ``done``; it begins once ``granted``: nothing else
        is under way then.
    scan, scan_first : Out(1), Out(1)
        Strobe: pass such a column; it is the entry at address 0.
    selected : Out(spec.pes)
        The PE that is read, one hot.
    entries, there : In(data.ArrayLayout(spec.entry_width, spec.pes)), In(1)
        What the PEs have read, zero where not selected; strobe: this is an entry.
    """

    i: stream.Interface
    o: stream.Interface
    wanted: Signal
    granted: Signal
    done: Signal
    scan: Signal
    scan_first: Signal
    selected: Signal
    entries: data.View
    there: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        super().__init__({
            "i": In(check_stream()),
            "o": Out(crc_stream()),
            "wanted": Out(1),
            "granted": In(1),
            "done": Out(1),
            "scan": Out(1),
            "scan_first": Out(1),
            "selected": Out(spec.pes),
            "entries": In(data.ArrayLayout(spec.entry_width, spec.pes)),
            "there": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory = memories(self.spec)[Section.WEIGHTS]

        # The entries come from all over the chip: registers on their way.
        joined = [self.entries[pe] for pe in range(self.spec.pes)]
        there = self.there
        while len(joined) > 1:
            level = []
            for start in range(0, len(joined), JOINED):
                word = Signal(self.spec.entry_width, name=f"joined_{len(joined)}_{start}")
                m.d.sync += word.eq(reduce(or_, joined[start : start + JOINED]))
                level.append(word)
            early, there = there, Signal(name=f"there_{len(joined)}")
            m.d.sync += there.eq(early)
            joined = level

        m.submodules.crc = checksum = crc.Processor(crc.catalog.CRC32_ISO_HDLC(data_width=1))
        bits = 8 * memory.record.size
        word = Signal(bits)  # as in an image, the lowest bit first
        bits_left = Signal(range(bits))
        left = Signal(range(memory.depth + 1))
        m.d.sync += [
            self.scan.eq(0),
            self.selected.eq(Cat(self.i.payload.pe == pe for pe in range(self.spec.pes))),
        ]
        m.d.comb += [
            self.wanted.eq(self.i.valid & ~self.o.valid),
            self.done.eq(self.i.ready),
            self.o.payload.eq(checksum.crc),
            checksum.data.eq(word[0]),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += checksum.start.eq(1)
                m.d.sync += [left.eq(self.i.payload.count), self.scan_first.eq(1)]
                with m.If(self.i.valid & self.granted):
                    m.next = "ask"
            with m.State("ask"):
                with m.If(left == 0):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "answer"
                with m.Else():
                    m.d.sync += [self.scan.eq(1), left.eq(left - 1)]
                    m.next = "read"
            with m.State("read"):
                m.d.sync += [word.eq(joined[0]), bits_left.eq(bits - 1)]
                with m.If(there):
                    m.d.sync += self.scan_first.eq(0)
                    m.next = "sum"
            with m.State("sum"):
                m.d.comb += checksum.valid.eq(1)
                m.d.sync += [word.eq(word >> 1), bits_left.eq(bits_left - 1)]
                with m.If(bits_left == 0):
                    m.next = "ask"
            with m.State("answer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"
        return m
