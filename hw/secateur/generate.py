"""From a program to the Verilog of the engine that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.back.verilog import YosysError

from secateur.errors import CheckFailedError
from secateur.estimate import require_possible
from secateur.gateware.engine import Engine
from secateur.verilog import to_verilog

if TYPE_CHECKING:
    from secateur.program import Program

__all__ = ["generate"]


def generate(program: Program) -> str:
    """Generate the Verilog of an engine with ``program`` as initial contents: module ``engine``.

    The ports are those of :class:`secateur.gateware.engine.Engine`, with ``clk`` and ``rst``. The
    text is the same for the same program, wherever it is generated.

    Raises
    ------
    BadInputError
        If its memories are far larger than any device's.
    CheckFailedError
        If Amaranth finds no Yosys.
    """
    require_possible(program.spec)
    engine = Engine(program.spec, program=program)
    try:
        return to_verilog(engine, "engine")
    except YosysError as error:
        raise CheckFailedError(
            f"the engine could not be turned into Verilog: {error}; run `make setup`"
        ) from error
