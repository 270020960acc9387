"""Examples of one's own: an .npz file, which may be of any content."""

from __future__ import annotations

import io
import math
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from secateur.dataset import PARTS, Dataset, Split
from secateur.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ARRAYS", "load"]

#: Arrays of the file: real numbers [n, features] or [n, channels, height, width], and integers [n]
#: for each part.
ARRAYS = tuple(f"{part}_{kind}" for part in PARTS for kind in ("x", "labels"))
#: Classes at most: a layer's most rows.
MOST_CLASSES = 65536


def _array(content: bytes) -> NDArray:
    """Read an .npy file whose header need not be believed: nothing is allocated for it."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = headers[version](stream)
    values = np.frombuffer(content, dtype, math.prod(shape), stream.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def _arrays(path: Path) -> dict[str, NDArray]:
    """Read the arrays that there are of :data:`ARRAYS`; nothing is unpickled."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = {name: f"{name}.npy" for name in ARRAYS}
            there = set(archive.namelist())
            return {
                name: _array(archive.read(member))
                for name, member in members.items()
                if member in there
            }
    # Whatever zipfile, its decompressors, numpy's header and its evaluation as Python raise, which
    # is more than their documentation tells: the file is what is wrong.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadInputError(
            f"{path} is not a readable .npz file of numbers ({reason}); write it with numpy.savez"
        ) from None


def load(path: Path) -> Dataset:
    """Load the examples of an .npz file, which are named as it is.

    Raises
    ------
    BadInputError
        If the file does not hold the arrays of :data:`ARRAYS`.
    """
    found = _arrays(path)
    if missing := [name for name in ARRAYS if name not in found]:
        raise BadInputError(f"{path} must have the arrays {', '.join(ARRAYS)}; add {missing[0]}")
    return Dataset(path.stem, *(_part(path, part, found) for part in PARTS))


def _part(path: Path, part: str, found: dict[str, NDArray]) -> Split:
    """Check one part of a file's examples."""
    x, labels = found[f"{part}_x"], found[f"{part}_labels"]
    if x.ndim not in (2, 4) or x.shape[1:] != found["train_x"].shape[1:] or not x.size:
        raise BadInputError(
            f"{path}: {part}_x must be numbers [examples, features] or [examples, channels, "
            f"height, width], at least one of each and inputs shaped as those of train_x, not "
            f"{x.shape}"
        )
    if x.dtype.kind not in "fiu":
        raise BadInputError(f"{path}: {part}_x must be real numbers, not {x.dtype}; convert them")
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    if not np.isfinite(values).all():
        raise BadInputError(
            f"{path}: {part}_x must be finite as float32; remove NaN, infinity and numbers beyond "
            f"3.4e38"
        )
    if (
        labels.shape != x.shape[:1]
        or labels.dtype.kind not in "iu"
        or labels.min() < 0
        or labels.max() >= MOST_CLASSES
    ):
        raise BadInputError(
            f"{path}: {part}_labels must be {len(x)} integers from 0 to {MOST_CLASSES - 1}, one "
            f"for each row of {part}_x, not {labels.dtype} {labels.shape}"
        )
    if len(unknown := np.setdiff1d(labels, found["train_labels"])):
        raise BadInputError(
            f"{path}: {part}_labels hold the class {unknown[0]}, which train_labels lack; give "
            f"training examples of it"
        )
    return Split(values, labels.astype(np.int64))
