"""The PLL's dividers against the data sheet, by exact arithmetic."""

import re
from fractions import Fraction

import pytest

from secateur.board.pll import pll_settings
from secateur.errors import BadInputError


@pytest.mark.parametrize(
    "clock_mhz", [3.125, 25, 33.75, 50, 62.5, 87.5, 100, 110, 120, 130, 150, 200, 400]
)
def test_clock_is_exact_and_within_limits(clock_mhz: float) -> None:
    settings = pll_settings(clock_mhz)
    assert 1 <= settings.input_divider <= 128
    assert 1 <= settings.feedback_divider <= 128
    assert 1 <= settings.output_divider <= 128
    # FPGA-TN-02200: CLKOP / CLKFB_DIV equals the reference behind its divider when locked.
    reference = Fraction(25) / settings.input_divider
    oscillator = reference * settings.feedback_divider
    assert 10 <= reference <= 400
    assert 400 <= oscillator <= 800
    assert oscillator / settings.output_divider == Fraction(clock_mhz)
    assert (settings.phase_detector_mhz, settings.vco_mhz) == (reference, oscillator)


def test_settings_with_the_least_jitter_are_taken() -> None:
    settings = pll_settings(50)
    assert (settings.phase_detector_mhz, settings.vco_mhz) == (25, 800)


@pytest.mark.parametrize(
    ("clock_mhz", "message"),
    [
        (
            101.01,
            (
                "clock_mhz must be a frequency that the PLL makes from 25 MHz "
                "(nearest: 100 or 102.5), not 101.01"
            ),
        ),
        (
            401,
            "clock_mhz must be a frequency that the PLL makes from 25 MHz (nearest: 400), not 401",
        ),
        (
            3,
            "clock_mhz must be a frequency that the PLL makes from 25 MHz (nearest: 3.125), not 3",
        ),
        (float("nan"), "clock_mhz must be a frequency in MHz, not nan"),
    ],
)
def test_rejects(clock_mhz: float, message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        pll_settings(clock_mhz)
