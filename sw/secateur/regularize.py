"""What keeps a network general while it learns: L1, shrinking dropout, layers that take turns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

__all__ = ["add_l1", "resting", "shrink_dropout"]


def add_l1(parameters: Iterable[nn.Parameter], l1: float) -> None:
    """Add the gradient of ``l1`` times the sum of magnitudes to that of the weights, in place.

    Biases, which have one dimension, are left alone.
    """
    for parameter in parameters:
        if parameter.dim() > 1 and parameter.grad is not None:
            parameter.grad.add_(parameter.detach().sign(), alpha=l1)


def shrink_dropout(module: nn.Module, masks: Mapping[str, Tensor]) -> dict[nn.Dropout, float]:
    """Find the dropout that fits what is left of a network.

    ``D_r = D_o * sqrt(C_ir / C_io)``, where ``C_io`` and ``C_ir`` count the connections of layer i
    before and after pruning (Han et al. 2015, section 3.2). Dropout works on neurons, whose
    connections are those of the layer that computes them: the one before the dropout. A dropout of
    the network's inputs goes by the layer that it feeds.

    Parameters
    ----------
    module : nn.Module
        A plain one; another has no dropout that is found.
    masks : mapping of str to bool tensor
        By parameter, true where a connection is left.

    Returns
    -------
    dict of nn.Dropout to float
        The new probability of each.

    Examples
    --------
    >>> import torch
    >>> module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 1))
    >>> mask = torch.tensor([[True, False], [False, False]])
    >>> [*shrink_dropout(module, {"0.weight": mask}).values()]
    [0.25]
    """
    layers: list[str] = []  # with masks, as many as there are before the dropout
    waiting: list[nn.Dropout] = []
    shares: dict[nn.Dropout, str] = {}
    for name, part in module.named_children():
        if isinstance(part, nn.Dropout):
            if layers:
                shares[part] = layers[-1]
            else:
                waiting.append(part)
        elif f"{name}.weight" in masks:
            layers.append(f"{name}.weight")
            shares |= dict.fromkeys(waiting, layers[-1])
            waiting.clear()
    return {
        part: part.p * math.sqrt(masks[name].count_nonzero().item() / masks[name].numel())
        for part, name in shares.items()
    }


def resting(module: nn.Module, part: float) -> list[nn.Parameter]:
    """Find the parameters that are frozen so that the other layers recover first.

    "When we retrain the pruned layers we keep the CONV layers' parameters fixed when retraining the
    FC layers and vice versa" (after Han et al. 2015, section 3.3, against vanishing gradients).

    Parameters
    ----------
    module : nn.Module
    part : float
        How far the run is, 0 to 1: in the first half convolutions rest, in the second fully
        connected layers.

    Returns
    -------
    list of nn.Parameter
        Weights and biases; none where the module has layers of one of the two kinds only.
    """
    kinds = [
        [layer for layer in module.modules() if isinstance(layer, kind)]
        for kind in (nn.Conv2d, nn.Linear)
    ]
    if not all(kinds):
        return []
    return [parameter for layer in kinds[part >= 0.5] for parameter in layer.parameters()]
