"""Stuffing in gateware against the package ``cobs``."""

from __future__ import annotations

import random

import pytest
from cobs import cobs

from secateur.bench.stream import STALLS, run
from secateur.gateware.cobs import CobsDecoder, CobsEncoder

LOST = 256  #: added to a byte of the line: it came with an error


def frames(seed: int, count: int) -> list[bytes]:
    """Frames around every length at which a block ends, and random ones with many zeros."""
    rng = random.Random(seed)
    made = [bytes(n) for n in (1, 2, 3)]
    for length in (1, 2, 253, 254, 255, 508):
        made.append(bytes([7] * length))
        if length in (1, 254):
            made += [bytes([7] * length + [0]), bytes([0] + [7] * length)]
    for _ in range(count):
        made.append(bytes(rng.choice((0, 0, 1, 255, 90)) for _ in range(rng.randrange(1, 40))))
    return made


def encode(sent: list[bytes], stalls: str) -> bytes:
    """Encode in gateware."""
    items = [{"data": b, "last": k == len(f) - 1} for f in sent for k, b in enumerate(f)]
    count = sum(len(cobs.encode(f)) + 1 for f in sent)
    return bytes(run(CobsEncoder(), {"i": items}, {"o": count}, stalls=stalls)["o"])


def decode(line: list[int], stalls: str) -> list[bytes | None]:
    """Decode in gateware: one frame each, None for a damaged one."""
    items = [{"data": item & 255, "error": item >> 8} for item in line]
    decoded: list[bytes | None] = []
    part = bytearray()
    got = run(CobsDecoder(), {"i": items}, {"o": items_of(line)}, stalls=stalls)["o"]
    for item in got:
        if item["end"]:
            decoded.append(None if item["error"] else bytes(part))
            part.clear()
        else:
            assert not item["error"]
            part.append(item["data"])
    return decoded


def parts(line: list[int]) -> list[list[int]]:
    """Cut a line at its zeros, which are included, and leave zeros between frames out."""
    cut: list[list[int]] = [[]]
    for item in line:
        cut[-1].append(item)
        if not item & 255:
            cut.append([])
    return [part for part in cut[:-1] if part != [0]]


def items_of(line: list[int]) -> int:
    """Count the items that a decoder makes: every byte but codes, implied zeros, and ends."""
    count = 0
    for part in parts(line):
        left = implied = 0
        for item in part[:-1]:
            if left:
                left, count = left - 1, count + 1
            else:
                left, count, implied = (item & 255) - 1, count + implied, item & 255 != 255
        count += 1
    return count


def reference(line: list[int]) -> list[bytes | None]:
    """Decode with the package."""
    decoded: list[bytes | None] = []
    for part in parts(line):
        try:
            decoded.append(cobs.decode(bytes(item & 255 for item in part[:-1])))
        except cobs.DecodeError:
            decoded.append(None)
        if any(item & LOST for item in part):
            decoded[-1] = None
    return decoded


@pytest.mark.parametrize("stalls", STALLS)
def test_encoder_equals_the_package(stalls: str) -> None:
    sent = frames(1, 8)
    assert encode(sent, stalls) == b"".join(cobs.encode(f) + b"\0" for f in sent)


@pytest.mark.parametrize("stalls", STALLS)
def test_decoder_equals_the_package(stalls: str) -> None:
    sent = frames(2, 8)
    assert decode([*b"\0\0".join(cobs.encode(f) for f in sent), 0], stalls) == sent


@pytest.mark.parametrize("seed", range(4))
def test_decoder_on_noise(seed: int) -> None:
    """Whatever is on the line, the gateware takes for a frame exactly what the package does."""
    rng = random.Random(seed)
    line = [rng.choice((0, 1, 2, 3, 4, 5, 255)) | LOST * (rng.random() < 0.03) for _ in range(400)]
    line += [0, *cobs.encode(b"after the noise"), 0]
    want = reference(line)
    assert want.count(None) > 5
    assert sum(frame is not None for frame in want) > 5
    assert decode(line, "both") == want
    assert want[-1] == b"after the noise"


def test_break_between_frames_is_a_damaged_frame() -> None:
    good = [*cobs.encode(b"good"), 0]
    assert decode([*good, LOST, *good], "none") == [b"good", None, b"good"]
