"""cocotb test bench of :class:`secateur.gateware.top.Top`: whatever comes down the line.

The folder ``JOB`` holds the program ``0.sct``, which the board runs, with ``0.npz``; a bit takes
``DIVISOR`` cycles, ``CASES`` is how often something hostile is sent, and ``CHECKED`` is 1 if the
board's weights can be checked, else 0.
"""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from cocotb.task import bridge

from secateur.bench.damage import damaged
from secateur.bench.tb_top import TIMEOUT, Case, connect
from secateur.framing import frame, pack, unframe, unpack
from secateur.host import Board
from secateur.protocol import (
    CHECK,
    LOAD,
    RESPONSE,
    RESPONSE_MARK,
    Code,
    Command,
    pack_words,
)

#: Seconds after which no more answers come, of which the longest takes some 10,000 cycles.
QUIET = 120e-6


def bodies(rng: random.Random, case: Case, largest: int) -> list[bytes]:
    """Draw one frame's contents of each kind, some of which a host would send."""
    program = case.program
    x = pack_words(program.arrange(case.x[rng.randrange(len(case.x))]), program.spec)
    offset = rng.choice((0, 0, 9, rng.getrandbits(32)))
    pe = rng.choice((0, program.spec.pes - 1, program.spec.pes, rng.getrandbits(8)))
    count = rng.choice((0, 1, 9, (1 << 24) - 1, rng.getrandbits(24)))
    return [
        bytes([Command.STATUS, 7]),
        bytes([Command.READ, 7]),
        bytes([Command.INFER, 7]) + x,
        bytes([Command.INFER, 7]) + x[rng.choice((1, len(x))) :],
        bytes([Command.LOAD, 7]) + pack(LOAD, offset=offset) + program.image[offset:][:200],
        bytes([Command.CHECK, 7]) + pack(CHECK, pe=pe, count=count),
        bytes([Command.CHECK, 7]) + rng.randbytes(rng.choice((0, 1, 3, 5, largest))),
        bytes([rng.randrange(256), 7]) + rng.randbytes(rng.choice((0, 1, 30))),
        bytes([Command.LOAD, 7]) + bytes(largest - rng.choice((0, 2))),
        bytes([Command.LOAD, 7]) + bytes(largest + rng.choice((1, 40))),
    ]


def hostile(rng: random.Random, case: Case, largest: int) -> bytes:
    """Make bytes of one to three frames, most damaged on the line or by whoever sent them."""
    parts = []
    for _ in range(rng.choice((1, 1, 3))):
        body = rng.choice(bodies(rng, case, largest))
        match rng.randrange(5):
            case 0:
                parts.append(frame(damaged(rng, body)))
            case 1:
                parts.append(frame(body))
            case 2:
                parts.append(rng.randbytes(rng.randrange(40)) + b"\0")
            case _:
                parts.append(damaged(rng, frame(body)))
    return b"".join(parts)


@cocotb.test()
async def goes_on(dut: Any) -> None:
    """Every frame gets an answer at most; then the board infers and is checked as before."""
    port = await connect(dut)
    case = Case.read("0")
    rng = random.Random(int(os.environ["CASES"]))
    checked = os.environ["CHECKED"] == "1"
    answered: set[tuple[int, int]] = set()

    def host() -> None:
        board = Board(port, timeout=TIMEOUT)
        board.attach(case.program)
        largest = board.status().max_payload
        whole = [frame(body) for body in bodies(rng, case, largest)]
        for index in range(int(os.environ["CASES"])):
            sent = whole[index] if index < len(whole) else hostile(rng, case, largest) + b"\0"
            port.write(sent)
            port.timeout = QUIET
            answers = 0
            while line := port.read_until(b"\0"):
                head = unpack(RESPONSE, unframe(line))
                answered.add((head["command"] ^ RESPONSE_MARK, Code(head["code"])))
                answers += 1
            frames = sum(map(bool, sent.split(b"\0")))
            assert bool(frames) <= answers <= frames, f"{answers} answers to {sent.hex()}"
            assert board.status().program == case.program.id
            row = index % len(case.x)
            case.check(board, slice(row, row + 1))
            if checked:
                board.check()

    await bridge(host)()
    codes = {code for _, code in answered}
    assert {Code.OK, Code.DAMAGED, Code.OVERSIZED, Code.COMMAND, Code.LENGTH} <= codes
    found = {code for command, code in answered if command == Command.CHECK}
    assert found >= ({Code.OK, Code.LENGTH} if checked else {Code.COMMAND}), found
