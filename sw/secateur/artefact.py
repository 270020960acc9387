"""Files of arrays that pass between stages: safetensors, described in JSON, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ArrayFile", "digest", "write_whole"]

#: Types of numbers, by safetensors' names, that numpy has of its own.
NUMPY_TYPES = frozenset(
    {"BOOL", "F64", "F32", "F16"} | {f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)}
)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: all of it or nothing.

    Raises
    ------
    BadInputError
        If the file cannot be written.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written ({error.strerror}); give another path"
        ) from None
    finally:
        with suppress(OSError):  # as where its folder is a file
            temporary.unlink()


def digest(description: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 of a description (JSON values) and arrays, in hexadecimal."""
    sha = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(array.reshape(-1).view("u1").data)  # of a large array, no copy
    return sha.hexdigest()


@dataclass(frozen=True, kw_only=True)
class ArrayFile:
    """A kind of file.

    Parameters
    ----------
    kind : str
        What is in it, for messages.
    version : int
        Of what the description means.
    maker : str
        The commands that write it, for messages.
    """

    kind: str
    version: int
    maker: str

    def write(
        self, path: Path, description: Mapping[str, Any], arrays: Mapping[str, NDArray]
    ) -> None:
        """Write ``description`` (JSON values) and C-contiguous ``arrays``: all or nothing.

        Raises
        ------
        BadInputError
            If the file cannot be written.
        """
        text = {"version": self.version, "digest": digest(description, arrays), **description}
        # One key only: safetensors writes several in an order that differs from run to run.
        metadata = {f"secateur.{self.kind}": json.dumps(text, sort_keys=True)}
        write_whole(path, serialize(dict(arrays), metadata))

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """Read what :meth:`write` wrote: the description, and the arrays.

        Raises
        ------
        BadInputError
            If the file is missing, damaged, altered, of another kind or of another version.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                # What the file is comes first: another one's arrays may be huge, or not numpy's.
                description = self._description(path, file.metadata() or {})
                names = file.keys()
                kinds = {file.get_slice(name).get_dtype() for name in names}
                # Another package may have taught numpy more of them, which would be read then.
                if foreign := sorted(kinds - NUMPY_TYPES):
                    raise TypeError(f"numpy has no {', '.join(foreign)}")
                arrays = {name: file.get_tensor(name) for name in names}
        except FileNotFoundError:
            raise BadInputError(f"{path} does not exist; make it with {self.maker}") from None
        except (SafetensorError, OSError, TypeError) as error:
            raise BadInputError(
                f"{path} is not a readable {self.kind} ({error}); make it again with {self.maker}"
            ) from None
        # Before anything is built: what an altered file describes need not make sense.
        if description.pop("digest", None) != digest(description, arrays):
            raise BadInputError(
                f"{path} was altered after it was written; make it again with {self.maker}"
            )
        return description, arrays

    def _description(self, path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Parse the description, short of its version."""
        if f"secateur.{self.kind}" not in metadata:
            raise BadInputError(
                f"{path} is not a {self.kind}; give the file that {self.maker} writes"
            )
        try:
            description = json.loads(metadata[f"secateur.{self.kind}"])
            version = description.pop("version")
        # Numbers of thousands of digits are a ValueError, too deep nesting is a RecursionError.
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self.damaged(path, error) from None
        if version != self.version:
            raise BadInputError(
                f"{path} has version {version!r} and this Secateur reads {self.version}; update "
                f"Secateur or make the file again"
            )
        return description

    def damaged(self, path: Path, error: Exception) -> BadInputError:
        """Give the error for a file of this kind whose description does not make sense."""
        reason = error if isinstance(error, BadInputError) else repr(error)
        return BadInputError(f"{path} is damaged ({reason}); make it again with {self.maker}")
