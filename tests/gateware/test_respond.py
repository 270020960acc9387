# amaranth: UnusedElaboratable=no
"""The bytes of responses against :mod:`secateur.protocol`."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.stream import STALLS, run
from secateur.format import Record
from secateur.framing import pack
from secateur.gateware.cobs import frame_stream
from secateur.gateware.layout import struct
from secateur.gateware.respond import Body, Responder, response_layout
from secateur.protocol import CRC, RESPONSE, RESULT, STATUS


class Told(wiring.Component):
    """A responder that is told with each response what it is about."""

    i: stream.Interface
    i_y: stream.Interface
    o: stream.Interface

    def __init__(self, *, checked: bool) -> None:
        self.checked = checked
        facts = {"status": struct(STATUS), "result": struct(RESULT), "crc": struct(CRC)}
        layout = data.StructLayout({"response": response_layout(), **facts})
        super().__init__({
            "i": In(stream.Signature(layout)),
            "i_y": In(frame_stream()),
            "o": Out(frame_stream()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.responder = responder = Responder(checked=self.checked)
        wiring.connect(m, responder.i_y, wiring.flipped(self.i_y))
        wiring.connect(m, responder.o, wiring.flipped(self.o))
        m.d.comb += [
            responder.i.payload.eq(self.i.payload.response),
            responder.i.valid.eq(self.i.valid),
            self.i.ready.eq(responder.i.ready),
            responder.status.eq(self.i.payload.status),
            responder.result.eq(self.i.payload.result),
        ]
        if self.checked:
            m.d.comb += responder.crc.eq(self.i.payload.crc)
        return m


def some(record: Record, rng: random.Random) -> dict[str, int]:
    return {field.name: rng.getrandbits(field.width) for field in record.fields}


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("stalls", STALLS)
def test_bytes(stalls: str, checked: bool) -> None:
    """All of it is another's with every response."""
    rng = random.Random(1)
    responses: list[dict[str, Any]] = []
    y: list[dict[str, int]] = []
    want: list[bytes] = []
    bodies = [Body.RESULT, *Body, *Body, Body.RESULT, Body.RESULT, Body.NONE, Body.STATUS]
    if not checked:
        bodies = [body for body in bodies if body is not Body.CRC]
    for body in bodies:
        head, status, result, crc = (
            some(record, rng) for record in (RESPONSE, STATUS, RESULT, CRC)
        )
        response = {"head": head, "body": body}
        responses.append({"response": response, "status": status, "result": result, "crc": crc})
        want.append(pack(RESPONSE, **head))
        if body is Body.STATUS:
            want[-1] += pack(STATUS, **status)
        if body is Body.CRC:
            want[-1] += pack(CRC, **crc)
        if body is Body.RESULT:
            data = rng.randbytes(rng.choice((1, 2, 9)))
            y += [{"data": byte, "last": k == len(data) - 1} for k, byte in enumerate(data)]
            # The program is the status's: both come from the engine at the same time.
            want[-1] += pack(RESULT, **(result | {"program": status["program"]})) + data
    items = [{"data": b, "last": k == len(w) - 1} for w in want for k, b in enumerate(w)]
    inputs = {"i": responses, "i_y": y}
    got = run(Told(checked=checked), inputs, {"o": len(items)}, stalls=stalls)
    assert got["o"] == items
