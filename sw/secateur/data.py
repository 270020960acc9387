"""The examples that a project names: the digits, MNIST, a file of one's own, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur import mnist, npz
from secateur.dataset import PARTS, Dataset, Split
from secateur.errors import BadInputError
from secateur.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.progress import Progress
    from secateur.settings import DataSettings

__all__ = ["PARTS", "Dataset", "Split", "load", "require"]


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


def _digits(name: str, shape: tuple[int, ...]) -> Dataset:
    """Load scikit-learn's bundled 1,797 handwritten digits of 8x8 pixels, 0 to 1 in sixteenths.

    They are the test set of UCI's "Optical Recognition of Handwritten Digits"
    (E. Alpaydin, C. Kaynak, 1998).
    """
    from sklearn.datasets import load_digits  # slow to import, and only this needs it

    pixels, labels = load_digits(return_X_y=True)
    x = np.asarray(pixels / 16, dtype=np.float32).reshape(-1, *shape)
    return _split(name, x, np.asarray(labels, dtype=np.int64))


def load(
    settings: DataSettings, file: Path | None = None, progress: Progress = silent
) -> Dataset | None:
    """Load the examples that a project names, or those of its own ``file``.

    Parameters
    ----------
    settings : DataSettings
    file : Path, optional
        Of the form that :mod:`secateur.npz` reads.
    progress : callable
        Told of a download.

    Returns
    -------
    Dataset or None
        None where the project has no examples: accuracies are unknown then.

    Raises
    ------
    BadInputError
        If a file is missing, damaged or of another form.

    Examples
    --------
    >>> from secateur.settings import DataSettings
    >>> load(DataSettings(name="digits")).shape
    (64,)
    >>> load(DataSettings(name="none"))
    """
    if file is not None:
        return npz.load(file)
    if settings.name == "none":
        return None
    if settings.name == "mnist":
        return mnist.load(settings.validation, progress)
    return _digits(settings.name, (64,) if settings.name == "digits" else (1, 8, 8))


def require(
    settings: DataSettings, file: Path | None = None, progress: Progress = silent
) -> Dataset:
    """Load as :func:`load`, where there must be examples.

    Raises
    ------
    BadInputError
        As :func:`load`; if the project has no examples.
    """
    dataset = load(settings, file, progress)
    if dataset is None:
        raise BadInputError(
            'data.name must be a set of examples, not "none"; give data.name or data.file'
        )
    return dataset
