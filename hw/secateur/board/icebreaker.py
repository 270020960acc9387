"""The iCEBreaker: iCE40 UP5K, 12 MHz oscillator, FTDI serial port (amaranth-boards has its pins).

The green light of the board shows that a program is loaded and the red one that the last image was
refused; the first green one of the part that can be broken off, that an inference is running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth_boards.icebreaker import ICEBreakerPlatform

from secateur.board.attach import attach, sources
from secateur.board.ice40_pll import Ice40Pll, ice40_pll_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.board.ice40_pll import Ice40PllSettings
    from secateur.gateware.top import Top

__all__ = ["ICEBreaker", "icebreaker"]


class ICEBreaker(Elaboratable):
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
        # The oscillator is on the pad of the PLL, which takes the place of its buffer.
        pin = platform.request("clk12", dir="-")
        m.submodules.pll = pll = Ice40Pll(self.settings, {"io_PACKAGEPIN": pin.io})
        platform.add_clock_constraint(pll.clk, float(self.settings.output_mhz * 1_000_000))
        attach(m, platform, self.top, lights=[("led_g", 0), ("led_g", 1), ("led_r", 0)])
        return m


def icebreaker(top: Callable[[], Top], clock_mhz: float) -> dict[str, bytes]:
    """Generate ``top.il`` and ``top.pcf`` for the iCEBreaker.

    Raises
    ------
    BadInputError
        If the PLL cannot make ``clock_mhz``; ``top`` was not called then.
    """
    settings = ice40_pll_settings(clock_mhz)
    platform = ICEBreakerPlatform()
    platform.add_resources(platform.break_off_pmod)
    return sources(platform, ICEBreaker(top(), settings), "top.pcf")
