"""From what is to be said to the bytes of a response."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.cobs import frame_stream
from secateur.gateware.layout import struct
from secateur.protocol import CRC, RESPONSE, RESULT, STATUS

#: The status ends with the program that the result begins with: the bytes are selected once.
PROGRAM = RESULT.fields[0]
assert STATUS.fields[-1].name == PROGRAM.name
assert STATUS.fields[-1].width == PROGRAM.width

__all__ = ["Body", "Responder", "response_layout"]


class Body(enum.IntEnum):
    """What follows the head of a response."""

    NONE = 0
    STATUS = 1
    RESULT = 2
    CRC = 3


def response_layout() -> data.StructLayout:
    """Head and kind of a response."""
    return data.StructLayout({"head": struct(RESPONSE), "body": Shape.cast(Body)})


class Responder(wiring.Component):
    """Put a response together, byte by byte.

    Throughput is one byte every three cycles, of y every two.

    Parameters
    ----------
    checked : bool
        Whether there is the body ``CRC``.

    Members
    -------
    i : In(stream.Signature(response_layout()))
        Responses; each is taken after its last byte.
    status : In(struct(STATUS))
        For the body ``STATUS``; each byte is looked at when it is sent.
    result : In(struct(RESULT))
        For the body ``RESULT``; held while such a response is offered. Its program is not looked
        at: it is that of ``status``.
    crc : In(struct(CRC))
        For the body ``CRC``; held while such a response is offered. Absent without it.
    i_y : In(frame_stream())
        Follows the body ``RESULT``: one frame each.
    o : Out(frame_stream())
        Responses as bytes.
    """

    i: stream.Interface
    status: data.View
    result: data.View
    crc: data.View
    i_y: stream.Interface
    o: stream.Interface

    def __init__(self, *, checked: bool = False) -> None:
        self.checked = checked
        super().__init__({
            "i": In(stream.Signature(response_layout())),
            "status": In(struct(STATUS)),
            "result": In(struct(RESULT)),
            **({"crc": In(struct(CRC))} if checked else {}),
            "i_y": In(frame_stream()),
            "o": Out(frame_stream()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Bytes by place: the head, then the status, whose end is the begin of the result; last,
        # what a check found.
        result_place = RESPONSE.size + STATUS.size - PROGRAM.width // 8
        text = Cat(
            Value.cast(self.i.payload.head),
            Value.cast(self.status),
            Value.cast(self.result)[PROGRAM.width :],
            *([Value.cast(self.crc)] if self.checked else []),
        )
        bytes_ = [text.word_select(at, 8) for at in range(len(text) // 8)]
        place = Signal(range(len(bytes_)))
        # Of so many, one is selected in two cycles: one of every fourth, then one of these.
        quarters = [Signal(8, name=f"quarter_{first}") for first in range(4)]
        selected = Signal(8)
        byte = Signal(8)
        last = Signal()  # `byte` ends the response
        before_y = Signal()  # y follows `byte`, or goes on

        is_result = self.i.payload.body == Body.RESULT
        is_end = Signal()
        ends = [RESPONSE.size, RESPONSE.size + STATUS.size, result_place + RESULT.size]
        crc_place = ends[-1]
        if self.checked:
            ends.append(crc_place + CRC.size)
        m.d.comb += is_end.eq(place == Array(end - 1 for end in ends)[self.i.payload.body])
        m.d.sync += [
            *(
                quarter.eq(Array(bytes_[first::4])[place >> 2])
                for first, quarter in enumerate(quarters)
            ),
            selected.eq(Array(quarters)[place[:2]]),
        ]

        with m.FSM():
            with m.State("idle"):
                with m.If(self.i.valid):
                    m.next = "quarter"
            with m.State("quarter"):  # the quarters are known, and one of them is selected
                m.next = "select"
            with m.State("select"):
                m.d.sync += [
                    byte.eq(selected),
                    last.eq(is_end & ~is_result),
                    before_y.eq(is_end & is_result),
                    place.eq(place + 1),
                ]
                with m.If(is_result & (place == RESPONSE.size - 1)):
                    m.d.sync += place.eq(result_place)
                if self.checked:
                    is_crc = self.i.payload.body == Body.CRC
                    with m.If(is_crc & (place == RESPONSE.size - 1)):
                        m.d.sync += place.eq(crc_place)
                m.next = "text"
            with m.State("text"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(byte),
                    self.o.payload.last.eq(last),
                ]
                with m.If(self.o.ready):
                    m.next = "quarter"
                    with m.If(before_y):
                        m.next = "y"
                    with m.If(last):
                        m.next = "sent"
            with m.State("y"):
                m.d.comb += self.i_y.ready.eq(1)
                m.d.sync += [byte.eq(self.i_y.payload.data), last.eq(self.i_y.payload.last)]
                with m.If(self.i_y.valid):
                    m.next = "text"
            with m.State("sent"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += place.eq(0)
                m.next = "idle"

        return m
