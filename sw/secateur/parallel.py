"""One training in several processes: what each computes, and that they agree.

A process group is started elsewhere; where there is none, this process is the only one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["agree", "device", "rank", "replicated", "share", "size", "total"]


def size() -> int:
    """Count the processes that train together."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def rank() -> int:
    """Give the number of this process among them, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def device() -> torch.device:
    """Where this process computes: the GPU that it was given, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def replicated(module: nn.Module) -> nn.Module:
    """Make a module's gradients the means over all processes; it is what computes its forward."""
    return module if size() == 1 else DistributedDataParallel(module)


def total(value: Tensor) -> Tensor:
    """Sum a value over all processes, in place."""
    if size() > 1:
        distributed.all_reduce(value)
    return value


def agree(tensors: Mapping[str, Tensor], what: str) -> None:
    """Check that all processes have the same.

    Raises
    ------
    BadInputError
        If they have not, in every process, so that none waits for another.
    """
    if size() == 1:
        return
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digests: list[Any] = [None] * size()
    distributed.all_gather_object(digests, sha.hexdigest())
    if len(set(digests)) > 1:
        raise BadInputError(
            f"the processes of one training must have the same {what}; give all of them the same "
            f"files, machines and versions"
        )


def share(batch: Tensor) -> Tensor:
    """Take this process' part of what all of them have."""
    return batch[rank() :: size()]
