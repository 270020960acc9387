"""Frames on the line, and records in them."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import numpy as np
from cobs import cobs

if TYPE_CHECKING:
    from secateur.format import Record

__all__ = ["CRC_SIZE", "DamagedFrameError", "frame", "pack", "unframe", "unpack"]

#: Bytes of the CRC-16 (XMODEM) that ends a frame.
CRC_SIZE = 2


class DamagedFrameError(ValueError):
    """Bytes that are not a frame: bad stuffing, a bad CRC or too few bytes."""


def frame(body: bytes) -> bytes:
    r"""Append the CRC, stuff, and end with a zero byte.

    Examples
    --------
    >>> frame(b"\x01\x2a").hex()
    '05012a19b600'
    """
    crc = binascii.crc_hqx(body, 0).to_bytes(CRC_SIZE, "little")
    return cobs.encode(body + crc) + b"\0"


def unframe(line: bytes) -> bytes:
    """Undo :func:`frame`; ``line`` includes the zero byte at its end.

    Raises
    ------
    DamagedFrameError
        If it is not what :func:`frame` makes.
    """
    if not line.endswith(b"\0"):
        raise DamagedFrameError("the frame has no end")
    try:
        raw = cobs.decode(line[:-1])
    except cobs.DecodeError as error:
        raise DamagedFrameError(f"the frame is not COBS: {error}") from error
    body, crc = raw[:-CRC_SIZE], raw[-CRC_SIZE:]
    if len(raw) < CRC_SIZE or binascii.crc_hqx(body, 0) != int.from_bytes(crc, "little"):
        raise DamagedFrameError("the frame's CRC does not match")
    return body


def pack(record: Record, **fields: int) -> bytes:
    """Pack one record; every field but ``reserved`` must be given.

    Examples
    --------
    >>> from secateur.protocol import REQUEST, Command
    >>> pack(REQUEST, command=Command.READ, sequence=7).hex()
    '0407'
    """
    if any(field.name == "reserved" for field in record.fields):
        fields.setdefault("reserved", 0)
    return record.pack({name: [value] for name, value in fields.items()}).tobytes()


def unpack(record: Record, raw: bytes) -> dict[str, int]:
    """Undo :func:`pack`; ``raw`` must hold at least the record and may go on behind it.

    Raises
    ------
    DamagedFrameError
        If it is shorter than the record.
    """
    if len(raw) < record.size:
        raise DamagedFrameError(f"{len(raw)} bytes are too few for a record of {record.size}")
    words = np.frombuffer(raw, np.uint8, record.size).reshape(1, -1)
    return {name: int(values[0]) for name, values in record.unpack(words).items()}
