from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs, random_network
from secateur.convolution import Convolution
from secateur.dead import remove_dead
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network

BYTE = NumberFormat(width=8, signed=True)
SEEDS = st.integers(0, 2**32 - 1)


def network(*layers):
    return Network(
        name="net",
        layers=tuple(
            Layer(
                name=f"fc{index}",
                weights=np.array(weights),
                bias=np.array(bias),
                weight_width=8,
                input=BYTE,
                requant=Requant(shift=0, output=BYTE, relu=False),
            )
            for index, (weights, bias) in enumerate(layers)
        ),
    )


def kept(net):
    return [indices.tolist() for indices in remove_dead(net).kept]


@settings(max_examples=200, deadline=None)
@given(
    SEEDS,
    st.lists(st.integers(1, 24), min_size=2, max_size=5),
    st.sampled_from([0.02, 0.1, 0.3, 1.0]),
    st.sampled_from([0.0, 0.3, 0.7, 0.95]),
    st.booleans(),
)
def test_the_reduced_network_computes_the_same(seed, lengths, density, dead, codebook):
    net = random_network(seed, lengths, density=density, dead=dead, codebook=codebook)
    reduction = remove_dead(net)
    x = random_inputs(seed, net, 20)
    np.testing.assert_array_equal(
        reduction.network.compute(x[:, reduction.kept[0]]), net.compute(x)
    )
    # Nothing dead is left to find.
    again = remove_dead(reduction.network)
    assert [indices.size for indices in again.kept] == [indices.size for indices in reduction.kept]


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.lists(st.integers(2, 20), min_size=3, max_size=5))
def test_only_paths_from_input_to_output_are_left(seed, lengths):
    net = random_network(seed, lengths, density=0.1, dead=0.3)
    layers = remove_dead(net).network.layers
    # Where the network is constant from some layer on, one dead path stays: see below.
    live = np.ones(net.inputs, dtype=bool)
    for layer in net.layers:
        live = (layer.weights[:, live] != 0).any(axis=1)
    if not live.any():
        return
    for index, layer in enumerate(layers):
        assert (layer.weights != 0).any(axis=0).all()
        assert index == len(layers) - 1 or (layer.weights != 0).any(axis=1).all()


def test_a_network_without_dead_neurons_stays_as_it_is():
    net = network(([[1, 2], [0, 3]], [1, 2]), ([[4, 5]], [3]))
    reduction = remove_dead(net)
    assert [indices.tolist() for indices in reduction.kept] == [[0, 1], [0, 1], [0]]
    for before, after in zip(net.layers, reduction.network.layers, strict=True):
        assert after.weights is before.weights


def test_an_input_that_nothing_reads_is_dropped():
    assert kept(network(([[1, 0, 2]], [0]))) == [[0, 2], [0]]


def test_a_row_that_nothing_reads_is_dropped_with_what_only_it_reads():
    assert kept(network(([[1, 0], [0, 5]], [0, 0]), ([[3, 0]], [0]))) == [[0], [0], [0]]


def test_constants_are_folded_through_several_layers():
    net = network(
        ([[1], [0]], [0, 5]),  # row 1 is 5
        ([[2, 0], [0, 3]], [0, 1]),  # row 1 is 3 * 5 + 1
        ([[1, 2], [0, 0]], [4, 6]),
    )
    reduction = remove_dead(net)
    assert [indices.tolist() for indices in reduction.kept] == [[0], [0], [0], [0, 1]]
    assert reduction.network.layers[2].bias.tolist() == [4 + 2 * 16, 6]


def test_a_folded_constant_is_requantised():
    relu = Requant(shift=1, output=NumberFormat(width=8, signed=False), relu=True)
    first = Layer(
        name="fc1",
        weights=np.array([[1], [0], [0], [0]]),
        bias=np.array([0, 3, -9, 1000]),
        weight_width=8,
        input=BYTE,
        requant=relu,
    )
    second = Layer(
        name="fc2",
        weights=np.array([[1, 10, 20, 1]]),
        bias=np.array([7]),
        weight_width=8,
        input=relu.output,
        requant=relu,
    )
    reduced = remove_dead(Network(name="net", layers=(first, second))).network
    assert reduced.layers[1].bias.tolist() == [7 + 10 * 2 + 20 * 0 + 255]


def test_a_constant_network_keeps_one_weight_a_layer():
    # Row 0 is not read, row 1 is constant: nothing reaches the output.
    net = network(([[1, 0], [0, 0]], [0, 5]), ([[0, 3]], [1]))
    reduction = remove_dead(net)
    assert all(layer.weights.any() for layer in reduction.network.layers)
    x = np.array([[1, 2], [-128, 127]])
    assert reduction.network.compute(x[:, reduction.kept[0]]).tolist() == [[16], [16]]
    assert [indices.tolist() for indices in reduction.kept] == [[0], [0, 1], [0]]


def test_rows_of_the_last_layer_stay():
    assert kept(network(([[0], [1], [0]], [4, 5, 6]))) == [[0], [0, 1, 2]]


def with_dead_channels(seed, convolutions, lengths):
    """Take weights away, so that channels have no input or no output connection."""
    rng = np.random.default_rng(seed)
    net = random_convolutional_network(
        seed, (3, 6, 7), convolutions=convolutions, lengths=lengths, density=0.4
    )
    layers = []
    for index, layer in enumerate(net.layers):
        weights = layer.weights.copy()
        weights[rng.random(len(weights)) < 0.2] = 0
        channels = len(layers[-1].weights) if index else layer.inputs
        if layer.convolution is not None:
            channels = layer.convolution.channels // layer.convolution.groups
        by_channel = weights.reshape(len(weights), channels, -1)
        by_channel[:, rng.random(channels) < 0.3] = 0
        if not weights.any():
            weights[0, 0] = 1
        layers.append(replace(layer, weights=weights))
    return Network(name="net", layers=tuple(layers))


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(1, 3), st.lists(st.integers(1, 12), max_size=3))
def test_convolutions_keep_constants_and_images(seed, convolutions, lengths):
    net = with_dead_channels(seed, convolutions, lengths)
    reduction = remove_dead(net)
    x = random_inputs(seed, net, 5)
    np.testing.assert_array_equal(reduction.network.compute(x), net.compute(x))
    assert reduction.kept[0].tolist() == [*range(net.inputs)]
    again = remove_dead(reduction.network)
    assert [indices.size for indices in again.kept] == [indices.size for indices in reduction.kept]
    layers = reduction.network.layers
    for index, (layer, kept) in enumerate(zip(layers, reduction.kept[1:], strict=True)):
        assert layer.convolution is None or layer.convolution.groups == 1
        if layer.convolution is not None:
            np.testing.assert_array_equal(layer.bias, net.layers[index].bias[kept])
        if index + 1 < len(layers):
            read = layers[index + 1].weights.reshape(len(layers[index + 1].weights), kept.size, -1)
            # Where the network is constant, one path stays, which nothing may read.
            assert np.count_nonzero(~read.any(axis=(0, 2))) <= 1


def test_what_is_dropped_of_convolutions():
    """Channel 1 is read by nobody, channel 2 is constant; neuron 0 is constant, 1 is unread."""
    conv = Convolution(channels=2, height=2, width=2, kernel=(1, 1), groups=2)
    weights = [
        np.array([[3], [4], [0], [5]]),
        np.array([[1, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0]] * 3),
        np.array([[5, 0, 7]]),
    ]
    weights[1][0] = 0
    layers = [
        Layer(
            name=f"layer{index}",
            weights=each,
            bias=np.arange(len(each)) + 2,
            weight_width=8,
            input=BYTE,
            requant=Requant(shift=0, output=BYTE, relu=False),
            convolution=None if index else conv,
        )
        for index, each in enumerate(weights)
    ]
    net = Network(name="net", layers=tuple(layers))
    reduction = remove_dead(net)
    assert [kept.tolist() for kept in reduction.kept] == [[*range(8)], [0, 2, 3], [2], [0]]
    first, second, third = reduction.network.layers
    assert first.weights.tolist() == [[3, 0], [0, 0], [0, 5]]
    assert first.bias.tolist() == [2, 4, 5]
    assert second.weights.tolist() == [[1, 2, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0]]
    assert (third.weights.tolist(), third.bias.tolist()) == ([[7]], [2 + 5 * 2])
    x = random_inputs(1, net, 9)
    np.testing.assert_array_equal(reduction.network.compute(x), net.compute(x))
