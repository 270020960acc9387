"""Computing the same on every run, where it is fastest."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from secateur import parallel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["placed", "reproducible"]

#: What cuBLAS needs to be repeatable (its documentation, section "Results Reproducibility").
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


@contextmanager
def reproducible() -> Iterator[None]:
    """Compute the same on every run, and leave torch's global state as it is.

    One thread, since sums depend on how they are shared out; algorithms that are deterministic.
    """
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault(*_CUBLAS)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


@contextmanager
def placed(module: nn.Module) -> Iterator[tuple[torch.device, torch.memory_format]]:
    """Have a module where, and as, it computes fastest; afterwards it is as it was.

    On a GPU where there is one; convolutions with channels last, which halves their time on a CPU.
    The parameters remain the same objects.

    Yields
    ------
    device : torch.device
    memory_format : torch.memory_format
        Of inputs that have channels.
    """
    convolves = any(isinstance(part, nn.Conv2d) for part in module.modules())
    memory_format = torch.channels_last if convolves else torch.contiguous_format
    device = parallel.device()
    _move(module, device, memory_format)
    try:
        yield device, memory_format
    finally:
        _move(module, torch.device("cpu"), torch.contiguous_format)
        for parameter in module.parameters():
            parameter.grad = None


def _move(module: nn.Module, device: torch.device, memory_format: torch.memory_format) -> None:
    # torch declares one of the two at a time only.
    cast("Any", module).to(device=device, memory_format=memory_format)
