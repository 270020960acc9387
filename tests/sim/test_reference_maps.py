"""The golden model of engines with positions, from the words of an image alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs, random_network
from secateur.convolution import Convolution, Pool
from secateur.encode import encode, fit
from secateur.fixed import NumberFormat, Requant
from secateur.format import LoadError
from secateur.network import Layer, Network
from secateur.reference import Reference

SIZES = [(1, 1), (4, 2), (8, 4), (6, 2), (16, 4)]
BYTE = NumberFormat(width=8, signed=False)


def check(network: Network, seed: int, **fields: int) -> None:
    """Compare the image's outputs with the network's, twice in a row."""
    program = encode(network, fit(network, **fields))
    reference = Reference(program.spec)
    assert reference.load(program.image) is LoadError.NONE
    x = random_inputs(seed, network, 4)
    want = network.compute(x)
    assert want.shape == (4, network.outputs)
    for _ in range(2):
        words = reference.infer(program.arrange(x))
        assert words.shape == (4, program.output_words, program.spec.lanes)
        np.testing.assert_array_equal(program.restore(words), want)


@pytest.mark.parametrize("codebook", [False, True])
@pytest.mark.parametrize(("pes", "lanes"), SIZES)
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 5), st.integers(1, 11), st.integers(1, 11)),
    st.integers(1, 3),
    st.lists(st.integers(1, 20), max_size=2),
    st.sampled_from([0.05, 0.5, 1.0]),
    st.sampled_from([1, 2, 8]),
)
def test_equals_the_network(
    pes: int,
    lanes: int,
    codebook: bool,
    seed: int,
    planes: tuple[int, int, int],
    convolutions: int,
    lengths: list[int],
    density: float,
    positions: int,
) -> None:
    network = random_convolutional_network(
        seed,
        planes,
        convolutions=convolutions,
        lengths=lengths,
        density=density,
        codebook=codebook,
    )
    check(network, seed, pes=pes, lanes=lanes, positions=positions)


def convolution(seed: int, rows: int, shape: Convolution, *, density: float, shift: int) -> Layer:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (rows, shape.columns))
    weights[rng.random(weights.shape) >= density] = 0
    return Layer(
        name=f"conv{seed}",
        weights=weights,
        bias=rng.integers(-3000, 3000, rows),
        weight_width=8,
        input=BYTE,
        requant=Requant(shift=shift, output=BYTE, relu=True),
        convolution=shape,
    )


def with_layers_behind(*convolutions: Layer, lengths: list[int]) -> Network:
    """Put fully connected layers behind convolutions."""
    layers = [*convolutions]
    for after in random_network(5, [layers[-1].outputs, *lengths], density=0.1).layers:
        requant = Requant(shift=7, output=BYTE, relu=False)
        layers.append(replace(after, input=BYTE, requant=requant))
    return Network(name="net", layers=tuple(layers))


POOL = Pool(kind="max", size=(2, 2))
#: Like the architectures of these names.
LENET_5 = with_layers_behind(
    convolution(
        1,
        20,
        Convolution(channels=1, height=28, width=28, kernel=(5, 5), pool=POOL),
        density=0.7,
        shift=11,
    ),
    convolution(
        2,
        50,
        Convolution(channels=20, height=12, width=12, kernel=(5, 5), pool=POOL),
        density=0.1,
        shift=11,
    ),
    lengths=[500, 10],
)
DIGITS_CNN = with_layers_behind(
    convolution(
        1,
        8,
        Convolution(channels=1, height=8, width=8, kernel=(3, 3), padding=(1, 1), pool=POOL),
        density=0.8,
        shift=9,
    ),
    convolution(
        2,
        16,
        Convolution(channels=8, height=4, width=4, kernel=(3, 3), padding=(1, 1), pool=POOL),
        density=0.3,
        shift=10,
    ),
    lengths=[10],
)


@pytest.mark.parametrize(("pes", "lanes"), SIZES)
@pytest.mark.parametrize("network", [LENET_5, DIGITS_CNN])
def test_known_shapes(network: Network, pes: int, lanes: int) -> None:
    x = random_inputs(1, network, 4)
    for activations in network.activations(x)[1:]:
        assert np.unique(activations).size > 8
    check(network, 1, pes=pes, lanes=lanes)


@pytest.mark.parametrize(("pes", "lanes"), SIZES)
@pytest.mark.parametrize("lengths", [[5, 3], [30, 20, 10], [1, 1, 1], [40, 1, 40]])
def test_fully_connected_layers_alone(pes: int, lanes: int, lengths: list[int]) -> None:
    """An engine with positions computes what one without computes."""
    network = random_network(3, lengths, density=0.4, dead=0.2)
    x = random_inputs(4, network, 5)
    found = []
    for positions in (0, 1, 8):
        program = encode(network, fit(network, pes=pes, lanes=lanes, positions=positions))
        assert program.spec.positions == positions
        reference = Reference(program.spec)
        reference.load(program.image)
        found.append(program.restore(reference.infer(program.arrange(x))))
    np.testing.assert_array_equal(found[0], network.compute(x))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_x_of_other_words() -> None:
    program = encode(DIGITS_CNN, fit(DIGITS_CNN, pes=4))
    reference = Reference(program.spec)
    reference.load(program.image)
    words = program.arrange(np.zeros((1, 64), dtype=np.int64))
    count = program.input_words
    with pytest.raises(IndexError, match=f"^the first layer reads {count} of {count - 1} words$"):
        reference.infer(words[:, :-1])


def test_maps_are_empty_after_a_commit() -> None:
    """A border holds what an older program left there, unless the memory is cleared."""
    program = encode(DIGITS_CNN, fit(DIGITS_CNN, pes=4))
    reference = Reference(program.spec)
    reference.load(program.image)
    reference._memory[:] = 255
    x = random_inputs(1, DIGITS_CNN, 3)
    assert (program.restore(reference.infer(program.arrange(x))) != DIGITS_CNN.compute(x)).any()
    reference.load(program.image)
    np.testing.assert_array_equal(
        program.restore(reference.infer(program.arrange(x))), DIGITS_CNN.compute(x)
    )
