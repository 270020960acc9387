"""From a record of the format to the layout that Amaranth knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from secateur.format import Record

__all__ = ["struct", "words"]


def struct(record: Record) -> data.StructLayout:
    """Lay the fields of ``record`` out as the encoder packs them: the first at bit 0."""
    return data.StructLayout({
        field.name: signed(field.width) if field.signed else unsigned(field.width)
        for field in record.fields
    })


def words(record: Record, fields: Mapping[str, ArrayLike]) -> list[int]:
    """Pack int64[count] per field of ``record`` into words as :func:`struct` takes them apart."""
    return [int.from_bytes(word.tobytes(), "little") for word in record.pack(fields)]
