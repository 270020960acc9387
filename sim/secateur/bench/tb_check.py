"""cocotb test bench of :class:`secateur.gateware.top.Top` with the check, and bits that flip.

The folder ``JOB`` and ``DIVISOR`` are as in :mod:`secateur.bench.tb_top`. The memories of the
weights are visible.
"""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Any

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, Timer

from secateur.bench.tb_top import TIMEOUT, Case, connect
from secateur.checksum import checksums
from secateur.errors import CheckFailedError
from secateur.format import Section, memories
from secateur.framing import pack, unpack
from secateur.host import Board
from secateur.link import Link
from secateur.protocol import CHECK, CRC, Code, Command

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.program import Program

__all__ = ["flips", "results"]

#: Bits that flip, one after the other, for each program.
FLIPS = 20


async def flip(dut: Any, pe: int, address: int, bit: int) -> None:
    """Flip a bit of the weight memory of a PE."""
    await FallingEdge(dut.clk)
    word = getattr(dut.engine, f"pe_{pe}").weights.memory[address]
    word.value = int(word.value) ^ 1 << bit
    await Timer(1, "ps")


def found(board: Board, program: Program) -> str:
    """Check; give what is said of flipped bits, or nothing."""
    try:
        board.check()
    except CheckFailedError as error:
        said = str(error)
        assert said.startswith(f"the board's weights are not those of the program {program.id:08x}")
        return said.rpartition("in the memory of ")[2]
    return ""


def sums(link: Link, dut: Any, spec: EngineSpec, bank: int) -> int:
    """Ask for what no host would, and compare each CRC with the memory's words; count them."""
    depth, size = spec.weight_depth, memories(spec)[Section.WEIGHTS].record.size
    asked = (
        *((0, count) for count in (0, 1, depth, 2 * depth - 1, 2 * depth, 2 * depth + 3)),
        *((pe, (1 << 24) - 1) for pe in (spec.pes - 1, spec.pes, 255)),
    )
    for pe, count in asked:
        words = [0] * depth
        if pe < spec.pes:
            memory = getattr(dut.engine, f"pe_{pe}").weights.memory
            words = [int(memory[bank * depth + place].value) for place in range(depth)]
        raw = b"".join(
            words[place % depth].to_bytes(size, "little") for place in range(count % (2 * depth))
        )
        got = unpack(CRC, link.request(Command.CHECK, pack(CHECK, pe=pe, count=count)).payload)
        assert got["crc"] == zlib.crc32(raw), f"{count} entries of PE {pe}: {got['crc']:08x}"
    return len(asked)


@cocotb.test()
async def flips(dut: Any) -> None:
    """Every bit that flips is found, in the PE in which it did, and nothing else is."""
    port = await connect(dut)
    cases = [Case.read("0"), Case.read("1")]
    rng = random.Random(1)
    done = summed = 0

    def host() -> None:
        nonlocal done, summed
        link = Link(port, timeout=TIMEOUT, attempts=1)
        answer = link.request(Command.CHECK, pack(CHECK, pe=0, count=1), also=(Code.PROGRAM,))
        assert answer.code is Code.PROGRAM
        board = Board(port, timeout=TIMEOUT)
        # The second one is shorter: the first one's end stays behind it.
        bank = 0
        for case in (*cases, cases[0]):
            board.load(case.program)
            spec = case.program.spec
            bank ^= spec.banks - 1
            case.check(board)
            assert found(board, case.program) == ""
            for _ in range(FLIPS):
                one = rng.choice(checksums(case.program))
                address = bank * spec.weight_depth + rng.randrange(one.count)
                bit = rng.randrange(spec.entry_width)
                resume(flip)(dut, one.pe, address, bit)
                assert found(board, case.program) == f"PE {one.pe}; load the program again"
                resume(flip)(dut, one.pe, address, bit)
                case.check(board, slice(1))
                done += 1
            assert found(board, case.program) == ""
            # What the check advises.
            resume(flip)(dut, 0, bank * spec.weight_depth, 0)
            assert found(board, case.program) == "PE 0; load the program again"
            board.load(case.program)
            bank ^= spec.banks - 1
            summed += sums(link, dut, spec, bank)
            assert found(board, case.program) == ""
            case.check(board)

    await bridge(host)()
    assert (done, summed) == (3 * FLIPS, 3 * 9)


@cocotb.test()
async def results(dut: Any) -> None:
    """Read the last result again, behind checks."""
    port = await connect(dut)
    case = Case.read("0")

    def host() -> None:
        board = Board(port, timeout=TIMEOUT)
        board.load(case.program)
        case.check(board)
        link = Link(port, timeout=TIMEOUT, attempts=1)
        for size in (0, 1, 3, 5, 256):
            assert found(board, case.program) == ""
            answer = link.request(Command.CHECK, bytes(size), also=(Code.LENGTH,))
            assert answer.code is Code.LENGTH
            result = board.read()
            assert result.y.tolist() == case.y[-1].tolist()
            assert result.cycles == board.cycles[-1]

    await bridge(host)()
