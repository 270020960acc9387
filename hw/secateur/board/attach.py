"""What all boards do alike with the pins of amaranth-boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import io

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secateur.gateware.top import Top

__all__ = ["attach", "sources"]


def attach(m: Module, platform: Any, top: Top, *, lights: Sequence[tuple[str, int]]) -> None:
    """Put the serial port and the lights of ``top`` on the pins of a board.

    Parameters
    ----------
    m : Module
        Gets ``top`` and the buffers of the pins.
    platform : Platform
        The board, with a resource ``uart``.
    top : Top
        The engine behind its serial port, in the domain ``sync``.
    lights : sequence of (str, int)
        Resources that show: a program is loaded, an inference is running, the last image was
        refused.
    """
    m.submodules.top = top
    # Also those of its pins that stay unused have to be named.
    pins = {pin.name: "-" for pin in platform.lookup("uart").ios}
    uart = platform.request("uart", dir=pins)
    # Registers in the pads: the first of the receiver's synchroniser is its own, behind it.
    m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
    m.submodules.tx = tx = io.FFBuffer(io.Direction.Output, uart.tx)
    m.d.comb += [top.rx.eq(rx.i), tx.o.eq(top.tx)]

    states = (top.status.loaded, top.status.busy, Value.cast(top.status.error).any())
    for number, (light, state) in enumerate(zip(lights, states, strict=True)):
        led = io.FFBuffer(io.Direction.Output, platform.request(*light, dir="-"))
        m.submodules[f"led{number}"] = led
        m.d.comb += led.o.eq(state)


def sources(platform: Any, design: Elaboratable, constraints: str) -> dict[str, bytes]:
    """Generate ``top.il`` and the pins' file, ``constraints``, of a board."""
    # Without the source positions the files are the same whatever folder they are made in.
    plan = platform.prepare(design, "top", emit_src=False)
    contents = {name: plan.files[name] for name in ("top.il", constraints)}
    return {
        name: text if isinstance(text, bytes) else text.encode() for name, text in contents.items()
    }
