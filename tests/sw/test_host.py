"""The host against a model of the board, over a line that loses and damages."""

from __future__ import annotations

import random
import re
import zlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import serial
from click.testing import CliRunner

from secateur.bench.networks import random_inputs, random_network
from secateur.checksum import checksums
from secateur.cli import command
from secateur.encode import encode, fit
from secateur.errors import BadInputError, CheckFailedError
from secateur.format import LoadError, Section
from secateur.framing import DamagedFrameError, frame, pack, unframe, unpack
from secateur.host import Board
from secateur.image import read_image
from secateur.link import BoardError
from secateur.protocol import (
    BAUD,
    CHECK,
    CRC,
    LOAD,
    PROTOCOL_VERSION,
    REQUEST,
    RESPONSE,
    RESPONSE_MARK,
    RESULT,
    STATUS,
    Code,
    Command,
    pack_words,
    unpack_words,
    word_size,
)
from secateur.settings import SynthesizeSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secateur.network import Network
    from secateur.program import Program

# Networks whose outputs differ from input to input.
NETWORKS = [random_network(12, [40, 12, 9]), random_network(4, [33, 20, 12, 5], dead=0.2)]
SPEC = fit(
    NETWORKS[1],
    pes=4,
    lanes=2,
    weight_depth=256,
    row_depth=8,
    activation_depth=128,
    accumulator_width=24,
    column_depth=128,
)
PROGRAMS = [encode(network, SPEC) for network in NETWORKS]


class ModelBoard:
    """What the gateware does, as a port. ``fault`` may change a frame on its way, either way."""

    baudrate = 1_000_000

    def __init__(self, max_payload: int = 256) -> None:
        self.timeout: float | None = None
        self.max_payload = max_payload
        self.request_fault: Callable[[bytes], bytes] = lambda line: line
        self.response_fault: Callable[[bytes], bytes] = lambda line: line
        self.version, self.fingerprint = PROTOCOL_VERSION, SPEC.fingerprint
        self.error = LoadError.NONE
        self.commands: list[Command] = []
        self.inferences = 0
        #: Flips of words of the weight memories, by PE and address; None where it has no check.
        self.flips: dict[tuple[int, int], int] | None = {}
        self.closed = False
        self._line = bytearray()
        self._sent: deque[bytes] = deque()
        self.reset()

    def reset(self) -> None:
        """Switch off and on."""
        self.running: int | None = None
        self.image = bytearray()
        self.loading = False
        self.polls_until_commit = 0
        self.result: bytes | None = None

    def close(self) -> None:
        self.closed = True

    def write(self, data: bytes, /) -> int:
        self._line += self.request_fault(bytes(data))
        *lines, rest = self._line.split(b"\0")
        self._line = bytearray(rest)
        for line in lines:
            if line:
                response = self.response_fault(frame(self._respond(bytes(line) + b"\0")))
                if response:
                    self._sent.append(response)
        return len(data)

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        assert expected == b"\0"
        assert self.timeout
        assert size
        return self._sent.popleft()[:size] if self._sent else b""

    def _respond(self, line: bytes) -> bytes:
        try:
            body = unframe(line)
            head = unpack(REQUEST, body)
        except DamagedFrameError:
            return pack(RESPONSE, command=RESPONSE_MARK, sequence=0, code=Code.DAMAGED)
        self.commands.append(Command(head["command"]))
        code, payload = self._do(self.commands[-1], head["sequence"], body[REQUEST.size :])
        number = head["command"] | RESPONSE_MARK
        return pack(RESPONSE, command=number, sequence=head["sequence"], code=code) + payload

    def _do(self, command: Command, sequence: int, payload: bytes) -> tuple[Code, bytes]:
        assert len(payload) <= self.max_payload
        if command is Command.STATUS:
            return Code.OK, self._status()
        if command is Command.READ:
            return (Code.RESULT, b"") if self.result is None else (Code.OK, self.result)
        if command is Command.LOAD:
            offset = unpack(LOAD, payload)["offset"]
            if offset and (offset != len(self.image) or not self.loading):
                return Code.ORDER, b""
            if not offset:
                self.image.clear()
                self.loading = True
            self.image += payload[LOAD.size :]
            self.result = None
            if any(self.image == program.image for program in PROGRAMS):
                self.polls_until_commit = 3
            return Code.OK, self._status()
        if command is Command.CHECK and self.flips is None:
            return Code.COMMAND, b""
        if self.running is None:
            return Code.PROGRAM, b""
        if command is Command.CHECK:
            return Code.OK, pack(CRC, crc=self._sum_up(**unpack(CHECK, payload)))
        program, network = PROGRAMS[self.running], NETWORKS[self.running]
        if len(payload) != program.input_words * word_size(SPEC):
            return Code.LENGTH, b""
        self.inferences += 1
        y = network.compute(self._arranged_back(program, network, payload))
        words = np.zeros((program.output_words, SPEC.lanes), dtype=np.int64)
        words.ravel()[: program.outputs] = y[list(program.output_order)] & 0xFF
        head = pack(RESULT, program=program.id, sequence=sequence, cycles=100 + self.inferences)
        self.result = head + pack_words(words, SPEC)
        return Code.OK, self.result

    def _sum_up(self, pe: int, count: int) -> int:
        """Sum up words of a weight memory: those of the program, and older ones behind."""
        assert self.running is not None
        program = PROGRAMS[self.running]
        words = read_image(SPEC, program.image)[Section.WEIGHTS, pe]["entry"]
        memory = [*words.tolist(), *range(SPEC.weight_depth - len(words))]
        assert self.flips is not None
        for (of, address), flip in self.flips.items():
            memory[address] ^= flip * (of == pe)
        size = -(-SPEC.entry_width // 8)
        return zlib.crc32(b"".join(word.to_bytes(size, "little") for word in memory[:count]))

    def _arranged_back(self, program: Program, network: Network, payload: bytes) -> np.ndarray:
        """Undo `Program.arrange`; inputs that the program drops do not matter."""
        kind = network.layers[0].input
        patterns = unpack_words(payload, SPEC).ravel()[: len(program.input_order)]
        x = np.zeros(network.inputs, dtype=np.int64)
        x[list(program.input_order)] = np.where(
            patterns > kind.highest, patterns - (1 << kind.width), patterns
        )
        return x

    def _status(self) -> bytes:
        if self.polls_until_commit:
            self.polls_until_commit -= 1
            if not self.polls_until_commit:
                self.loading = False
                self.running = [program.image for program in PROGRAMS].index(bytes(self.image))
        return pack(
            STATUS,
            version=self.version,
            loaded=self.running is not None,
            busy=0,
            loading=self.loading,
            committing=0,
            error=self.error,
            fingerprint=self.fingerprint,
            max_payload=self.max_payload,
            clock=25_000_000,
            taken=len(self.image),
            program=0 if self.running is None else PROGRAMS[self.running].id,
        )


def check(board: Board, index: int, seed: int, count: int = 5) -> None:
    """Infer, and compare."""
    x = random_inputs(seed, NETWORKS[index], count)
    assert board.infer(x).tolist() == NETWORKS[index].compute(x).tolist()


def test_load_and_infer() -> None:
    model = ModelBoard()
    with Board(model) as board:
        for index in (0, 1, 0):
            board.load(PROGRAMS[index])
            check(board, index, index)
        assert board.cycles.tolist() == [100 + k for k in range(11, 16)]
        x = random_inputs(0, NETWORKS[0], 5)
        read = board.read()
        assert (read.y.tolist(), read.cycles) == (NETWORKS[0].compute(x)[-1].tolist(), 115)
        assert board.infer(x[:0]).shape == (0, 9)
    assert model.closed
    assert model.inferences == 15


def test_attach() -> None:
    model = ModelBoard()
    model.running = 1
    board = Board(model)
    board.attach(PROGRAMS[1])
    check(board, 1, 1)
    assert Command.LOAD not in model.commands


def damage(rng: random.Random, rate: float) -> Callable[[bytes], bytes]:
    """Lose, cut or change a frame, or put noise before it."""

    def fault(line: bytes) -> bytes:
        if rng.random() >= rate:
            return line
        kind = rng.randrange(4)
        if kind == 0:
            return b""
        if kind == 1:
            return line[: rng.randrange(len(line))]
        if kind == 2:
            changed = bytearray(line)
            changed[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
            return bytes(changed)
        return rng.randbytes(3) + line

    return fault


@pytest.mark.parametrize("seed", range(8))
def test_a_bad_line_changes_no_result(seed: int) -> None:
    model = ModelBoard(max_payload=64)
    rng = random.Random(seed)
    model.request_fault, model.response_fault = damage(rng, 0.15), damage(rng, 0.15)
    board = Board(model, attempts=12)
    for index in (0, 1):
        board.load(PROGRAMS[index])
        check(board, index, seed, count=40)
    assert Command.READ in model.commands


def test_a_lost_result_is_read_and_not_computed_again() -> None:
    model = ModelBoard()
    board = Board(model)
    board.load(PROGRAMS[0])
    check(board, 0, 1, count=3)
    lost = iter([True])
    model.response_fault = lambda line: b"" if next(lost, False) else line
    check(board, 0, 2, count=1)
    assert model.inferences == 4
    assert model.commands[-2:] == [Command.INFER, Command.READ]


def test_an_older_result_is_never_taken_for_the_new_one() -> None:
    """INFER is lost on its way 255 requests after the one before: no sequence may coincide."""
    x = random_inputs(1, NETWORKS[0], 3)[1:]
    want = NETWORKS[0].compute(x).tolist()
    assert want[0] != want[1]
    for between in (253, 254, 255, 256):
        model = ModelBoard()
        board = Board(model)
        board.load(PROGRAMS[0])
        assert board.infer(x[:1]).tolist() == want[:1]
        for _ in range(between):
            board.status()
        lost = iter([True])
        model.request_fault = lambda line, lost=lost: b"" if next(lost, False) else line
        assert board.infer(x[1:]).tolist() == want[1:]


def test_the_result_of_a_failed_inference_is_never_taken() -> None:
    """The board did the one before, but its host never heard so."""
    x = random_inputs(1, NETWORKS[0], 3)[1:]
    for between in range(246, 256):
        model = ModelBoard()
        board = Board(model, attempts=2)
        board.load(PROGRAMS[0])
        board.infer(x[1:])
        model.response_fault = lambda line: b""
        with pytest.raises(BoardError):
            board.infer(x[:1])
        model.response_fault = lambda line: line
        for _ in range(between):
            board.status()
        lost = iter([True])
        model.request_fault = lambda line, lost=lost: b"" if next(lost, False) else line
        assert board.infer(x[1:]).tolist() == NETWORKS[0].compute(x[1:]).tolist()


def test_a_board_that_was_reset_while_loading() -> None:
    model = ModelBoard(max_payload=64)
    board = Board(model)
    requests = 0

    def fault(line: bytes) -> bytes:
        nonlocal requests
        requests += 1
        if requests == 4:
            model.reset()
        return line

    model.request_fault = fault
    board.load(PROGRAMS[1])
    check(board, 1, 1)


def test_a_board_that_is_always_reset() -> None:
    model = ModelBoard(max_payload=64)
    board = Board(model)

    def fault(line: bytes) -> bytes:
        model.reset()
        return line

    model.request_fault = fault
    with pytest.raises(
        BoardError, match=r"^the board lost the program again and again; check its supply$"
    ):
        board.load(PROGRAMS[1])


def test_silent_board() -> None:
    model = ModelBoard()
    model.request_fault = lambda line: b""
    with pytest.raises(CheckFailedError) as caught:
        Board(model, attempts=3).status()
    assert str(caught.value) == (
        "the board did not answer 3 times; check the port, the baud rate and that the bitstream "
        "is loaded"
    )


def test_chattering_board() -> None:
    """Frames without end that answer nothing do not keep the host."""
    model = ModelBoard()
    stray = frame(pack(RESPONSE, command=0x81, sequence=200, code=0))
    board = Board(model, attempts=2)
    model.read_until = lambda expected=b"\0", size=None: stray
    with pytest.raises(BoardError, match=r"^the board did not answer 2 times; "):
        board.status()


def test_refusals() -> None:
    model = ModelBoard()
    board = Board(model)
    x = random_inputs(1, NETWORKS[0], 2)
    with pytest.raises(BadInputError, match=r"^no program is in use; load or attach one first$"):
        board.infer(x)
    with pytest.raises(BadInputError, match=r"^no program is in use; load or attach one first$"):
        board.read()
    with pytest.raises(
        BoardError, match=rf"^the board runs no program, not {PROGRAMS[0].id:08x}; load the program"
    ):
        board.attach(PROGRAMS[0])
    board.load(PROGRAMS[0])
    with pytest.raises(BoardError) as caught:
        board.read()
    assert str(caught.value) == (
        "the board did not do READ: it answered that there is no result to read"
    )
    with pytest.raises(BadInputError, match=r"^x must be \[n, 40\], not \(40,\)$"):
        board.infer(x[0])
    with pytest.raises(BadInputError, match=r"^x must be \[\.\.\., 40\] from "):
        board.infer(x[:, 1:])
    with pytest.raises(BoardError) as caught:
        board.attach(PROGRAMS[1])
    ids = tuple(f"{program.id:08x}" for program in PROGRAMS)
    assert str(caught.value) == f"the board runs {ids[0]}, not {ids[1]}; load the program first"
    with pytest.raises(BadInputError, match=r"^no program is in use"):
        board.infer(x)


def test_another_engine() -> None:
    model = ModelBoard()
    model.fingerprint = 0xCAFE
    with pytest.raises(BadInputError) as caught:
        Board(model).load(PROGRAMS[0])
    assert str(caught.value) == (
        f"the program is for the engine {SPEC.fingerprint:08x} and the board has 0000cafe; encode "
        "it with the engine of the bitstream"
    )
    assert Command.LOAD not in model.commands


def test_another_version() -> None:
    model = ModelBoard()
    model.version = 9
    with pytest.raises(BoardError) as caught:
        Board(model).status()
    assert str(caught.value) == (
        "the board speaks version 9 of the protocol and this Secateur 1; build its bitstream again"
    )


def test_program_replaced_behind_the_host() -> None:
    model = ModelBoard()
    board = Board(model)
    board.load(PROGRAMS[0])
    wide = [k for k in range(2) if PROGRAMS[k].input_words == PROGRAMS[0].input_words]
    model.running = 1
    with pytest.raises(BoardError) as caught:
        board.infer(random_inputs(1, NETWORKS[0], 1))
    said = "it answered that the payload has the wrong length for the command"
    if wide == [0, 1]:
        said = "it was reset or somebody else uses it; load the program again"
    assert str(caught.value).endswith(said)


def test_result_of_another_program() -> None:
    model = ModelBoard()
    board = Board(model)
    board.load(PROGRAMS[0])
    inner = model._do

    def do(command: Command, sequence: int, payload: bytes) -> tuple[Code, bytes]:
        code, body = inner(command, sequence, payload)
        return code, pack(RESULT, program=0xAB, sequence=sequence, cycles=1) + body[RESULT.size :]

    model._do = do
    with pytest.raises(BoardError) as caught:
        board.infer(random_inputs(1, NETWORKS[0], 1))
    assert str(caught.value) == (
        f"the board runs 000000ab, not {PROGRAMS[0].id:08x}: it was reset or somebody else uses "
        "it; load the program again"
    )


def test_refused_image() -> None:
    model = ModelBoard(max_payload=64)
    board = Board(model)
    board.load(PROGRAMS[0])
    model.error = LoadError.CRC
    damaged = replace(PROGRAMS[1], image=PROGRAMS[1].image[:-9] + bytes(9))
    with pytest.raises(BoardError, match=r"^the board refused the program: CRC$"):
        board.load(damaged)


def test_image_that_never_becomes_whole() -> None:
    board = Board(ModelBoard())
    short = replace(PROGRAMS[1], image=PROGRAMS[1].image[:-1])
    with pytest.raises(BoardError, match=r"^the board runs no program, not "):
        board.load(short)


def test_no_such_port() -> None:
    with pytest.raises(BadInputError, match=re.escape("the port /dev/no-such-port cannot be")):
        Board("/dev/no-such-port")


def test_url() -> None:
    """pyserial itself fits: on its loop a request comes back, and is no response."""
    board = Board("loop://", baudrate=1_000_000, timeout=0.01, attempts=1)
    with board, pytest.raises(BoardError, match=r"^the board did not answer 1 times; "):
        board.status()


@pytest.mark.parametrize("method", ["write", "read_until"])
def test_unplugged(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def gone(*_: object) -> None:
        raise serial.SerialException("device disconnected")

    model = ModelBoard()
    board = Board(model)
    monkeypatch.setattr(model, method, gone)
    said = (
        "the port does not work any more (device disconnected); check its cable and open it again"
    )
    with pytest.raises(BoardError, match=f"^{re.escape(said)}$"):
        board.status()
    if method == "write":
        with pytest.raises(BoardError, match=f"^{re.escape(said)}$"):
            Board(model)


def test_the_host_is_as_fast_as_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def opened(_: str, baudrate: int) -> ModelBoard:
        asked["baudrate"] = baudrate
        return ModelBoard()

    monkeypatch.setattr(serial, "serial_for_url", opened)
    Board("/dev/ttyUSB0")
    assert asked["baudrate"] == SynthesizeSettings.model_validate({}).baud


def test_check() -> None:
    """Every flipped bit of the program's own words is found, and those behind do not count."""
    model = ModelBoard()
    model.response_fault = damage(random.Random(1), 0.1)
    board = Board(model, attempts=12)
    rng = random.Random(1)
    for index in (0, 1, 0):
        board.load(PROGRAMS[index])
        assert board.check() == checksums(PROGRAMS[index])
        words = read_image(SPEC, PROGRAMS[index].image)
        for _ in range(20):
            pe = rng.randrange(SPEC.pes)
            count = len(words[Section.WEIGHTS, pe]["entry"])
            bit = 1 << rng.randrange(SPEC.entry_width)
            model.flips = {(pe, rng.randrange(count)): bit}
            with pytest.raises(CheckFailedError) as caught:
                board.check()
            assert type(caught.value) is CheckFailedError
            assert str(caught.value) == (
                f"the board's weights are not those of the program {PROGRAMS[index].id:08x}: bits "
                f"have flipped in the memory of PE {pe}; load the program again"
            )
            model.flips = {(pe, count): bit}
            board.check()
        model.flips = {(0, 0): 1, (3, 1): 2}
        with pytest.raises(CheckFailedError, match=r" of PE 0, 3; load the program again$"):
            board.check()
        model.flips = {}
        check(board, index, 1)


def test_checks_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelBoard()
    board = Board(model)
    with pytest.raises(BadInputError) as no_program:
        board.check()
    assert str(no_program.value) == "no program is in use; load or attach one first"
    board.load(PROGRAMS[0])
    with monkeypatch.context() as patched:
        patched.setattr("secateur.host.checksums", lambda _: [])
        with pytest.raises(BadInputError) as nothing:
            board.check()
    assert str(nothing.value) == f"the program {PROGRAMS[0].id:08x} has no weights to check"
    model.flips = None
    with pytest.raises(BoardError) as caught:
        board.check()
    assert str(caught.value) == (
        "the board's hardware cannot check its weights; generate it with `synthesize.check = true`"
    )
    model.flips = {}
    model.response_fault = lambda line: line if len(unframe(line)) > 9 else frame(unframe(line)[:6])
    with pytest.raises(BoardError) as short:
        board.check()
    assert str(short.value) == (
        "the board's CRC cannot be read: 3 bytes are too few for a record of 4"
    )
    model.response_fault = lambda line: line
    model.running = 1
    with pytest.raises(BoardError, match=r"^the board runs "):
        board.check()


def test_a_program_that_is_replaced_amid_a_check() -> None:
    """It is told from flipped bits."""
    model = ModelBoard()
    board = Board(model)
    board.load(PROGRAMS[0])
    answers = iter(range(9))

    def replace_it(line: bytes) -> bytes:
        if next(answers) == 2:
            model.running = 1
        return line

    model.response_fault = replace_it
    with pytest.raises(BoardError, match=rf"^the board runs {PROGRAMS[1].id:08x}, not "):
        board.check()


def test_the_command_line_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`secateur check` names the program, or what is wrong, with its exit code."""
    model = ModelBoard()
    model.running = 0
    asked = []

    def opened(port: str, baudrate: int) -> ModelBoard:
        asked.append((port, baudrate))
        return model

    monkeypatch.setattr(serial, "serial_for_url", opened)
    path = tmp_path / "program.sct"
    PROGRAMS[0].save(path)

    def run(*more: str) -> tuple[int, str, str]:
        arguments = ["check", "/dev/here", "--weights", str(path), *more]
        result = CliRunner().invoke(command({}), arguments, prog_name="secateur")
        return result.exit_code, result.stdout, result.stderr

    entries = sum(one.count for one in checksums(PROGRAMS[0]))
    summed = []
    monkeypatch.setattr(
        "secateur.checksum.read_image", lambda *given: summed.append(1) or read_image(*given)
    )
    assert run() == (0, f"the {entries} entries of {SPEC.pes} PEs are those of {path}\n", "")
    model.flips = {(2, 1): 4}
    code, out, sentence = run("--baud", "9600")
    assert (code, out) == (1, "")
    assert sentence.startswith("secateur: the board's weights are not those of the program ")
    model.running = None
    assert run()[0] == 1
    path.unlink()
    assert run()[0] == 2
    assert len(summed) == 2  # once each time
    assert asked == [("/dev/here", BAUD), ("/dev/here", 9600), ("/dev/here", BAUD)]
    assert model.closed
