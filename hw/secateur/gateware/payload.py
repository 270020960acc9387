"""A memory that is written in words, and read as a stream of words or bytes."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.cobs import frame_stream
from secateur.technology import PORTABLE, Technology

__all__ = ["PayloadBuffer", "read_layout"]


def read_layout(size: int) -> data.StructLayout:
    """Lay out what to read from the start of a buffer of ``size`` bytes.

    ``words`` says whether as words or as bytes, ``length`` how many of them, at least one.
    """
    return data.StructLayout({"words": 1, "length": range(size + 1)})


class PayloadBuffer(wiring.Component):
    """Hold one payload.

    Reading gives one word or byte a cycle from three cycles after ``i_read`` was taken.

    Parameters
    ----------
    size : int
        Bytes; a power of two.
    word_size : int
        Bytes of a word; a power of two, at most half of ``size``.
    technology : Technology
        Its cells.

    Members
    -------
    write_address, write_data, write_enable : In
        Word to write; dropped while something is read.
    i_read : In(stream.Signature(read_layout(size)))
        Read from the start. Not ready before the last read was delivered to its end.
    o_byte : Out(frame_stream())
        Bytes, little-endian.
    o_word : Out(stream.Signature(8 * word_size))
        Words.
    """

    LATENCY = 3

    write_address: Signal
    write_data: Signal
    write_enable: Signal
    i_read: stream.Interface
    o_byte: stream.Interface
    o_word: stream.Interface

    def __init__(self, size: int, *, word_size: int, technology: Technology = PORTABLE) -> None:
        self.size, self.word_size, self.technology = size, word_size, technology
        super().__init__({
            "write_address": In(range(size // word_size)),
            "write_data": In(8 * word_size),
            "write_enable": In(1),
            "i_read": In(stream.Signature(read_layout(size))),
            "o_byte": Out(frame_stream()),
            "o_word": Out(stream.Signature(8 * word_size)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self.size // self.word_size
        m.submodules.memory = ram = self.technology.memory(8 * self.word_size, depth=depth)

        left = Signal(range(self.size + 1))
        active = Signal()  # left != 0
        last = Signal()  # left == 1
        words = Signal()
        taken = Signal()
        word_taken = Signal()
        lane = Signal((self.word_size - 1).bit_length())
        following = Signal.like(lane)
        whole = Signal()  # what is taken next is a word, or the last byte of one
        m.d.comb += [
            self.i_read.ready.eq(~active),
            following.eq(lane + 1),
        ]

        # Cycles 0 and 1: in the memory, which stands still while its word waits.
        address = Signal.like(self.write_address)
        fetched = Signal()
        valid = Signal()
        move = Signal()
        word = ram.read_word
        m.d.comb += [
            move.eq(~valid | word_taken),
            ram.read_address.eq(address),
            ram.read_enable.eq(move),
            ram.write_address.eq(self.write_address),
            ram.write_word.eq(self.write_data),
            # A request that is given up goes on reading while others come and are refused.
            ram.write_enable.eq(self.write_enable & ~active),
        ]
        with m.If(move):
            m.d.sync += [address.eq(address + 1), fetched.eq(active), valid.eq(fetched)]

        # Cycle 2: out.
        m.d.comb += [
            self.o_word.valid.eq(valid & words),
            self.o_word.payload.eq(word),
            self.o_byte.valid.eq(valid & ~words),
            self.o_byte.payload.data.eq(word.word_select(lane, 8)),
            self.o_byte.payload.last.eq(last),
            taken.eq(valid & Mux(words, self.o_word.ready, self.o_byte.ready)),
            word_taken.eq(taken & whole),
        ]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2), active.eq(~last)]
            with m.If(~words):
                m.d.sync += [lane.eq(following), whole.eq(following == self.word_size - 1)]
        with m.If((taken & last) | ~active):
            m.d.sync += [address.eq(0), fetched.eq(0), valid.eq(0), lane.eq(0)]
        with m.If(self.i_read.valid & ~active):
            m.d.sync += [
                words.eq(self.i_read.payload.words),
                whole.eq(self.i_read.payload.words | (self.word_size == 1)),
                left.eq(self.i_read.payload.length),
                last.eq(self.i_read.payload.length == 1),
                active.eq(1),
            ]

        return m
