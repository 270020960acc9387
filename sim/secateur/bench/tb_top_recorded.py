"""cocotb test bench of any form of :class:`secateur.gateware.top.Top`: every byte that it sends.

The folder ``JOB`` holds the program ``0.sct`` with ``0.npz``; a bit takes ``DIVISOR`` cycles. The
file ``SENT`` gets the bytes, which are the same for whatever is right in every cycle. ``CHECKED``
is 1 if the board's weights can be checked, else 0.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import bridge

from secateur.bench.tb_top import Case, connect
from secateur.host import Board
from secateur.serial import SimulatedPort

#: Time that the board may take for an answer, seconds: a million cycles.
PATIENCE = 10e-3
#: Time after the last answer in which nothing may come, seconds: ten thousand cycles.
QUIET = 100e-6


class RecordingPort(SimulatedPort):
    """Keeps what was received."""

    sent = b""

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        """Receive, and keep it."""
        taken = super().read_until(expected, size)
        self.sent += taken
        return taken


@cocotb.test()
async def load_and_infer(dut: Any) -> None:
    """Load the program over the wire, infer, and read the last result again."""
    port = await connect(dut, kind=RecordingPort)
    case = Case.read("0")

    def host() -> None:
        board = Board(port, timeout=PATIENCE, attempts=1)
        assert not board.status().loaded, "it has a program out of reset"
        board.load(case.program)
        case.check(board)
        assert board.read().y.tolist() == case.y[-1].tolist()
        if os.environ["CHECKED"] == "1":
            board.check()
        port.timeout = QUIET
        assert port.read() == b"", "it sent what nobody asked for"

    await bridge(host)()
    Path(os.environ["SENT"]).write_bytes(port.sent)
