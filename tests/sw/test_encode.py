import dataclasses
import gc
import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_network
from secateur.dead import remove_dead
from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.format import Section, memories
from secateur.image import read_image
from secateur.network import Layer, Network
from secateur.placement import place

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


def mixed(seed, lengths):
    """Codebooks of 2, 3 to 4 and up to 16 values, in turn."""
    net = random_network(seed, lengths, codebook=True, dead=0.1)
    layers = []
    for index, layer in enumerate(net.layers):
        assert layer.codebook is not None
        values = layer.codebook[layer.codebook != 0][: (1, 3, 15)[index % 3]]
        weights = np.where(np.isin(layer.weights, [0, *values]), layer.weights, values[0])
        book = np.unique([0, *values])
        layers.append(dataclasses.replace(layer, weights=weights, codebook=book))
    return Network(name=net.name, layers=tuple(layers))


def agrees(net, program):
    for (weights, bias), layer in zip(
        decode(program), remove_dead(net).network.layers, strict=True
    ):
        np.testing.assert_array_equal(weights, layer.weights)
        np.testing.assert_array_equal(bias, layer.bias)


@settings(max_examples=100, deadline=None)
@given(
    SEEDS,
    LENGTHS,
    st.sampled_from([0.05, 0.3, 1.0]),
    st.sampled_from([(1, 1), (2, 1), (3, 1), (4, 4), (8, 2), (24, 4), (16, 8)]),
    st.booleans(),
    st.none() | st.integers(1, 8),
)
def test_the_image_holds_the_reduced_network(seed, lengths, density, size, codebook, index_width):
    net = random_network(seed, lengths, density=density, dead=0.2, codebook=codebook)
    spec = fit(net, pes=size[0], lanes=size[1], index_width=index_width)
    assert index_width in {None, spec.index_width}
    agrees(net, encode(net, spec))


@settings(max_examples=50, deadline=None)
@given(SEEDS, LENGTHS, st.sampled_from([(1, 1), (4, 2), (16, 4)]), st.sampled_from([5, 6, 8]))
def test_layers_divide_their_entries(seed, lengths, size, entry_width):
    net = mixed(seed, lengths)
    spec = fit(net, pes=size[0], lanes=size[1], entry_width=entry_width)
    program = encode(net, spec)
    agrees(net, program)
    for got, layer in zip(program.layers, net.layers, strict=True):
        assert got.code_width == layer.code_width
        assert got.code_width in spec.code_widths
    assert spec.entry_width == entry_width
    assert spec.index_width == entry_width - min(layer.code_width for layer in net.layers)


def rows_of(contents, spec):
    """Every PE's entries of every layer as (layer, column, accumulator, code), word by word."""
    table = contents[Section.LAYERS, 0]
    for pe in range(spec.pes):
        memory = contents[Section.WEIGHTS, pe]["entry"].tolist()
        counts = contents[Section.COLUMNS, 0][f"count{pe}"].tolist()
        at = pointer = 0
        for layer, words in enumerate(table["source_words"].tolist()):
            width = spec.code_widths[0]
            width += int(table["code_extra"][layer]) if "code_extra" in table else 0
            assert table["column_base"][layer] == at
            base = int(table["weight_base"][layer])
            assert not any(memory[pointer:base])  # the gap
            assert pointer <= base
            pointer = base
            for word in range(words):
                slot = -1
                for _ in range(counts[at + word]):
                    entry = memory[pointer]
                    pointer += 1
                    slot += (entry >> width) + 1
                    column = word * spec.lanes + pe % spec.lanes
                    yield layer, column, slot, pe, entry % (1 << width)
            at += words
        assert pointer == len(memory)


@pytest.mark.parametrize("size", [(8, 4), (12, 2), (3, 1)])
def test_every_weight_is_in_the_pe_of_its_row_and_lane(size):
    net = random_network(5, [30, 21, 11], density=0.3, dead=0.1)
    program = encode(net, fit(net, pes=size[0], lanes=size[1]))
    groups = size[0] // size[1]
    orders = [program.input_order, *(layer.order for layer in program.layers)]
    found = 0
    for layer, column, slot, pe, code in rows_of(
        read_image(program.spec, program.image), program.spec
    ):
        weight = (code ^ 128) - 128
        if not weight:
            continue
        row = orders[layer + 1][slot * groups + pe // size[1]]
        assert net.layers[layer].weights[row, orders[layer][column]] == weight
        found += 1
    assert found == sum(layer.weights for layer in program.layers)


@settings(max_examples=100, deadline=None)
@given(SEEDS, LENGTHS, st.sampled_from([1, 3, 8, 12]))
def test_layers_follow_each_other(seed, lengths, pes):
    """In the table, in the memories, and what one gives is what the next takes."""
    net = random_network(seed, lengths, density=0.3)
    spec = fit(net, pes=pes)
    contents = read_image(spec, encode(net, spec).image)
    table = contents[Section.LAYERS, 0]
    layers = [
        dict(zip(table, map(int, row), strict=True)) for row in zip(*table.values(), strict=True)
    ]
    assert [layers[0][f"{name}_base"] for name in ("column", "weight", "bias")] == [0, 0, 0]
    for before, after in itertools.pairwise(layers):
        assert after["source_words"] == before["rows_words"]
        assert spec.jobs * after["source_words"] <= spec.activation_depth
        assert after["column_base"] == before["column_base"] + before["source_words"]
        words = before["rows_words"] * spec.lanes // spec.drain_lanes
        assert after["bias_base"] == before["bias_base"] + words
        at = slice(before["column_base"], after["column_base"])
        most = max(sum(counts[at]) for counts in contents[Section.COLUMNS, 0].values())
        assert after["weight_base"] == before["weight_base"] + most
    for layer in layers:
        assert layer["rows_words"] * spec.lanes <= spec.row_depth * spec.groups
    assert [layer["last"] for layer in layers] == [0] * (len(layers) - 1) + [1]
    biases = contents[Section.BIASES, 0]
    assert len(biases) == spec.drain_lanes
    last = layers[-1]
    words = last["rows_words"] * spec.lanes // spec.drain_lanes
    assert {len(values) for values in biases.values()} == {last["bias_base"] + words}


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
    if 4 < spec.activation_depth <= 64:  # deeper ones fill a block RAM
        half = spec.activation_depth // 2
        message = refusal(encode, net, dataclasses.replace(spec, activation_depth=half))
        assert f"set activation_depth to {spec.activation_depth}" in message
    for name, least in (("count_width", 1), ("bias_width", 2)):
        if getattr(spec, name) > least:
            smaller = dataclasses.replace(spec, **{name: getattr(spec, name) - 1})
            assert f"set {name} to {getattr(spec, name)}" in refusal(encode, net, smaller)
    assert spec.accumulator_width == max(4, remove_dead(net).network.accumulator_width)
    books = [len(layer.codebook) for layer in net.layers if layer.codebook is not None]
    assert (1 << spec.codebook_bits) // 2 < max(books, default=1) <= 1 << spec.codebook_bits


def test_fit_keeps_what_is_given():
    given = {
        "lanes": 2, "index_width": 5, "entry_width": 13, "banks": 1, "weight_depth": 4096,
        "weight_width": 16, "jobs": 4, "accumulator_memories": 1, "queue_depth": 16,
        "accumulator_width": 40, "bias_width": 33, "count_width": 9,
    }  # fmt: skip
    spec = fit(NET, pes=4, **given)
    assert {name: getattr(spec, name) for name in given} == given
    encode(NET, spec)


@pytest.mark.parametrize("padding", [0.0, 0.02, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("codebook", [False, True])
def test_fit_takes_the_fewest_bits_with_little_padding(padding, codebook):
    net = random_network(7, [60, 200, 80], density=0.05, codebook=codebook)
    found = fit(net, pes=4, padding=padding)
    kinds = []
    for index_width in range(1, 9):
        layers = encode(net, fit(net, pes=4, index_width=index_width)).layers
        entries = sum(layer.entries for layer in layers)
        share = sum(layer.padding for layer in layers) / entries
        width = layers[0].code_width + index_width
        kinds.append((max(0.0, share - padding), entries * width, index_width))
    assert found.index_width == min(kinds)[2]
    assert found.entry_width == found.code_width + found.index_width


def test_padding_decides_something():
    net = random_network(7, [60, 200, 80], density=0.1)
    widths = [fit(net, pes=4, padding=padding).index_width for padding in (0.05, 0.01, 0)]
    assert widths == [5, 6, 7]


def test_an_index_width_for_all_layers_or_by_layer():
    net = with_layer(NET, 1, weights=np.clip(NET.layers[1].weights, -8, 7), weight_width=4)
    spec = fit(net, pes=4, index_width=3)
    assert (spec.entry_width, spec.index_width, spec.code_widths) == (11, 3, range(8, 9))
    assert [layer.code_width for layer in encode(net, spec).layers] == [8, 8, 8]
    spec = fit(net, pes=4, index_width={"fc2": 6}, padding=1)
    assert (spec.entry_width, spec.index_width) == (10, 6)
    program = encode(net, spec)
    assert [layer.code_width for layer in program.layers] == [8, 4, 8]
    agrees(net, program)
    spec = fit(net, pes=4, index_width={"fc1": 4, "fc2": 2})
    assert (spec.entry_width, spec.index_width) == (12, 8)
    agrees(net, encode(net, spec))


def test_an_index_width_of_a_layer_that_there_is_not():
    assert refusal(fit, NET, pes=4, index_width={"fc9": 4}) == (
        "index_width names layer 'fc9' and the network has fc1, fc2, fc3; correct the name"
    )


@pytest.mark.parametrize("index_width", [0, 9, True, {"fc1": 0}, {"fc1": 9}])
def test_an_index_width_that_no_engine_has(index_width):
    value = index_width["fc1"] if isinstance(index_width, dict) else index_width
    assert refusal(fit, NET, pes=4, index_width=index_width) == (
        f"index_width must be an integer between 1 and 8, not {value!r}"
    )


@pytest.mark.parametrize(
    ("rows", "pes", "jobs"), [(256, 32, 2), (257, 8, 4), (256, 8, 4), (132, 16, 4), (128, 16, 2)]
)
def test_more_jobs_where_accumulators_take_a_block_anyway(rows, pes, jobs):
    net = random_network(1, [9, rows, 10], density=1)
    spec = fit(net, pes=pes)
    assert (spec.jobs, spec.accumulator_memories) == (jobs, 1)
    assert (spec.row_depth * 2 > 64) == (jobs == 4)


@pytest.mark.parametrize(
    ("lengths", "given", "depth"),
    [
        ([9, 128, 10], {}, 64),
        ([9, 132, 10], {}, 256),
        ([9, 132, 10], {"jobs": 2}, 256),
        ([9, 260, 10], {"jobs": 2}, 256),
        ([9, 300, 10], {}, 512),
        ([900, 10], {}, 4),
    ],
)
def test_a_queue_in_a_block_is_as_deep_as_the_smallest_block(lengths, given, depth):
    net = random_network(1, lengths, density=1)
    assert fit(net, pes=16, **given).activation_depth == depth


def test_a_network_is_placed_once_for_fit_and_encode():
    net = random_network(1, [30, 20, 12])
    spec = fit(net, pes=4)
    placement = place(net, pes=4, lanes=spec.lanes)
    encode(net, spec)
    assert place(net, pes=4, lanes=spec.lanes) is placement
    assert place(net, pes=4, lanes=1) is not placement
    alive = weakref.ref(placement)
    del net, placement
    gc.collect()
    assert alive() is None


def test_storage_counts_the_words_of_the_image():
    for net in (
        random_network(2, [50, 90, 10], dead=0.1),
        random_network(2, [50, 90, 10], codebook=True, dead=0.1),
        mixed(2, [50, 90, 10]),
    ):
        widest = max(layer.code_width for layer in net.layers)
        program = encode(net, fit(net, pes=4, lanes=2, entry_width=widest + 2))
        contents = read_image(program.spec, program.image)
        kinds = memories(program.spec)
        bits = dict.fromkeys(Section, 0)
        for (section, _), fields in contents.items():
            words = len(next(iter(fields.values())))
            bits[section] += words * kinds[section].record.width
        storage, unused = program.storage(), program.unused()
        assert min(storage["padding"], storage["gaps"]) > 0
        parts = ("codes", "indices", "padding", "gaps")
        assert bits[Section.WEIGHTS] == sum(storage[part] for part in parts)
        read = sum(int(counts.sum()) for counts in contents[Section.COLUMNS, 0].values())
        assert storage["gaps"] == bits[Section.WEIGHTS] - read * program.spec.entry_width
        assert bits[Section.COLUMNS] == storage["counts"]
        assert bits[Section.BIASES] == storage["biases"]
        assert bits[Section.LAYERS] == storage["layers"]
        assert bits[Section.CODEBOOKS] == storage["codebooks"]
        for section, memory in kinds.items():
            holds = memory.depth * memory.record.width * (4 if memory.per_pe else 1)
            assert unused[section.name.lower()] == holds - bits[section] >= 0
        assert len(unused) == len(kinds)
        live = remove_dead(net).network.layers
        weights = [np.count_nonzero(layer.weights) for layer in live]
        assert storage["codes"] == sum(
            count * layer.code_width for count, layer in zip(weights, live, strict=True)
        )
        assert program.bits_per_weight == sum(storage.values()) / sum(weights)


def test_words_of_a_layer_are_its_entries_and_the_gaps_behind_them():
    program = encode(NET, fit(NET, pes=8, lanes=2))
    contents = read_image(program.spec, program.image)
    counts = np.stack([*contents[Section.COLUMNS, 0].values()])
    ends = np.cumsum(contents[Section.LAYERS, 0]["source_words"])[:-1]
    loads = [part.sum(axis=1) for part in np.split(counts, ends, axis=1)]
    for load, words in zip(loads[:-1], program.weight_words[:-1], strict=True):
        assert load.min() < load.max()
        assert words == 8 * load.max()
    assert program.weight_words[-1] == loads[-1].sum()  # nothing is behind the last one's


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
    ("fields", "message"),
    [
        (
            {"weight_depth": 64},
            (
                "the weights need 95 words of a PE and the engine has 64; prune more or use more "
                "PEs or set weight_depth to 128"
            ),
        ),
        (
            {"column_depth": 8},
            (
                "the columns need 16 words and the engine has 8; prune whole neurons "
                "or set column_depth to 16"
            ),
        ),
        (
            {"row_depth": 4},
            (
                "the rows need 20 accumulators of each PE and the engine has 4; use more PEs or "
                "set row_depth to 32"
            ),
        ),
        (
            {"activation_depth": 8},
            (
                "the activations need 10 words and the engine has 8; use more lanes or set "
                "activation_depth to 16"
            ),
        ),
        (
            {"bias_depth": 16},
            (
                "the biases need 40 words and the engine has 16; use more lanes or set "
                "bias_depth to 64"
            ),
        ),
        (
            {"layer_depth": 2},
            (
                "the layer table needs 3 words and the engine has 2; use fewer layers or set "
                "layer_depth to 4"
            ),
        ),
        (
            {"count_width": 2},
            (
                "the counts of entries need 4 bits and the engine's have 2; use more PEs or set "
                "count_width to 4"
            ),
        ),
        (
            {"accumulator_width": 16, "bias_width": 8},
            (
                "the sums need 19 bits and the engine's accumulators have 16; quantise to fewer "
                "bits or set accumulator_width to 19"
            ),
        ),
        (
            {"bias_width": 8},
            (
                "the biases need 13 bits and the engine's have 8; quantise to fewer bits or set "
                "bias_width to 13"
            ),
        ),
        (
            {"weight_width": 6, "entry_width": 8},
            (
                "layer 'fc1' has weights of 8 bits and the engine's have 6; quantise it to 6 bits "
                "or set weight_width to 8"
            ),
        ),
        (
            {"entry_width": 8},
            (
                "layer 'fc1' needs entries of 9 bits, 8 for codes and 1 for the index, and the "
                "engine's have 8; quantise it to fewer bits or set entry_width to 9"
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
            {"codebook_bits": 4, "entry_width": 6},
            (
                "layer 'fc1' has direct weights and the engine is made for a codebook; quantise "
                "every layer with a codebook or generate another engine"
            ),
        ),
    ],
)
def test_what_is_too_small_is_refused_by_name(fields, message):
    spec = dataclasses.replace(fit(NET, pes=4, lanes=4), **fields)
    assert refusal(encode, NET, spec) == message
    assert refusal(fit, NET, pes=4, lanes=4, **fields) == message


def test_an_index_that_entries_of_a_given_width_do_not_leave():
    assert refusal(fit, NET, pes=4, index_width=5, entry_width=12) == (
        "layer 'fc1' needs entries of 13 bits, 8 for codes and 5 for the index, and the engine's "
        "have 12; quantise it to fewer bits or set entry_width to 13"
    )


def test_entries_wider_than_any_code_and_index_are_refused():
    assert refusal(fit, NET, pes=4, entry_width=17) == (
        "entry_width must be at most the largest code's and the largest index's bits (8 + 8), "
        "not 17"
    )


def test_a_codebook_and_a_direct_engine_are_refused():
    net = random_network(1, [30, 20], codebook=True)
    spec = dataclasses.replace(fit(net, pes=4), codebook_bits=0)
    assert refusal(encode, net, spec) == (
        "layer 'fc1' has a codebook and the engine is made for direct weights; quantise every "
        "layer with direct weights or generate another engine"
    )


@pytest.mark.parametrize("values", [16, 17])
def test_a_codebook_has_as_many_values_as_codes(values):
    net = random_network(1, [30, 20], codebook=True)
    net = with_layer(net, 0, codebook=np.arange(values) - 8, weights=np.sign(net.layers[0].weights))
    if values == 16:
        assert fit(net, pes=4, codebook_bits=4).codebook_bits == 4
        return
    assert refusal(fit, net, pes=4, codebook_bits=4) == (
        "layer 'fc1' has a codebook of 17 values and the engine's hold 16; use fewer values or "
        "more codebook_bits"
    )


def test_an_engine_without_positions_has_no_convolutions():
    net = random_convolutional_network(1, (1, 6, 6), convolutions=2, lengths=(4,))
    message = (
        "layer 'conv1' is a convolution, which an engine without positions does not run; set "
        "positions to 8 and jobs to 1"
    )
    assert refusal(fit, net, pes=4, positions=0) == message
    assert refusal(encode, net, fit(NET, pes=4)) == message


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
