"""Consistent overhead byte stuffing: frames without a zero byte, which therefore ends them.

Stuart Cheshire, Mary Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on
Networking 7(2), 1999. A frame is cut into blocks; a code byte counts its block's bytes, itself
included. A block ends with a zero that is not sent, unless it has the largest code or is the last.
"""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.uart import received_stream
from secateur.technology import PORTABLE, Technology

__all__ = ["CobsDecoder", "CobsEncoder", "decoded_stream", "frame_stream"]

#: Code of a block without an implied zero, and one more than the bytes that it has.
FULL = 255


def decoded_stream() -> stream.Signature:
    """Bytes of frames, each frame closed by an ``end`` that carries no byte.

    ``error`` goes with ``end``: the frame was damaged.
    """
    return stream.Signature(data.StructLayout({"data": 8, "end": 1, "error": 1}))


def frame_stream() -> stream.Signature:
    """Bytes of frames; ``last`` marks the last one. A frame has at least one byte."""
    return stream.Signature(data.StructLayout({"data": 8, "last": 1}))


class CobsDecoder(wiring.Component):
    """Unstuff frames.

    Each byte in gives at most one item out, one cycle later. Whatever happened before, a zero byte
    begins a new frame. Zero bytes between frames give nothing.

    Members
    -------
    i : In(received_stream())
        Stuffed bytes. One with ``error`` damages the frame that it is in.
    o : Out(decoded_stream())
        Frames.
    """

    LATENCY = 1

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(received_stream()), "o": Out(decoded_stream())})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        left = Signal(8)  # bytes before the next code, unless it is the next one
        is_code = Signal(init=1)  # left == 0
        zero = Signal()  # a zero is implied between this block and the next
        begun = Signal()
        damaged = Signal()
        is_end = Signal()
        is_byte = Signal()
        m.d.comb += [
            is_end.eq(self.i.payload.data == 0),
            is_byte.eq(~is_end & (~is_code | zero)),
        ]

        with m.If(~self.o.valid | self.o.ready):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [
                self.o.valid.eq(
                    self.i.valid & (is_byte | (is_end & (begun | self.i.payload.error)))
                ),
                self.o.payload.data.eq(Mux(is_code, 0, self.i.payload.data)),
                self.o.payload.end.eq(is_end),
                self.o.payload.error.eq(is_end & (damaged | self.i.payload.error | ~is_code)),
            ]
            with m.If(self.i.valid):
                m.d.sync += [
                    begun.eq(1),
                    damaged.eq(damaged | self.i.payload.error),
                    left.eq(Mux(is_code, self.i.payload.data, left) - 1),
                    is_code.eq(Mux(is_code, self.i.payload.data == 1, left == 1)),
                ]
                with m.If(is_end):
                    m.d.sync += [is_code.eq(1), zero.eq(0), begun.eq(0), damaged.eq(0)]
                with m.Elif(is_code):
                    m.d.sync += zero.eq(self.i.payload.data != FULL)

        return m


class CobsEncoder(wiring.Component):
    """Stuff frames, and end each with a zero byte.

    A block is gathered in a memory, since its code comes before it. Gathering takes one byte every
    two cycles; sending gives one every three, while ``i`` waits.

    Parameters
    ----------
    technology : Technology
        Its cells.

    Members
    -------
    i : In(frame_stream())
        Frames.
    o : Out(stream.Signature(8))
        Stuffed bytes and the zeros behind the frames.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, technology: Technology = PORTABLE) -> None:
        self.technology = technology
        super().__init__({"i": In(frame_stream()), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A byte that is read while it is written is read again before it is sent.
        m.submodules.block = block = self.technology.memory(8, depth=FULL + 1)

        count = Signal(8)  # bytes in the block, at most 254; when sending, those not sent yet
        index = Signal(8)
        # What `count` and a byte say is known from registers.
        empty = Signal(init=1)  # count is 0
        single = Signal()  # 1, when sending
        full = Signal()  # 253, before a byte is put into the block
        ends_frame = Signal()  # nothing follows this block
        empty_follows = Signal()  # the frame ends with a zero: a last block without bytes follows
        is_zero = Signal()  # the byte that waits, which stays until it is taken
        m.d.comb += [
            block.write_address.eq(count),
            block.write_word.eq(self.i.payload.data),
            block.read_address.eq(index),
        ]

        def finish_block() -> None:
            with m.If(ends_frame):
                m.next = "end"
            with m.Elif(empty_follows):
                m.d.sync += [ends_frame.eq(1), empty_follows.eq(0)]
                m.next = "code"
            with m.Else():
                m.next = "gather"

        def send(value: Value | int) -> Value:
            """Offer a byte; true when it is taken."""
            m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(value)]
            return self.o.ready

        with m.FSM():
            with m.State("gather"):
                m.d.sync += [
                    index.eq(0),
                    is_zero.eq(self.i.payload.data == 0),
                    full.eq(count == FULL - 2),
                ]
                with m.If(self.i.valid):
                    m.next = "put"
            with m.State("put"):
                # A zero is written behind the block and not counted, so that nothing sends it.
                m.d.comb += [self.i.ready.eq(1), block.write_enable.eq(1)]
                m.d.sync += [
                    ends_frame.eq(self.i.payload.last & ~is_zero),
                    empty_follows.eq(self.i.payload.last & is_zero),
                ]
                with m.If(~is_zero):
                    m.d.sync += [count.eq(count + 1), empty.eq(0)]
                m.next = "gather"
                with m.If(is_zero | self.i.payload.last | full):
                    m.next = "code"
            with m.State("code"):
                m.d.sync += single.eq(count == 1)
                with m.If(send(count + 1)):
                    m.next = "wait"
                    with m.If(empty):
                        finish_block()
            with m.State("byte"), m.If(send(block.read_word)):
                m.d.sync += [index.eq(index + 1), count.eq(count - 1), single.eq(count == 2)]
                m.next = "fetch"
                with m.If(single):
                    m.d.sync += empty.eq(1)
                    finish_block()
            with m.State("fetch"):
                m.next = "wait"
            with m.State("wait"):
                m.next = "byte"
            with m.State("end"), m.If(send(0)):
                m.next = "gather"

        return m
