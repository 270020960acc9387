"""The program file's outside: magic, version, a JSON text, an image, a SHA-256."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from secateur.artefact import write_whole
from secateur.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["PROGRAM_MAGIC", "PROGRAM_VERSION", "pack_container", "read_container", "write_file"]

#: The first bytes of a program file.
PROGRAM_MAGIC = b"SECATEUR"
#: Version of the program file, apart from that of the image in it.
PROGRAM_VERSION = 2
#: Bytes of the version and of each length, little-endian.
NUMBER_SIZE = 4
#: Bytes of the SHA-256 that ends the file.
DIGEST_SIZE = 32


def pack_container(text: bytes, image: bytes) -> bytes:
    """Everything in a program file before the SHA-256."""
    return b"".join((
        PROGRAM_MAGIC,
        PROGRAM_VERSION.to_bytes(NUMBER_SIZE, "little"),
        len(text).to_bytes(NUMBER_SIZE, "little"),
        text,
        len(image).to_bytes(NUMBER_SIZE, "little"),
        image,
    ))


def write_file(path: Path, body: bytes) -> None:
    """Write ``body`` and its SHA-256: all of it or nothing."""
    write_whole(path, body + hashlib.sha256(body).digest())


def read_container(path: Path) -> tuple[bytes, bytes]:
    """Read the JSON text and the image of a program file.

    Every length is compared with what is left of the file before anything that long is read.

    Raises
    ------
    BadInputError
        If the file is missing, truncated, altered, of another kind or of another version.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except FileNotFoundError:
        raise BadInputError(f"{path} does not exist; make it with `secateur encode`") from None
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); give the file that `secateur encode` writes"
        ) from None


def _read(file: BinaryIO, path: Path) -> tuple[bytes, bytes]:
    left = os.fstat(file.fileno()).st_size
    sha = hashlib.sha256()

    def take(count: int) -> bytes:
        nonlocal left
        if count > left:
            raise BadInputError(f"{path} is truncated; make it again with `secateur encode`")
        left -= count
        data = file.read(count)
        sha.update(data)
        return data

    def number() -> int:
        return int.from_bytes(take(NUMBER_SIZE), "little")

    if take(min(left, len(PROGRAM_MAGIC))) != PROGRAM_MAGIC:
        raise BadInputError(f"{path} is not a program; give the file that `secateur encode` writes")
    version = number()
    if version != PROGRAM_VERSION:
        raise BadInputError(
            f"{path} has version {version} and this Secateur reads {PROGRAM_VERSION}; update "
            f"Secateur or make the file again"
        )
    text = take(number())
    image = take(number())
    digest = sha.digest()
    if take(DIGEST_SIZE) != digest or left:
        raise BadInputError(
            f"{path} was altered after it was written; make it again with `secateur encode`"
        )
    return text, image
