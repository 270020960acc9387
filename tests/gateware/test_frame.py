"""Frames in gateware against :mod:`secateur.protocol`."""

from __future__ import annotations

import binascii
import random
from typing import Any

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.stream import STALLS, run
from secateur.framing import CRC_SIZE
from secateur.gateware.cobs import decoded_stream, frame_stream
from secateur.gateware.frame import FrameReceiver, FrameSender, request_layout
from secateur.protocol import Code

SIZE = 16


class Reader(wiring.Component):
    """A receiver, and what reads each good payload and then gives the request on."""

    i: stream.Interface
    o: stream.Interface
    o_byte: stream.Interface

    def __init__(self, word_size: int) -> None:
        self.word_size = word_size
        super().__init__({
            "i": In(decoded_stream()),
            "o": Out(stream.Signature(request_layout(SIZE))),
            "o_byte": Out(frame_stream()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver(SIZE, word_size=self.word_size)
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, receiver.o_byte, wiring.flipped(self.o_byte))
        request = receiver.o.payload
        read = Signal()
        wanted = (request.code == Code.OK) & (request.length != 0)
        m.d.comb += [
            receiver.i_read.payload.length.eq(request.length),
            receiver.i_read.payload.words.eq(0),
            receiver.i_read.valid.eq(receiver.o.valid & wanted & ~read),
            self.o.payload.eq(request),
            self.o.valid.eq(receiver.o.valid & (~wanted | read) & receiver.i_read.ready),
            receiver.o.ready.eq(self.o.valid & self.o.ready),
        ]
        with m.If(receiver.i_read.valid & receiver.i_read.ready):
            m.d.sync += read.eq(1)
        with m.If(receiver.o.valid & receiver.o.ready):
            m.d.sync += read.eq(0)
        return m


def crc(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(CRC_SIZE, "little")


def bodies() -> list[tuple[bytes, bool]]:
    """Raw frames, and whether the decoder had something to say against each."""
    rng = random.Random(1)
    sent: list[tuple[bytes, bool]] = []
    for length in (0, 1, 15, 16, 17, 18, 40, 100, 3, 16, 0):
        body = rng.randbytes(2 + length)
        sent.append((body + crc(body), False))
        if length % 3 == 0:
            raw = bytearray(body + crc(body))
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            sent.append((bytes(raw), False))
            sent.append((body + crc(body), True))
    sent += [(body, False) for body in (b"", b"\0", b"\0\0", b"\0\0\0", b"\x01\x02\x03")]
    body = b"\x01\x02tail"
    return [*sent, (body + crc(body), False)]


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("word_size", [1, 4])
def test_receiver(word_size: int, stalls: str) -> None:
    items: list[dict[str, int]] = []
    requests: list[tuple[int, ...]] = []
    payload: list[dict[str, Any]] = []
    for raw, wrong in bodies():
        items += [{"data": byte, "end": 0, "error": 0} for byte in raw]
        items.append({"data": 0, "end": 1, "error": int(wrong)})
        body, length = raw[:-CRC_SIZE], len(raw) - 2 - CRC_SIZE
        if wrong or length < 0 or raw[-CRC_SIZE:] != crc(body):
            requests.append((0, 0, Code.DAMAGED))
        elif length > SIZE:
            requests.append((body[0], body[1], Code.OVERSIZED))
        else:
            requests.append((body[0], body[1], Code.OK, length))
            payload += [{"data": byte, "last": k == length - 1} for k, byte in enumerate(body[2:])]
    assert {request[2] for request in requests} == {Code.OK, Code.DAMAGED, Code.OVERSIZED}
    counts = {"o": len(requests), "o_byte": len(payload)}
    got = run(Reader(word_size), {"i": items}, counts, stalls=stalls)
    assert got["o_byte"] == payload
    for index, (request, want) in enumerate(zip(got["o"], requests, strict=True)):
        seen = tuple(request[name] for name in ("command", "sequence", "code", "length"))
        assert seen[: len(want)] == want, f"frame {index}"


@pytest.mark.parametrize("stalls", STALLS)
def test_sender(stalls: str) -> None:
    rng = random.Random(2)
    sent = [rng.randbytes(length) for length in (1, 2, 3, 50, 1)]

    def items(frames: list[bytes]) -> list[dict[str, Any]]:
        return [{"data": b, "last": k == len(f) - 1} for f in frames for k, b in enumerate(f)]

    want = items([body + crc(body) for body in sent])
    assert run(FrameSender(), {"i": items(sent)}, {"o": len(want)}, stalls=stalls)["o"] == want
