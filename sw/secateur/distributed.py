"""More than one process on one task: which of them this is, as ``torchrun`` says.

Every process runs the whole stage on its part of each batch, and they hold the same weights. What
is shown and what is written comes from the primary one. PyTorch is imported only where there is
more than one process, since the command line imports this file.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_primary", "together", "world"]

#: What torchrun sets: the number of this process, and of how many.
RANK, SIZE = "RANK", "WORLD_SIZE"
#: The same on this machine only.
LOCAL_RANK, LOCAL_SIZE = "LOCAL_RANK", "LOCAL_WORLD_SIZE"


def world() -> tuple[int, int]:
    """Give the rank of this process, from 0, and the number of processes; (0, 1) without torchrun.

    Raises
    ------
    BadInputError
        If the environment says something else than torchrun does.

    Examples
    --------
    >>> world()
    (0, 1)
    """
    return _pair(RANK, SIZE)


def is_primary() -> bool:
    """Whether this process is the one that shows progress and writes results.

    Examples
    --------
    >>> is_primary()
    True
    """
    return world()[0] == 0


@contextmanager
def together() -> Iterator[None]:
    """Connect the processes, by NCCL if each has a GPU of its own and by gloo otherwise.

    The processes of one machine take its GPUs in turn; ``torch.cuda.current_device`` says which.
    Does nothing where there is only one process. Whoever waits for a process that has ended gets
    an error of PyTorch's; torchrun ends the others when one fails.
    """
    if world()[1] == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    # Its functions have the group of the moment of this import as a default, for ever. Imported
    # later (by DistributedDataParallel), it keeps gloo's threads beyond the group's end, and one
    # of them that frees a tensor while the interpreter ends aborts the process.
    import torch.distributed.nn

    rank, size = _pair(LOCAL_RANK, LOCAL_SIZE)
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(rank % gpus)
    dist.init_process_group("nccl" if size <= gpus else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _pair(rank: str, size: str) -> tuple[int, int]:
    """Read two variables that torchrun sets together."""
    given = os.environ.get(rank), os.environ.get(size)
    if given == (None, None):
        return 0, 1
    texts = [text or "" for text in given]
    numbers = [int(text) if text.isdecimal() else -1 for text in texts]
    if not 0 <= numbers[0] < numbers[1]:
        raise BadInputError(
            f"{rank} and {size} must be a number from 0 and a larger one, not {texts[0]!r} and "
            f"{texts[1]!r}; start the processes with torchrun, or unset both"
        )
    return numbers[0], numbers[1]
