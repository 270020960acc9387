"""The PLL of the iCE40, set to one exact frequency.

Limits are those of the data sheets (Lattice FPGA-DS-02008 and FPGA-DS-02029, tables "sysCLOCK PLL
Timing"), the structure that of FPGA-TN-02052, with the feedback inside the PLL:

    VCO = input / (DIVR + 1) * (DIVF + 1)        output = VCO / 2 ** DIVQ
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any

from amaranth import *
from amaranth.lib.wiring import Component, Out

from secateur.board.pll import choose

__all__ = ["Ice40Pll", "Ice40PllSettings", "ice40_pll_settings"]

VCO_MHZ = (533, 1066)
PHASE_DETECTOR_MHZ = (10, 133)
OUTPUT_MHZ = (16, 275)

#: The phase detector's frequency in MHz up to which each value of FILTER_RANGE holds, from 1 on, as
#: Lattice's own generator sets it (icestorm's icepll).
FILTERS = (17, 26, 44, 66, 101, 133)

#: Block RAM reads as zero for about 3 microseconds behind configuration (icestorm, issue 76), and
#: nothing tells when that is over.
RESET_MICROSECONDS = 15


@dataclass(frozen=True, kw_only=True)
class Ice40PllSettings:
    """Dividers of one PLL.

    Parameters
    ----------
    input_mhz : Fraction
        Reference, MHz.
    divr, divf, divq : int
        The parameters of these names.
    """

    input_mhz: Fraction
    divr: int
    divf: int
    divq: int

    @property
    def phase_detector_mhz(self) -> Fraction:
        """Frequency at which reference and feedback are compared, MHz."""
        return self.input_mhz / (self.divr + 1)

    @property
    def vco_mhz(self) -> Fraction:
        """Frequency of the oscillator, MHz."""
        return self.phase_detector_mhz * (self.divf + 1)

    @property
    def output_mhz(self) -> Fraction:
        """Frequency of the clock, MHz."""
        return self.vco_mhz / 2**self.divq

    @property
    def filter_range(self) -> int:
        """FILTER_RANGE, for the phase detector's frequency."""
        return 1 + next(n for n, mhz in enumerate(FILTERS) if self.phase_detector_mhz <= mhz)


@cache
def _reachable(input_mhz: Fraction) -> dict[Fraction, Ice40PllSettings]:
    """Return the settings of every frequency that the limits allow, of fast phase detectors."""
    best: dict[Fraction, Ice40PllSettings] = {}
    for divr in range(16):
        for divf in range(128):
            for divq in range(1, 7):
                settings = Ice40PllSettings(input_mhz=input_mhz, divr=divr, divf=divf, divq=divq)
                if (
                    PHASE_DETECTOR_MHZ[0] <= settings.phase_detector_mhz <= PHASE_DETECTOR_MHZ[1]
                    and VCO_MHZ[0] <= settings.vco_mhz <= VCO_MHZ[1]
                    and OUTPUT_MHZ[0] <= settings.output_mhz <= OUTPUT_MHZ[1]
                ):
                    best.setdefault(settings.output_mhz, settings)
    return best


def ice40_pll_settings(clock_mhz: float, *, input_mhz: float = 12) -> Ice40PllSettings:
    """Find the dividers that make ``clock_mhz`` from ``input_mhz``, exactly.

    Raises
    ------
    BadInputError
        If the PLL cannot make that frequency; the sentence names the nearest that it can.

    Examples
    --------
    >>> settings = ice40_pll_settings(48)
    >>> settings.divf, settings.divq, float(settings.vco_mhz)
    (63, 4, 768.0)
    """
    return choose(_reachable(Fraction(str(input_mhz))), clock_mhz, input_mhz)


class Ice40Pll(Component):
    """The PLL as the clock of the domain ``sync``, in reset until clock and memories work.

    The domain is the parent's.

    Parameters
    ----------
    settings : Ice40PllSettings
        Dividers.
    reference : dict of str to value
        What the reference is connected to: a pad of the PLL's own (``io_PACKAGEPIN``), or a signal
        (``i_REFERENCECLK``).

    Members
    -------
    clk : Out(1)
        The clock of ``sync``, for a clock constraint.
    """

    clk: Signal

    def __init__(self, settings: Ice40PllSettings, reference: dict[str, Any]) -> None:
        self.settings, self.reference = settings, reference
        super().__init__({"clk": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        locked = Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD" if "io_PACKAGEPIN" in self.reference else "SB_PLL40_CORE",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self.settings.divr, 4),
            p_DIVF=Const(self.settings.divf, 7),
            p_DIVQ=Const(self.settings.divq, 3),
            p_FILTER_RANGE=Const(self.settings.filter_range, 3),
            **self.reference,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=self.clk,
            o_LOCK=locked,
        )
        m.d.comb += ClockSignal("sync").eq(self.clk)

        # The lock comes at any time; the counter behind its synchroniser, which starts at zero out
        # of configuration, releases the reset with the clock.
        cycles = ceil(RESET_MICROSECONDS * self.settings.output_mhz)
        stable = Signal(2, reset_less=True)
        waited = Signal(range(cycles + 1), reset_less=True)
        ready = Signal(reset_less=True)
        m.d.sync += stable.eq(Cat(locked, stable))
        with m.If(~stable[1]):
            m.d.sync += waited.eq(0)
        with m.Elif(waited != cycles):
            m.d.sync += waited.eq(waited + 1)
        m.d.sync += ready.eq(waited == cycles)
        m.d.comb += ResetSignal("sync").eq(~ready)
        return m
