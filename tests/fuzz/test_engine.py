"""The engine against images from elsewhere: the program in use stays, and goes on computing."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

from hypothesis import settings

from secateur.bench.damage import damaged
from secateur.bench.networks import random_inputs
from secateur.bench.session import Session, pairs, session
from secateur.format import IMAGE_HEADER, LoadError
from secateur.gateware.engine import Engine
from secateur.image import CRC_SIZE, IncompleteImageError, RefusedImageError, parse_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.bench.session import Pair

PAIRS = pairs(2, (6, 5, 3), pes=2, codebook=True)
SPEC = PAIRS[0].program.spec


def outcome(image: bytes) -> tuple[LoadError, bool]:
    """Give why an image is refused, and whether the engine waits for the rest of it."""
    try:
        parse_image(SPEC, image)
    except RefusedImageError as refusal:
        return refusal.error, False
    except IncompleteImageError:
        return LoadError.NONE, bool(image)
    return LoadError.NONE, False


async def check(s: Session, pair: Pair, seed: int) -> None:
    await s.infer(pair, random_inputs(seed, pair.network, 2)[1:])


def test_damaged_images(record_property: Callable[[str, object], None]) -> None:
    """Refused, or waited for; the inference after it is the old program's."""
    cases = settings().max_examples // 3  # each takes hundreds of cycles
    rng = random.Random(cases)
    seen: dict[tuple[LoadError, bool], int] = {}

    async def body(s: Session) -> None:
        for index in range(cases):
            pair = PAIRS[index // 20 % 2]
            if index % 20 == 0:
                s.send(pair.program.image)
                await s.settle()
                assert s.status("program") == pair.program.id
                await check(s, pair, index)
            image = damaged(rng, PAIRS[rng.randrange(2)].program.image)
            found = outcome(image)
            if found == (LoadError.NONE, False):
                continue  # nothing, or a whole image and more behind it
            s.send(image)
            await s.settle()
            assert (LoadError(s.status("error")), bool(s.status("loading"))) == found, image.hex()
            assert s.status("program") == pair.program.id
            await check(s, pair, index)
            seen[found] = seen.get(found, 0) + 1

    session(Engine(SPEC), body)
    assert sum(seen.values()) >= 0.9 * cases
    record_property("fuzz cases", cases)
    assert {LoadError.NONE, LoadError.SECTION, LoadError.CRC} <= {error for error, _ in seen}


def test_images_with_their_checksum(record_property: Callable[[str, object], None]) -> None:
    """What no encoder writes, but no rule forbids: the engine may compute anything, and goes on."""
    cases = settings().max_examples // 3  # each takes hundreds of cycles
    rng = random.Random(cases)
    pair = PAIRS[0]
    accepted = 0

    async def body(s: Session) -> None:
        nonlocal accepted
        for index in range(cases):
            image = pair.program.image[:-CRC_SIZE]
            flipped = bytearray(image)
            flipped[rng.randrange(IMAGE_HEADER.size, len(image))] ^= 1 << rng.randrange(8)
            image = bytes(flipped) if index % 2 else damaged(rng, image)
            image += zlib.crc32(image).to_bytes(CRC_SIZE, "little")
            error, waits = outcome(image)
            s.send(image)
            await s.settle()
            assert (LoadError(s.status("error")), bool(s.status("loading"))) == (error, waits)
            if (error, waits) == (LoadError.NONE, False):
                accepted += 1
                assert s.status("program") == int.from_bytes(image[-CRC_SIZE:], "little")
                # As many words of x as it asks for: whatever it makes of them, it comes to an end.
                words = s.status("input_words")
                s.x.payloads = [[rng.getrandbits(SPEC.activation_width)] * SPEC.lanes] * words
                s.x.taken = 0
                await s.settle()
                assert len(s.take()) == s.status("output_words")
            s.send(pair.program.image)
            await s.settle()
            await check(s, pair, index)

    session(Engine(SPEC), body)
    assert accepted > 0.2 * cases
    record_property("fuzz cases", cases)
