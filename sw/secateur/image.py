"""The load stream: memory contents to bytes and back, as `docs/format.md` defines it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.format import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    IMAGE_VERSION,
    SECTION_HEADER,
    LoadError,
    Record,
    Section,
    memories,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec

__all__ = [
    "CRC_SIZE",
    "Contents",
    "IncompleteImageError",
    "RefusedImageError",
    "parse_image",
    "read_image",
    "write_image",
]

#: Words of every memory, by section and PE (0 where the PEs share one): field to int64[words].
Contents: TypeAlias = "dict[tuple[Section, int], dict[str, NDArray[np.int64]]]"

#: Bytes of the CRC-32 that ends an image.
CRC_SIZE = 4


class RefusedImageError(ValueError):
    """An image that an engine refuses, for the reason in ``error``."""

    def __init__(self, error: LoadError) -> None:
        super().__init__(f"the engine refuses the image: {error.name}")
        self.error = error


class IncompleteImageError(ValueError):
    """An image that ends before its end: an engine waits for the rest of it."""


def write_image(spec: EngineSpec, contents: Contents) -> bytes:
    """Pack an image.

    Parameters
    ----------
    spec : EngineSpec
        The engine that will accept it.
    contents : Contents
        Written in this order, each from address 0 on.

    Returns
    -------
    bytes
    """
    kinds = memories(spec)
    parts = [
        _pack_one(
            IMAGE_HEADER,
            magic=IMAGE_MAGIC,
            version=IMAGE_VERSION,
            fingerprint=spec.fingerprint,
        )
    ]
    for (section, pe), fields in contents.items():
        words = kinds[section].record.pack(fields)
        parts += [_pack_one(SECTION_HEADER, section=section, pe=pe, count=len(words))]
        parts += [words.tobytes()]
    parts += [_pack_one(SECTION_HEADER, section=Section.END, pe=0, count=0)]
    image = b"".join(parts)
    return image + zlib.crc32(image).to_bytes(CRC_SIZE, "little")


def read_image(spec: EngineSpec, image: bytes) -> Contents:
    """Unpack an image: the first value of :func:`parse_image`."""
    return parse_image(spec, image)[0]


def parse_image(spec: EngineSpec, image: bytes) -> tuple[Contents, int]:
    """Unpack an image with the rules, and in the order, in which an engine checks it.

    Where two sections write the same words, the later one counts.

    Parameters
    ----------
    spec : EngineSpec
    image : bytes

    Returns
    -------
    contents : Contents
        The words that the image writes.
    size : int
        Bytes of the image, its CRC-32 included; an engine ignores what follows.

    Raises
    ------
    RefusedImageError
        At the first rule that the image breaks.
    IncompleteImageError
        If it ends before that, or before its own end.
    """
    kinds = memories(spec)
    position = 0

    def take(record: Record, count: int = 1) -> dict[str, NDArray[np.int64]]:
        nonlocal position
        end = position + record.size * count
        if end > len(image):
            raise IncompleteImageError(f"the image ends after {len(image)} bytes")
        words = np.frombuffer(image[position:end], dtype=np.uint8)
        position = end
        return record.unpack(words.reshape(count, record.size))

    header = take(IMAGE_HEADER)
    for field, expected, error in (
        ("magic", IMAGE_MAGIC, LoadError.MAGIC),
        ("version", IMAGE_VERSION, LoadError.VERSION),
        ("fingerprint", spec.fingerprint, LoadError.ENGINE),
    ):
        if header[field][0] != expected:
            raise RefusedImageError(error)

    contents: Contents = {}
    while True:
        section, pe, count = (int(value[0]) for value in take(SECTION_HEADER).values())
        if section == Section.END:
            break
        if section not in kinds:
            raise RefusedImageError(LoadError.SECTION)
        memory = kinds[Section(section)]
        if pe >= (spec.pes if memory.per_pe else 1):
            raise RefusedImageError(LoadError.SECTION)
        if count > memory.depth:
            raise RefusedImageError(LoadError.SIZE)
        words = take(memory.record, count)
        older = contents.get((Section(section), pe))
        if older is None or count >= len(next(iter(older.values()))):
            contents[Section(section), pe] = words
        else:  # in place: many short sections must not each copy a long one
            for name, values in words.items():
                older[name][:count] = values
    crc = int.from_bytes(image[position : position + CRC_SIZE], "little")
    if len(image) < position + CRC_SIZE:
        raise IncompleteImageError(f"the image ends after {len(image)} bytes")
    if zlib.crc32(image[:position]) != crc:
        raise RefusedImageError(LoadError.CRC)
    return contents, position + CRC_SIZE


def _pack_one(record: Record, **fields: int) -> bytes:
    """Pack a single word."""
    return record.pack({name: [value] for name, value in fields.items()}).tobytes()
