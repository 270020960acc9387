"""From a component to Verilog."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from amaranth.back import verilog

if TYPE_CHECKING:
    from amaranth.lib import wiring

__all__ = ["to_verilog"]


def to_verilog(design: wiring.Component, name: str) -> str:
    """Emit a component as the Verilog module ``name``, without lines that name sources.

    Amaranth makes millions of objects for a large engine and forgets none until it is done, so
    that looking for garbage would take a third of the time: the collector pauses meanwhile.

    Raises
    ------
    YosysError
        If Amaranth finds no Yosys.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return verilog.convert(design, name=name, emit_src=False)
    finally:
        if collects:
            gc.enable()
