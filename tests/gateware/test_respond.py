"""The bytes of responses against :mod:`secateur.protocol`."""

from __future__ import annotations

import random
from typing import Any

import pytest

from secateur.bench.stream import STALLS, run
from secateur.format import Record
from secateur.framing import pack
from secateur.gateware.respond import Body, Responder
from secateur.protocol import CRC, RESPONSE, RESULT, STATUS


def some(record: Record, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    return {field.name: rng.getrandbits(field.width) for field in record.fields}


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("stalls", STALLS)
def test_bytes(stalls: str, checked: bool) -> None:
    rng = random.Random(1)
    status, result, crc = some(STATUS, 2), some(RESULT, 3), some(CRC, 4)
    responses: list[dict[str, Any]] = []
    y: list[dict[str, int]] = []
    want: list[bytes] = []
    bodies = [Body.RESULT, *Body, *Body, Body.RESULT, Body.RESULT, Body.NONE, Body.STATUS]
    if not checked:
        bodies = [body for body in bodies if body is not Body.CRC]
    for number, body in enumerate(bodies):
        head = some(RESPONSE, number)
        responses.append({"head": head, "body": body})
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
    settings: Any = {"status": status, "result": result} | ({"crc": crc} if checked else {})
    got = run(
        Responder(checked=checked),
        {"i": responses, "i_y": y},
        {"o": len(items)},
        stalls=stalls,
        settings=settings,
    )
    assert got["o"] == items
