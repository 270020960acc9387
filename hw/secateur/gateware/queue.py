"""A queue that takes no more than its memory."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue"]


class Queue(wiring.Component):
    """A first-in first-out queue whose oldest word stands in a register.

    As :class:`amaranth.lib.fifo.SyncFIFOBuffered`, but for two things. Whoever writes knows that
    there is room. And Yosys sees that nothing is read in the cycle in which it is written: to block
    RAM with a clocked read port it adds registers and multiplexers that give the old word then,
    twice the word's bits; the attribute ``no_rw_check`` counts only for a port without a clock,
    into which Yosys itself puts the register behind it.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words, with that in the register; at least 2.

    Members
    -------
    w_en, w_data : In
        A word to append; never to a full queue.
    r_rdy, r_data : Out
        The oldest word, ``LATENCY`` cycles after it was written at the earliest.
    r_en : In(1)
        It is taken.
    """

    LATENCY = 2

    w_en: Signal
    w_data: Signal
    r_rdy: Signal
    r_data: Signal
    r_en: Signal

    def __init__(self, *, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__({
            "w_en": In(1),
            "w_data": In(width),
            "r_rdy": Out(1),
            "r_data": Out(width),
            "r_en": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self.depth - 1
        m.submodules.storage = storage = memory.Memory(
            shape=self.width, depth=words, init=[], attrs={"no_rw_check": "1"}
        )
        write, read = storage.write_port(), storage.read_port(domain="comb")
        there = Signal()  # the memory is not empty
        fetch = Signal()
        oldest = Signal(self.width, reset_less=True)
        m.d.comb += [
            fetch.eq(there & (~self.r_rdy | self.r_en)),
            write.en.eq(self.w_en),
            write.data.eq(self.w_data),
            self.r_data.eq(oldest),
        ]

        def after(address: Value) -> Value:
            return Mux(address == words - 1, 0, address + 1)

        after_read = Signal.like(read.addr, init=1 % words)  # ahead, to shorten the comparison
        with m.If(self.w_en):
            m.d.sync += [write.addr.eq(after(write.addr)), there.eq(1)]
        with m.If(fetch):
            m.d.sync += [read.addr.eq(after_read), after_read.eq(after(after_read))]
            with m.If(~self.w_en):
                m.d.sync += there.eq(after_read != write.addr)
            m.d.sync += [oldest.eq(read.data), self.r_rdy.eq(1)]
        with m.Elif(self.r_en):
            m.d.sync += self.r_rdy.eq(0)
        return m
