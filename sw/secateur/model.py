"""Float models: their layers with weights, what they compute, and how often they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from secateur.network import Network
from secateur.trace import evaluating, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.data import Split

__all__ = [
    "accuracy",
    "outputs",
    "plain",
    "weighted",
    "weights",
]

#: Examples that are computed at a time.
BATCH = 1000


def weighted(module: nn.Sequential) -> dict[str, nn.Linear | nn.Conv2d]:
    """Give the layers of a plain module that have weights, by name, in their order.

    A weight is float32[out, in] or float32[out, in / groups, y, x]. As a matrix it is
    ``weight.flatten(1)``: a row is an output, and a column an input, or an input at one (y, x).

    Examples
    --------
    >>> weighted(nn.Sequential(nn.Conv2d(1, 20, 5), nn.ReLU()))
    {'0': Conv2d(1, 20, kernel_size=(5, 5), stride=(1, 1))}
    """
    return {
        name: part
        for name, part in module.named_children()
        if isinstance(part, (nn.Linear, nn.Conv2d))
    }


def weights(module: nn.Sequential) -> dict[str, Tensor]:
    """Give the weights of a plain module by parameter, as masks are kept, sharing memory."""
    return {f"{name}.weight": layer.weight.detach() for name, layer in weighted(module).items()}


def outputs(module: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute a float module at inference: float32[n, ...] to float32[n, classes].

    The module is left in the mode that it is in, and computes where its parameters are.
    """
    where = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with evaluating(module), torch.no_grad():
        parts = torch.from_numpy(np.ascontiguousarray(x)).split(BATCH)
        return torch.cat([module(part.to(where)).cpu() for part in parts]).numpy()


def accuracy(model: nn.Module | Network, split: Split) -> float:
    """Part of ``split`` that a float module or an integer network classifies correctly, 0 to 1."""
    if isinstance(model, Network):
        return split.accuracy(model.compute(model.quantize_input(split.flat)))
    return split.accuracy(outputs(model, split.x))
