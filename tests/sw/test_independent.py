"""The second implementation of a layer against exact rational arithmetic, and its bound."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import floor
from typing import Any

import numpy as np
import pytest

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs
from secateur.convolution import Convolution, Pool
from secateur.fixed import NumberFormat, Requant
from secateur.independent import distances, integer_layer, most_distance, states_scale
from secateur.network import Layer


def layer(signed: bool, relu: bool, shift: int) -> Layer:
    rng = np.random.default_rng(1)
    return Layer(
        name="fc",
        weights=rng.integers(-8, 8, (6, 9)),
        bias=rng.integers(-400, 400, 6),
        weight_width=4,
        input=NumberFormat(width=5, signed=True),
        requant=Requant(shift=shift, output=NumberFormat(width=6, signed=signed), relu=relu),
        input_fraction=2,
        weight_fraction=shift + 1,
        output_fraction=3,
    )


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(-16, 16, (count, 9))


@pytest.mark.parametrize(
    ("signed", "relu", "shift"), [*product((False, True), (False, True), (0, 1, 3, 40))]
)
def test_rational_arithmetic(signed: bool, relu: bool, shift: int) -> None:
    one = layer(signed, relu, shift)
    x = inputs(40)
    low, high = (-32, 31) if signed else (0, 63)
    for row, got in zip(x.tolist(), integer_layer(one, x).tolist(), strict=True):
        for weights, bias, value in zip(one.weights.tolist(), one.bias.tolist(), got, strict=True):
            total = bias + sum(w * a for w, a in zip(weights, row, strict=True))
            rounded = floor(Fraction(total, 2**shift) + Fraction(1, 2))
            want = min(max(rounded, low), high)
            assert value == (max(want, 0) if relu else want)


@pytest.mark.parametrize(("signed", "relu"), [*product((False, True), repeat=2)])
def test_the_bound_is_exact(signed: bool, relu: bool) -> None:
    """Half a step is reached, one step beside it is beyond, and cut values are on the bound."""
    one = layer(signed, relu, 3)
    assert states_scale(one)
    x = inputs(200)
    y = one.compute(x)
    assert distances(one, x, y).max() == 0.5
    # A step up is beyond by an eighth, which is what sums are multiples of; a step down is as far
    # only where half was rounded up.
    assert distances(one, x, y + 1).min() == 0.625
    assert distances(one, x, y - 1).min() == 0.5
    assert (distances(one, x, y - 2) > 0.5).all()
    cut = y == (31 if signed else 63)
    assert cut.any()
    assert distances(one, x, y)[cut].min() == 0


def test_fractions_of_another_shift() -> None:
    assert not states_scale(replace(layer(True, False, 3), weight_fraction=3))


@pytest.mark.parametrize("pool", [None, ("max", (2, 3)), ("average", (2, 4))])
@pytest.mark.parametrize("relu", [False, True])
def test_convolutions_in_rational_arithmetic(pool: Any, relu: bool) -> None:
    """Sums written out, in Python's integers and fractions."""
    conv = Convolution(
        channels=4,
        height=7,
        width=9,
        kernel=(2, 3),
        stride=(1, 2),
        padding=(1, 2),
        groups=2,
        pool=pool and Pool(kind=pool[0], size=pool[1]),
    )
    rng = np.random.default_rng(3)
    one = replace(layer(True, relu, 3), weights=rng.integers(-8, 8, (6, 12)), convolution=conv)
    x = rng.integers(-16, 16, (3, conv.inputs))
    got = integer_layer(one, x)
    apart = distances(one, x, got)
    size = (1, 1) if conv.pool is None else conv.pool.size
    for image, outputs, away in zip(x, got, apart, strict=True):
        planes = image.reshape(4, 7, 9)
        index = 0
        for row, bias in enumerate(one.bias.tolist()):
            values: dict[tuple[int, int], tuple[int, Fraction]] = {}
            for y, z in product(range(8), range(6)):
                total = bias
                for c, ky, kx in product(range(2), range(2), range(3)):
                    at = (y + ky - 1, 2 * z + kx - 2)
                    if 0 <= at[0] < 7 and 0 <= at[1] < 9:
                        weight = int(one.weights[row, (c * 2 + ky) * 3 + kx])
                        total += weight * int(planes[row // 3 * 2 + c, at[0], at[1]])
                low = 0 if relu else -32
                real = min(max(Fraction(total, 8), Fraction(low)), Fraction(31))
                value = min(max(floor(Fraction(total, 8) + Fraction(1, 2)), low), 31)
                values[y, z] = value, real
            for y, z in product(range(8 // size[0]), range(6 // size[1])):
                seen = [
                    values[y * size[0] + dy, z * size[1] + dz]
                    for dy, dz in product(range(size[0]), range(size[1]))
                ]
                if pool and pool[0] == "average":
                    mean = Fraction(sum(value for value, _ in seen), len(seen))
                    want = floor(mean + Fraction(1, 2))
                    real = sum((part for _, part in seen), Fraction(0)) / len(seen)
                else:
                    want = max(value for value, _ in seen)
                    real = max(part for _, part in seen)
                assert outputs[index] == want
                assert away[index] == abs(want - real)
                index += 1
        assert index == len(outputs)
    assert most_distance(one) == (1.0 if pool and pool[0] == "average" else 0.5)
    assert apart.max() <= most_distance(one)


def test_networks_of_convolutions() -> None:
    for seed in range(20):
        network = random_convolutional_network(seed, (2, 9, 8), convolutions=2, lengths=(5,))
        x = random_inputs(seed, network, 9)
        for one, value, y in zip(
            network.layers, network.activations(x), network.activations(x)[1:], strict=False
        ):
            assert np.array_equal(integer_layer(one, value), y)
            # Fractions that state the layer's scale.
            scaled = replace(one, weight_fraction=one.requant.shift)
            assert distances(scaled, value, y).max() <= most_distance(one)
