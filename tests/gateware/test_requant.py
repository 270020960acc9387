"""Requantizer against Requant.compute, in the Amaranth simulator."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import pytest

from secateur.bench.requantizer import Case, check_requantizer, random_cases


def test_reference_is_the_formula() -> None:
    """The reference itself, against exact rational arithmetic written a second way."""
    for case in random_cases(32, 500, seed=1):
        spec = case.spec(8)
        rounded = floor(Fraction(case.acc + case.bias, 1 << case.shift) + Fraction(1, 2))
        bounded = sorted((spec.output.lowest, rounded, spec.output.highest))[1]
        want = bounded if bounded > 0 or not case.relu else 0
        assert spec.compute(np.array([case.acc + case.bias])).tolist() == [want], case


def test_last_bit_shifted_out_rounds_half_up() -> None:
    """What the circuit does equals what the specification says, for every value of 10 bits."""
    x = np.arange(-512, 512)
    for shift in range(48):
        half = 1 << shift >> 1
        np.testing.assert_array_equal(
            (x >> shift) + ((x << 1 >> shift) & 1 if shift else 0), (x + half) >> shift
        )


@pytest.mark.parametrize(("accumulator", "activation"), [(4, 4), (4, 6), (7, 4), (8, 4)])
def test_exhaustive(accumulator: int, activation: int) -> None:
    """Every sum, shift up to beyond the accumulator's width, format and activation."""
    limit = 1 << (accumulator - 1)
    check_requantizer(
        [
            Case(total - bias, bias, shift, signed, relu)
            for total, shift, signed, relu in product(
                range(-limit, limit), range(accumulator + 2), (False, True), (False, True)
            )
            for bias in [total >> 1]
        ],
        accumulator,
        activation,
    )


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(
    ("accumulator", "activation"), [(24, 8), (27, 5), (33, 12), (40, 16), (48, 8)]
)
def test_random(accumulator: int, activation: int, stall: float) -> None:
    """Formats, shifts and activations change from value to value, with and without stalls."""
    cases = random_cases(accumulator, 1500, seed=accumulator)
    check_requantizer(cases, accumulator, activation, stall=stall)
