"""Examples to learn from: real-valued inputs, labels, and the one split that everything uses."""

from __future__ import annotations

import hashlib
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

    @property
    def digest(self) -> str:
        """SHA-256 of the name and every example, in hexadecimal."""
        sha = hashlib.sha256(self.name.encode())
        for split in (self.train, self.validation, self.test):
            sha.update(repr(split.x.shape).encode())
            sha.update(split.x.astype("<f4").tobytes() + split.labels.astype("<i8").tobytes())
        return sha.hexdigest()


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


def _file(path: Path) -> Dataset:
    """Load the arrays of an .npz file; nothing in it is unpickled."""
    try:
        # numpy leaves a file open that is no zip archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ARRAYS if name in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"{path} is not a readable .npz file of numbers ({error}); write it with numpy.savez"
        ) from None
    if missing := [name for name in ARRAYS if name not in found]:
        raise BadInputError(f"{path} must have the arrays {', '.join(ARRAYS)}; add {missing[0]}")
    features = found["train_x"].shape[1:]
    splits = []
    for part in PARTS:
        x, labels = found[f"{part}_x"], found[f"{part}_labels"]
        if x.ndim != 2 or x.shape[1:] != features or not len(x):
            raise BadInputError(
                f"{path}: {part}_x must be numbers [examples, features], at least one example and "
                f"as many features as train_x, not {x.shape}"
            )
        if labels.shape != x.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise BadInputError(
                f"{path}: {part}_labels must be {len(x)} integers from 0 on, one for each row of "
                f"{part}_x, not {labels.dtype} {labels.shape}"
            )
        if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
            raise BadInputError(f"{path}: {part}_x must be finite numbers; remove NaN and infinity")
        splits.append(Split(x.astype(np.float32), labels.astype(np.int64)))
    return Dataset(path.stem, *splits)


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
