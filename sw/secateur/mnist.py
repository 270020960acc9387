"""MNIST: 70,000 handwritten digits of 28x28 pixels (Y. LeCun, C. Cortes, C. Burges, 1998)."""

from __future__ import annotations

import gzip
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secateur.dataset import Dataset, Split
from secateur.digest import digest_file
from secateur.errors import BadInputError
from secateur.progress import silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.progress import Progress

__all__ = ["FILES", "folder", "load", "parse", "watched"]

#: The environment variable that names the folder of data.
VARIABLE = "SECATEUR_DATA"

#: Where the files are downloaded from: the first of torchvision's mirrors.
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"

#: SHA-256 of each file, as in TensorFlow Datasets' ``url_checksums/mnist.txt``.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}


def folder() -> Path:
    """Where the files lie: ``$SECATEUR_DATA/mnist``, or without that variable the user's cache."""
    if given := os.environ.get(VARIABLE):
        return Path(given) / "mnist"
    import pooch  # slow to import, and only this needs it

    return Path(pooch.os_cache("secateur")) / "mnist"


def load(validation: int, progress: Progress = silent) -> Dataset:
    """Load MNIST; without ``SECATEUR_DATA``, what the cache lacks is downloaded once.

    Parameters
    ----------
    validation : int
        Training images that make the validation split; :func:`watched` chooses them.
    progress : callable
        Told of a download.

    Returns
    -------
    Dataset
        Inputs float32[n, 1, 28, 28] from 0 to 1; 60,000 less ``validation`` to train, 10,000 to
        test.

    Raises
    ------
    BadInputError
        If a file is missing or damaged, or cannot be downloaded.
    """
    arrays = [_read(name, at, progress) for at, name in enumerate(FILES)]
    train = Split(_pixels(arrays[0]), arrays[1].astype(np.int64))
    apart = watched(train.labels, validation)
    return Dataset(
        "mnist",
        train=Split(train.x[~apart], train.labels[~apart]),
        validation=Split(train.x[apart], train.labels[apart]),
        test=Split(_pixels(arrays[2]), arrays[3].astype(np.int64)),
    )


def watched(labels: NDArray[np.integer], count: int) -> NDArray[np.bool]:
    """Choose exactly ``count`` examples, of each class its share, evenly along its order.

    With the examples sorted by class, and within a class as they come, example r of n is chosen if
    a multiple of n lies between ``r * count`` and ``(r + 1) * count``. There is no random generator
    whose numbers a library could change.

    Parameters
    ----------
    labels : integer[n]
    count : int
        At most n.

    Returns
    -------
    bool[n]

    Examples
    --------
    >>> watched(np.array([7, 3, 7, 7, 3, 7]), 3).nonzero()[0].tolist()
    [2, 4, 5]
    """
    rank = np.arange(len(labels))
    apart = np.empty(len(labels), bool)
    apart[np.argsort(labels, kind="stable")] = (rank + 1) * count // len(
        labels
    ) > rank * count // len(labels)
    return apart


def parse(content: bytes) -> NDArray[np.uint8]:
    """Read an array of bytes in the idx format, which MNIST's page describes.

    Two zero bytes, 8 for the type, the number of axes, the length of each as a big-endian 32-bit
    integer, the elements. Nothing is allocated for what the header claims.

    Raises
    ------
    ValueError
        If the content is anything else.

    Examples
    --------
    >>> parse(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 40, 50])).tolist()
    [[40, 50]]
    """
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        raise ValueError("it is no array of bytes in the idx format")
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(shape):
        raise ValueError(f"it must have {math.prod(shape)} elements after its header")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale uint8[n, 28, 28] to float32[n, 1, 28, 28] from 0 to 1."""
    return np.divide(images[:, None], 255, dtype=np.float32)


def _read(name: str, at: int, progress: Progress) -> NDArray[np.uint8]:
    path = folder() / name
    if not os.environ.get(VARIABLE):
        _download(path, at, progress)
    try:
        wrong = digest_file(path) != FILES[name]
        content = b"" if wrong else gzip.decompress(path.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); copy MNIST's {name} there, or unset "
            f"{VARIABLE} to have it downloaded"
        ) from None
    if wrong:
        raise BadInputError(
            f"{path} is not MNIST's, whose SHA-256 begins with {FILES[name][:8]}; copy the right "
            f"one there, or unset {VARIABLE} to have it downloaded"
        )
    return parse(content)


def _download(path: Path, at: int, progress: Progress) -> None:
    """Fetch a file into the cache unless it is there, undamaged."""
    import pooch

    try:
        if path.is_file() and digest_file(path) == FILES[path.name]:
            return
        progress(at, len(FILES), f"downloading {path.name}")
        pooch.get_logger().setLevel(logging.WARNING)  # it tells of each file on standard error
        pooch.retrieve(
            MIRROR + path.name,
            f"sha256:{FILES[path.name]}",
            fname=path.name,
            path=path.parent,
            # Read at once, at most 10 MB: an error in a stream would leave the connection open.
            # Pooch's own protocol names the parameters differently.
            downloader=pooch.HTTPDownloader(stream=False),  # pyright: ignore[reportArgumentType]
        )
    # OSError is also what requests raises, ValueError is a wrong digest.
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(
            f"{path} cannot be downloaded from {MIRROR} ({reason}); copy it there, or set "
            f"{VARIABLE} to a folder with mnist/{path.name}"
        ) from None
