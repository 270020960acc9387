"""Images: each is refused for a reason, unfinished, or read as the words that it writes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.damage import damaged
from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.format import LoadError, memories
from secateur.image import (
    CRC_SIZE,
    IncompleteImageError,
    RefusedImageError,
    parse_image,
    read_image,
    write_image,
)
from secateur.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NETWORK = random_network(2, [9, 7, 4], density=0.6, codebook=True)
PROGRAM = encode(NETWORK, fit(NETWORK, pes=2))
SPEC, IMAGE = PROGRAM.spec, PROGRAM.image
X = PROGRAM.arrange(random_inputs(1, NETWORK, 2))
Y = NETWORK.compute(random_inputs(1, NETWORK, 2))


def check(image: bytes) -> LoadError | None:
    """Read an image; give why it is refused, NONE if it is not, None if it goes on."""
    try:
        contents, size = parse_image(SPEC, image)
    except RefusedImageError as refusal:
        return refusal.error
    except IncompleteImageError:
        return None
    kinds = memories(SPEC)
    assert size <= len(image)
    for (section, pe), words in contents.items():
        assert pe < (SPEC.pes if kinds[section].per_pe else 1)
        assert all(len(values) <= kinds[section].depth for values in words.values())
    again = read_image(SPEC, write_image(SPEC, contents))
    assert again.keys() == contents.keys()
    for key, words in contents.items():
        for name, values in words.items():
            np.testing.assert_array_equal(again[key][name], values)
    return LoadError.NONE


def test_damaged(fuzz: Callable[..., None]) -> None:
    """A refusal leaves the program in use: the engine's golden model computes as before."""
    reference = Reference(SPEC)
    reference.load(IMAGE)

    def case(rng: Random) -> None:
        image = damaged(rng, IMAGE)
        found = check(image)
        assert found != LoadError.NONE or image.startswith(IMAGE)
        assert reference.load(image) == (found or LoadError.NONE)
        assert reference.program == PROGRAM.id
        assert PROGRAM.restore(reference.infer(X)).tolist() == Y.tolist()

    fuzz(case, 4)


def test_damaged_with_their_checksum(fuzz: Callable[..., None]) -> None:
    def case(rng: Random) -> None:
        image = damaged(rng, IMAGE[:-CRC_SIZE])
        check(image + zlib.crc32(image).to_bytes(CRC_SIZE, "little"))

    fuzz(case, 4)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_memory_that_is_full(beyond: int) -> None:
    """As many words as it has, and one more."""
    for section, memory in memories(SPEC).items():
        contents = read_image(SPEC, IMAGE)
        words = {f.name: np.zeros(memory.depth + beyond, int) for f in memory.record.fields}
        contents[section, 0] = words
        assert check(write_image(SPEC, contents)) == (LoadError.SIZE if beyond else LoadError.NONE)
