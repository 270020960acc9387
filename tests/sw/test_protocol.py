"""The protocol's bytes, and that its page tells the same."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.bench.networks import random_network
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.errors import BadInputError
from secateur.framing import DamagedFrameError, frame, pack, unframe, unpack
from secateur.protocol import (
    COMMANDS,
    MEANINGS,
    REQUEST,
    RESPONSE,
    RESULT,
    STATUS,
    Code,
    Command,
    Status,
    check_payload,
    markdown,
    pack_words,
    unpack_words,
    word_size,
)

PAGE = Path(__file__).resolve().parents[2] / "docs/protocol.md"


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, bit by bit: polynomial 0x1021, initially 0, nothing reflected."""
    crc = 0
    for byte in data:
        for place in reversed(range(8)):
            carry = (crc >> 15) ^ (byte >> place & 1)
            crc = (crc << 1 & 0xFFFF) ^ (0x1021 * carry)
    return crc


@given(st.binary(max_size=600))
def test_frames_come_back(body: bytes) -> None:
    line = frame(body)
    assert line.index(0) == len(line) - 1
    assert unframe(line) == body


def test_the_crc_is_xmodem() -> None:
    assert crc16(b"123456789") == 0x31C3  # the check value of the catalogue
    body = b"\x01\x02\x03"
    low, high = crc16(body).to_bytes(2, "little")
    assert frame(body) == bytes([6, *body, low, high, 0])


def test_every_damaged_bit_is_seen() -> None:
    line = frame(random.Random(1).randbytes(40))
    for place in range(8 * (len(line) - 1)):
        damaged = bytearray(line)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedFrameError):
            unframe(bytes(damaged))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", r"^the frame has no end$"),
        (b"\x02\x01", r"^the frame has no end$"),
        (b"\x09\x01\0", r"^the frame is not COBS: not enough input bytes for length code$"),
        (b"\0", r"^the frame's CRC does not match$"),
        (b"\x02\x01\0", r"^the frame's CRC does not match$"),
    ],
)
def test_damaged(line: bytes, message: str) -> None:
    with pytest.raises(DamagedFrameError, match=message):
        unframe(line)


def test_status_from_bytes() -> None:
    numbers = {field.name: 3 + place for place, field in enumerate(STATUS.fields)}
    flags = {"loaded": 1, "busy": 0, "loading": 1, "committing": 0, "error": 6}
    del numbers["reserved"]
    raw = pack(STATUS, **(numbers | flags))
    status = Status.from_bytes(raw + b"more")
    for name, value in (numbers | flags).items():
        assert getattr(status, name) == value, name
    with pytest.raises(
        DamagedFrameError, match=rf"^{STATUS.size - 1} bytes are too few for a record of 23$"
    ):
        Status.from_bytes(raw[:-1])
    with pytest.raises(
        DamagedFrameError, match=r"^the status is not one: 77 is not a valid LoadError$"
    ):
        Status.from_bytes(pack(STATUS, **(numbers | flags | {"error": 77})))


@pytest.mark.parametrize(("width", "size"), [(4, 1), (8, 1), (9, 2), (16, 2)])
def test_words(width: int, size: int) -> None:
    spec = EngineSpec(pes=4, lanes=4, activation_width=width)
    words = np.random.default_rng(1).integers(0, 1 << width, (5, 4))
    raw = pack_words(words, spec)
    assert word_size(spec) == 4 * size
    flat = words.ravel().tolist()
    assert raw == b"".join(value.to_bytes(size, "little") for value in flat)
    assert unpack_words(raw, spec).tolist() == words.tolist()


def test_program_too_large_for_frames() -> None:
    network = random_network(1, [300, 20, 700], density=0.02)
    program = encode(network, fit(network, pes=2, lanes=2))
    inputs, outputs = (2 * words for words in (program.input_words, program.output_words))
    check_payload(program, 1024)
    for size, name, limit, enough in (
        (inputs, "input", 64, 1 << (inputs - 1).bit_length()),
        (outputs, "output", 512, 1024),
    ):
        with pytest.raises(BadInputError) as caught:
            check_payload(program, limit)
        assert str(caught.value) == (
            f"the program's {name} takes {size} bytes and the hardware's frames carry {limit}; "
            f"generate the hardware with max_payload = {enough}"
        )


def test_everything_is_described() -> None:
    assert set(COMMANDS) == set(Command) - {Command.NONE}
    assert set(MEANINGS) == set(Code)


def test_page_equals_the_code() -> None:
    """The tables between the page's two marks are printed by `python -m secateur.protocol`."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- python -m secateur.protocol -->\n", "<!-- end -->\n"
    assert page.count(begin) == page.count(end) == 1
    assert page[page.index(begin) + len(begin) : page.index(end)] == markdown()


def test_the_page_s_example() -> None:
    """The bytes that the page shows are those of the code."""
    page = PAGE.read_text(encoding="utf-8")
    shown = [bytes.fromhex(line) for line in re.findall(r"^    ((?:[0-9a-f]{2} ?)+)$", page, re.M)]
    assert len(shown) == 2
    request = unframe(shown[0])
    assert unpack(REQUEST, request) == {"command": Command.INFER, "sequence": 7}
    assert request[REQUEST.size :] == bytes([1, 0, 0, 2])
    response = unframe(shown[1])
    assert unpack(RESPONSE, response) == {"command": 0x83, "sequence": 7, "code": Code.OK}
    result = response[RESPONSE.size :]
    assert unpack(RESULT, result) == {"program": 0x1234ABCD, "sequence": 7, "cycles": 58}
    assert result[RESULT.size :] == bytes([0, 5, 0, 0])
    assert shown == [frame(request), frame(response)]
