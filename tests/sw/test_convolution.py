"""Integer convolutions against PyTorch's in integers, and the shapes that are refused."""

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolution, random_convolutional_network
from secateur.bench.networks import random_inputs
from secateur.convolution import Convolution, Pool
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network

BYTE = NumberFormat(width=8, signed=True)
Pair = tuple[int, int]


def layer(convolution: Convolution, rows: int, **fields: Any) -> Layer:
    """Make a layer of drawn weights, none of them zero."""
    rng = np.random.default_rng(rows)
    weights = rng.integers(1, 128, (rows, convolution.columns))
    return Layer(**{
        "name": "conv",
        "weights": weights * rng.choice([-1, 1], weights.shape),
        "bias": rng.integers(-5000, 5000, rows),
        "weight_width": 8,
        "input": BYTE,
        "requant": Requant(shift=9, output=BYTE, relu=False),
        "convolution": convolution,
        **fields,
    })


def by_torch(one: Layer, x: np.ndarray) -> np.ndarray:
    """PyTorch's conv2d in int64, floor division, its pooling in float64 and Python's rounding."""
    conv = one.convolution
    assert conv is not None
    weights = one.weights.reshape(
        len(one.weights), conv.channels // conv.groups, conv.kernel[0], conv.kernel[1]
    )
    acc = F.conv2d(
        torch.from_numpy(x).view(-1, conv.channels, conv.height, conv.width),
        torch.from_numpy(weights),
        torch.from_numpy(one.bias),
        conv.stride,
        conv.padding,
        groups=conv.groups,
    )
    half = 1 << one.requant.shift
    y = torch.div(2 * acc + half, 2 * half, rounding_mode="floor")
    low, high = one.requant.output.lowest, one.requant.output.highest
    y = y.clamp(0 if one.requant.relu else low, high)
    if conv.pool is not None and conv.pool.kind == "max":
        y = F.max_pool2d(y.double(), conv.pool.size)
    elif conv.pool is not None:
        y = torch.floor(F.avg_pool2d(y.double(), conv.pool.size) + 0.5)
    return y.flatten(1).long().numpy()


def inputs(one: Layer, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(one.input.lowest, one.input.highest + 1, (count, one.inputs))


pairs = st.tuples(st.integers(1, 11), st.integers(1, 11))


@given(
    kernel=pairs,
    more=st.tuples(st.integers(0, 14), st.integers(0, 14)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 10), st.integers(0, 10)),
    channels=st.integers(1, 4),
    rows=st.integers(1, 4),
    groups=st.integers(1, 4),
)
@example((1, 1), (4, 6), (1, 1), (0, 0), 1, 1, 1)  # one weight
@example((5, 5), (0, 0), (1, 1), (0, 0), 3, 2, 1)  # the kernel is the image
@example((11, 11), (0, 0), (1, 1), (0, 0), 1, 4, 1)
@example((11, 11), (14, 14), (4, 4), (2, 2), 3, 3, 1)  # AlexNet's first
@example((3, 3), (2, 2), (1, 1), (1, 1), 1, 1, 4)  # depthwise
@example((1, 11), (0, 0), (4, 1), (0, 10), 1, 1, 1)
def test_every_shape_is_torch(
    kernel: Pair, more: Pair, stride: Pair, padding: Pair, channels: int, rows: int, groups: int
) -> None:
    border = (min(padding[0], kernel[0] - 1), min(padding[1], kernel[1] - 1))
    conv = Convolution(
        channels=channels * groups,
        height=max(1, kernel[0] - 2 * border[0]) + more[0],
        width=max(1, kernel[1] - 2 * border[1]) + more[1],
        kernel=kernel,
        stride=stride,
        padding=border,
        groups=groups,
    )
    one = layer(conv, rows * groups)
    x = inputs(one, 3)
    want = by_torch(one, x)
    assert want.shape == (3, one.outputs)
    assert np.array_equal(one.compute(x), want)
    assert np.array_equal(one.compute(x[0]), want[0])


@given(st.integers(0, 2**32 - 1))
def test_pools_formats_and_relu(seed: int) -> None:
    rng = np.random.default_rng(seed)
    planes = (int(rng.integers(1, 7)), int(rng.integers(1, 20)), int(rng.integers(1, 20)))
    conv = random_convolution(rng, planes)
    one = layer(
        conv,
        conv.groups * 2,
        input=NumberFormat(width=8, signed=bool(rng.integers(2))),
        requant=Requant(
            shift=int(rng.integers(14)),
            output=NumberFormat(width=int(rng.integers(4, 17)), signed=bool(rng.integers(2))),
            relu=bool(rng.integers(2)),
        ),
    )
    x = inputs(one, 4)
    y = one.compute(x)
    assert np.array_equal(y, by_torch(one, x))
    assert one.requant.output.holds(y)


def test_what_was_drawn() -> None:
    """Every kind of pooling, every group and stride, kernels of all sizes, and padding."""
    drawn = [random_convolution(np.random.default_rng(seed), (6, 17, 19)) for seed in range(400)]
    assert {conv.pool and conv.pool.kind for conv in drawn} == {None, "max", "average"}
    assert {conv.groups for conv in drawn} == {1, 2, 3}
    for side in (0, 1):
        assert {conv.stride[side] for conv in drawn} == {1, 2, 3, 4}
        assert {conv.kernel[side] for conv in drawn} == {*range(1, 12)}
        assert {conv.padding[side] for conv in drawn} == {0, 1, 2}


@pytest.mark.parametrize(("size", "relu"), [*itertools.product([(2, 2), (3, 1), (2, 4)], (0, 1))])
def test_the_largest_may_be_taken_before_requantisation(size: Pair, relu: int) -> None:
    """As an engine may do it: requantisation is monotone."""
    conv = Convolution(channels=1, height=9, width=9, kernel=(2, 2))
    one = layer(conv, 3, requant=Requant(shift=7, output=BYTE, relu=bool(relu)))
    x = inputs(one, 20)
    pool = Pool(kind="max", size=size)
    sums = conv.sums(x, one.weights) + one.bias[:, None, None]
    first = one.requant.compute(pool.compute(sums))
    assert np.array_equal(first, pool.compute(one.requant.compute(sums)))


@pytest.mark.parametrize(
    ("values", "mean"), [([1, 2], 2), ([-1, -2], -1), ([-3, 0], -1), ([127, 127], 127), ([0, 1], 1)]
)
def test_averages_round_half_up(values: list[int], mean: int) -> None:
    assert Pool(kind="average", size=(2, 1)).compute(np.array(values)[:, None]).item() == mean


def test_the_order_of_channels_rows_and_columns() -> None:
    """Each output is one input: its index is told by a weight that is the only one of its row."""
    conv = Convolution(channels=2, height=3, width=4, kernel=(2, 3))
    rows = [(channel, y, x) for channel in range(2) for y in range(2) for x in range(3)]
    one = layer(
        conv,
        12,
        weights=np.eye(12, dtype=np.int64),
        bias=np.zeros(12, dtype=np.int64),
        requant=Requant(shift=0, output=BYTE, relu=False),
    )
    got = one.compute(np.arange(24)).reshape(12, 2, 2)
    for (channel, y, x), plane in zip(rows, got, strict=True):
        first = (channel * 3 + y) * 4 + x
        assert plane.tolist() == [[first, first + 1], [first + 4, first + 5]]


@given(st.integers(0, 2**32 - 1))
def test_networks_of_both_kinds(seed: int) -> None:
    """Flatten is PyTorch's, and a batch is computed in parts of any size."""
    network = random_convolutional_network(
        seed, (2, 9, 8), convolutions=2, lengths=(7, 3), codebook=bool(seed % 2)
    )
    x = random_inputs(seed, network, 5)
    y = x
    for part in network.layers:
        if part.convolution is not None:
            y = by_torch(part, y)
        else:
            y = part.requant.compute(y @ part.weights.T + part.bias)
    assert np.array_equal(network.compute(x), y)
    assert (network.inputs, network.outputs) == (144, 3)


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_convolutional_network(1, (2, 9, 8), convolutions=2)
    x = random_inputs(1, network, 50)
    want = network.compute(x)
    for batch in (1, 5000, 20_000):
        for module in ("layer", "convolution"):
            monkeypatch.setattr(f"secateur.{module}.BATCH", batch)
        assert np.array_equal(network.compute(x), want)
    assert network.compute(x[:0]).shape == (0, network.outputs)
    assert np.array_equal(network.compute(x.reshape(5, 10, -1)), want.reshape(5, 10, -1))


def test_accumulators_hold_every_partial_sum() -> None:
    """Kernels inside the image reach the last bit; on the padding sums are smaller."""
    conv = Convolution(channels=1, height=3, width=3, kernel=(3, 3), padding=(2, 2))
    one = layer(conv, 1, weights=np.full((1, 9), 127), bias=np.array([0]))
    sums = conv.sums(np.full((1, 9), -128), one.weights)
    assert sums.min() == -9 * 127 * 128
    assert sums[0, 0, 0, 0] == -127 * 128
    assert one.accumulator_width == 1 + (9 * 127 * 128).bit_length() == 19


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kernel": (12, 3)},
            "the kernel must be from 1 x 1 to 11 x 11, not 12 x 3",
        ),
        ({"kernel": (3, 0)}, "the kernel must be from 1 x 1 to 11 x 11, not 3 x 0"),
        ({"stride": (1, 5)}, "the stride must be from 1 to 4, not 1 x 5"),
        ({"stride": (0, 1)}, "the stride must be from 1 to 4, not 0 x 1"),
        ({"padding": (3, 0)}, "the padding must be less than the kernel's 3 x 3, not 3 x 0"),
        ({"padding": (0, 3)}, "the padding must be less than the kernel's 3 x 3, not 0 x 3"),
        ({"padding": (0, -1)}, "the padding must be less than the kernel's 3 x 3, not 0 x -1"),
        ({"groups": 3}, "groups must divide the 4 channels, not be 3"),
        (
            {"groups": 0},
            "channels, height, width and groups must be at least 1, not (4, 6, 7, 0)",
        ),
        (
            {"height": 0},
            "channels, height, width and groups must be at least 1, not (4, 0, 7, 1)",
        ),
        (
            {"height": 2, "padding": (0, 1)},
            (
                "the kernel must not be larger than the padded input, not 3 x 3 on 2 x 7 with a "
                "padding of 0 x 1"
            ),
        ),
        (
            {"height": 1024, "width": 1025},
            (
                "the input must have at most 4194304 activations, which is what the largest engine "
                "holds, not 4 x 1024 x 1025"
            ),
        ),
        (
            {"pool": Pool(kind="max", size=(4, 6))},
            "pooling must not be larger than the output, not 4 x 6 of 4 x 5",
        ),
    ],
)
def test_convolutions_that_are_refused(fields: dict, message: str) -> None:
    given = {"channels": 4, "height": 6, "width": 7, "kernel": (3, 3)}
    Convolution(**given)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Convolution(**given | fields)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("max", (2, 0), "pooling must have a size of at least 1 x 1, not 2 x 0"),
        (
            "average",
            (2, 3),
            "average-pooling must have sizes that are powers of two, not 2 x 3",
        ),
    ],
)
def test_pools_that_are_refused(kind, size: Pair, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pool(kind=kind, size=size)


def test_layers_and_networks_that_are_refused() -> None:
    small = Convolution(channels=2, height=4, width=4, kernel=(3, 3))
    large = Convolution(channels=1, height=1024, width=1024, kernel=(1, 1))
    last = Convolution(channels=2, height=1, width=4, kernel=(1, 1))
    dense = replace(layer(small, 8), name="fc", convolution=None)
    cases = (
        (
            lambda: layer(small, 2, weights=np.ones((2, 9), int)),
            "layer 'conv': rows must have the 18 weights of a kernel, not 9",
        ),
        (
            lambda: layer(Convolution(channels=2, height=4, width=4, kernel=(3, 3), groups=2), 3),
            "layer 'conv': groups must divide the 3 rows, not be 2",
        ),
        (
            lambda: layer(large, 5),
            (
                "layer 'conv': the output must have at most 4194304 activations, which is what the "
                "largest engine holds, not 5 x 1024 x 1024"
            ),
        ),
        (
            lambda: Network(name="n", layers=(layer(small, 2), layer(last, 1, name="next"))),
            "layer 'next' must take the 2 x 2 x 2 planes of 'conv', not 2 x 1 x 4",
        ),
        (
            lambda: Network(name="n", layers=(dense, layer(last, 1, name="next"))),
            (
                "layer 'next', a convolution, must come before every fully connected layer, not "
                "after 'fc'"
            ),
        ),
        (
            lambda: Network(name="n", layers=(layer(small, 3), dense)),
            "layer 'fc' must take the 12 outputs of 'conv', not 18",
        ),
    )
    for make, message in cases:
        with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
            make()
