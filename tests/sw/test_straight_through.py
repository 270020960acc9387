"""The integer network that learns: equal to the integer network, and gradients by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs
from secateur.convolution import Convolution, Pool
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network
from secateur.straight_through import IntegerNetwork


def network(
    seed: int, sizes: list[int], widths: list[int], weight_width: int, codes: int, relu: bool
) -> Network:
    """Draw a network of any formats; ``codes`` is 0 for direct weights."""
    rng = np.random.default_rng(seed)
    formats = [NumberFormat(width=width, signed=bool(rng.integers(2))) for width in widths]
    layers = []
    fraction = int(rng.integers(-9, 10))
    for index, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        half = 1 << (weight_width - 1)
        codebook = None
        if codes:
            values = rng.choice(np.setdiff1d(np.arange(-half, half), 0), min(codes, 2 * half - 1))
            codebook = np.unique(np.append(values, 0))
        weights = (
            rng.integers(-half, half, (rows, columns))
            if codebook is None
            else rng.choice(codebook, (rows, columns))
        )
        weights *= rng.uniform(size=weights.shape) < 0.7
        weights[0, 0] = half - 1 if codebook is None else codebook[codebook != 0][0]
        shift, weight_fraction = int(rng.integers(0, 12)), int(rng.integers(-9, 10))
        layers.append(
            Layer(
                name=f"fc.{index}",
                weights=weights,
                bias=rng.integers(-300, 300, rows),
                weight_width=weight_width,
                input=formats[index],
                requant=Requant(shift=shift, output=formats[index + 1], relu=relu),
                codebook=codebook,
                input_fraction=fraction,
                weight_fraction=weight_fraction,
                output_fraction=fraction + weight_fraction - shift,
            )
        )
        fraction = layers[-1].output_fraction
    return Network(name="drawn", layers=tuple(layers))


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.lists(st.integers(4, 16), min_size=4, max_size=4),
    st.integers(2, 16),
    st.sampled_from([0, 1, 3, 15]),
    st.booleans(),
)
def test_computes_what_the_network_computes(
    seed: int, sizes: list[int], widths: list[int], weight_width: int, codes: int, relu: bool
) -> None:
    net = network(seed, sizes, widths, weight_width, codes, relu)
    module = IntegerNetwork(net)
    # In sixteenths of a step, halves and what saturates among them.
    steps = np.random.default_rng(seed).integers(-(1 << 17), 1 << 17, (40, net.inputs)) / 16
    x = (steps * 2.0 ** -net.layers[0].input_fraction).astype(np.float32)
    got = module(torch.from_numpy(x)).detach().double().numpy()
    want = net.compute(net.quantize_input(x)) * 2.0 ** -net.layers[-1].output_fraction
    assert np.array_equal(got, want)
    back = module.read()
    for mine, its in zip(back.layers, net.layers, strict=True):
        assert np.array_equal(mine.weights, its.weights)
        assert np.array_equal(mine.bias, its.bias)
        assert (mine.codebook is None) == (its.codebook is None)
        if mine.codebook is not None:  # less what no weight uses
            assert np.array_equal(mine.codebook, np.unique(np.append(its.weights, 0)))


@given(st.integers(0, 2**32 - 1))
def test_convolutions_are_those_of_the_network(seed: int) -> None:
    """In float32 and, with wide formats, in float64; trained without a step they are the same."""
    net = random_convolutional_network(
        seed,
        (2, 9, 8),
        convolutions=2,
        lengths=(4,),
        codebook=bool(seed % 2),
        width=8 + 8 * (seed % 3 == 0),
    )
    module = IntegerNetwork(net)
    x = random_inputs(seed, net, 9)
    got = module(torch.from_numpy(x.astype(np.float32)).view(9, 2, 9, 8)).detach().double().numpy()
    assert np.array_equal(got, net.compute(x))
    for mine, its in zip(module.read().layers, net.layers, strict=True):
        assert np.array_equal(mine.weights, its.weights)
        assert mine.convolution == its.convolution


def test_gradients_of_a_convolution() -> None:
    """Each weight's is the sum of what it met, of pooled outputs the largest's alone."""
    conv = Convolution(
        channels=1, height=2, width=3, kernel=(1, 2), pool=Pool(kind="max", size=(2, 2))
    )
    wide = NumberFormat(width=12, signed=True)
    one = layer(
        weights=np.array([[1, -2]]),
        bias=np.array([0]),
        input=wide,
        requant=Requant(shift=0, output=wide, relu=False),
        input_fraction=0,
        weight_fraction=0,
        output_fraction=0,
        convolution=conv,
    )
    module = IntegerNetwork(Network(name="n", layers=(one,)))
    y = module(torch.tensor([[[[5.0, 1.0, 0.0], [2.0, 3.0, 4.0]]]]))
    assert y.tolist() == [[3.0]]
    y.sum().backward()
    part = first(module)
    assert part.values.grad.tolist() == [5.0, 1.0]
    assert part.bias.grad.tolist() == [1.0]


def layer(**fields: Any) -> Layer:
    """Make a layer of two inputs in quarters and outputs in halves, without rounding."""
    return Layer(**{
        "name": "fc",
        "weights": np.array([[1, 0], [-2, 3]]),
        "bias": np.array([4, 0]),
        "weight_width": 4,
        "input": NumberFormat(width=6, signed=True),
        "requant": Requant(shift=2, output=NumberFormat(width=6, signed=True), relu=False),
        "input_fraction": 2,
        "weight_fraction": 1,
        "output_fraction": 1,
        **fields,
    })


def first(module: IntegerNetwork) -> Any:
    return module[0]


def test_gradients_pass_rounding() -> None:
    """Those of ``weights * x + bias`` in real units, although outputs are rounded to halves."""
    module = IntegerNetwork(Network(name="n", layers=(layer(),)))
    x = torch.tensor([[0.75, -1.5]])
    y = module(x)
    # Real weights [[0.5, 0], [-1, 1.5]] and biases [0.5, 0]: 0.875 and -3, the first rounded up.
    assert y.tolist() == [[1.0, -3.0]]
    (y * torch.tensor([[1.0, 10.0]])).sum().backward()
    part = first(module)
    # d/dw of the outputs is x, in the order of the weights that are left.
    assert part.values.grad.tolist() == [0.75, 7.5, -15.0]
    assert part.bias.grad.tolist() == [1.0, 10.0]


def test_what_saturates_learns_nothing() -> None:
    bound = Requant(shift=2, output=NumberFormat(width=4, signed=False), relu=True)
    module = IntegerNetwork(Network(name="n", layers=(layer(requant=bound),)))
    # In real units 8.5 saturates at 7.5; -6.25 is negative.
    y = module(torch.tensor([[7.75, 1.0], [0.5, -4.0]]))
    assert y.tolist() == [[4.5, 0.0], [1.0, 0.0]]
    y.sum().backward()
    part = first(module)
    assert part.values.grad.tolist() == [8.25, 0.0, 0.0]
    assert part.bias.grad.tolist() == [2.0, 0.0]
    module.zero_grad()
    part.bias.data[0] = 5.0
    y = module(torch.tensor([[7.75, 0.0]]))
    assert y.tolist() == [[7.5, 0.0]]
    y.sum().backward()
    assert part.values.grad.tolist() == [0.0] * 3


def test_the_gradient_of_a_shared_value_is_the_sum_of_its_weights() -> None:
    """And a step moves the value by the mean: the parameter is it, times the root of how many."""
    shared = layer(weights=np.array([[3, 3], [-2, 3]]), codebook=np.array([-2, 0, 3]))
    module = IntegerNetwork(Network(name="n", layers=(shared,)))
    part = first(module)
    assert part.values.detach().tolist() == [-1.0, pytest.approx(1.5 * 3**0.5)]
    module(torch.tensor([[0.5, 2.0]])).sum().backward()
    # Of the three weights: 0.5 and 2 in the first row, 2 in the second.
    assert (part.values.grad * part.sizes).tolist() == [0.5, pytest.approx(4.5)]


def test_codes_stay_and_values_may_meet() -> None:
    """Weights that share a value go on sharing it, and two values that meet are one from then."""
    shared = layer(weights=np.array([[3, 0], [-2, 2]]), codebook=np.array([-2, 0, 2, 3]))
    module = IntegerNetwork(Network(name="n", layers=(shared,)))
    part = first(module)
    part.values.data = torch.tensor([-1.74, 1.3, 1.7])  # times 2: -3.48, 2.6, 3.4
    read = module.read().layers[0]
    assert read.weights.tolist() == [[3, 0], [-3, 3]]
    assert read.codebook is not None
    assert read.codebook.tolist() == [-3, 0, 3]
    assert np.array_equal(shared.weights, [[3, 0], [-2, 2]])


def test_values_saturate() -> None:
    module = IntegerNetwork(Network(name="n", layers=(layer(),)))
    part = first(module)
    part.values.data = torch.tensor([-9.0, 9.0, 0.24])
    part.bias.data = torch.tensor([1e30, -1e30])
    read = module.read().layers[0]
    assert read.weights.tolist() == [[-8, 0], [7, 0]]
    assert read.bias.tolist() == [(1 << 23) - 1, -(1 << 23)]  # as far as float32 is exact


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({}, torch.float32),
        ({"bias": np.array([1 << 23, 0])}, torch.float64),
        ({"bias": np.array([(1 << 23) - 2000, 0])}, torch.float32),
        ({"input_fraction": 41}, torch.float64),
    ],
)
def test_as_precise_as_it_must_be(fields: dict[str, Any], dtype: torch.dtype) -> None:
    module = IntegerNetwork(Network(name="n", layers=(layer(**fields),)))
    assert {part.dtype for part in module.parameters()} == {dtype}
    assert module(torch.zeros(1, 2)).dtype == dtype


@pytest.mark.parametrize("value", [-8, 7])
@pytest.mark.parametrize("count", range(1, 41))
def test_a_shared_value_at_its_bound_learns(value: int, count: int) -> None:
    """Whatever its product with a root, divided by it again, is rounded to."""
    shared = layer(
        weights=np.full((1, count), value),
        bias=np.zeros(1, int),
        codebook=np.unique([0, value]),
    )
    module = IntegerNetwork(Network(name="n", layers=(shared,)))
    module(torch.eye(1, count)).sum().backward()
    assert first(module).values.grad.tolist() == [pytest.approx(count**-0.5)]


def test_what_is_beyond_a_bound_learns_nothing() -> None:
    """A weight by half a step, an output by a quarter."""
    bound = Requant(shift=2, output=NumberFormat(width=6, signed=True), relu=False)
    module = IntegerNetwork(Network(name="n", layers=(layer(requant=bound),)))
    part = first(module)
    part.values.data = torch.tensor([-4.25, 0.5, 3.75])  # times 2: of -8 to 7
    module(torch.tensor([[1.0, 1.0]])).sum().backward()
    assert part.values.grad.tolist() == [0.0, 1.0, 0.0]
    module = IntegerNetwork(Network(name="n", layers=(layer(requant=bound),)))
    part = first(module)
    part.bias.data = torch.tensor([15.625, -16.125])  # times 2: of -32 to 31
    module(torch.zeros(1, 2)).sum().backward()
    assert part.bias.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("names", [("fc", "fc"), ("fc.1", "fc/1")])
def test_layers_of_one_name_are_refused(names: tuple[str, str]) -> None:
    layers = (layer(name=names[0]), layer(name=names[1]))
    with pytest.raises(BadInputError) as caught:
        IntegerNetwork(Network(name="n", layers=layers))
    assert str(caught.value) == (
        "network 'n' must have layers of different names to be retrained; rename one"
    )


def test_images_are_taken_flat() -> None:
    module = IntegerNetwork(Network(name="n", layers=(layer(),)))
    assert module(torch.tensor([[[[0.75, -1.5]]]])).tolist() == [[1.0, -3.0]]


def test_inputs_just_below_a_half_are_rounded_down() -> None:
    """In float32 adding the half would round them up before they are rounded down."""
    module = IntegerNetwork(Network(name="n", layers=(layer(),)))
    x = np.nextafter(np.float32(0.125), np.float32(0))  # in quarters, below a half
    got = module(torch.tensor([[x, x]]))
    want = module.network.compute(module.network.quantize_input(np.array([[x, x]])))
    assert got.tolist() == (want / 2).tolist() == [[0.5, 0.0]]
