"""From what is to be said to the bytes of a response."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.cobs import frame_stream
from secateur.gateware.layout import struct
from secateur.protocol import RESPONSE, RESULT, STATUS

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


def response_layout() -> data.StructLayout:
    """Head and kind of a response."""
    return data.StructLayout({"head": struct(RESPONSE), "body": Shape.cast(Body)})


class Responder(wiring.Component):
    """Put a response together, byte by byte.

    Throughput is one byte a cycle, from the cycle after a response was offered on.

    Members
    -------
    i : In(stream.Signature(response_layout()))
        Responses; each is taken with its last byte.
    status : In(struct(STATUS))
        For the body ``STATUS``; each byte is looked at when it is sent.
    result : In(struct(RESULT))
        For the body ``RESULT``; held while such a response is offered.
    i_y : In(frame_stream())
        Follows the body ``RESULT``: one frame each.
    o : Out(frame_stream())
        Responses as bytes.
    """

    LATENCY = 1

    i: stream.Interface
    status: data.View
    result: data.View
    i_y: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(response_layout())),
            "status": In(struct(STATUS)),
            "result": In(struct(RESULT)),
            "i_y": In(frame_stream()),
            "o": Out(frame_stream()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Bytes by place: the head, then the status, whose end is the begin of the result, then y.
        status, result = Value.cast(self.status), Value.cast(self.result)
        result_place = RESPONSE.size + STATUS.size - PROGRAM.width // 8
        y_place = result_place + RESULT.size
        place = Signal(range(y_place + 1))
        byte = Signal(8)
        last = Signal()
        from_y = Signal()
        m.d.comb += [
            from_y.eq(place == y_place),
            byte.eq(
                Cat(
                    Value.cast(self.i.payload.head),
                    status,
                    result[PROGRAM.width :],
                    self.i_y.payload.data,
                ).word_select(place, 8)
            ),
        ]
        with m.If(self.i.payload.body == Body.NONE):
            m.d.comb += last.eq(place == RESPONSE.size - 1)
        with m.Elif(self.i.payload.body == Body.STATUS):
            m.d.comb += last.eq(place == RESPONSE.size + STATUS.size - 1)
        with m.Else():
            m.d.comb += last.eq(from_y & self.i_y.payload.last)

        with m.If(~self.o.valid | self.o.ready):
            here = self.i.valid & (~from_y | self.i_y.valid)
            m.d.comb += [self.i_y.ready.eq(self.i.valid & from_y), self.i.ready.eq(here & last)]
            m.d.sync += [
                self.o.valid.eq(here),
                self.o.payload.data.eq(byte),
                self.o.payload.last.eq(last),
            ]
            with m.If(here & last):
                m.d.sync += place.eq(0)
            with m.Elif(here & ~from_y):
                m.d.sync += place.eq(place + 1)
                with m.If((place == RESPONSE.size - 1) & (self.i.payload.body == Body.RESULT)):
                    m.d.sync += place.eq(result_place)

        return m
