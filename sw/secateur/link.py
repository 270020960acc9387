"""Send a request over a line that loses and damages, and get its response."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from secateur.errors import CheckFailedError
from secateur.framing import frame, pack, unframe, unpack
from secateur.protocol import (
    MEANINGS,
    REQUEST,
    RESPONSE,
    RESPONSE_MARK,
    RESULT,
    STATUS,
    Code,
    Command,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BoardError", "Link", "Port", "Response"]

#: Frames that are not the response, read before a request counts as lost.
STRAY = 16
#: The part of the time-out that is left for the response after a sign that it was damaged.
HASTE = 0.1
#: Bits of a byte on the line.
LINE_BITS = 10


class BoardError(CheckFailedError):
    """The board does not answer, or does not do what was asked."""


@contextmanager
def _working_port() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # pyserial's SerialException is one
        raise BoardError(
            f"the port does not work any more ({error}); check its cable and open it again"
        ) from error


class Port(Protocol):
    """What is needed of :class:`serial.Serial`."""

    @property
    def timeout(self) -> float | None:
        """Longest time of a read, seconds."""
        ...

    @timeout.setter
    def timeout(self, timeout: float | None, /) -> None: ...

    @property
    def baudrate(self) -> int:
        """Bits per second."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send."""
        ...

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        """Receive up to ``expected``, ``size`` bytes, or what came before the time-out."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


@dataclass(frozen=True)
class Response:
    """What came back."""

    code: Code
    payload: bytes


class Link:
    """Requests and responses, one after the other.

    Parameters
    ----------
    port : Port
    timeout : float
        Time that the board may take for a response, seconds, beside that on the line.
    attempts : int
        How often a request is sent before the board counts as dead.

    Attributes
    ----------
    y_size : int
        Bytes of the largest y that is expected.
    """

    def __init__(self, port: Port, *, timeout: float, attempts: int) -> None:
        self.port, self.timeout, self.attempts = port, timeout, attempts
        self.y_size = 0
        self._sequence = 0
        with _working_port():
            self.port.write(b"\0")  # ends whatever the board believes to be receiving

    def next_sequence(self, other_than: int | None = None) -> int:
        """Count on."""
        self._sequence = (self._sequence + 1) % 256
        if self._sequence == other_than:
            self._sequence = (self._sequence + 1) % 256
        return self._sequence

    def request(
        self, command: Command, payload: bytes = b"", also: tuple[Code, ...] = ()
    ) -> Response:
        """Send a request, that may be done twice, until there is a response.

        Raises
        ------
        BoardError
            If there is none, or its code is neither ``OK`` nor one of ``also``.
        """
        sequence = self.next_sequence()
        response = None
        for _ in range(self.attempts):
            response = self.exchange(command, sequence, payload)
            if response is not None and response.code is not Code.BUSY:
                break
        return self.accept(command, response, also)

    def accept(
        self, command: Command, response: Response | None, also: tuple[Code, ...] = ()
    ) -> Response:
        """Give the response, if it is good.

        Raises
        ------
        BoardError
            As :meth:`request`.
        """
        if response is None:
            raise BoardError(
                f"the board did not answer {self.attempts} times; check the port, the baud rate "
                "and that the bitstream is loaded"
            )
        if response.code is not Code.OK and response.code not in also:
            raise BoardError(
                f"the board did not do {command.name}: it answered that {MEANINGS[response.code]}"
            )
        return response

    def exchange(self, command: Command, sequence: int, payload: bytes) -> Response | None:
        """Send a request once; None if no response came.

        Raises
        ------
        BoardError
            If the port fails, as it does when its cable is pulled.
        """
        with _working_port():
            return self._exchange(command, sequence, payload)

    def _exchange(self, command: Command, sequence: int, payload: bytes) -> Response | None:
        line = frame(pack(REQUEST, command=command, sequence=sequence) + payload)
        self.port.write(line)
        largest = RESPONSE.size + max(STATUS.size, RESULT.size + self.y_size)
        longest = len(frame(bytes([1]) * largest))
        on_line = LINE_BITS * (len(line) + longest) / self.port.baudrate
        self.port.timeout = self.timeout + on_line
        for _ in range(STRAY):
            got = self.port.read_until(b"\0", longest)
            if not got:
                return None
            try:
                body = unframe(got)
                head = unpack(RESPONSE, body)
                code = Code(head["code"])
            except ValueError:  # not a frame, or no code of this version
                self.port.timeout = self.timeout * HASTE + on_line
                continue
            if (head["command"], head["sequence"]) == (command | RESPONSE_MARK, sequence):
                return Response(code, body[RESPONSE.size :])
            if code is Code.DAMAGED:
                # The request was; or an older one, then the response is under way.
                self.port.timeout = self.timeout * HASTE + on_line
        return None
