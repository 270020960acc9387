"""Stuffing in gateware against the package ``cobs``."""

from __future__ import annotations

import random

import pytest
from cobs import cobs

from secateur.bench.stream import STALLS, run
from secateur.gateware.cobs import CobsDecoder, CobsEncoder

END, ERROR = 1 << 8, 1 << 9
LOST = 1 << 8


def frames(seed: int, count: int) -> list[bytes]:
    """Frames around every length at which a block ends, and random ones with many zeros."""
    rng = random.Random(seed)
    made = [bytes(n) for n in (1, 2, 3)]
    for length in (1, 2, 253, 254, 255, 256, 508, 509):
        made += [bytes([7] * length), bytes([7] * length + [0]), bytes([0] + [7] * length)]
    for _ in range(count):
        made.append(bytes(rng.choice((0, 0, 1, 255, 90)) for _ in range(rng.randrange(1, 40))))
    return made


@pytest.mark.parametrize("stalls", STALLS)
def test_encoder_equals_the_package(stalls: str) -> None:
    sent = frames(1, 30)
    items = [byte | (place == len(f) - 1) << 8 for f in sent for place, byte in enumerate(f)]
    want = b"".join(cobs.encode(f) + b"\0" for f in sent)
    assert bytes(run(CobsEncoder(), items, count=len(want), stalls=stalls)) == want


@pytest.mark.parametrize("stalls", STALLS)
def test_decoder_equals_the_package(stalls: str) -> None:
    sent = frames(2, 30)
    line = b"\0\0".join(cobs.encode(f) for f in sent) + b"\0"
    want = [item for f in sent for item in (*f, END)]
    got = run(CobsDecoder(), line, count=len(want), stalls=stalls)
    assert [item & (END | 255 if item < END else END | ERROR) for item in got] == want


def decode(line: list[int]) -> list[bytes | None]:
    """Decode in gateware: a frame each, or None for a damaged one."""
    decoded: list[bytes | None] = []
    bytes_so_far = bytearray()
    # Every item but a code gives one: run until nothing more comes.
    expected = len(reference(line)[1])
    for item in run(CobsDecoder(), line, count=expected):
        if not item & END:
            bytes_so_far.append(item)
            continue
        decoded.append(None if item & ERROR else bytes(bytes_so_far))
        bytes_so_far.clear()
    return decoded


def reference(line: list[int]) -> tuple[list[bytes | None], list[int]]:
    """Decode with the package; give the items that the gateware makes of it, too."""
    decoded: list[bytes | None] = []
    items: list[int] = []
    part: list[int] = []
    for item in line:
        if item & 255:
            part.append(item)
            continue
        if part or item & LOST:
            try:
                decoded.append(cobs.decode(bytes(byte & 255 for byte in part)))
            except cobs.DecodeError:
                decoded.append(None)
            if item & LOST or any(byte & LOST for byte in part):
                decoded[-1] = None
            # What a damaged frame gives before its end does not matter, only how much.
            left, implied = 0, False
            for byte in part:
                if left:
                    items.append(0)
                    left -= 1
                else:
                    items += [0] * implied
                    left, implied = (byte & 255) - 1, byte & 255 != 255
            items.append(END)
        part = []
    return decoded, items


@pytest.mark.parametrize("seed", range(6))
def test_decoder_on_noise(seed: int) -> None:
    """Whatever is on the line, the gateware takes for a frame exactly what the package does."""
    rng = random.Random(seed)
    line = [rng.choice((0, 1, 2, 3, 4, 5, 255)) | LOST * (rng.random() < 0.03) for _ in range(600)]
    line += [0, *cobs.encode(b"after the noise"), 0]
    want, _ = reference(line)
    assert None in want
    assert any(want)
    got = decode(line)
    assert got == want
    assert got[-1] == b"after the noise"
