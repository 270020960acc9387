"""The PLLs' dividers against the data sheets, by exact arithmetic."""

import re
from fractions import Fraction

import pytest

from secateur.board.ice40_pll import ice40_pll_settings
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


@pytest.mark.parametrize("clock_mhz", [16.125, 16.875, 24, 36.75, 48, 70.5, 100.5, 270])
def test_ice40_clock_is_exact_and_within_limits(clock_mhz: float) -> None:
    settings = ice40_pll_settings(clock_mhz)
    assert 0 <= settings.divr <= 15
    assert 0 <= settings.divf <= 127
    assert 1 <= settings.divq <= 6
    # FPGA-TN-02052, feedback path "SIMPLE".
    reference = Fraction(12) / (settings.divr + 1)
    oscillator = reference * (settings.divf + 1)
    assert 10 <= reference <= 133
    assert 533 <= oscillator <= 1066
    assert oscillator / 2**settings.divq == Fraction(clock_mhz)
    assert (settings.phase_detector_mhz, settings.vco_mhz) == (reference, oscillator)


@pytest.mark.parametrize(
    ("clock_mhz", "input_mhz", "parameters"),
    [
        # What `icepll -i 12 -o 48` and so on print.
        (48, 12, (0, 63, 4, 1)),
        (60, 12, (0, 79, 4, 1)),
        (24, 12, (0, 63, 5, 1)),
        (75, 100, (0, 5, 3, 5)),
        (100, 50, (0, 15, 3, 4)),
    ],
)
def test_ice40_settings_are_those_of_icepll(
    clock_mhz: float, input_mhz: float, parameters: tuple[int, ...]
) -> None:
    settings = ice40_pll_settings(clock_mhz, input_mhz=input_mhz)
    assert (settings.divr, settings.divf, settings.divq, settings.filter_range) == parameters


@pytest.mark.parametrize(
    ("clock_mhz", "nearest"), [(50, "49.5 or 50.25"), (10, "16.125"), (300, "270")]
)
def test_ice40_rejects(clock_mhz: float, nearest: str) -> None:
    message = (
        f"clock_mhz must be a frequency that the PLL makes from 12 MHz (nearest: {nearest}), "
        f"not {clock_mhz}"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        ice40_pll_settings(clock_mhz)
