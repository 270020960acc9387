"""The protocol between host and board: one specification for host, gateware and documentation.

Requests and responses are frames: bytes with a CRC-16, stuffed by COBS and ended by a zero byte,
over a UART with 8 data bits, no parity and one stop bit. ``docs/protocol.md`` tells the whole.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import BadInputError
from secateur.format import Field, LoadError, Record
from secateur.framing import DamagedFrameError, unpack
from secateur.markdown import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.program import Program

__all__ = [
    "BAUD",
    "CHECK",
    "CRC",
    "LOAD",
    "PAYLOAD_RANGE",
    "PROTOCOL_VERSION",
    "REQUEST",
    "RESPONSE",
    "RESPONSE_MARK",
    "RESULT",
    "STATUS",
    "Code",
    "Command",
    "Status",
    "activation_size",
    "check_payload",
    "markdown",
    "pack_words",
    "unpack_words",
    "word_size",
]

#: Version of everything in this file; STATUS tells it in its first byte, whatever the version.
PROTOCOL_VERSION = 1
#: Bits a second of a board's UART, and of the host's, if nothing else is asked for.
BAUD = 1_000_000
#: Set in the command of a response.
RESPONSE_MARK = 0x80
#: Smallest and largest payload that hardware is built for, bytes; powers of two between them.
PAYLOAD_RANGE = (256, 65536)


class Command(enum.IntEnum):
    """What a request asks for."""

    NONE = 0  #: in responses only: no command could be read from the damaged frame
    STATUS = 1
    LOAD = 2
    INFER = 3
    READ = 4
    CHECK = 5


class Code(enum.IntEnum):
    """How a request ended. Everything but ``OK`` has changed nothing, unless it says so."""

    OK = 0
    DAMAGED = 1
    OVERSIZED = 2
    COMMAND = 3
    LENGTH = 4
    ORDER = 5
    PROGRAM = 6
    BUSY = 7
    RESULT = 8
    LARGE = 9
    TIMEOUT = 10


#: Payload of the request, payload of the response, and what happens.
COMMANDS = {
    Command.STATUS: ("none", "STATUS", "Tells the board's state."),
    Command.LOAD: (
        "LOAD, then at least one byte of a program image",
        "STATUS",
        (
            "Hands bytes to the loader. Offset 0 starts an image; any other offset must equal the "
            "bytes taken so far of an image that is neither complete nor refused."
        ),
    ),
    Command.INFER: (
        "the words of x",
        "RESULT, then the words of y",
        "Runs the network once. x must have exactly the words that the program expects.",
    ),
    Command.READ: (
        "none",
        "RESULT, then the words of y",
        "Repeats the last INFER's answer. A LOAD or an INFER that was not refused discards it.",
    ),
    Command.CHECK: (
        "CHECK",
        "CRC",
        (
            "Reads weights of the program in use and sums them up. Only hardware that was "
            "generated with the check knows it; other answers `COMMAND`."
        ),
    ),
}

#: What each code means, as the rest of the sentence "the board answered that ...".
MEANINGS = {
    Code.OK: "the request was done",
    Code.DAMAGED: "the frame was damaged on its way",
    Code.OVERSIZED: "the payload is larger than its frame buffer",
    Code.COMMAND: "it does not know the command",
    Code.LENGTH: "the payload has the wrong length for the command",
    Code.ORDER: "the offset does not follow the bytes that it has taken",
    Code.PROGRAM: "no program is loaded",
    Code.BUSY: "the engine is occupied",
    Code.RESULT: "there is no result to read",
    Code.LARGE: "the result is larger than its reply buffer (it is lost)",
    Code.TIMEOUT: "the engine did not finish in time (the result is lost)",
}

REQUEST = Record((
    Field("command", 8, "what to do"),
    Field("sequence", 8, "any number; the response repeats it"),
))
RESPONSE = Record((
    Field("command", 8, "the request's command, plus 128"),
    Field("sequence", 8, "the request's sequence"),
    Field("code", 8, "how the request ended"),
))
LOAD = Record((Field("offset", 32, "place in the image of the byte that follows"),))
#: As in the header of the section of an image that wrote these words.
CHECK = Record((
    Field("pe", 8, "whose weight memory; a PE that the engine does not have reads as zeros"),
    Field(
        "count",
        24,
        "entries to read, from address 0 on; modulo twice the memory's depth, behind which it "
        "begins again",
    ),
))
CRC = Record((
    Field("crc", 32, "CRC-32 of the entries, each in whole bytes as in an image, little-endian"),
))
#: The flags come before what a commit changes: a status without ``loading`` and ``committing`` is
#: consistent, although the hardware takes no snapshot of it.
STATUS = Record((
    Field("version", 8, "version of the protocol"),
    Field("loaded", 1, "a program is in use"),
    Field("busy", 1, "the engine holds a part of x or computes"),
    Field("loading", 1, "an image has begun and is neither complete nor refused"),
    Field("committing", 1, "an image is complete and waits for the engine to be idle"),
    Field("reserved", 4, "zero"),
    Field("error", 8, "why the last image was refused; 0 if it was not"),
    Field("fingerprint", 32, "fingerprint of the engine"),
    Field("max_payload", 32, "largest payload of a request, and largest y, bytes"),
    Field("clock", 32, "clock of the engine, Hz"),
    Field("taken", 32, "bytes taken of the last image"),
    Field("program", 32, "CRC-32 of the program in use"),
))
RESULT = Record((
    Field("program", 32, "CRC-32 of the program that computed this y"),
    Field("sequence", 8, "sequence of the INFER that asked for it"),
    Field("cycles", 32, "from the first word of x to the last word of y, clock cycles"),
))


def activation_size(spec: EngineSpec) -> int:
    """Bytes of an activation in x and y."""
    return 1 if spec.activation_width <= 8 else 2


def word_size(spec: EngineSpec) -> int:
    """Bytes of a word of ``spec.lanes`` activations in x and y."""
    return spec.lanes * activation_size(spec)


def pack_words(words: NDArray[np.int64], spec: EngineSpec) -> bytes:
    """Turn ``int64[words, lanes]`` of unsigned bit patterns into the payload that carries them."""
    return words.astype(f"<u{activation_size(spec)}").tobytes()


def unpack_words(raw: bytes, spec: EngineSpec) -> NDArray[np.int64]:
    """Undo :func:`pack_words`."""
    patterns = np.frombuffer(raw, f"<u{activation_size(spec)}")
    return patterns.astype(np.int64).reshape(-1, spec.lanes)


def check_payload(program: Program, max_payload: int) -> None:
    """Refuse a program whose x or y does not fit into a frame.

    Raises
    ------
    BadInputError
        If ``max_payload`` bytes do not hold x, or not y.
    """
    for name, words in (("input", program.input_words), ("output", program.output_words)):
        size = words * word_size(program.spec)
        if size > max_payload:
            enough = 1 << (size - 1).bit_length()
            raise BadInputError(
                f"the program's {name} takes {size} bytes and the hardware's frames carry "
                f"{max_payload}; generate the hardware with max_payload = {enough}"
            )


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of a board; the fields are those of :data:`STATUS`."""

    version: int
    loaded: bool
    busy: bool
    loading: bool
    committing: bool
    error: LoadError
    fingerprint: int
    max_payload: int
    clock: int
    taken: int
    program: int

    @classmethod
    def from_bytes(cls, raw: bytes) -> Status:
        """Read the payload of a STATUS or LOAD response.

        Raises
        ------
        DamagedFrameError
            If it is too short, or names an error that does not exist.
        """
        fields = unpack(STATUS, raw)
        try:
            error = LoadError(fields["error"])
        except ValueError as wrong:
            raise DamagedFrameError(f"the status is not one: {wrong}") from wrong
        return cls(
            version=fields["version"],
            loaded=bool(fields["loaded"]),
            busy=bool(fields["busy"]),
            loading=bool(fields["loading"]),
            committing=bool(fields["committing"]),
            error=error,
            fingerprint=fields["fingerprint"],
            max_payload=fields["max_payload"],
            clock=fields["clock"],
            taken=fields["taken"],
            program=fields["program"],
        )


def markdown() -> str:
    """Write the tables of ``docs/protocol.md``; ``python -m secateur.protocol`` prints them."""
    commands = [(c.name, c, *described) for c, described in COMMANDS.items()]
    codes = [(code.name, code, meaning) for code, meaning in MEANINGS.items()]
    parts = [
        table(("command", "value", "payload", "response", "what happens"), *commands),
        table(("code", "value", "the board says that"), *codes),
    ]
    records = {"REQUEST": REQUEST, "RESPONSE": RESPONSE, "LOAD": LOAD, "STATUS": STATUS}
    for name, record in (records | {"RESULT": RESULT, "CHECK": CHECK, "CRC": CRC}).items():
        rows, start = [], 0
        for field in record.fields:
            end = start + field.width - 1
            rows.append((start if start == end else f"{start}-{end}", field.name, field.meaning))
            start = end + 1
        parts += [f"**{name}**, {record.size} bytes", table(("bits", "field", "meaning"), *rows)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
