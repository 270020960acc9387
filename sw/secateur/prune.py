"""Removing connections of small magnitude and retraining the rest.

S. Han, J. Pool, J. Tran, W. J. Dally, "Learning both Weights and Connections for Efficient Neural
Networks", NIPS 2015, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from secateur.errors import BadInputError
from secateur.model import accuracy, dense_layers, plain
from secateur.progress import silent
from secateur.train import check_fits, descend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from secateur.data import Dataset
    from secateur.model import DenseLayer
    from secateur.progress import Progress
    from secateur.project import Project
    from secateur.settings import PruneSettings

__all__ = ["LayerStats", "Pruning", "RoundStats", "prune", "remove"]


@dataclass(frozen=True, kw_only=True)
class LayerStats:
    """What is left of a layer.

    Parameters
    ----------
    name : str
    weights, non_zeros : int
        All weights of the layer, and those left.
    threshold : float
        The smallest magnitude left.
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
    """One round: the layers after removal, and accuracy on the validation split, 0 to 1."""

    layers: tuple[LayerStats, ...]
    pruned: float
    retrained: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruning:
    """The result of :func:`prune`.

    Parameters
    ----------
    module : nn.Sequential
        Pruned and retrained.
    unretrained : nn.Sequential
        The module that was given, pruned to the same target at once: shows what retraining does.
    rounds : tuple of RoundStats
    """

    module: nn.Sequential
    unretrained: nn.Sequential
    rounds: tuple[RoundStats, ...]

    @property
    def layers(self) -> tuple[LayerStats, ...]:
        """What is left of each layer in the end."""
        return self.rounds[-1].layers


def prune(
    module: nn.Module, project: Project, dataset: Dataset, progress: Progress = silent
) -> Pruning:
    """Prune and retrain in rounds.

    The target is approached in equal steps of the quality, or in equal factors of the density,
    from what ``module`` has. Removed weights stay zero, and so do weights that are zero in
    ``module``; the others are retrained from the values that they have.

    Parameters
    ----------
    module : nn.Module
        Any supported module; it is left as it is.
    project : Project
        ``prune``, ``train`` and ``seed`` decide.
    dataset : Dataset
        Its validation split is only watched.
    progress : callable
        Told after every epoch.

    Raises
    ------
    BadInputError
        If the module is not supported, a layer would have no weight left, or the targets are not
        one for each layer.
    """
    settings = project.prune
    check_fits(module, dataset)
    dense = dense_layers(module)
    key, targets = _targets(settings, dense)
    generator = torch.Generator().manual_seed(project.seed)
    pruned = plain(module)
    rounds = []
    for done in range(settings.rounds):
        step = _approach(key, targets, dense, (done + 1) / settings.rounds)
        stats, masks = remove(pruned, key, step, dense)
        before = accuracy(pruned, dataset.validation)
        descend(
            pruned,
            dataset,
            project.train,
            epochs=settings.epochs,
            learning_rate=settings.learning_rate or project.train.learning_rate / 10,
            generator=generator,
            masks=masks,
            progress=_part(progress, done, settings.rounds),
        )
        after = accuracy(pruned, dataset.validation)
        rounds.append(RoundStats(layers=stats, pruned=before, retrained=after))
    unretrained = plain(module)
    remove(unretrained, key, targets, dense)
    return Pruning(module=pruned, unretrained=unretrained, rounds=tuple(rounds))


def remove(
    module: nn.Sequential, key: str, targets: Sequence[float], dense: Sequence[DenseLayer]
) -> tuple[tuple[LayerStats, ...], dict[str, Tensor]]:
    """Make the smallest weights of each layer zero, in place.

    Parameters
    ----------
    module : nn.Sequential
        Linear and ReLU only.
    key : {"quality", "density"}
        What the targets are: a quality times the standard deviation of the layer's weights is the
        least magnitude that is kept; a density is the part of the weights that is kept, those of
        the largest magnitude. Weights that are zero stay so.
    targets : sequence of float
        One for each layer.
    dense : sequence of DenseLayer
        The layers before the first removal, whose non-zero weights' standard deviations count:
        those of the survivors would grow with every round.

    Returns
    -------
    stats : tuple of LayerStats
    masks : dict of str to bool[rows, columns]
        By parameter, true where a weight is left.

    Raises
    ------
    BadInputError
        If a layer would have no weight left.
    """
    stats, masks = [], {}
    for layer, target, start in zip(dense_layers(module), targets, dense, strict=True):
        magnitude = layer.weight.abs()
        if key == "quality":
            survivors = start.weight[start.weight != 0].double()
            deviation = survivors.std(correction=0).item() if len(survivors) else 0.0
            mask = magnitude >= target * deviation
        else:
            # A stable sort: of equal weights the first ones stay.
            ranks = magnitude.flatten().argsort(descending=True, stable=True)
            mask = torch.zeros(magnitude.numel(), dtype=torch.bool)
            mask[ranks[: round(target * magnitude.numel())]] = True
            mask = mask.view_as(magnitude)
        mask &= magnitude > 0
        if not mask.any():
            way_out = {"quality": "lower", "density": "raise"}[key]
            raise BadInputError(
                f"layer {layer.name!r} has no weight left at {key} {target:.4g}; "
                f"{way_out} prune.{key} for it"
            )
        parameter = module.get_parameter(f"{layer.name}.weight")
        parameter.data = torch.where(mask, parameter.data, 0.0)
        masks[f"{layer.name}.weight"] = mask
        stats.append(
            LayerStats(
                name=layer.name,
                weights=mask.numel(),
                non_zeros=int(mask.sum()),
                threshold=magnitude[mask].min().item(),
            )
        )
    return tuple(stats), masks


def _targets(settings: PruneSettings, layers: Sequence[DenseLayer]) -> tuple[str, list[float]]:
    key = "density" if settings.quality is None else "quality"
    target = getattr(settings, key)
    if not isinstance(target, tuple):
        return key, [target] * len(layers)
    if len(target) != len(layers):
        raise BadInputError(
            f"prune.{key} must have one number for each of the model's {len(layers)} layers, "
            f"not {len(target)}"
        )
    return key, [*target]


def _approach(
    key: str, targets: Sequence[float], dense: Sequence[DenseLayer], part: float
) -> list[float]:
    """Go a ``part`` of the way, 0 to 1, from what each layer has to its target."""
    if key == "quality":
        return [target * part for target in targets]
    steps = []
    for target, layer in zip(targets, dense, strict=True):
        start = layer.weight.count_nonzero().item() / layer.weight.numel()
        # At the end exactly the target, whatever the power rounds to.
        steps.append(start ** (1 - part) * target**part if target < start and part < 1 else target)
    return steps


def _part(progress: Progress, done: int, rounds: int) -> Progress:
    """Report one round's progress as that of all rounds."""

    def tell(epoch: int, epochs: int, note: str) -> None:
        progress(done * epochs + epoch, rounds * epochs, f"round {done + 1} of {rounds}, {note}")

    return tell
