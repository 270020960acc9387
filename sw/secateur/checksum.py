"""What a check of the weight memories must find: the CRC-32 of each PE's entries."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.format import Section, memories
from secateur.image import read_image

if TYPE_CHECKING:
    from secateur.program import Program

__all__ = ["Checksum", "checksums"]


@dataclass(frozen=True)
class Checksum:
    """Of the first ``count`` entries of a PE, as an image stores them, the CRC-32 of zlib."""

    pe: int
    count: int
    crc: int


def checksums(program: Program) -> list[Checksum]:
    """Sum up what the program writes into the weight memories, PE by PE.

    Only that: what lies behind is left from the program before. PEs without entries are left out.
    """
    record = memories(program.spec)[Section.WEIGHTS].record
    return [
        Checksum(pe, len(fields["entry"]), zlib.crc32(record.pack(fields).tobytes()))
        for (section, pe), fields in sorted(read_image(program.spec, program.image).items())
        if section == Section.WEIGHTS and len(fields["entry"])
    ]
