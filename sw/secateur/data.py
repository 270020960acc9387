"""Examples to learn from: real-valued inputs, labels, and the one split that everything uses."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.settings import DataSettings

__all__ = ["ARRAYS", "Dataset", "Split", "load"]

#: Parts of a set of examples.
PARTS = ("train", "validation", "test")
#: Arrays of a file of examples: real numbers [n, features] and integers [n] for each part.
ARRAYS = tuple(f"{part}_{kind}" for part in PARTS for kind in ("x", "labels"))
#: Classes at most: a layer's most rows.
MOST_CLASSES = 65536


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and what they are.

    Parameters
    ----------
    x : float32[n, features]
        Inputs in real units.
    labels : int64[n]
        Classes, from 0.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, count: int | None) -> Split:
        """Take the first ``count`` examples, all of them for None."""
        return Split(self.x[:count], self.labels[:count])

    def accuracy(self, outputs: NDArray) -> float:
        """Part of the examples whose largest output is that of their class.

        Parameters
        ----------
        outputs : number[n, classes]
            Floats or integers; of equal outputs, the first one counts.

        Raises
        ------
        BadInputError
            If there is not one row of outputs for each example, or no example.

        Examples
        --------
        >>> split = Split(np.zeros((2, 1), np.float32), np.array([0, 1]))
        >>> split.accuracy(np.array([[3, 3, 1], [2, 2, 2]]))
        0.5
        """
        if len(self) == 0 or outputs.shape[:-1] != self.labels.shape:
            raise BadInputError(
                f"outputs must be one row for each of {len(self)} examples, at least one, "
                f"not {outputs.shape}"
            )
        return float(np.mean(outputs.argmax(axis=1) == self.labels))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named set of examples in three parts.

    The training split is learnt from and calibrates, the validation split is watched, and the
    test split is used for nothing but the figures that are reported.
    """

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def features(self) -> int:
        """Length of one input."""
        return self.train.x.shape[1]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train.labels.max()) + 1


def _split(name: str, x: NDArray[np.float32], labels: NDArray[np.int64]) -> Dataset:
    """Deal each class out in its order: of every five, three to train, one each to the others.

    Stratified, and without a random generator whose numbers a library could change.
    """
    rank = np.empty_like(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members)) % 5
    return Dataset(
        name, *(Split(x[part], labels[part]) for part in (rank < 3, rank == 3, rank == 4))
    )


def _digits() -> Dataset:
    """Load scikit-learn's bundled 1,797 handwritten digits of 8x8 pixels, 0 to 1 in sixteenths.

    They are the test set of UCI's "Optical Recognition of Handwritten Digits"
    (E. Alpaydin, C. Kaynak, 1998).
    """
    from sklearn.datasets import load_digits  # slow to import, and only this needs it

    pixels, labels = load_digits(return_X_y=True)
    return _split(
        "digits", np.asarray(pixels / 16, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    )


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


def _file(path: Path) -> Dataset:
    """Load the examples of an .npz file."""
    found = _arrays(path)
    if missing := [name for name in ARRAYS if name not in found]:
        raise BadInputError(f"{path} must have the arrays {', '.join(ARRAYS)}; add {missing[0]}")
    return Dataset(path.stem, *(_part(path, part, found) for part in PARTS))


def _part(path: Path, part: str, found: dict[str, NDArray]) -> Split:
    """Check one part of a file's examples."""
    x, labels = found[f"{part}_x"], found[f"{part}_labels"]
    if x.ndim != 2 or x.shape[1:] != found["train_x"].shape[1:] or not x.size:
        raise BadInputError(
            f"{path}: {part}_x must be numbers [examples, features], at least one of each and "
            f"as many features as train_x, not {x.shape}"
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


#: How each name that a project file may give is loaded; add more sets of examples here.
_LOADERS: dict[str, Callable[[], Dataset]] = {"digits": _digits}


def load(settings: DataSettings, file: Path | None = None) -> Dataset:
    """Load the examples that a project names, or those of its own ``file``.

    Raises
    ------
    BadInputError
        If the file does not hold the arrays of :data:`ARRAYS`.
    """
    return _LOADERS[settings.name]() if file is None else _file(file)
