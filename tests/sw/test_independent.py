"""The second implementation of a layer against exact rational arithmetic, and its bound."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import pytest

from secateur.fixed import NumberFormat, Requant
from secateur.independent import distances, integer_layer, states_scale
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
