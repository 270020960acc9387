import dataclasses
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.networks import random_inputs, random_network
from secateur.container import pack_container, write_file
from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.format import Section
from secateur.image import read_image, write_image
from secateur.program import Program

NET = random_network(3, [30, 20, 10], density=0.3, dead=0.2)
PROGRAM = encode(NET, fit(NET, pes=4))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.sct"
    PROGRAM.save(path)
    return path


def refusal(path):
    with pytest.raises(BadInputError) as caught:
        Program.load(path)
    return str(caught.value)


def altered(path, **changes):
    """Write a file whose digest is right and whose description is not."""
    image = changes.pop("image", PROGRAM.image)
    text = json.loads(path.read_bytes()[16 : -len(PROGRAM.image) - 36])
    write_file(path, pack_container(json.dumps(text | changes).encode(), image))


def test_load_undoes_save(path):
    program = Program.load(path)
    assert program == PROGRAM
    assert program.digest == PROGRAM.digest == hashlib.sha256(path.read_bytes()[:-32]).hexdigest()
    assert program.id == int.from_bytes(program.image[-4:], "little")
    assert [*path.parent.iterdir()] == [path]


def test_encoding_is_deterministic():
    assert encode(NET, PROGRAM.spec).digest == PROGRAM.digest


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "net.sct"
    folder.mkdir()
    with pytest.raises(BadInputError) as caught:
        PROGRAM.save(folder)
    assert str(caught.value) == f"{folder} cannot be written (Is a directory); give another path"
    assert [*tmp_path.iterdir()] == [folder]


def test_a_missing_file(tmp_path):
    path = tmp_path / "net.sct"
    assert refusal(path) == f"{path} does not exist; make it with `secateur encode`"


def test_a_folder(tmp_path):
    assert refusal(tmp_path) == (
        f"{tmp_path} cannot be read (Is a directory); give the file that `secateur encode` writes"
    )


@pytest.mark.parametrize("content", [b"", b"SECA", b"{}" * 100, b"\x80\x04N."])
def test_another_kind_of_file(path, content):
    path.write_bytes(content)
    assert refusal(path) == (
        f"{path} is not a program; give the file that `secateur encode` writes"
    )


def test_a_truncated_file_of_any_length(path):
    whole = path.read_bytes()
    for size in [*range(8, 200), *range(200, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert refusal(path) == f"{path} is truncated; make it again with `secateur encode`"


@pytest.mark.parametrize("position", [12, -36 - len(PROGRAM.image)])
def test_a_length_is_not_believed(path, position):
    whole = bytearray(path.read_bytes())
    whole[position : position + 4] = b"\xff" * 4
    path.write_bytes(whole)
    assert refusal(path) == f"{path} is truncated; make it again with `secateur encode`"


def test_a_later_version(path):
    whole = bytearray(path.read_bytes())
    whole[8] = 3
    path.write_bytes(whole)
    assert refusal(path) == (
        f"{path} has version 3 and this Secateur reads 2; update Secateur or make the file again"
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_altered_bit_goes_unnoticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("altered") / "net.sct"
    PROGRAM.save(path)
    whole = bytearray(path.read_bytes())
    bit = data.draw(st.integers(16 * 8, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    path.write_bytes(whole)
    altered = "was altered after it was written; make it again with `secateur encode`"
    truncated = "is truncated; make it again with `secateur encode`"
    assert refusal(path) in {f"{path} {altered}", f"{path} {truncated}"}


def test_bytes_after_the_end(path):
    path.write_bytes(path.read_bytes() + b"\0")
    assert refusal(path) == (
        f"{path} was altered after it was written; make it again with `secateur encode`"
    )


LAYERS = [dataclasses.asdict(layer) for layer in PROGRAM.layers]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": "30"}, "inputs: Input should be a valid integer"),
        (
            {"inputs": 3},
            "Value error, a layer must have as many columns as the one before has rows",
        ),
        (
            {"inputs": 3, "layers": [LAYERS[0] | {"columns": 3}, LAYERS[1]]},
            "Value error, an order must hold different indices below 3",
        ),
        ({"input_order": [1, 1]}, "Value error, an order must hold different indices below 30"),
        ({"input_order": [-1]}, "Value error, an order must hold different indices below 30"),
        ({"input_order": []}, "Value error, an order must hold different indices below 30"),
        ({"input_order": [0]}, "it describes another image"),
        ({"layers": []}, "Value error, the last layer must keep all of its rows"),
        ({"layers": LAYERS[:1]}, "Value error, the last layer must keep all of its rows"),
        (
            {"layers": [*LAYERS[:1], LAYERS[1] | {"rows": 11}]},
            "Value error, the last layer must keep all of its rows",
        ),
        *(
            ({"layers": [LAYERS[0] | change, LAYERS[1]]}, "it describes another image")
            for change in (
                {"entries": 0, "padding": 0},
                {"entries": LAYERS[0]["entries"] + 1, "padding": LAYERS[0]["padding"] + 1},
                {"padding": 10**30},
                {"code_width": LAYERS[0]["code_width"] + 1},
                {"nonzeros": -1},
                {"nonzeros": 601},
                {"input": {"width": 64, "signed": False}},
                {"output": {"width": 8, "signed": not LAYERS[0]["output"]["signed"]}},
            )
        ),
        (
            {"layers": [LAYERS[0] | {"columns": 0}, LAYERS[1]]},
            "Value error, a layer must have as many columns as the one before has rows",
        ),
        ({"layers": [{}]}, "layers: 0: name: Field required"),
        ({"code": "print()"}, "code: Unexpected keyword argument"),
        ({"engine": {}}, None),
        (
            {"engine": PROGRAM.spec.to_dict() | {"pes": 0}},
            "pes must be an integer between 1 and 256, not 0",
        ),
        (
            {"engine": PROGRAM.spec.to_dict() | {"pes": 8}},
            "the engine refuses the image: ENGINE",
        ),
        ({"image": b""}, "the image ends after 0 bytes"),
        ({"image": PROGRAM.image[:-1]}, f"the image ends after {len(PROGRAM.image) - 1} bytes"),
        ({"image": PROGRAM.image + b"\0"}, "it describes another image"),
        ({"image": PROGRAM.image[:-1] + b"\0"}, "the engine refuses the image: CRC"),
    ],
)
def test_a_description_that_is_not_one(path, changes, reason):
    altered(path, **changes)
    message = refusal(path)
    assert message.startswith(f"{path} holds no valid program (")
    assert message.endswith("); make it again with `secateur encode`")
    if reason is not None:
        assert message == (
            f"{path} holds no valid program ({reason}); make it again with `secateur encode`"
        )


def test_a_text_that_is_not_json(path):
    write_file(path, pack_container(b"[" * 100_000, PROGRAM.image))
    assert refusal(path).startswith(f"{path} holds no valid program (Invalid JSON: ")


@pytest.mark.parametrize("section", [*Section][2:6])
def test_an_image_that_lacks_a_memory(path, section):
    network = random_network(3, [30, 20, 10], density=0.3, codebook=True)
    program = encode(network, fit(network, pes=2))
    contents = read_image(program.spec, program.image)
    del contents[section, 0]
    replace(program, image=write_image(program.spec, contents)).save(path)
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


def image_with(change):
    contents = read_image(PROGRAM.spec, PROGRAM.image)
    change(contents)
    return write_image(PROGRAM.spec, contents)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    ("base", "depth"),
    [
        ("weight_base", PROGRAM.spec.weight_depth),
        ("column_base", PROGRAM.spec.column_depth),
        ("bias_base", PROGRAM.spec.bias_depth),
    ],
)
def test_a_layer_that_begins_where_nothing_is(path, base, depth, layer):
    def change(contents):
        contents[Section.LAYERS, 0][base][layer] = depth - 1

    altered(path, image=image_with(change))
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("last", [1, 1]),
        ("last", [0, 0]),
        ("multiplier", [1, 2]),
        ("shift", [48, 0]),
        ("weight_base", [3, 0]),
    ],
)
def test_a_layer_that_no_network_has(path, field, values):
    def change(contents):
        contents[Section.LAYERS, 0][field][:] = values

    altered(path, image=image_with(change))
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize("other", [0, 1])
def test_a_layer_reads_what_the_one_before_gives(path, other):
    """The second layer's input is signed or not, and so says the description."""
    program = encode(NET, replace(PROGRAM.spec, accumulator_width=32))
    contents = read_image(program.spec, program.image)
    contents[Section.LAYERS, 0]["input_signed"][1] ^= other
    first, second = program.layers
    kind = replace(second.input, signed=second.input.signed ^ bool(other))
    changed = replace(
        program,
        image=write_image(program.spec, contents),
        layers=(first, replace(second, input=kind)),
    )
    changed.save(path)
    if not other:
        assert Program.load(path) == changed
        return
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


def test_layers_lie_in_their_order(path):
    """The second layer's entries before those of the first: all are there, and yet."""
    contents = read_image(PROGRAM.spec, PROGRAM.image)
    base = contents[Section.LAYERS, 0]["weight_base"]
    memories = [contents[Section.WEIGHTS, pe] for pe in range(4)]
    most = max(words["entry"].size for words in memories) - base[1]
    for words in memories:
        first, second = np.split(words["entry"], base[1:])
        words["entry"] = np.concatenate([second, np.zeros(most - second.size, int), first])
    base[:] = most, 0
    program = replace(PROGRAM, image=write_image(PROGRAM.spec, contents))
    for got, want in zip(decode(program), decode(PROGRAM), strict=True):
        np.testing.assert_array_equal(got[0], want[0])
    program.save(path)
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize(
    ("field", "enough"), [("activation_depth", 16), ("row_depth", 8), ("jobs", 2)]
)
def test_layers_fit_the_engine(path, field, enough):
    """Seven hidden words and seven rows of a PE, on an engine that has room, or half of it."""
    assert (PROGRAM.words, getattr(PROGRAM.spec, field)) == ([11, 7, 5], enough)
    less = enough * 2 if field == "jobs" else enough // 2
    for spec, fits in ((PROGRAM.spec, True), (replace(PROGRAM.spec, **{field: less}), False)):
        image = write_image(spec, read_image(PROGRAM.spec, PROGRAM.image))
        program = replace(PROGRAM, spec=spec, image=image)
        program.save(path)
        if fits:
            assert Program.load(path) == program
            continue
        assert refusal(path) == (
            f"{path} holds no valid program (it describes another image); make it again with "
            f"`secateur encode`"
        )


def test_an_entry_behind_the_last_column(path):
    """Nine columns in words of two: the tenth does not exist, whatever it is multiplied by."""
    network = random_network(1, [9, 7, 4], density=0.6)
    program = encode(network, fit(network, pes=4))
    assert (len(program.input_order), program.spec.lanes) == (9, 2)
    contents = read_image(program.spec, program.image)
    pe = next(pe for pe in (1, 3) if contents[Section.COLUMNS, 0][f"count{pe}"][3])
    counts = contents[Section.COLUMNS, 0][f"count{pe}"]
    counts[3:5] += -1, 1
    replace(program, image=write_image(program.spec, contents)).save(path)
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize("index", [0, 1])
def test_an_entry_outside_the_matrix(path, index):
    """The first one in the last column that has any counts past all of its rows."""

    def change(contents):
        base = contents[Section.LAYERS, 0]["weight_base"][index]
        entries = contents[Section.WEIGHTS, 3]["entry"]
        entries[base] |= ((1 << PROGRAM.spec.index_width) - 1) << PROGRAM.spec.code_widths[0]

    altered(path, image=image_with(change))
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_sum_fits_its_accumulator(path, beyond):
    """The bias that goes to the end of what the accumulator holds, and one more."""
    spec = replace(PROGRAM.spec, bias_width=PROGRAM.spec.accumulator_width)
    program = encode(NET, spec)
    contents = read_image(spec, program.image)
    weights = decode(program)[-1][0][program.output_order[0]]
    kind = program.layers[-1].input
    most = int(np.maximum(weights * kind.lowest, weights * kind.highest).sum())
    base = contents[Section.LAYERS, 0]["bias_base"][-1]
    contents[Section.BIASES, 0]["bias0"][base] = (
        (1 << (spec.accumulator_width - 1)) - 1 - most + beyond
    )
    changed = replace(program, image=write_image(spec, contents))
    changed.save(path)
    if not beyond:
        assert Program.load(path) == changed
        return
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize(
    ("section", "pe"),
    [*((Section.WEIGHTS, pe) for pe in range(4)), (Section.COLUMNS, 0), (Section.BIASES, 0)],
)
def test_a_memory_that_lacks_its_last_word(path, section, pe):
    def change(contents):
        words = contents[section, pe]
        contents[section, pe] = {name: values[:-1] for name, values in words.items()}

    altered(path, image=image_with(change))
    assert refusal(path) == (
        f"{path} holds no valid program (it describes another image); make it again with "
        f"`secateur encode`"
    )


@pytest.mark.parametrize("beyond", [0, 1])
def test_entries_end_where_the_memory_does(path, beyond):
    """A layer that begins as late as all of its entries are still there, and one word later."""
    contents = read_image(PROGRAM.spec, PROGRAM.image)
    most = max(contents[Section.WEIGHTS, pe]["entry"].size for pe in range(4))
    base = contents[Section.LAYERS, 0]["weight_base"]
    room = PROGRAM.spec.weight_depth - most
    assert room > 0
    for pe in range(4):
        entries = contents[Section.WEIGHTS, pe]["entry"]
        moved = np.concatenate([entries[: base[1]], np.zeros(room, int), entries[base[1] :]])
        contents[Section.WEIGHTS, pe]["entry"] = moved
    base[1] += room + beyond
    program = replace(PROGRAM, image=write_image(PROGRAM.spec, contents))
    program.save(path)
    if beyond:
        assert refusal(path) == (
            f"{path} holds no valid program (it describes another image); make it again with "
            f"`secateur encode`"
        )
        return
    assert Program.load(path) == program
    for got, want in zip(decode(program), decode(PROGRAM), strict=True):
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
    moved = PROGRAM.storage() | {
        "gaps": PROGRAM.storage()["gaps"] + 4 * room * PROGRAM.spec.entry_width
    }
    assert program.storage() == moved


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 8]), st.sampled_from([4, 8, 11]))
def test_arrange_and_restore_are_the_orders_of_the_program(seed, pes, width):
    net = random_network(seed, [30, 20, 10], dead=0.3, width=width)
    program = encode(net, fit(net, pes=pes))
    x = random_inputs(seed, net, 6).reshape(2, 3, 30)
    words = program.arrange(x)
    assert words.shape == (2, 3, program.input_words, program.spec.lanes)
    flat = words.reshape(2, 3, -1)
    live = len(program.input_order)
    np.testing.assert_array_equal(flat[..., :live], x[..., program.input_order] % (1 << width))
    assert not flat[..., live:].any()

    kind = program.layers[-1].output
    y = np.random.default_rng(seed).integers(kind.lowest, kind.highest + 1, (2, 3, 10))
    filled = np.full((2, 3, program.output_words * program.spec.lanes), 1)
    filled[..., :10] = y[..., program.output_order] % (1 << width)
    words = filled.reshape(2, 3, program.output_words, program.spec.lanes)
    np.testing.assert_array_equal(program.restore(words), y)


def test_arrange_refuses_what_the_network_does_not_take():
    kind = NET.layers[0].input
    with pytest.raises(BadInputError) as caught:
        PROGRAM.arrange(np.arange(30) * kind.highest)
    assert str(caught.value) == (
        f"x must be [..., 30] from {kind.lowest} to {kind.highest}, not (30,) from "
        f"0 to {29 * kind.highest}"
    )
    with pytest.raises(BadInputError) as caught:
        PROGRAM.arrange(np.zeros((2, 31), dtype=np.int64))
    assert str(caught.value) == (
        f"x must be [..., 30] from {kind.lowest} to {kind.highest}, not (2, 31) from 0 to 0"
    )


def test_restore_refuses_another_shape():
    with pytest.raises(BadInputError) as caught:
        PROGRAM.restore(np.zeros((3, 2), dtype=np.int64))
    assert str(caught.value) == "y must be [..., 5, 2], not (3, 2)"
