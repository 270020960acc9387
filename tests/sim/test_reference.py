import dataclasses
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.format import SECTION_HEADER, LoadError, Section, memories
from secateur.image import write_image
from secateur.network import Network
from secateur.placement import place
from secateur.reference import Reference
from secateur.words import Words

NET = random_network(5, [20, 16, 9], density=0.4)
OTHER = random_network(6, [33, 7], density=0.6)
#: Room for both.
SPEC = dataclasses.replace(
    fit(NET, pes=4),
    weight_depth=256,
    column_depth=64,
    activation_depth=64,
    count_width=6,
    accumulator_width=24,
)
PROGRAM, SECOND = encode(NET, SPEC), encode(OTHER, SPEC)


def infer(program, reference, x):
    return program.restore(reference.infer(program.arrange(x)))


def seal(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


def section(kind, pe, count):
    fields = {"section": [kind], "pe": [pe], "count": [count]}
    return SECTION_HEADER.pack(fields).tobytes()


@pytest.mark.parametrize("codebook", [False, True])
@pytest.mark.parametrize(
    ("pes", "lanes"), [(1, 1), (3, 1), (4, 2), (8, 8), (12, 4), (16, 4), (16, 1)]
)
@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.integers(1, 6),
    st.sampled_from([5, 8]),
)
def test_equals_the_network(pes, lanes, codebook, seed, lengths, density, index_width, width):
    net = random_network(seed, lengths, density=density, dead=0.1, codebook=codebook, width=width)
    program = encode(net, fit(net, pes=pes, lanes=lanes, index_width=index_width))
    reference = Reference(program.spec)
    assert reference.load(program.image) is LoadError.NONE
    x = random_inputs(seed, net, 5)  # the first is all zeros
    np.testing.assert_array_equal(infer(program, reference, x), net.compute(x))


@pytest.mark.parametrize("lengths", [[1, 1], [1, 1, 1], [50, 1, 50], [3, 2, 1]])
@pytest.mark.parametrize("pes", [1, 3, 16])
def test_one_neuron_layers_dense_layers_and_more_pes_than_rows(lengths, pes):
    net = random_network(7, lengths, density=1)
    program = encode(net, fit(net, pes=pes))
    reference = Reference(program.spec)
    reference.load(program.image)
    x = random_inputs(8, net, 4)
    np.testing.assert_array_equal(infer(program, reference, x), net.compute(x))


def test_an_image_made_by_hand():
    """Two lanes, two groups of rows, entries that the layers divide in their own ways."""
    spec = EngineSpec(pes=4, lanes=2, entry_width=12, index_width=5)
    table = {
        "source_words": [2, 2],
        "rows_words": [2, 1],
        "column_base": [0, 2],
        "weight_base": [0, 4],
        "bias_base": [0, 2],
        "multiplier": [1, 1],
        "shift": [0, 6],
        "code_extra": [0, 1],
        "input_signed": [0, 0],
        "output_signed": [0, 1],
        "relu": [1, 0],
        "last": [0, 1],
    }
    # [[1, 0, -3, 0], [0, 2, 0, 5], [0, 0, 4, -6]], then [[7, -100, 0]]; PE 1 adds a weight of zero.
    entries = [
        [1, 128 - 3, 4, 4095, 7],
        [1 << 7, 1 << 7 | 128 - 6, 4095, 4095, 256 - 100],
        [],
        [2, 5],
    ]
    contents = {
        (Section.LAYERS, 0): table,
        (Section.BIASES, 0): {"bias0": [10, 30, -5], "bias1": [20, 0, 0]},
        (Section.COLUMNS, 0): {
            "count0": [1, 2, 1, 0],
            "count1": [1, 1, 1, 0],
            "count2": [0, 0, 0, 0],
            "count3": [1, 1, 0, 0],
        },
        **{(Section.WEIGHTS, pe): {"entry": words} for pe, words in enumerate(entries)},
    }
    reference = Reference(spec)
    assert reference.load(write_image(spec, contents)) is LoadError.NONE
    x = np.array([[[1, 2], [3, 4]], [[0, 0], [0, 0]]])
    hidden = np.array([[1 - 9 + 10, 4 + 20 + 20, 12 - 24 + 30], [10, 20, 30]])
    want = np.round((7 * hidden[:, 0] - 100 * hidden[:, 1] - 5) / 64).astype(int)
    assert want.tolist() == [-69, -30]
    assert reference.infer(x).tolist() == [[[256 - 69, 0]], [[256 - 30, 0]]]

    table["source_words"] = [2, 1]
    assert reference.load(write_image(spec, contents)) is LoadError.NONE
    with pytest.raises(IndexError, match=r"^a layer reads 1 of 2 words$"):
        reference.infer(x)


def test_without_a_program_there_is_no_inference():
    with pytest.raises(RuntimeError, match=r"^no program is in use$"):
        Reference(SPEC).infer(np.zeros((1, 1, 4), dtype=np.int64))


def test_programs_replace_each_other():
    reference = Reference(SPEC)
    for program, net in ((PROGRAM, NET), (SECOND, OTHER), (PROGRAM, NET)):
        assert reference.load(program.image) is LoadError.NONE
        assert reference.program == program.id
        x = random_inputs(9, net, 3)
        np.testing.assert_array_equal(infer(program, reference, x), net.compute(x))


WEIGHTS = memories(SPEC)[Section.WEIGHTS]
HEADER, REST = PROGRAM.image[:9], PROGRAM.image[9:-4]
OVERFULL = section(Section.WEIGHTS, 0, WEIGHTS.depth + 1)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (b"X" + PROGRAM.image[1:], LoadError.MAGIC),
        (HEADER[:4] + b"\x01" + HEADER[5:], LoadError.VERSION),
        (HEADER[:5] + bytes(4) + REST, LoadError.ENGINE),
        (b"X" + HEADER[1:4] + b"\x01" + bytes(4), LoadError.MAGIC),
        (HEADER[:4] + b"\x01" + bytes(4), LoadError.VERSION),
        (HEADER + section(9, 0, 0), LoadError.SECTION),
        (HEADER + section(Section.CODEBOOKS, 0, 0), LoadError.SECTION),
        (HEADER + section(Section.WEIGHTS, SPEC.pes, 0), LoadError.SECTION),
        (HEADER + section(Section.BIASES, 1, 0), LoadError.SECTION),
        (HEADER + section(Section.WEIGHTS, SPEC.pes, 1 << 31), LoadError.SECTION),
        (HEADER + OVERFULL, LoadError.SIZE),
        (HEADER + section(Section.LAYERS, 0, SPEC.layer_depth + 1), LoadError.SIZE),
        (PROGRAM.image[:-1] + bytes([PROGRAM.image[-1] ^ 1]), LoadError.CRC),
        (PROGRAM.image[:40] + bytes([PROGRAM.image[40] ^ 16]) + PROGRAM.image[41:], LoadError.CRC),
        (seal(HEADER + OVERFULL + bytes(WEIGHTS.record.size * 257) + bytes(6)), LoadError.SIZE),
    ],
)
@pytest.mark.parametrize("banks", [1, 2])
def test_a_refused_image_keeps_the_old_program_where_there_are_two_banks(image, error, banks):
    spec = dataclasses.replace(SPEC, banks=banks)
    fingerprints = [s.fingerprint.to_bytes(4, "little") for s in (SPEC, spec)]
    program = encode(NET, spec)
    reference = Reference(spec)
    reference.load(program.image)
    assert reference.load(image.replace(*fingerprints)) is error
    assert reference.error is error
    if banks == 1 and error >= LoadError.SECTION:
        assert reference.program is None
    else:
        x = random_inputs(9, NET, 3)
        np.testing.assert_array_equal(infer(program, reference, x), NET.compute(x))
    assert reference.load(program.image) is LoadError.NONE
    assert (reference.error, reference.program) == (LoadError.NONE, program.id)


@pytest.mark.parametrize("size", [0, 8, 9, 14, 15, len(PROGRAM.image) - 5, len(PROGRAM.image) - 1])
@pytest.mark.parametrize("banks", [1, 2])
def test_an_image_that_ends_early_is_no_error_and_no_program(size, banks):
    spec = dataclasses.replace(SPEC, banks=banks)
    program = encode(NET, spec)
    reference = Reference(spec)
    reference.load(program.image)
    assert reference.load(program.image[:size]) is LoadError.NONE
    assert reference.program == (None if banks == 1 and size >= 9 else program.id)


def test_bytes_after_an_image_are_ignored():
    reference = Reference(SPEC)
    assert reference.load(PROGRAM.image + b"more") is LoadError.NONE
    assert reference.program == PROGRAM.id


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PROGRAM.image) * 8 - 1))
def test_no_flipped_bit_is_accepted(bit):
    image = bytearray(PROGRAM.image)
    image[bit // 8] ^= 1 << bit % 8
    reference = Reference(SPEC)
    reference.load(bytes(image))
    assert reference.program is None


def test_an_accumulator_that_leaves_its_width_is_noticed():
    spec = dataclasses.replace(SPEC, accumulator_width=16)
    layers = tuple(
        dataclasses.replace(layer, bias=np.zeros_like(layer.bias)) for layer in OTHER.layers
    )
    net = Network(name="loud", layers=layers)
    reference = Reference(spec)
    # What the encoder refuses.
    words = Words(placement=place(net, pes=spec.pes, lanes=spec.lanes), spec=spec)
    assert reference.load(write_image(spec, words.contents())) is LoadError.NONE
    x = SECOND.arrange(np.full((1, 33), net.layers[0].input.highest))
    with pytest.raises(OverflowError, match=r"^an accumulator leaves its 16 bits$"):
        reference.infer(x)


def test_a_program_that_reads_what_it_did_not_write_is_an_error():
    image = HEADER + section(Section.END, 0, 0)
    reference = Reference(SPEC)
    assert reference.load(seal(image)) is LoadError.NONE
    with pytest.raises(KeyError):
        reference.infer(np.zeros((1, 1, 4), dtype=np.int64))
    words = Words(placement=place(NET, pes=SPEC.pes, lanes=SPEC.lanes), spec=SPEC).contents()
    entries = words[Section.WEIGHTS, 2]
    entries["entry"] = entries["entry"][:-1]
    assert reference.load(write_image(SPEC, words)) is LoadError.NONE
    with pytest.raises(IndexError):
        reference.infer(PROGRAM.arrange(np.zeros((1, 20), dtype=np.int64)))
