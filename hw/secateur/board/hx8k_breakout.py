"""Lattice's iCE40-HX8K breakout board: 12 MHz oscillator, FTDI serial port, eight LEDs.

amaranth-boards has its pins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import io
from amaranth_boards.ice40_hx8k_b_evn import ICE40HX8KBEVNPlatform

from secateur.board.attach import attach, sources
from secateur.board.ice40_pll import Ice40Pll, ice40_pll_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.board.ice40_pll import Ice40PllSettings
    from secateur.gateware.top import Top

__all__ = ["HX8KBreakout", "hx8k_breakout"]


class HX8KBreakout(Elaboratable):
    """The top of the bitstream: ``top`` on the pins of the board, clocked by the PLL.

    Parameters
    ----------
    top : Top
        The engine behind its serial port, in the domain ``sync``.
    settings : Ice40PllSettings
        Of the PLL, from 12 MHz to the clock of ``sync``.
    """

    def __init__(self, top: Top, settings: Ice40PllSettings) -> None:
        self.top, self.settings = top, settings

    def elaborate(self, platform: Any) -> Module:  # what `request` returns has many types
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.clk12 = clk12 = io.Buffer(
            io.Direction.Input, platform.request("clk12", dir="-")
        )
        m.submodules.pll = pll = Ice40Pll(self.settings, {"i_REFERENCECLK": clk12.i})
        platform.add_clock_constraint(pll.clk, float(self.settings.output_mhz * 1_000_000))
        attach(m, platform, self.top, lights=[("led", 0), ("led", 1), ("led", 2)])
        return m


def hx8k_breakout(top: Callable[[], Top], clock_mhz: float) -> dict[str, bytes]:
    """Generate ``top.il`` and ``top.pcf`` for the breakout board.

    Raises
    ------
    BadInputError
        If the PLL cannot make ``clock_mhz``; ``top`` was not called then.
    """
    settings = ice40_pll_settings(clock_mhz)
    return sources(ICE40HX8KBEVNPlatform(), HX8KBreakout(top(), settings), "top.pcf")
