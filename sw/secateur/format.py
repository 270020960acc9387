"""The bits of a program image: one specification for encoder, gateware and `docs/format.md`.

A record is a list of fields packed from the least significant bit up. Memory words and the
headers of the load stream are records; the encoder packs them, the gateware turns them into
``StructLayout`` and the documentation prints them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from secateur.engine import EngineSpec

__all__ = [
    "AVERAGE_BITS",
    "IMAGE_HEADER",
    "IMAGE_MAGIC",
    "IMAGE_VERSION",
    "LOOPS",
    "SECTION_HEADER",
    "Field",
    "LoadError",
    "Memory",
    "Record",
    "Section",
    "memories",
]

#: The first four bytes of an image, ``SCTR``.
IMAGE_MAGIC = int.from_bytes(b"SCTR", "little")
#: Version of everything in this file; an engine accepts its own version only.
IMAGE_VERSION = 2

#: Loops over the positions of a convolution, the innermost first: windows that take turns, columns
#: and rows of a pooling window, then columns and rows of windows.
LOOPS = 5
#: Averages are of at most ``2**AVERAGE_BITS`` activations.
AVERAGE_BITS = 8


@dataclass(frozen=True)
class Field:
    """One field of a record."""

    name: str
    width: int
    meaning: str
    signed: bool = False


@dataclass(frozen=True)
class Record:
    """Fields packed into one word, the first at the least significant bit."""

    fields: tuple[Field, ...]

    @property
    def width(self) -> int:
        """Bits of the word."""
        return sum(field.width for field in self.fields)

    @property
    def size(self) -> int:
        """Bytes of the word in an image, little-endian, the last byte padded with zeros."""
        return -(-self.width // 8)

    def pack(self, columns: Mapping[str, ArrayLike]) -> NDArray[np.uint8]:
        """Pack one word per element.

        Parameters
        ----------
        columns : mapping of field name to int64[count]
            Every field of the record and no other.

        Returns
        -------
        uint8[count, size]

        Raises
        ------
        ValueError
            If the names differ from the record's fields.
        OverflowError
            If a value does not fit its field.

        Examples
        --------
        >>> record = Record((Field("code", 4, ""), Field("zeros", 6, "")))
        >>> record.pack({"code": [15, 1], "zeros": [1, 63]})
        array([[ 31,   0],
               [241,   3]], dtype=uint8)
        """
        if set(columns) != {field.name for field in self.fields}:
            raise ValueError(f"fields must be {[f.name for f in self.fields]}, not {[*columns]}")
        bits = []
        for field in self.fields:
            values = np.asarray(columns[field.name], dtype=np.int64)
            low = -(1 << (field.width - 1)) if field.signed else 0
            high = (1 << (field.width - field.signed)) - 1
            if np.any((values < low) | (values > high)):
                raise OverflowError(f"{field.name} does not fit in {field.width} bits")
            shifts = np.minimum(np.arange(field.width), 63)
            bits.append((values[:, None] >> shifts & 1).astype(np.uint8))
        return np.packbits(np.concatenate(bits, axis=1), axis=1, bitorder="little")

    def unpack(self, words: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
        """Undo :meth:`pack`.

        Parameters
        ----------
        words : uint8[count, size]

        Returns
        -------
        mapping of field name to int64[count]
        """
        bits = np.unpackbits(words, axis=1, count=self.width, bitorder="little").astype(np.int64)
        columns, start = {}, 0
        for field in self.fields:
            weights = np.left_shift(1, np.arange(field.width))
            if field.signed:
                weights[-1] = -weights[-1]
            columns[field.name] = bits[:, start : start + field.width] @ weights
            start += field.width
        return columns


#: First bytes of an image.
IMAGE_HEADER = Record((
    Field("magic", 32, "the bytes `SCTR`"),
    Field("version", 8, "version of the format"),
    Field("fingerprint", 32, "fingerprint of the engine that the image was encoded for"),
))

#: Before the words of each section.
SECTION_HEADER = Record((
    Field("section", 8, "which memory the words are for"),
    Field("pe", 8, "which PE's memory; 0 where the PEs share one"),
    Field("count", 32, "words that follow, written from address 0 on"),
))


class Section(enum.IntEnum):
    """What a section of an image is written to."""

    END = 0  #: no words; the CRC-32 of all bytes before it follows, 4 bytes little-endian
    LAYERS = 1
    WEIGHTS = 2
    COLUMNS = 3
    BIASES = 4
    CODEBOOKS = 5
    OFFSETS = 6


class LoadError(enum.IntEnum):
    """Why the loader refused the last image."""

    NONE = 0
    MAGIC = 1  #: the first bytes are not those of an image
    VERSION = 2  #: an image of another version of the format
    ENGINE = 3  #: encoded for an engine with other parameters
    SECTION = 4  #: an unknown section, or a PE that the engine does not have
    SIZE = 5  #: more words than the memory holds
    CRC = 6  #: the bytes were damaged


@dataclass(frozen=True)
class Memory:
    """One kind of on-chip memory that a program fills."""

    record: Record
    depth: int
    per_pe: bool


def memories(spec: EngineSpec) -> dict[Section, Memory]:
    """Every memory that a program fills, with the layout of its words.

    Depths are words per bank.
    """
    column_bits = (spec.column_depth - 1).bit_length()
    bias_bits = (spec.bias_depth - 1).bit_length()
    weight_bits = (spec.weight_depth - 1).bit_length()
    extra_bits = (len(spec.code_widths) - 1).bit_length()
    extra = Field("code_extra", extra_bits, "bits of the layer's codes beyond the fewest")
    layer = Record((
        Field("source_words", column_bits + 1, "words of the layer's input, at least 1"),
        Field("rows_words", bias_bits + 1, "words of the layer's output, at least 1"),
        Field("column_base", column_bits, "column word of the layer's first columns"),
        Field("weight_base", weight_bits, "entry of every PE's first in the layer"),
        Field("bias_base", bias_bits, "bias word of the layer's first rows"),
        Field("multiplier", 16, "reserved for networks quantised elsewhere; must be 1"),
        Field("shift", 6, "requantisation's right shift, bits"),
        *([extra] if extra_bits else []),
        Field("input_signed", 1, "1 if the layer's input is two's complement"),
        Field("output_signed", 1, "1 if the layer's output is two's complement"),
        Field("relu", 1, "1 if negative results become zero"),
        Field("last", 1, "1 in the network's last layer, whose output is the y stream"),
        *(_map_fields(spec) if spec.positions else ()),
    ))
    entry = Record((Field("entry", spec.entry_width, "code and, above it, zeros"),))
    column = Record(
        tuple(
            Field(f"count{pe}", spec.count_width, f"entries of PE {pe} in the column of its lane")
            for pe in range(spec.pes)
        )
    )
    bias = Record(
        tuple(
            Field(f"bias{lane}", spec.bias_width, f"bias of row {lane} of the word", True)
            for lane in range(spec.drain_lanes)
        )
    )
    value = Record((
        Field("value", spec.weight_width, "the weight that the code stands for", True),
    ))
    kinds = {
        Section.LAYERS: Memory(layer, spec.layer_depth, False),
        Section.WEIGHTS: Memory(entry, spec.weight_depth, True),
        Section.COLUMNS: Memory(column, spec.column_depth, False),
        Section.BIASES: Memory(bias, spec.bias_depth, False),
    }
    if spec.codebook_bits:
        depth = spec.layer_depth << spec.codebook_bits
        kinds[Section.CODEBOOKS] = Memory(value, depth, False)
    if spec.positions:
        word_bits = (spec.activation_depth - 1).bit_length()
        offset = Record(
            tuple(
                Field(f"word{lane}", word_bits, f"word of the activation of lane {lane}")
                for lane in range(spec.lanes)
            )
        )
        kinds[Section.OFFSETS] = Memory(offset, spec.column_depth, False)
    return kinds


def _map_fields(spec: EngineSpec) -> list[Field]:
    """Where a layer's positions read and write; only engines with positions have them."""
    address = spec.address_width
    word = (spec.activation_depth - 1).bit_length()
    loops = (
        *("windows that take turns", "columns of a window", "rows of a window"),
        *("columns of windows in a turn", "rows of windows"),
    )
    return [
        Field("source_base", address, "activation at which the first position's patch begins"),
        *(Field(f"count{n}", address, f"{what}, less one") for n, what in enumerate(loops)),
        *(
            Field(f"step{n}", address, f"what the patch moves by when loop {n} goes on")
            for n in range(LOOPS)
        ),
        Field("target_base", word, "word of the first output; x has the words before layer 0's"),
        *(
            Field(f"target_{loop}", word, f"words to leave out when loop {n} goes on")
            for n, loop in ((0, "turn"), (3, "column"), (4, "row"))
        ),
        Field("output_words", word + 1, "words of all positions' outputs, at least 1"),
        Field("average", 1, "1 if windows are averaged, 0 for the largest"),
        Field("average_shift", AVERAGE_BITS.bit_length(), "average of 2 to this many"),
    ]
