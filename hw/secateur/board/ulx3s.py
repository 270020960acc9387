"""The ULX3S: 25 MHz oscillator, FTDI serial port, eight LEDs (amaranth-boards has its pins)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import io
from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_85F_Platform

from secateur.board.attach import attach, sources
from secateur.board.pll import Pll, pll_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.board.pll import PllSettings
    from secateur.gateware.top import Top

__all__ = ["ULX3S", "ulx3s_25f", "ulx3s_85f"]


class ULX3S(Elaboratable):
    """The top of the bitstream: ``top`` on the pins of the board, clocked by the PLL.

    Parameters
    ----------
    top : Top
        The engine behind its serial port, in the domain ``sync``.
    settings : PllSettings
        Of the PLL, from 25 MHz to the clock of ``sync``.
    """

    def __init__(self, top: Top, settings: PllSettings) -> None:
        self.top, self.settings = top, settings

    def elaborate(self, platform: Any) -> Module:  # what `request` returns has many types
        m = Module()

        m.submodules.clk25 = clk25 = io.Buffer(
            io.Direction.Input, platform.request("clk25", dir="-")
        )
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.pll = pll = Pll(self.settings)
        m.d.comb += pll.clk_in.eq(clk25.i)
        platform.add_clock_constraint(pll.clk, float(self.settings.output_mhz * 1_000_000))

        attach(m, platform, self.top, lights=[("led", 0), ("led", 1), ("led", 2)])
        return m


def _sources(platform: Any, top: Callable[[], Top], clock_mhz: float) -> dict[str, bytes]:
    settings = pll_settings(clock_mhz)
    return sources(platform, ULX3S(top(), settings), "top.lpf")


def ulx3s_25f(top: Callable[[], Top], clock_mhz: float) -> dict[str, bytes]:
    """Generate ``top.il`` and ``top.lpf`` for the ULX3S with an ECP5 25F.

    Raises
    ------
    BadInputError
        If the PLL cannot make ``clock_mhz``; ``top`` was not called then.
    """
    return _sources(ULX3S_25F_Platform(), top, clock_mhz)


def ulx3s_85f(top: Callable[[], Top], clock_mhz: float) -> dict[str, bytes]:
    """Generate ``top.il`` and ``top.lpf`` for the ULX3S with an ECP5 85F.

    Raises
    ------
    BadInputError
        If the PLL cannot make ``clock_mhz``; ``top`` was not called then.
    """
    return _sources(ULX3S_85F_Platform(), top, clock_mhz)
