"""Curves of a training, for whoever wants to see more than its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Log", "tensorboard", "unlogged"]

#: ``log(name, value, epoch)``: one point of the curve of that name, epochs from 1.
Log = Callable[[str, float, int], None]


def unlogged(name: str, value: float, epoch: int) -> None:
    """Keep nothing."""


@contextmanager
def tensorboard(folder: Path) -> Iterator[Log]:
    """Write curves for TensorBoard.

    Raises
    ------
    BadInputError
        If TensorBoard or PyTorch is not installed, or the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        names = ("torch", "train") if error.name == "torch" else ("TensorBoard", "tensorboard")
        raise BadInputError(
            f"--tensorboard needs {names[0]}, which is not installed; "
            f"run `pip install secateur[{names[1]}]`"
        ) from None
    try:
        writer = SummaryWriter(str(folder))
    except OSError as error:
        raise BadInputError(
            f"{folder} cannot be written: {error.strerror}; give another folder for --tensorboard"
        ) from None
    with writer:
        yield writer.add_scalar
