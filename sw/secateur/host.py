"""Drive a board: load programs, run inferences, whatever happens on the line between.

>>> from secateur.host import Board
>>> board = Board("/dev/ttyUSB0")  # doctest: +SKIP
>>> board.load(Program.load(Path("program.sct")))  # doctest: +SKIP
>>> y = board.infer(x)  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import serial

from secateur.checksum import checksums
from secateur.errors import BadInputError, CheckFailedError
from secateur.format import LoadError
from secateur.framing import DamagedFrameError, pack, unpack
from secateur.link import BoardError, Link, Response
from secateur.protocol import (
    BAUD,
    CHECK,
    CRC,
    LOAD,
    PROTOCOL_VERSION,
    RESULT,
    Code,
    Command,
    Status,
    check_payload,
    pack_words,
    unpack_words,
    word_size,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.checksum import Checksum
    from secateur.link import Port
    from secateur.program import Program

__all__ = ["Board", "Result"]

#: Times that the host asks whether a complete image is in use, and starts an image again.
POLLS, RESTARTS = 100, 3


@dataclass(frozen=True)
class Result:
    """One inference's result.

    Attributes
    ----------
    sequence : int
        Of the INFER that asked for it.
    cycles : int
        Clock cycles from the first word of x to the last word of y, both included.
    y : int64[outputs]
    """

    sequence: int
    cycles: int
    y: NDArray[np.int64]


def _open(port: str, baudrate: int) -> Port:
    try:
        return serial.serial_for_url(port, baudrate=baudrate)
    except (serial.SerialException, ValueError) as error:
        raise BadInputError(f"the port {port} cannot be opened: {error}") from error


class Board:
    """A board, and the program that it is to run.

    Requests and responses may be lost or damaged: each is repeated, and none is done twice with
    another result than once. A program that was replaced behind the host's back is noticed.

    Parameters
    ----------
    port : str or Port
        A device or URL for :func:`serial.serial_for_url`, or an open port.
    baudrate : int
        For a device or URL, bits per second; a project's ``synthesize.baud``.
    timeout : float
        Time that the board may take for a response, seconds, beside that on the line.
    attempts : int
        How often a request is sent before the board counts as dead.

    Raises
    ------
    BadInputError
        If the device cannot be opened.
    """

    def __init__(
        self, port: str | Port, *, baudrate: int = BAUD, timeout: float = 1.0, attempts: int = 5
    ) -> None:
        opened = _open(port, baudrate) if isinstance(port, str) else port
        self._link = Link(opened, timeout=timeout, attempts=attempts)
        self._program: Program | None = None
        #: Sequence of the last INFER that the board is known to have done, if any.
        self._inferred: int | None = None
        #: Clock cycles of each inference of the last :meth:`infer`, int64[n].
        self.cycles = np.zeros(0, dtype=np.int64)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        self._link.port.close()

    def status(self) -> Status:
        """Ask for the board's state.

        Raises
        ------
        BoardError
            If the board does not answer, or speaks another version of the protocol.
        """
        payload = self._link.request(Command.STATUS).payload
        if payload[:1] != bytes([PROTOCOL_VERSION]):
            raise BoardError(
                f"the board speaks version {payload[0] if payload else 'unknown'} of the protocol "
                f"and this Secateur {PROTOCOL_VERSION}; build its bitstream again"
            )
        return self._parse_status(payload)

    def attach(self, program: Program) -> None:
        """Use the program that the board already runs.

        Raises
        ------
        BadInputError
            If the program is for another engine, or does not fit into the frames.
        BoardError
            If the board runs another program, or none.
        """
        status = self._check(program)
        self._program = None
        if not status.loaded or status.program != program.id:
            runs = f"{status.program:08x}" if status.loaded else "no program"
            raise BoardError(f"the board runs {runs}, not {program.id:08x}; load the program first")
        self._program = program
        self._link.y_size = program.output_words * word_size(program.spec)

    def load(self, program: Program) -> None:
        """Load a program and use it. The old one stays in use until the new one is complete.

        Raises
        ------
        BadInputError
            If the program is for another engine, or does not fit into the frames.
        BoardError
            If the board refuses the image, or does not answer.
        """
        status = self._check(program)
        chunk = status.max_payload - LOAD.size
        self._program = None
        offset, restarts = 0, -1
        while offset < len(program.image):
            restarts += offset == 0
            if restarts > RESTARTS:
                raise BoardError("the board lost the program again and again; check its supply")
            payload = pack(LOAD, offset=offset) + program.image[offset : offset + chunk]
            response = self._link.request(Command.LOAD, payload, also=(Code.ORDER,))
            # Out of order means that it was taken before, and the response was lost; or that the
            # board was reset.
            lost = response.code is Code.ORDER
            status = self.status() if lost else self._parse_status(response.payload)
            if status.error is not LoadError.NONE:
                break
            sent = min(offset + chunk, len(program.image))
            offset = sent if status.taken == sent else 0
        for _ in range(POLLS):
            if status.error is not LoadError.NONE:
                raise BoardError(f"the board refused the program: {status.error.name}")
            if not status.loading and not status.committing:
                break
            status = self.status()
        self.attach(program)

    def infer(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Run the network on each of ``n`` inputs.

        Parameters
        ----------
        x : int64[n, inputs]

        Returns
        -------
        int64[n, outputs]

        Raises
        ------
        BadInputError
            If x has the wrong shape or values out of range, or no program was loaded.
        BoardError
            If the board does not answer, or does not run the program any more.
        """
        program = self._loaded()
        if np.ndim(x) != 2:
            raise BadInputError(f"x must be [n, {program.inputs}], not {np.shape(x)}")
        words = program.arrange(x)
        results = [self._infer(pack_words(one, program.spec)) for one in words]
        self.cycles = np.array([result.cycles for result in results], dtype=np.int64)
        y = np.zeros((len(results), program.outputs), dtype=np.int64)
        for row, result in zip(y, results, strict=True):
            row[:] = result.y
        return y

    def read(self) -> Result:
        """Read the last inference's result again.

        Raises
        ------
        BadInputError
            If no program was loaded.
        BoardError
            If the board has no result, or does not answer.
        """
        self._loaded()
        return self._parse_result(self._link.request(Command.READ))

    def check(self) -> list[Checksum]:
        """Check that the board's weight memories still hold what the program wrote.

        Any one or two flipped bits of a PE are found, and more of them almost always. Inferences
        wait meanwhile; nothing else changes, but for this object, which forgets a program that the
        board does not run any more.

        Returns
        -------
        list of Checksum
            What the board was asked for, and has; at least one.

        Raises
        ------
        BadInputError
            If no program was loaded, or it has no weights.
        CheckFailedError
            If a weight has changed.
        BoardError
            If the board's hardware was generated without the check, the board does not answer, or
            does not run the program any more.
        """
        program = self._loaded()
        self.attach(program)
        sums = checksums(program)
        if not sums:
            raise BadInputError(f"the program {program.id:08x} has no weights to check")
        wrong = [one.pe for one in sums if self._crc(one.pe, one.count) != one.crc]
        if wrong:
            self.attach(program)  # or has somebody else replaced it?
            raise CheckFailedError(
                f"the board's weights are not those of the program {program.id:08x}: bits have "
                f"flipped in the memory of PE {', '.join(map(str, wrong))}; load the program again"
            )
        return sums

    def _crc(self, pe: int, count: int) -> int:
        """Ask for the CRC-32 of a PE's first entries."""
        payload = pack(CHECK, pe=pe, count=count)
        response = self._link.request(Command.CHECK, payload, also=(Code.COMMAND,))
        if response.code is Code.COMMAND:
            raise BoardError(
                "the board's hardware cannot check its weights; generate it with "
                "`synthesize.check = true`"
            )
        try:
            return unpack(CRC, response.payload)["crc"]
        except DamagedFrameError as error:
            raise BoardError(f"the board's CRC cannot be read: {error}") from error

    def _loaded(self) -> Program:
        if self._program is None:
            raise BadInputError("no program is in use; load or attach one first")
        return self._program

    def _check(self, program: Program) -> Status:
        """Ask for the status, and refuse a program that this board can never run."""
        status = self.status()
        wanted = program.spec.fingerprint
        if status.fingerprint != wanted:
            raise BadInputError(
                f"the program is for the engine {wanted:08x} and the board has "
                f"{status.fingerprint:08x}; encode it with the engine of the bitstream"
            )
        check_payload(program, status.max_payload)
        return status

    def _infer(self, payload: bytes) -> Result:
        """Run one inference.

        A lost response is asked for by READ. That is safe where the sequence of the inference
        before is known and differs; otherwise the inference is done again.
        """
        before, self._inferred = self._inferred, None
        link = self._link
        sequence = link.next_sequence(other_than=before)
        response = None
        for _ in range(link.attempts):
            response = link.exchange(Command.INFER, sequence, payload)
            if response is None and before is not None:
                again = link.exchange(Command.READ, link.next_sequence(), b"")
                if again is not None and again.code is Code.OK:
                    response = again if self._parse_result(again).sequence == sequence else None
            if response is not None and response.code is not Code.BUSY:
                break
        result = self._parse_result(link.accept(Command.INFER, response))
        self._inferred = sequence
        return result

    def _parse_status(self, payload: bytes) -> Status:
        try:
            return Status.from_bytes(payload)
        except DamagedFrameError as error:
            raise BoardError(f"the board's status cannot be read: {error}") from error

    def _parse_result(self, response: Response) -> Result:
        program = self._loaded()
        try:
            fields = unpack(RESULT, response.payload)
        except DamagedFrameError as error:
            raise BoardError(f"the board's result cannot be read: {error}") from error
        y = response.payload[RESULT.size :]
        if fields["program"] != program.id:
            raise BoardError(
                f"the board runs {fields['program']:08x}, not {program.id:08x}: it was reset or "
                "somebody else uses it; load the program again"
            )
        if len(y) != program.output_words * word_size(program.spec):
            raise BoardError(f"the board's y has {len(y)} bytes; its hardware is defective")
        return Result(
            fields["sequence"], fields["cycles"], program.restore(unpack_words(y, program.spec))
        )
