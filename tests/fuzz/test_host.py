"""The host against boards that answer whatever they like: an error in one sentence, or a y."""

from __future__ import annotations

import random as plain
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cobs import cobs

from secateur.bench.damage import damaged
from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.framing import CRC_SIZE, DamagedFrameError, frame, pack, unframe, unpack
from secateur.host import Board
from secateur.link import BoardError
from secateur.protocol import (
    REQUEST,
    RESPONSE,
    RESPONSE_MARK,
    RESULT,
    STATUS,
    Code,
    Command,
    pack_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NETWORK = random_network(2, [9, 7, 4], density=0.6, codebook=True)
PROGRAM = encode(NETWORK, fit(NETWORK, pes=2))
X = random_inputs(1, NETWORK, 2)
Y = NETWORK.compute(X)
#: Reads and writes of a host that loads and infers twice at most: every wait is bounded.
PATIENCE = 100_000


def words_of(y: np.ndarray) -> bytes:
    """Turn one output into what the board sends for it."""
    width = PROGRAM.spec.activation_width
    words = np.zeros(PROGRAM.output_words * PROGRAM.spec.lanes, dtype=np.int64)
    words[: PROGRAM.outputs] = y[list(PROGRAM.output_order)] & ((1 << width) - 1)
    return pack_words(words.reshape(-1, PROGRAM.spec.lanes), PROGRAM.spec)


class Liar:
    """A board that does what it is asked, but for what `lie` makes of each response.

    ``forged`` tells whether it ever sent a frame that was none of its own and had a right CRC.
    """

    baudrate = 1_000_000

    def __init__(self, lie: Callable[[bytes], list[bytes]]) -> None:
        self.timeout: float | None = None
        self.lie = lie
        self.running = False
        self.asked: list[bytes] = []
        self.taken = 0
        self.result = b""
        self.calls = 0
        self.forged = False
        self._lines: list[bytes] = []

    def close(self) -> None: ...

    def write(self, data: bytes, /) -> int:
        self.calls += 1
        assert self.calls < PATIENCE
        if data != b"\0":
            body = unframe(data)
            head = unpack(REQUEST, body)
            honest = frame(self._answer(head, body[REQUEST.size :]))
            for line in self.lie(honest):
                self.forged |= line != honest and _is_frame(line)
                self._lines.append(line)
        return len(data)

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        self.calls += 1
        assert self.calls < PATIENCE
        assert size is not None
        assert size < 1000
        return self._lines.pop(0)[:size] if self._lines else b""

    def _answer(self, head: dict[str, int], payload: bytes) -> bytes:
        command, sequence = head["command"], head["sequence"]
        code, body = Code.OK, b""
        if command == Command.LOAD:
            self.taken = int.from_bytes(payload[:4], "little") + len(payload) - 4
            self.running = self.taken == len(PROGRAM.image)
        elif command == Command.INFER:
            x = np.zeros(NETWORK.inputs, dtype=np.int64)
            found = np.frombuffer(payload, np.uint8)[: len(PROGRAM.input_order)].astype(np.int64)
            kind = NETWORK.layers[0].input
            x[list(PROGRAM.input_order)] = np.where(found > kind.highest, found - 256, found)
            self.result = pack(RESULT, program=PROGRAM.id, sequence=sequence, cycles=99)
            self.result += words_of(NETWORK.compute(x))
        if command in (Command.LOAD, Command.STATUS):
            body = pack(
                STATUS,
                version=1,
                loaded=self.running,
                busy=0,
                loading=0,
                committing=0,
                error=0,
                fingerprint=PROGRAM.spec.fingerprint,
                max_payload=256,
                clock=1,
                taken=self.taken,
                program=PROGRAM.id if self.running else 0,
            )
        elif self.result:
            body = self.result
        else:
            code = Code.RESULT
        mark = command | RESPONSE_MARK
        return pack(RESPONSE, command=mark, sequence=sequence, code=code) + body


def _is_frame(line: bytes) -> bool:
    try:
        unframe(line)
    except DamagedFrameError:
        return False
    return True


def talk(board: Liar) -> bool:
    """Load and infer; tell whether a y came that is not the network's."""
    try:
        with Board(board, attempts=2) as host:
            host.load(PROGRAM)
            got = host.infer(X)
            host.read()
    except (BoardError, BadInputError) as error:
        said = str(error)
    else:
        assert got.shape == Y.shape
        assert host.cycles.shape == (2,)
        return got.tolist() != Y.tolist()
    assert said
    assert "\n" not in said
    assert said[-1] != "."
    return False


def test_an_honest_board() -> None:
    board = Liar(lambda line: [line])
    assert not talk(board)
    assert board.result.endswith(words_of(Y[1]))


def test_damaged_answers(fuzz: Callable[..., None]) -> None:
    """Lost, cut, changed and doubled: no y but the right one, as long as no CRC is right."""

    def case(rng: Random) -> None:
        dice = plain.Random(rng.getrandbits(32))

        def lie(line: bytes) -> list[bytes]:
            if dice.random() < 0.6:
                return [line]
            return [damaged(dice, line) for _ in range(dice.choice((0, 1, 1, 3)))]

        board = Liar(lie)
        assert not talk(board) or board.forged

    fuzz(case, 2)


def test_forged_answers(fuzz: Callable[..., None]) -> None:
    """Whatever is in a frame whose CRC is right: an error in one sentence, or a y of its shape."""

    def case(rng: Random) -> None:
        dice = plain.Random(rng.getrandbits(32))
        rate = dice.choice((0.05, 0.4))

        def lie(line: bytes) -> list[bytes]:
            if dice.random() >= rate:
                return [line]
            body = unframe(line)
            kept = RESPONSE.size + dice.choice((-RESPONSE.size, 0, RESULT.size, STATUS.size))
            return [frame(body[:kept] + damaged(dice, body[kept:]))] * dice.choice((1, 1, 20))

        talk(Liar(lie))

    fuzz(case, 2)


def test_a_state_that_is_none(fuzz: Callable[..., None]) -> None:
    """One field of the status is always the same, whatever the board does."""

    def case(rng: Random) -> None:
        field = rng.choice(STATUS.fields)
        value = rng.choice((0, 1, (1 << field.width) - 1, rng.getrandbits(field.width)))
        value &= (1 << field.width) - 1

        def lie(line: bytes) -> list[bytes]:
            body = unframe(line)
            head = unpack(RESPONSE, body)["command"] ^ RESPONSE_MARK
            if head in (Command.LOAD, Command.STATUS):
                fields = unpack(STATUS, body[RESPONSE.size :]) | {field.name: value}
                body = body[: RESPONSE.size] + pack(STATUS, **fields)
            return [frame(body)]

        assert not talk(Liar(lie))

    fuzz(case)


def test_any_line(fuzz: Callable[..., None]) -> None:
    """Bytes are a frame only if they are what `frame` makes of it."""

    def case(rng: Random) -> None:
        body = rng.randbytes(rng.choice((0, 1, 3, 30, 253, 254, 255, 600)))
        line = frame(body)
        assert unframe(line) == body
        raw = damaged(rng, line)
        if rng.random() < 0.2:
            raw = cobs.encode(rng.randbytes(rng.randrange(5))) + b"\0"
        if _is_frame(raw):
            assert frame(unframe(raw)) == raw
            assert len(raw) > CRC_SIZE
        with pytest.raises(DamagedFrameError):
            unpack(STATUS, body[: STATUS.size - 1])

    fuzz(case, 2)
