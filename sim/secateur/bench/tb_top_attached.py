"""cocotb test bench of :class:`secateur.gateware.top.Top` with a program out of reset."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.task import bridge

from secateur.bench.tb_top import TIMEOUT, Case, connect
from secateur.host import Board

__all__ = ["attached"]


@cocotb.test()
async def attached(dut: Any) -> None:
    """Nothing is loaded."""
    port = await connect(dut)
    case = Case.read("0")

    def host() -> None:
        board = Board(port, timeout=TIMEOUT)
        board.attach(case.program)
        case.check(board)

    await bridge(host)()
