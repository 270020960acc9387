import enum
import math
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.engine import EngineSpec
from secateur.format import (
    IMAGE_HEADER,
    SECTION_HEADER,
    Field,
    LoadError,
    Record,
    Section,
    memories,
)
from secateur.format_page import DEPTHS, MAP_WIDTHS, TABLES, WIDTHS
from secateur.image import RefusedImageError, parse_image, read_image, write_image
from secateur.markdown import update

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
SPECS = [
    EngineSpec(pes=1, lanes=1),
    EngineSpec(
        pes=16, lanes=4, codebook_bits=4, index_width=5, entry_width=7, weight_width=9,
        count_width=3, bias_width=12,
    ),
    EngineSpec(
        pes=256, lanes=64, weight_depth=2, column_depth=2, row_depth=2, activation_depth=4,
        bias_depth=2, layer_depth=2, accumulator_width=48, bias_width=48, entry_width=9,
        index_width=8, count_width=13,
    ),
]  # fmt: skip


def evaluate(expression, spec):
    names = spec.to_dict() | {"log2": lambda value: int(math.log2(value))}
    names["least_code"] = max(1, spec.entry_width - spec.index_width)
    names["most_code"] = min(spec.codebook_bits or spec.weight_width, spec.entry_width - 1)
    return eval(expression, {"__builtins__": {}}, names)


@given(st.data())
def test_unpack_undoes_pack(data):
    fields = data.draw(
        st.lists(st.tuples(st.integers(1, 48), st.booleans()), min_size=1, max_size=6)
    )
    record = Record(
        tuple(Field(f"f{i}", width, "", signed) for i, (width, signed) in enumerate(fields))
    )
    count = data.draw(st.integers(0, 4))
    columns = {}
    for field in record.fields:
        low = -(1 << (field.width - 1)) if field.signed else 0
        high = (1 << (field.width - field.signed)) - 1
        values = data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
        columns[field.name] = np.array(values, dtype=np.int64)
    words = record.pack(columns)
    assert words.shape == (count, record.size)
    for name, values in record.unpack(words).items():
        np.testing.assert_array_equal(values, columns[name])
    # The same words by integer arithmetic.
    for index, word in enumerate(words):
        expected, shift = 0, 0
        for field in record.fields:
            expected |= (int(columns[field.name][index]) & ((1 << field.width) - 1)) << shift
            shift += field.width
        assert int.from_bytes(word.tobytes(), "little") == expected


@pytest.mark.parametrize(("value", "signed"), [(16, False), (-1, False), (8, True), (-9, True)])
def test_pack_refuses_what_does_not_fit(value, signed):
    with pytest.raises(OverflowError, match=r"^value does not fit in 4 bits$"):
        Record((Field("value", 4, "", signed),)).pack({"value": [value]})


def test_pack_refuses_other_fields():
    with pytest.raises(ValueError, match=r"^fields must be \['magic', 'version', 'fingerprint'\]"):
        IMAGE_HEADER.pack({"magic": [1]})


def test_headers_have_the_sizes_that_every_reader_relies_on():
    assert (IMAGE_HEADER.size, SECTION_HEADER.size) == (9, 6)


@pytest.mark.parametrize("spec", SPECS)
def test_the_page_gives_the_widths_and_depths_of_every_engine(spec):
    for section, memory in memories(spec).items():
        assert memory.depth == evaluate(DEPTHS[section], spec)
        for field in memory.record.fields:
            name = re.sub(r"^(bias|count)\d+$", r"\g<1>0", field.name)
            if name in WIDTHS:
                assert field.width == evaluate(WIDTHS[name], spec), name


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("depth", [4, 512])
def test_the_page_gives_the_widths_of_maps(lanes, depth):
    spec = EngineSpec(pes=8, lanes=lanes, jobs=1, positions=8, activation_depth=depth)
    kinds = memories(spec)
    plain = {
        field.name for field in memories(replace(spec, positions=0))[Section.LAYERS].record.fields
    }
    fields = [field for field in kinds[Section.LAYERS].record.fields if field.name not in plain]
    assert len(fields) == 18
    assert kinds[Section.OFFSETS].depth == evaluate(DEPTHS[Section.OFFSETS], spec)
    assert len(kinds[Section.OFFSETS].record.fields) == lanes
    found = set()
    for field in [*fields, *kinds[Section.OFFSETS].record.fields]:
        name = re.sub(r"\d$", "", field.name)
        found.add(name)
        if name in MAP_WIDTHS:
            assert field.width == evaluate(MAP_WIDTHS[name], spec), name
    assert found == {*MAP_WIDTHS, "average", "average_shift"}


def test_fields_of_words_that_are_as_many_as_something_else():
    for spec in SPECS:
        kinds = memories(spec)
        assert len(kinds[Section.COLUMNS].record.fields) == spec.pes
        assert len(kinds[Section.BIASES].record.fields) == spec.drain_lanes
        names = [field.name for field in kinds[Section.LAYERS].record.fields]
        assert ("code_extra" in names) == (len(spec.code_widths) > 1)


def test_widths_that_depend_on_the_engine_are_given_by_formulas():
    small, large = (memories(spec) for spec in (SPECS[0], SPECS[2]))
    for section, memory in small.items():
        others = {field.name: field for field in large[section].record.fields}
        for field in memory.record.fields:
            assert field.width == others[field.name].width or field.name in WIDTHS


def test_the_committed_page_is_up_to_date():
    page = PAGE.read_text()
    assert update(page, TABLES) == page
    for name in TABLES:
        assert f"<!-- begin {name} -->" in page


def test_a_page_gets_its_tables_and_keeps_its_text():
    page = "a\n<!-- begin section-header -->\nold\n<!-- end -->\nb\n"
    updated = update(page, TABLES)
    assert updated.startswith("a\n<!-- begin section-header -->\n| field | bits | meaning |\n")
    assert updated.endswith("|\n<!-- end -->\nb\n")
    assert "old" not in updated
    assert update(updated, TABLES) == updated


def test_sections_and_errors_keep_their_numbers():
    assert [(s.name, s.value) for s in Section] == [
        ("END", 0), ("LAYERS", 1), ("WEIGHTS", 2), ("COLUMNS", 3), ("BIASES", 4), ("CODEBOOKS", 5),
        ("OFFSETS", 6),
    ]  # fmt: skip
    assert [(e.name, e.value) for e in LoadError] == [
        ("NONE", 0), ("MAGIC", 1), ("VERSION", 2), ("ENGINE", 3), ("SECTION", 4), ("SIZE", 5),
        ("CRC", 6),
    ]  # fmt: skip
    assert issubclass(LoadError, enum.IntEnum)


SPEC = SPECS[1]
ENTRIES = {"entry": np.array([3, 127])}


def test_read_image_undoes_write_image():
    contents = {
        (Section.WEIGHTS, 15): ENTRIES,
        (Section.WEIGHTS, 0): {k: v[:0] for k, v in ENTRIES.items()},
    }
    image = write_image(SPEC, contents)
    read, size = parse_image(SPEC, image + b"more")
    assert size == len(image)
    assert {key: {k: v.tolist() for k, v in fields.items()} for key, fields in read.items()} == {
        (Section.WEIGHTS, 15): {"entry": [3, 127]},
        (Section.WEIGHTS, 0): {"entry": []},
    }


def test_an_image_byte_by_byte():
    spec = EngineSpec(pes=1, lanes=1)
    image = write_image(spec, {(Section.WEIGHTS, 0): {"entry": np.array([0x5FE])}})
    assert image[:-4] == (
        b"SCTR\x02"
        + spec.fingerprint.to_bytes(4, "little")
        + b"\x02\x00\x01\x00\x00\x00"  # WEIGHTS, PE 0, one word
        + b"\xfe\x05"
        + bytes(6)
    )


def test_later_words_replace_earlier_ones():
    parts = [
        write_image(SPEC, {(Section.WEIGHTS, 2): ENTRIES}),
        write_image(SPEC, {(Section.WEIGHTS, 2): {"entry": np.array([23])}}),
    ]
    body = parts[0][:-10] + parts[1][9:-4]
    image = body + zlib.crc32(body).to_bytes(4, "little")
    assert read_image(SPEC, image)[Section.WEIGHTS, 2]["entry"].tolist() == [23, 127]


def test_a_refusal_names_its_reason():
    with pytest.raises(RefusedImageError, match=r"^the engine refuses the image: MAGIC$"):
        parse_image(SPEC, bytes(9))
