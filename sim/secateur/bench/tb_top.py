"""cocotb test bench of :class:`secateur.gateware.top.Top`: the host's own code at its two pins.

The folder ``JOB`` holds programs ``0.sct`` and ``1.sct`` for one engine, ``other.sct`` for another,
and inputs and outputs ``0.npz`` and ``1.npz``; a bit takes ``DIVISOR`` cycles.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge

from secateur.errors import BadInputError
from secateur.format import LoadError
from secateur.framing import frame, pack, unframe, unpack
from secateur.host import Board
from secateur.link import Link
from secateur.program import Program
from secateur.protocol import (
    CHECK,
    LOAD,
    REQUEST,
    RESPONSE,
    RESPONSE_MARK,
    Code,
    Command,
    Status,
)
from secateur.serial import SimulatedPort

if TYPE_CHECKING:
    from numpy.typing import NDArray

P = TypeVar("P", bound=SimulatedPort)

PERIOD = 10_000  # ps
#: Time that the board may take, seconds: 40,000 cycles.
TIMEOUT = 400e-6


@dataclass
class Case:
    """A program, and what it must make of what."""

    program: Program
    x: NDArray[np.int64]
    y: NDArray[np.int64]

    @classmethod
    def read(cls, name: str) -> Case:
        """Read a case of the job."""
        folder = Path(os.environ["JOB"])
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            return cls(Program.load(folder / f"{name}.sct"), arrays["x"], arrays["y"])

    def check(self, board: Board, rows: slice = slice(None)) -> None:
        """Infer, and compare every value."""
        got = board.infer(self.x[rows])
        for index, (g, w) in enumerate(zip(got, self.y[rows], strict=True)):
            assert g.tolist() == w.tolist(), f"input {index}: {g.tolist()}, not {w.tolist()}"
        assert len(board.cycles) == len(got)
        assert board.cycles.min(initial=1) > 0


async def connect(dut: Any, *, off: float = 0, kind: type[P] = SimulatedPort) -> P:
    """Reset the board, and connect to it with a baud rate that is off."""
    dut.rst.value = 1
    dut.rx.value = 1
    Clock(dut.clk, PERIOD, unit="ps").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)
    assert dut.tx.value == 1, f"tx is {dut.tx.value} after reset"
    bit_time = round(int(os.environ["DIVISOR"]) * PERIOD * (1 + off))
    return kind(dut.rx, dut.tx, bit_time=bit_time)


@cocotb.test()
async def programs(dut: Any) -> None:
    """One program after the other on the same hardware."""
    port = await connect(dut)
    cases = [Case.read("0"), Case.read("1")]

    def host() -> None:
        link = Link(port, timeout=TIMEOUT, attempts=1)
        answer = link.request(Command.INFER, b"x", also=(Code.PROGRAM,))
        assert answer.code is Code.PROGRAM
        board = Board(port, timeout=TIMEOUT)
        for index in (0, 1, 0):
            board.load(cases[index].program)
            cases[index].check(board)
        result = board.read()
        assert result.y.tolist() == cases[0].y[-1].tolist()
        assert result.cycles == board.cycles[-1]
        said = ""
        try:
            board.load(Program.load(Path(os.environ["JOB"]) / "other.sct"))
        except BadInputError as error:
            said = str(error)
        assert said.endswith("encode it with the engine of the bitstream")

    await bridge(host)()


@cocotb.test()
@cocotb.parametrize(off=[-0.02, 0.02])
async def baud_rate(dut: Any, off: float) -> None:
    """Load and infer with a host whose clock is 2 % off."""
    port = await connect(dut, off=off)
    case = Case.read("0")

    def host() -> None:
        board = Board(port, timeout=TIMEOUT)
        board.load(case.program)
        case.check(board, slice(10))

    await bridge(host)()


@cocotb.test()
async def bad_frames(dut: Any) -> None:
    """Each is answered with its code, and changes nothing."""
    port = await connect(dut)
    case, other = Case.read("0"), Case.read("1")

    def answer() -> tuple[Code, Command, bytes]:
        port.timeout = TIMEOUT
        body = unframe(port.read_until(b"\0"))
        head = unpack(RESPONSE, body)
        command = Command(head["command"] ^ RESPONSE_MARK)
        assert head["sequence"] == (0 if command is Command.NONE else 77)
        return Code(head["code"]), command, body[RESPONSE.size :]

    def ask(command: int, payload: bytes = b"") -> tuple[Code, Command, bytes]:
        port.write(frame(bytes([command, 77]) + payload))
        return answer()

    def refused(command: Command, payload: bytes, code: Code) -> None:
        assert ask(command, payload) == (code, command, b"")

    def host() -> None:
        board = Board(port, timeout=TIMEOUT)
        words = bytes(case.program.input_words * case.program.spec.lanes)
        image = other.program.image
        board.load(case.program)
        largest = board.status().max_payload
        refused(Command.READ, b"", Code.RESULT)

        # Damaged, one way or the other: nobody can tell what it was.
        line = frame(pack(REQUEST, command=Command.INFER, sequence=77) + words)
        flipped = bytearray(line)
        flipped[5] ^= 4
        for wrong in (bytes(flipped), line[:9] + b"\0", b"\x09\x01\0", b"\x01\0", line[1:]):
            port.write(wrong)
            assert answer() == (Code.DAMAGED, Command.NONE, b"")
            case.check(board, slice(1, 2))
        resume(port.drive)([(0, 30.0), (1, 3.0)])  # a break
        assert answer()[0] is Code.DAMAGED
        resume(port.drive)([(0, 0.2), (1, 2.0), (0, 0.2), (1, 5.0)])  # spikes are nothing
        case.check(board, slice(2, 3))

        # Whole, and refused.
        for command in (*Command,)[1:]:
            refused(command, bytes(largest + 1), Code.OVERSIZED)
            refused(command, bytes(4 * largest), Code.OVERSIZED)
        refused(Command.INFER, words[1:], Code.LENGTH)
        refused(Command.INFER, words + b"\0", Code.LENGTH)
        refused(Command.STATUS, b"\0", Code.LENGTH)
        refused(Command.READ, b"\0", Code.LENGTH)
        refused(Command.LOAD, pack(LOAD, offset=0), Code.LENGTH)
        for payload in (b"", pack(CHECK, pe=0, count=1), bytes(largest)):
            refused(Command.CHECK, payload, Code.COMMAND)
        port.write(frame(b"\x63\x4d"))
        body = unframe(port.read_until(b"\0"))
        assert body == bytes([0x63 | RESPONSE_MARK, 77, Code.COMMAND])
        case.check(board, slice(3, 4))

        # Images: out of order, damaged, of another engine, cut off; the old program goes on.
        refused(Command.LOAD, pack(LOAD, offset=9) + image[9:99], Code.ORDER)
        foreign = Program.load(Path(os.environ["JOB"]) / "other.sct").image
        broken = bytearray(image)
        broken[len(image) // 2] ^= 16
        for bad, error in ((bytes(broken), LoadError.CRC), (foreign, LoadError.ENGINE)):
            for offset in range(0, len(bad), 99):
                payload = pack(LOAD, offset=offset) + bad[offset : offset + 99]
                code, _, raw = ask(Command.LOAD, payload)
                if code is Code.ORDER:
                    break
                case.check(board, slice(4, 5))
                assert board.status().loading == (not Status.from_bytes(raw).error)
            assert board.status().error is error
            assert board.status().program == case.program.id
        ask(Command.LOAD, pack(LOAD, offset=0) + image[:99])
        refused(Command.LOAD, pack(LOAD, offset=100) + image[100:150], Code.ORDER)
        refused(Command.LOAD, pack(LOAD, offset=98) + image[98:99], Code.ORDER)
        assert board.status().taken == 99
        case.check(board, slice(5, 6))
        board.load(other.program)
        other.check(board, slice(6))

    await bridge(host)()


class BadLine(SimulatedPort):
    """Loses and damages bytes, both ways."""

    fault: Callable[[bytes], bytes]

    def write(self, data: bytes, /) -> int:
        """Send what is left of the data."""
        return super().write(self.fault(data))

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        """Receive what is left of the data."""
        return self.fault(super().read_until(expected, size))


@cocotb.test()
async def bad_line(dut: Any) -> None:
    """Get every result through all the same."""
    port = await connect(dut, kind=BadLine)
    rng = random.Random(random.random())  # cocotb seeds the module
    faults = 0

    def fault(data: bytes) -> bytes:
        nonlocal faults
        if not data or rng.random() >= 0.1:
            return data
        faults += 1
        changed = bytearray(data)
        place = rng.randrange(len(data))
        if rng.random() < 0.5:
            changed[place] ^= 1 << rng.randrange(8)
        else:
            del changed[place]
        return bytes(changed)

    port.fault = fault

    def host() -> None:
        board = Board(port, timeout=TIMEOUT, attempts=10)
        for case in (Case.read("0"), Case.read("1")):
            board.load(case.program)
            case.check(board, slice(40))

    await bridge(host)()
    assert faults > 20
