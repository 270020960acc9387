"""The PLL of the ECP5, set to one exact frequency.

Limits are those of the ECP5 data sheet (Lattice FPGA-DS-02012, table "sysCLOCK PLL Timing"), the
structure that of FPGA-TN-02200. Output CLKOP only closes the loop; CLKOS is the clock, so that
its divider is free:

    VCO = input / CLKI_DIV * CLKFB_DIV * CLKOP_DIV        CLKOS = VCO / CLKOS_DIV
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pll", "PllSettings", "choose", "pll_settings"]

Settings = TypeVar("Settings")

VCO_MHZ = (400, 800)
PHASE_DETECTOR_MHZ = (10, 400)
OUTPUT_MHZ = (Fraction(25, 8), 400)
DIVIDERS = range(1, 129)


@dataclass(frozen=True, kw_only=True)
class PllSettings:
    """Dividers of one PLL.

    Parameters
    ----------
    input_mhz : Fraction
        Reference, MHz.
    input_divider, feedback_divider, output_divider : int
        CLKI_DIV, CLKOP_DIV (CLKFB_DIV is 1) and CLKOS_DIV.
    """

    input_mhz: Fraction
    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def phase_detector_mhz(self) -> Fraction:
        """Frequency at which reference and feedback are compared, MHz."""
        return self.input_mhz / self.input_divider

    @property
    def vco_mhz(self) -> Fraction:
        """Frequency of the oscillator, MHz."""
        return self.phase_detector_mhz * self.feedback_divider

    @property
    def output_mhz(self) -> Fraction:
        """Frequency of the clock, MHz."""
        return self.vco_mhz / self.output_divider


@cache
def _reachable(input_mhz: Fraction) -> dict[Fraction, PllSettings]:
    """Return the best settings of every frequency that the limits allow.

    Best is a fast phase detector, then a fast oscillator: both lower the jitter.
    """
    every = (
        PllSettings(
            input_mhz=input_mhz,
            input_divider=divider,
            feedback_divider=feedback,
            output_divider=output,
        )
        for divider in DIVIDERS
        if PHASE_DETECTOR_MHZ[0] <= input_mhz / divider <= PHASE_DETECTOR_MHZ[1]
        for feedback in reversed(DIVIDERS)
        if VCO_MHZ[0] <= input_mhz / divider * feedback <= VCO_MHZ[1]
        for output in DIVIDERS
    )
    best: dict[Fraction, PllSettings] = {}
    for settings in every:
        if OUTPUT_MHZ[0] <= settings.output_mhz <= OUTPUT_MHZ[1]:
            best.setdefault(settings.output_mhz, settings)
    return best


def pll_settings(clock_mhz: float, *, input_mhz: float = 25) -> PllSettings:
    """Find the dividers that make ``clock_mhz`` from ``input_mhz``, exactly.

    Raises
    ------
    BadInputError
        If the PLL cannot make that frequency; the sentence names the nearest that it can.

    Examples
    --------
    >>> settings = pll_settings(110)
    >>> settings.feedback_divider, settings.output_divider, float(settings.vco_mhz)
    (22, 5, 550.0)
    """
    return choose(_reachable(Fraction(str(input_mhz))), clock_mhz, input_mhz)


def choose(reachable: Mapping[Fraction, Settings], clock_mhz: float, input_mhz: float) -> Settings:
    """Look a clock up among the frequencies that a PLL makes.

    Raises
    ------
    BadInputError
        If it is not there; the sentence names the nearest that are.
    """
    try:
        wanted = Fraction(str(clock_mhz))
    except ValueError:  # not a number, or an infinite one
        raise BadInputError(f"clock_mhz must be a frequency in MHz, not {clock_mhz!r}") from None
    if wanted in reachable:
        return reachable[wanted]
    # Only those that can be written down: 712.5 MHz / 7 cannot.
    exact = [f for f in reachable if Fraction(str(float(f))) == f]
    below = max((f for f in exact if f < wanted), default=None)
    above = min((f for f in exact if f > wanted), default=None)
    near = " or ".join(f"{float(f):g}" for f in (below, above) if f is not None)
    raise BadInputError(
        f"clock_mhz must be a frequency that the PLL makes from {input_mhz:g} MHz "
        f"(nearest: {near}), not {clock_mhz!r}"
    )


class Pll(wiring.Component):
    """The PLL as the clock of the domain ``sync``, which stands still until the PLL has locked.

    The domain is the parent's, without a reset: registers have their first values out of
    configuration, and keep them until the first edge. nextpnr would route a reset as an ordinary
    net; that of a large engine, of more than ten thousand flip-flops, it does not finish.

    Parameters
    ----------
    settings : PllSettings
        Dividers.

    Members
    -------
    clk_in : In(1)
        The reference.
    clk : Out(1)
        The clock of ``sync``, for a clock constraint.
    """

    clk_in: Signal
    clk: Signal

    def __init__(self, settings: PllSettings) -> None:
        self.settings = settings
        super().__init__({"clk_in": In(1), "clk": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clk, feedback, locked = Signal(), Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Settings of the analogue part, as Lattice's own generator emits them.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=self.settings.input_divider,
            p_CLKFB_DIV=1,
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.settings.feedback_divider,
            p_CLKOP_CPHASE=self.settings.feedback_divider - 1,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=self.settings.output_divider,
            p_CLKOS_CPHASE=self.settings.output_divider - 1,
            i_CLKI=self.clk_in,
            i_CLKFB=feedback,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            i_ENCLKOS=Const(0),
            o_CLKOP=feedback,
            o_CLKOS=clk,
            o_LOCK=locked,
        )
        # The lock comes and goes at any time. The switch of a global net makes no short pulses.
        running = Signal()
        m.domains += ClockDomain("pll", reset_less=True, local=True)
        m.submodules.locked = FFSynchronizer(locked, running, o_domain="pll", stages=3)
        m.submodules.switch = Instance("DCCA", i_CLKI=clk, i_CE=running, o_CLKO=self.clk)
        m.d.comb += [ClockSignal("pll").eq(clk), ClockSignal("sync").eq(self.clk)]
        return m
