"""What the rounds of a pruning left, and how well the network did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from secateur.threshold import Masks

__all__ = ["LayerStats", "RoundStats", "describe", "recall"]


@dataclass(frozen=True, kw_only=True)
class LayerStats:
    """What a removal left of a layer.

    Parameters
    ----------
    name : str
    weights, non_zeros : int
        All weights of the layer, and those left.
    threshold : float
        The smallest magnitude left, before retraining.
    """

    name: str
    weights: int
    non_zeros: int
    threshold: float

    @property
    def density(self) -> float:
        """Part of the weights that is left, 0 to 1."""
        return self.non_zeros / self.weights


@dataclass(frozen=True, kw_only=True)
class RoundStats:
    """One round: the layers after removal, and accuracy on the watched split, 0 to 1.

    Parameters
    ----------
    layers : tuple of LayerStats
    pruned : float, optional
        Before retraining; None in a smooth schedule, which has no such moment, and without data.
    retrained : float, optional
        None without data.
    """

    layers: tuple[LayerStats, ...]
    pruned: float | None
    retrained: float | None


def describe(module: nn.Sequential, masks: Masks) -> list[dict[str, Any]]:
    """Describe what masks leave of a plain module: the fields of :class:`LayerStats` for each.

    Examples
    --------
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 1))
    >>> module.get_parameter("0.weight").data = torch.tensor([[0.25, -0.5]])
    >>> describe(module, {"0.weight": torch.tensor([[False, True]])})
    [{'name': '0', 'weights': 2, 'non_zeros': 1, 'threshold': 0.5}]
    """
    found = []
    for name, mask in masks.items():
        weight = module.get_parameter(name).detach()
        least = weight.abs().masked_fill_(~mask, torch.inf).min()
        stats = LayerStats(
            name=name.removesuffix(".weight"),
            weights=mask.numel(),
            non_zeros=int(mask.count_nonzero()),
            threshold=least.item(),
        )
        found.append(asdict(stats))
    return found


def recall(entry: Mapping[str, Any]) -> RoundStats:
    """Make a round's statistics from JSON values: its layers, as described, and accuracies."""
    layers = tuple(LayerStats(**layer) for layer in entry["layers"])
    return RoundStats(layers=layers, pruned=entry["pruned"], retrained=entry["retrained"])
