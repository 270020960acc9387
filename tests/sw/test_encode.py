import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.networks import random_network
from secateur.dead import remove_dead
from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.format import Section, memories
from secateur.image import read_image
from secateur.network import Layer, Network

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(1, 40), min_size=2, max_size=6)
NET = random_network(1, [30, 20, 12, 5], density=0.4)


def with_layer(net, index, **changes):
    layers = list(net.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return Network(name=net.name, layers=tuple(layers))


def refusal(function, *args, **kwargs):
    with pytest.raises(BadInputError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    SEEDS,
    LENGTHS,
    st.sampled_from([0.05, 0.3, 1.0]),
    st.sampled_from([1, 2, 3, 4, 8, 16]),
    st.booleans(),
    st.integers(1, 8),
)
def test_the_image_holds_the_reduced_network(seed, lengths, density, pes, codebook, index_width):
    net = random_network(seed, lengths, density=density, dead=0.2, codebook=codebook)
    program = encode(net, fit(net, pes=pes, index_width=index_width))
    for (weights, bias), layer in zip(
        decode(program), remove_dead(net).network.layers, strict=True
    ):
        np.testing.assert_array_equal(weights, layer.weights)
        np.testing.assert_array_equal(bias, layer.bias)


@settings(max_examples=100, deadline=None)
@given(SEEDS, LENGTHS, st.sampled_from([1, 3, 8]))
def test_regions_of_the_activation_memory_do_not_collide(seed, lengths, pes):
    net = random_network(seed, lengths, density=0.3)
    spec = fit(net, pes=pes)
    table = read_image(spec, encode(net, spec).image)[Section.LAYERS, 0]
    layers = [
        dict(zip(table, map(int, row), strict=True)) for row in zip(*table.values(), strict=True)
    ]
    taken_in = set(range(layers[0]["source"] + 2 * layers[0]["source_words"]))
    for before, after in itertools.pairwise(layers):
        written = set(range(before["destination"], before["destination"] + before["rows_words"]))
        read = set(range(before["source"], before["source"] + before["source_words"]))
        assert not written & (read | taken_in)
        assert max(written) < spec.activation_depth
        assert (after["source"], after["source_words"]) == (before["destination"], len(written))
    assert layers[-1]["destination"] == 0
    assert [layer["last"] for layer in layers] == [0] * (len(layers) - 1) + [1]


@settings(max_examples=50, deadline=None)
@given(SEEDS, LENGTHS, st.sampled_from([1, 3, 8]), st.booleans())
def test_fit_finds_the_smallest_engine(seed, lengths, pes, codebook):
    net = random_network(seed, lengths, density=0.5, codebook=codebook)
    spec = fit(net, pes=pes)
    encode(net, spec)
    for name in ("weight_depth", "column_depth", "row_depth", "bias_depth", "layer_depth"):
        if getattr(spec, name) > 2:
            smaller = dataclasses.replace(spec, **{name: getattr(spec, name) // 2})
            assert f"set {name} to {getattr(spec, name)}" in refusal(encode, net, smaller)
    assert spec.accumulator_width == max(4, remove_dead(net).network.accumulator_width)
    books = [len(layer.codebook) for layer in net.layers if layer.codebook is not None]
    assert (1 << spec.codebook_bits) // 2 < max(books, default=1) <= 1 << spec.codebook_bits


def test_fit_keeps_what_is_given():
    spec = fit(NET, pes=4, lanes=2, index_width=5, banks=1, weight_depth=4096, weight_width=16)
    assert (spec.lanes, spec.index_width, spec.banks) == (2, 5, 1)
    assert (spec.weight_depth, spec.weight_width) == (4096, 16)
    encode(NET, spec)


def test_storage_counts_the_words_of_the_image():
    for codebook in (False, True):
        net = random_network(2, [50, 30, 10], codebook=codebook, dead=0.1)
        program = encode(net, fit(net, pes=4, index_width=2))
        bits = dict.fromkeys(Section, 0)
        for (section, _), fields in read_image(program.spec, program.image).items():
            words = len(next(iter(fields.values())))
            bits[section] += words * memories(program.spec)[section].record.width
        storage = program.storage()
        assert storage["padding"] > 0
        assert bits[Section.WEIGHTS] == sum(storage[k] for k in ("weights", "indices", "padding"))
        assert bits[Section.COLUMNS] == storage["columns"]
        assert bits[Section.BIASES] == storage["biases"]
        assert bits[Section.LAYERS] == storage["layers"]
        assert bits[Section.CODEBOOKS] == storage["codebooks"]
        weights = sum(np.count_nonzero(layer.weights) for layer in remove_dead(net).network.layers)
        assert storage["weights"] == weights * program.spec.code_width
        assert program.bits_per_weight == sum(storage.values()) / weights


def test_program_describes_the_network():
    program = encode(NET, fit(NET, pes=4))
    assert (program.network, program.network_digest) == ("random", NET.digest)
    assert (program.inputs, program.outputs) == (30, 5)
    assert [(layer.rows, layer.columns) for layer in program.layers] == [
        (20, 30),
        (12, 20),
        (5, 12),
    ]
    assert [layer.nonzeros for layer in program.layers] == [
        np.count_nonzero(layer.weights) for layer in NET.layers
    ]
    assert program.input_order == tuple(remove_dead(NET).kept[0])


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        (
            {"weight_depth": 64},
            (
                "the weights need 91 words of a PE and the engine has 64; prune more or use more "
                "PEs or set weight_depth to 128"
            ),
        ),
        (
            {"column_depth": 32},
            (
                "the columns need 64 words of each PE and the engine has 32; prune whole neurons "
                "or set column_depth to 64"
            ),
        ),
        (
            {"row_depth": 4},
            (
                "the rows need 5 accumulators of each PE and the engine has 4; use more PEs or set "
                "row_depth to 8"
            ),
        ),
        (
            {"activation_depth": 16},
            (
                "the activations need 24 words and the engine has 16; use more lanes or set "
                "activation_depth to 32"
            ),
        ),
        (
            {"bias_depth": 8},
            "the biases need 10 words and the engine has 8; use more lanes or set bias_depth to 16",
        ),
        (
            {"layer_depth": 2},
            (
                "the layer table needs 3 words and the engine has 2; use fewer layers or set "
                "layer_depth to 4"
            ),
        ),
        (
            {"accumulator_width": 16},
            (
                "the sums of network 'random' need 19 bits and the engine's accumulators have 16; "
                "quantise to fewer bits or set accumulator_width to 19"
            ),
        ),
        (
            {"weight_width": 6},
            (
                "layer 'fc1' has weights of 8 bits and the engine's have 6; quantise it to 6 bits "
                "or set weight_width to 8"
            ),
        ),
        (
            {"activation_width": 9},
            (
                "layer 'fc1' has an input of 8 bits and the engine's activations have 9; quantise "
                "all activations to 9 bits or set activation_width to 8"
            ),
        ),
        (
            {"codebook_bits": 4},
            (
                "layer 'fc1' has direct weights and the engine is made for a codebook; quantise "
                "every layer with a codebook or generate another engine"
            ),
        ),
    ],
)
def test_what_is_too_small_is_refused_by_name(depths, message):
    spec = dataclasses.replace(fit(NET, pes=4), **depths)
    assert refusal(encode, NET, spec) == message
    assert refusal(fit, NET, pes=4, **depths) == message


def test_a_codebook_and_a_direct_engine_are_refused():
    net = random_network(1, [30, 20], codebook=True)
    spec = dataclasses.replace(fit(net, pes=4), codebook_bits=0)
    assert refusal(encode, net, spec) == (
        "layer 'fc1' has a codebook and the engine is made for direct weights; quantise every "
        "layer with direct weights or generate another engine"
    )


def test_a_large_codebook_is_refused():
    net = with_layer(random_network(1, [30, 20]), 0, codebook=np.arange(-128, 128))
    assert refusal(fit, net, pes=4) == (
        "layer 'fc1' has a codebook of 256 values and the engine's hold 64; use fewer values or "
        "more codebook_bits"
    )


def test_layers_with_and_without_a_codebook_are_refused():
    net = random_network(1, [30, 20, 12], codebook=True)
    net = with_layer(net, 1, codebook=None)
    assert refusal(fit, net, pes=4) == (
        "layer 'fc2' has direct weights and the engine is made for a codebook; quantise every "
        "layer with a codebook or generate another engine"
    )


def test_layers_of_different_widths_are_refused():
    net = random_network(1, [30, 20, 12])
    wide = Requant(shift=0, output=NumberFormat(width=16, signed=True), relu=False)
    assert refusal(fit, with_layer(net, 1, requant=wide), pes=4) == (
        "layer 'fc2' has an output of 16 bits and the engine's activations have 8; quantise all "
        "activations to 8 bits or set activation_width to 16"
    )


def test_a_depth_that_no_engine_has_is_not_offered():
    net = random_network(1, [2, 8200], density=1)
    assert refusal(fit, net, pes=1) == (
        "the rows need 8200 accumulators of each PE and the engine has 4096; use more PEs"
    )


def test_parameters_out_of_range_are_refused_first():
    assert refusal(fit, NET, pes=0) == "pes must be an integer between 1 and 256, not 0"
    assert refusal(fit, NET, pes=6, lanes=4) == "lanes must divide pes (6), not 4"


def test_an_empty_column_behind_a_full_weight_memory_is_legal():
    weights = np.zeros((2, 17), dtype=np.int64)
    weights[0, :16] = weights[1, 16] = 1
    byte = NumberFormat(width=8, signed=True)
    layer = Layer(
        name="fc",
        weights=weights,
        bias=np.zeros(2, dtype=np.int64),
        weight_width=8,
        input=byte,
        requant=Requant(shift=0, output=byte, relu=False),
    )
    net = Network(name="full", layers=(layer,))
    spec = fit(net, pes=2)
    assert spec.weight_depth == 16
    np.testing.assert_array_equal(decode(encode(net, spec))[0][0], weights)
