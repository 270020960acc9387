"""cocotb test bench for :class:`secateur.gateware.top.Top`: the host's own code at its pins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import FallingEdge

from secateur.host import Board
from secateur.program import Program
from secateur.serial import SimulatedPort

PERIOD = 10_000  # ps


async def start(dut: Any) -> SimulatedPort:
    """Reset the board and connect to it."""
    dut.rst.value = 1
    dut.rx.value = 1
    Clock(dut.clk, PERIOD, unit="ps").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)
    assert dut.tx.value == 1, f"tx is {dut.tx.value} after reset"
    return SimulatedPort(dut.rx, dut.tx, bit_time=int(os.environ["DIVISOR"]) * PERIOD)


@cocotb.test()
async def smoke(dut: Any) -> None:
    port = await start(dut)
    job = Path(os.environ["JOB"])

    def host() -> None:
        board = Board(port, timeout=200e-6)
        print(board.status())
        program = Program.load(job / "0.sct")
        board.load(program)
        x = np.load(job / "0.x.npy")
        y = np.load(job / "0.y.npy")
        got = board.infer(x)
        print(board.cycles)
        assert (got == y).all()

    await bridge(host)()
