"""The fixed-point definitions against exact rational arithmetic."""

import re
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.fixed import NumberFormat, Requant, signed_width

FORMATS = st.builds(NumberFormat, width=st.integers(2, 16), signed=st.booleans())


@given(
    st.lists(st.integers(-(1 << 47), (1 << 47) - 1), min_size=1),
    st.integers(0, 47),
    FORMATS,
    st.booleans(),
)
def test_requant_is_the_formula(
    acc: list[int], shift: int, output: NumberFormat, relu: bool
) -> None:
    """Round half up, saturate, then activate, in exact rational arithmetic."""
    want = [
        max(output.lowest, min(output.highest, floor(Fraction(x, 1 << shift) + Fraction(1, 2))))
        for x in acc
    ]
    if relu:
        want = [max(0, y) for y in want]
    requant = Requant(shift=shift, output=output, relu=relu)
    assert requant.compute(np.array(acc)).tolist() == want


@given(st.integers(-(1 << 50), 0), st.integers(0, 1 << 50))
def test_signed_width_is_the_narrowest(lowest: int, highest: int) -> None:
    width = signed_width(lowest, highest)
    assert -(1 << (width - 1)) <= lowest
    assert highest < 1 << (width - 1)
    if width > 1:
        assert lowest < -(1 << (width - 2)) or highest >= 1 << (width - 2)


@given(FORMATS)
def test_a_format_holds_its_bounds_and_no_more(kind: NumberFormat) -> None:
    assert kind.highest - kind.lowest + 1 == 1 << kind.width
    assert kind.holds(np.array([kind.lowest, kind.highest]))
    assert not kind.holds(np.array([kind.lowest - 1]))
    assert not kind.holds(np.array([kind.highest + 1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NumberFormat(width=1, signed=True),
            "width must be between 2 and 64, not 1",
        ),
        (
            lambda: Requant(shift=48, output=NumberFormat(width=8, signed=True), relu=False),
            "shift must be between 0 and 47, not 48",
        ),
    ],
)
def test_rejected(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
