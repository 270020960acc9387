"""Layouts and words of the gateware against shifts and masks."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Shape

from secateur.engine import EngineSpec
from secateur.format import IMAGE_HEADER, SECTION_HEADER, Field, Record, memories
from secateur.gateware.layout import struct, words

SPECS = [
    EngineSpec(pes=1, lanes=1),
    EngineSpec(
        pes=8, lanes=4, codebook_bits=4, weight_width=11, entry_width=7, accumulator_width=33
    ),
    EngineSpec(
        pes=3,
        lanes=1,
        weight_depth=2,
        column_depth=2,
        row_depth=2,
        weight_width=11,
        index_width=1,
    ),
]
RECORDS = [IMAGE_HEADER, SECTION_HEADER] + [
    memory.record for spec in SPECS for memory in memories(spec).values()
]


@pytest.mark.parametrize("record", RECORDS)
def test_fields_lie_where_they_are_packed(record: Record) -> None:
    """A word is the sum of its fields, each shifted by the widths before it; extremes included."""
    rng = random.Random(1)
    layout = struct(record)
    assert layout.size == record.width
    rows = []
    for number in range(40):
        row = {}
        for field in record.fields:
            low = -(1 << (field.width - 1)) if field.signed else 0
            high = low + (1 << field.width) - 1
            row[field.name] = (low, high, rng.randint(low, high))[min(number, 2)]
        rows.append(row)
    got = words(record, {field.name: [row[field.name] for row in rows] for field in record.fields})
    for row, word in zip(rows, got, strict=True):
        want = start = 0
        for field in record.fields:
            want |= (row[field.name] & ((1 << field.width) - 1)) << start
            assert layout[field.name].offset == start, field
            assert Shape.cast(layout[field.name].shape) == Shape(field.width, field.signed)
            start += field.width
        assert word == want, row
        taken_apart = layout.from_bits(word)
        assert {name: taken_apart[name] for name in row} == row


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"code": [7], "zeros": [4]}, OverflowError, r"^zeros does not fit in 2 bits$"),
        ({"code": [8], "zeros": [0]}, OverflowError, r"^code does not fit in 4 bits$"),
        ({"code": [-9], "zeros": [0]}, OverflowError, r"^code does not fit in 4 bits$"),
        ({"code": [0]}, ValueError, r"^fields must be \['code', 'zeros'\], not \['code'\]$"),
    ],
)
def test_rejects(fields: dict[str, list[int]], error: type[Exception], message: str) -> None:
    record = Record((Field("code", 4, "", signed=True), Field("zeros", 2, "")))
    with pytest.raises(error, match=message):
        words(record, fields)


def test_no_word() -> None:
    """A memory without words is legal."""
    assert words(Record((Field("code", 4, ""),)), {"code": []}) == []
