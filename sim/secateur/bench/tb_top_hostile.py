"""cocotb test bench of :class:`secateur.gateware.top.Top`: whatever comes down the line.

The folder ``JOB`` holds the program ``0.sct``, which the board runs, with ``0.npz``; a bit takes
``DIVISOR`` cycles, and ``CASES`` is how often something hostile is sent.
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
from secateur.protocol import LOAD, RESPONSE, Code, Command, pack_words

#: Seconds after which no more answers come, of which the longest takes some 10,000 cycles.
QUIET = 120e-6


def hostile(rng: random.Random, case: Case, largest: int) -> bytes:
    """Make bytes of one to three frames, most damaged on the line or by whoever sent them."""
    program = case.program
    x = pack_words(program.arrange(case.x[rng.randrange(len(case.x))]), program.spec)
    parts = []
    for _ in range(rng.choice((1, 1, 3))):
        offset = rng.choice((0, 0, 9, rng.getrandbits(32)))
        body = rng.choice((
            bytes([Command.STATUS, 7]),
            bytes([Command.READ, 7]),
            bytes([Command.INFER, 7]) + x,
            bytes([Command.LOAD, 7]) + pack(LOAD, offset=offset) + program.image[offset:][:200],
            bytes([rng.randrange(256), 7]) + rng.randbytes(rng.choice((0, 1, 30))),
            bytes([Command.LOAD, 7]) + bytes(largest + rng.choice((-2, 0, 1, 40))),
        ))
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
    """Every frame gets an answer at most; then the board infers as before."""
    port = await connect(dut)
    case = Case.read("0")
    rng = random.Random(int(os.environ["CASES"]))
    answered: dict[Code, int] = {}

    def host() -> None:
        board = Board(port, timeout=TIMEOUT)
        board.attach(case.program)
        largest = board.status().max_payload
        for index in range(int(os.environ["CASES"])):
            sent = hostile(rng, case, largest) + b"\0"
            port.write(sent)
            port.timeout = QUIET
            answers = 0
            while line := port.read_until(b"\0"):
                body = unframe(line)
                answered[Code(unpack(RESPONSE, body)["code"])] = 1
                answers += 1
            frames = sum(map(bool, sent.split(b"\0")))
            assert bool(frames) <= answers <= frames, f"{answers} answers to {sent.hex()}"
            assert board.status().program == case.program.id
            row = index % len(case.x)
            case.check(board, slice(row, row + 1))

    await bridge(host)()
    assert {Code.OK, Code.DAMAGED, Code.OVERSIZED, Code.COMMAND, Code.LENGTH} <= answered.keys()
