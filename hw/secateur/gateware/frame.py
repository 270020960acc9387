"""Frames: from decoded bytes to checked requests, and from responses to bytes with a CRC."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import crc, data, stream, wiring  # pyright: ignore[reportAttributeAccessIssue]
from amaranth.lib.wiring import In, Out

from secateur.framing import CRC_SIZE
from secateur.gateware.cobs import decoded_stream, frame_stream
from secateur.gateware.payload import PayloadBuffer, read_layout
from secateur.protocol import REQUEST, Code
from secateur.technology import PORTABLE, Technology

__all__ = ["FrameReceiver", "FrameSender", "request_layout"]


def request_layout(size: int) -> data.StructLayout:
    """Head of a request with at most ``size`` bytes of payload.

    ``code`` is ``OK``, or what is wrong with the frame; then ``length`` means nothing, and where
    it is ``DAMAGED``, command and sequence are zero.
    """
    return data.StructLayout({
        "command": 8,
        "sequence": 8,
        "code": Shape.cast(Code),
        "length": range(size + 1),
    })


class FrameReceiver(wiring.Component):
    """Receive a frame to its end, check it, and keep its payload while ``o`` waits.

    From a frame's end until its request is taken at ``o``, ``i`` is not ready: the payload stays
    as it is, and may be read as often as wanted. Bytes are taken in every other cycle. A request
    comes two to ``word_size + 1`` cycles after the frame's end, when its last word is full.

    Parameters
    ----------
    size : int
        Largest payload, bytes; a power of two.
    word_size : int
        Bytes of a word; a power of two.
    technology : Technology
        Its cells.

    Members
    -------
    i : In(decoded_stream())
        Frames.
    o : Out(stream.Signature(request_layout(size)))
        Requests, good or bad: one for each frame.
    i_read, o_byte, o_word
        Access to the payload, see :class:`secateur.gateware.payload.PayloadBuffer`. Not ready for a
        payload of which a word was lost, because an older one was still being read.
    """

    i: stream.Interface
    o: stream.Interface
    i_read: stream.Interface
    o_byte: stream.Interface
    o_word: stream.Interface

    def __init__(self, size: int, *, word_size: int, technology: Technology = PORTABLE) -> None:
        self.size, self.word_size, self.technology = size, word_size, technology
        super().__init__({
            "i": In(decoded_stream()),
            "o": Out(stream.Signature(request_layout(size))),
            "i_read": In(stream.Signature(read_layout(size))),
            "o_byte": Out(frame_stream()),
            "o_word": Out(stream.Signature(8 * word_size)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.payload = payload = PayloadBuffer(
            self.size, word_size=self.word_size, technology=self.technology
        )
        # Its reset, instead of its `start`, does not add a multiplexer before its XORs.
        restart = Signal()
        check = crc.Processor(crc.catalog.CRC16_XMODEM(data_width=8))
        m.submodules.crc = ResetInserter(restart)(check)
        lost = Signal()  # a word, while the payload before was read
        m.d.comb += [
            payload.i_read.payload.eq(self.i_read.payload),
            payload.i_read.valid.eq(self.i_read.valid & ~lost),
            self.i_read.ready.eq(payload.i_read.ready & ~lost),
        ]
        wiring.connect(m, payload.o_byte, wiring.flipped(self.o_byte))
        wiring.connect(m, payload.o_word, wiring.flipped(self.o_word))

        # The last two bytes of a frame are its CRC, and only its end tells which ones these are:
        # bytes go on with a delay of two. `place` is that of the byte that leaves the delay;
        # payload has places from 0 on. With two bits more than the payload's places need, they
        # are 11 before the payload, 00 in it and 01 behind.
        bits = (self.size - 1).bit_length()
        first = -REQUEST.size - CRC_SIZE
        place = Signal(bits + 2, init=first % (4 << bits))
        delay = Signal(8 * CRC_SIZE)
        byte = Signal(8)
        taken = Signal()
        ended = Signal()
        wide = place.as_signed()
        # What a place means is known a cycle later; until then no byte is taken.
        known = Signal()
        is_first = Signal()
        is_command = Signal()
        is_sequence = Signal()
        counts = Signal()  # for the CRC
        ahead = Signal()
        behind = Signal()
        differs = Signal()
        m.d.comb += [
            self.i.ready.eq(~ended & known),
            taken.eq(self.i.valid & self.i.ready),
            byte.eq(delay[:8]),
        ]
        m.d.sync += [
            known.eq(~taken & ~ended),
            is_first.eq(wide == first),
            is_command.eq(wide == -2),
            is_sequence.eq(wide == -1),
            # Without a long comparison, which would take a carry chain.
            counts.eq((wide >= 0) | Cat(wide == -n for n in range(1, REQUEST.size + 1)).any()),
            ahead.eq(wide < 0),
            behind.eq(place[bits:] == 0b01),
            differs.eq(check.crc != delay),
        ]
        oversized = Signal()
        # Bytes are shifted into a word, which is whole once its last byte is there.
        lane = place[: (self.word_size - 1).bit_length()]
        word = Signal(8 * self.word_size)
        gathered = Signal(8 * (self.word_size - 1), reset_less=True)
        shift = Signal()
        m.d.comb += [
            word.eq(Cat(gathered, byte)),
            shift.eq((taken & ~self.i.payload.end) | (ended & (lane != 0))),
            check.data.eq(byte),
            check.valid.eq(taken & ~self.i.payload.end & counts),
            restart.eq(is_first),
            # Bytes before and behind the payload are written too: those before are overwritten, or
            # lie behind it, and a payload with something behind is not read.
            payload.write_address.eq(place[:bits] >> len(lane)),
            payload.write_data.eq(word),
            payload.write_enable.eq(shift),
        ]
        with m.If(shift):
            m.d.sync += [
                gathered.eq(word >> 8),
                lost.eq((lost | ~payload.i_read.ready) & ~is_first),
            ]
            with m.If(~behind):
                m.d.sync += place.eq(place + 1)
            with m.Else():
                m.d.sync += oversized.eq(1)
        with m.If(taken & ~self.i.payload.end):
            m.d.sync += delay.eq(Cat(delay[8:], self.i.payload.data))
            with m.If(is_command):
                m.d.sync += self.o.payload.command.eq(byte)
            with m.If(is_sequence):
                m.d.sync += self.o.payload.sequence.eq(byte)

        with m.If(taken & self.i.payload.end):
            m.d.sync += [
                ended.eq(1),
                self.o.payload.length.eq(place),
                self.o.payload.code.eq(Mux(oversized, Code.OVERSIZED, Code.OK)),
            ]
            with m.If(self.i.payload.error | ahead | differs):
                m.d.sync += [
                    self.o.payload.code.eq(Code.DAMAGED),
                    self.o.payload.command.eq(0),
                    self.o.payload.sequence.eq(0),
                ]
        # The last word is filled up before the request is shown.
        with m.If(ended & (lane == 0)):
            m.d.sync += self.o.valid.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [ended.eq(0), self.o.valid.eq(0), place.eq(first), oversized.eq(0)]

        return m


class FrameSender(wiring.Component):
    """Append the CRC-16 to each frame, the low byte first.

    Members
    -------
    i, o : In(frame_stream()), Out(frame_stream())
        Frames without and with it.
    """

    LATENCY = 0

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(frame_stream()), "o": Out(frame_stream())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        restart = Signal()
        check = crc.Processor(crc.catalog.CRC16_XMODEM(data_width=8))
        m.submodules.crc = ResetInserter(restart)(check)
        m.d.comb += check.data.eq(self.i.payload.data)

        def send(byte: Value, *, last: int) -> Value:
            """Offer a byte of the CRC; true when it is taken."""
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.data.eq(byte),
                self.o.payload.last.eq(last),
            ]
            return self.o.ready

        with m.FSM():
            with m.State("body"):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid),
                    self.o.payload.data.eq(self.i.payload.data),
                    self.i.ready.eq(self.o.ready),
                    check.valid.eq(self.i.valid & self.o.ready),
                ]
                with m.If(check.valid & self.i.payload.last):
                    m.next = "crc low"
            with m.State("crc low"), m.If(send(check.crc[:8], last=0)):
                m.next = "crc high"
            with m.State("crc high"), m.If(send(check.crc[8:], last=1)):
                m.d.comb += restart.eq(1)
                m.next = "body"

        return m
