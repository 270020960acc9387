"""Files of programs with maps whose digests are right and which no encoder wrote."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from secateur.container import pack_container, write_file
from secateur.convolution import Convolution, Pool
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.format import LOOPS, Section
from secateur.image import Contents, read_image, write_image
from secateur.input_map import found_pitch
from secateur.network import Layer, Network
from secateur.program import Program

if TYPE_CHECKING:
    from pathlib import Path

BYTE = NumberFormat(width=8, signed=False)
CONVOLUTIONS = [
    Convolution(
        channels=2,
        height=6,
        width=7,
        kernel=(2, 3),
        padding=(1, 1),
        groups=2,
        pool=Pool(kind="average", size=(2, 2)),
    ),
    Convolution(channels=4, height=3, width=3, kernel=(2, 2), padding=(0, 1)),
]
SIZES = [(2, 2), (1, 2), (2, 1), (1, 1), (3, 3)]


def layer(name: str, rows: int, convolution: Convolution | None, columns: int) -> Layer:
    rng = np.random.default_rng(rows)
    return Layer(
        name=name,
        weights=rng.integers(1, 8, (rows, columns)) * (rng.random((rows, columns)) < 0.6),
        bias=rng.integers(-9, 9, rows),
        weight_width=4,
        input=BYTE,
        requant=Requant(shift=5, output=BYTE, relu=True),
        convolution=convolution,
    )


NET = Network(
    name="net",
    layers=(
        layer("conv1", 4, CONVOLUTIONS[0], 6),
        layer("conv2", 3, CONVOLUTIONS[1], 16),
        layer("fc", 5, None, 3 * 2 * 4),
    ),
)
#: Room for other numbers in every field.
SPEC = replace(fit(NET, pes=4, lanes=2), activation_depth=256, column_depth=64, row_depth=64)
PROGRAM = encode(NET, SPEC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.sct"


def text_of(program: Program) -> dict[str, Any]:
    """What a program's file says, whether or not a program may say so."""
    layers = [asdict(each) for each in program.layers]
    return {
        "engine": program.spec.to_dict(),
        "network": program.network,
        "network_digest": program.network_digest,
        "inputs": program.inputs,
        "input_order": program.input_order,
        "layers": layers,
    }


def said(text: dict[str, Any], image: bytes, path: Path) -> str | None:
    """Give the reason for which a file is refused; none if it is not."""
    write_file(path, pack_container(json.dumps(text).encode(), image))
    try:
        Program.load(path)
    except BadInputError as error:
        start, end = f"{path} holds no valid program (", "); make it again with `secateur encode`"
        message = str(error)
        return message.removeprefix(start).removesuffix(end)
    return None


def refused(program: Program, path: Path) -> bool:
    """Tell whether a file is refused because an engine does something else with its image."""
    reason = said(text_of(program), program.image, path)
    assert reason in (None, "it describes another image")
    return reason is not None


def contents() -> Contents:
    return read_image(SPEC, PROGRAM.image)


def with_contents(words: Contents) -> Program:
    return replace(PROGRAM, image=write_image(SPEC, words))


def test_what_was_encoded_is_taken(path: Path) -> None:
    assert not refused(PROGRAM, path)
    assert not refused(with_contents(contents()), path)
    assert [len(each.order) for each in PROGRAM.layers] == [4, 3, 5]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    "field",
    [
        "source_base",
        *(f"count{loop}" for loop in range(LOOPS)),
        *(f"step{loop}" for loop in range(LOOPS)),
        *("target_base", "target_turn", "target_column", "target_row"),
        *("output_words", "average", "average_shift"),
        *("source_words", "rows_words", "column_base", "last"),
    ],
)
def test_every_number_of_the_layer_table(path: Path, field: str, index: int) -> None:
    for change in (1, -1):
        words = contents()
        value = words[Section.LAYERS, 0][field][index] + change
        if value < 0 or (field in ("average", "last") and value > 1):
            continue
        words[Section.LAYERS, 0][field][index] = value
        assert refused(with_contents(words), path)


def columns_of(index: int, lane: int) -> set[int]:
    """Words of all offsets that a layer's columns may have in a lane."""
    rows, columns, pitch, pixel, channels = (
        (2, 3, found_pitch(CONVOLUTIONS[0], PROGRAM.input_order), 2, 2),
        (2, 2, 5, 4, 4),
        (2, 4, 4, 4, 3),
    )[index]
    return {
        ((y * pitch + x) * pixel + place) // 2
        for y in range(rows)
        for x in range(columns)
        for place in range(channels)
        if place % 2 == lane
    }


@pytest.mark.parametrize("lane", range(2))
@pytest.mark.parametrize("index", range(3))
def test_every_offset(path: Path, index: int, lane: int) -> None:
    """Another number is another column of the patch, between its neighbours, or refused."""
    table = contents()[Section.LAYERS, 0]
    base, words = int(table["column_base"][index]), int(table["source_words"][index])
    counts = contents()[Section.COLUMNS, 0]
    used = sum(bool(counts[f"count{lane}"][at] or counts[f"count{lane + 2}"][at])
               for at in range(base, base + words))  # fmt: skip
    now = contents()[Section.OFFSETS, 0][f"word{lane}"][base : base + words].tolist()
    assert now[used:] == [0] * (words - used)
    legal, tried, taken = columns_of(index, lane), 0, 0
    assert {*now[:used]} <= legal
    for at in range(words)[:: -1 - index]:
        for value in {*range(max(legal) + 3), now[at] + 40, 127} - {now[at]}:
            changed = [*now[:at], value, *now[at + 1 : used]]
            right = at < used and value in legal and changed == sorted({*changed})
            found = contents()
            found[Section.OFFSETS, 0][f"word{lane}"][base + at] = value
            assert refused(with_contents(found), path) is not right
            tried, taken = tried + 1, taken + right
    assert tried > words
    assert taken < tried


def test_words_without_columns(path: Path) -> None:
    """One more at the end of all, where nothing is; and none at all."""
    found = contents()
    for section in (Section.COLUMNS, Section.OFFSETS):
        words = found[section, 0]
        found[section, 0] = {name: np.append(values, 0) for name, values in words.items()}
    assert not refused(with_contents(found), path)
    found[Section.LAYERS, 0]["source_words"][2] += 1
    assert refused(with_contents(found), path)
    for index in range(3):
        found = contents()
        found[Section.LAYERS, 0]["source_words"][index] = 0
        assert refused(with_contents(found), path)


def test_a_lane_has_no_gaps(path: Path) -> None:
    """The last column of a lane with fewer than others would be the same one word later."""
    table = contents()[Section.LAYERS, 0]
    at = int(table["column_base"][2] + table["source_words"][2]) - 1
    found = contents()
    counts, word = found[Section.COLUMNS, 0], found[Section.OFFSETS, 0]["word1"]
    while not counts["count1"][at] + counts["count3"][at]:
        at -= 1
    for values in (counts["count1"], counts["count3"], word):
        assert values[at + 1] == 0
        values[at], values[at + 1] = 0, values[at]
    assert refused(with_contents(found), path)


def test_offsets_that_are_missing(path: Path) -> None:
    words = contents()
    words[Section.OFFSETS, 0] = {
        name: values[:-1] for name, values in words[Section.OFFSETS, 0].items()
    }
    assert refused(with_contents(words), path)
    del words[Section.OFFSETS, 0]
    assert refused(with_contents(words), path)


def test_a_weight_of_another_group(path: Path) -> None:
    """A network whose rows see all channels is none with groups, but for one weight."""
    both, groups = replace(CONVOLUTIONS[0], groups=1), CONVOLUTIONS[0]
    one = np.zeros((4, 12), dtype=np.int64)
    one[:2, 1] = one[2:, 7] = 1
    for row, column, wrong in ((0, 11, True), (0, 5, False), (3, 0, True), (3, 10, False)):
        weights = one.copy()
        weights[row, column] = 2
        first = replace(layer("conv1", 4, both, 12), weights=weights)
        program = encode(Network(name="net", layers=(first,)), SPEC)
        assert not refused(program, path)
        said_layer = replace(program.layers[0], columns=6, convolution=groups)
        assert refused(replace(program, layers=(said_layer,)), path) is wrong


def test_other_inputs(path: Path) -> None:
    for order in (PROGRAM.input_order[:-1], (*PROGRAM.input_order, -1), PROGRAM.input_order[2:]):
        assert refused(replace(PROGRAM, input_order=order), path)
    for old, new in ((5, -1), (-1, -1)):
        order = tuple(new if each == old else each for each in PROGRAM.input_order)
        assert refused(replace(PROGRAM, input_order=order), path) is (old == 5)
    swapped = {5: 6, 6: 5}
    order = tuple(swapped.get(each, each) for each in PROGRAM.input_order)
    assert refused(replace(PROGRAM, input_order=order), path)
    text = text_of(PROGRAM)
    for value in (-2, 84, 6):
        text["input_order"] = [value if each == 5 else each for each in PROGRAM.input_order]
        assert said(text, PROGRAM.image, path) == (
            "Value error, an order must hold different indices below 84"
        )


OTHERS = [
    *({"kernel": kernel} for kernel in ((3, 2), (1, 6), (1, 3), (4, 4), (1, 1))),
    *({"stride": stride} for stride in ((1, 2), (2, 1), (4, 4))),
    *({"padding": padding} for padding in ((0, 0), (1, 0), (0, 1), (0, 2), (1, 2), (1, 1))),
    *({"height": 7}, {"height": 5}, {"width": 8}, {"width": 6}, {"height": 7, "width": 6}),
    *({"channels": 4}, {"channels": 1, "groups": 1}, {"groups": 1}, {"groups": 4}),
    *({"pool": {"kind": kind, "size": size}} for kind in ("max", "average") for size in SIZES),
    {"pool": None},
]
ONES = [{"pool": {"kind": kind, "size": (1, 1)}} for kind in ("max", "average")]


@pytest.mark.parametrize("index", range(2))
@pytest.mark.parametrize("fields", OTHERS)
def test_other_convolutions(path: Path, fields: dict[str, Any], index: int) -> None:
    text = text_of(PROGRAM)
    now = text["layers"][index]["convolution"]
    text["layers"][index]["convolution"] = now | fields
    # Windows of one activation are as good as none.
    same = now == now | fields or (index == 1 and fields in ONES)
    assert (said(text, PROGRAM.image, path) is None) is same


@pytest.mark.parametrize(
    ("index", "fields", "reason"),
    [
        (0, {"columns": 12}, "a convolution must have the columns and rows of its groups"),
        (0, {"rows": 5}, "a convolution must have the columns and rows of its groups"),
        (
            1,
            {"convolution": asdict(replace(CONVOLUTIONS[1], height=2))},
            "a convolution must take the planes of the convolution before",
        ),
        (
            2,
            {"convolution": asdict(Convolution(channels=24, height=1, width=1, kernel=(1, 1)))},
            "a convolution must take the planes of the convolution before",
        ),
        (
            1,
            {"convolution": None},
            "a layer must have as many columns as the one before has rows",
        ),
        (
            0,
            {"convolution": asdict(CONVOLUTIONS[0]) | {"height": 1 << 40}},
            (
                "the input must have at most 4194304 activations, which is what the largest engine "
                "holds, not 2 x 1099511627776 x 7"
            ),
        ),
        (
            0,
            {"rows": 1 << 30},
            (
                "the output must have at most 4194304 activations, which is what the largest "
                "engine holds, not 1073741824 x 7 x 7"
            ),
        ),
    ],
)
def test_descriptions(path: Path, index: int, fields: dict[str, Any], reason: str) -> None:
    text = text_of(PROGRAM)
    text["layers"][index] |= fields
    got = said(text, PROGRAM.image, path)
    assert got is not None
    assert got.rpartition("Value error, ")[2] == reason


def test_large_numbers_take_no_time(path: Path) -> None:
    """The largest image that a description may have, on the engine as it is."""
    whole = Convolution(channels=1 << 20, height=2, width=2, kernel=(11, 11), padding=(10, 10))
    first = replace(PROGRAM.layers[0], convolution=whole, columns=121 << 20, order=(0,), rows=1)
    text = text_of(replace(PROGRAM, inputs=4 << 20, layers=(first,)))
    for order in ([0], [-1] * 10_000 + [0, 2], PROGRAM.input_order):
        assert said(text | {"input_order": order}, PROGRAM.image, path) is not None


READ = layer("fc", 3, None, 100)
#: One group of PEs; 13 words of x, then 50 of 4 rows, of which the first half is read.
WIDE = Network(
    name="wide",
    layers=(
        layer("conv", 4, Convolution(channels=1, height=5, width=5, kernel=(1, 1)), 1),
        replace(READ, weights=np.where(np.arange(100) % 25 < 12, READ.weights, 0)),
    ),
)
ENGINE = fit(WIDE, pes=2, lanes=2)


@pytest.mark.parametrize(
    ("field", "enough", "short"),
    [
        ("row_depth", 32, 16),
        ("activation_depth", 64, 32),
        ("accumulator_width", WIDE.accumulator_width, WIDE.accumulator_width - 1),
    ],
)
def test_an_engine_that_is_too_small(path: Path, field: str, enough: int, short: int) -> None:
    assert getattr(ENGINE, field) == enough
    program = encode(WIDE, ENGINE)
    assert not refused(program, path)
    spec = replace(ENGINE, **{field: short})
    words = read_image(ENGINE, program.image)
    table = words[Section.LAYERS, 0]
    for loop in range(LOOPS):
        table[f"step{loop}"] %= 1 << spec.address_width
    assert refused(replace(program, spec=spec, image=write_image(spec, words)), path)


@pytest.mark.parametrize(("pitch", "wrong"), [(8, True), (9, False), (10, False)])
def test_rows_of_x_that_overlap(
    path: Path, pitch: int, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 7 pixels and two of border, the zero right of one and left of the next are no two."""
    monkeypatch.setattr("secateur.placement.input_pitch", lambda *_, **__: pitch)
    network = Network(name="net", layers=NET.layers[:1])
    assert refused(encode(network, SPEC), path) is wrong


def test_averages_of_too_many(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, wrong in (((16, 16), False), ((16, 32), True)):
        pool = Pool(kind="average", size=size)
        conv = Convolution(channels=1, height=32, width=32, kernel=(1, 1), pool=pool)
        network = Network(name="net", layers=(layer("conv", 4, conv, 1),))
        with monkeypatch.context() as patch:
            patch.setattr("secateur.limits.AVERAGE_BITS", 9)
            program = encode(network, fit(network, pes=2))
        assert refused(program, path) is wrong
