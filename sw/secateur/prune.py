"""Removing connections of small magnitude and retraining the rest.

S. Han, J. Pool, J. Tran, W. J. Dally, "Learning both Weights and Connections for Efficient Neural
Networks", NIPS 2015, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from secateur import capacity, target
from secateur.descent import descend
from secateur.errors import BadInputError
from secateur.logs import unlogged
from secateur.masking import Held, Ramp, cut
from secateur.model import accuracy
from secateur.progress import silent
from secateur.resume import Resume, causes
from secateur.rounds import describe, recall
from secateur.trace import plain
from secateur.train import check_fits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from secateur.dataset import Dataset
    from secateur.logs import Log
    from secateur.progress import Progress
    from secateur.project import Project
    from secateur.rounds import LayerStats, RoundStats
    from secateur.target import Target
    from secateur.threshold import Masks

__all__ = ["Pruning", "prune"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruning:
    """The result of :func:`prune`.

    Parameters
    ----------
    module : nn.Sequential
        Pruned and retrained; plain.
    unretrained : nn.Sequential
        The module that was given, pruned to the same target at once: shows what retraining does.
        Without retraining it is ``module`` itself.
    rounds : tuple of RoundStats
        One for a smooth schedule.
    """

    module: nn.Sequential
    unretrained: nn.Sequential
    rounds: tuple[RoundStats, ...]

    @property
    def layers(self) -> tuple[LayerStats, ...]:
        """What is left of each layer in the end."""
        return self.rounds[-1].layers


def prune(
    module: nn.Module,
    project: Project,
    dataset: Dataset | None,
    progress: Progress = silent,
    *,
    scan: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    log: Log = unlogged,
) -> Pruning:
    """Prune and retrain, in rounds or smoothly.

    In rounds, the target is approached in equal steps of the quality, or in equal factors of the
    density, from what ``module`` has. Removed weights stay zero, and so do weights that are zero
    in ``module``; the others are retrained from the values that they have. Smoothly, the density
    falls along a cubic while the network learns; with ``regrow`` any connection may return until
    the target is reached.

    Parameters
    ----------
    module : nn.Module
        Any supported module; it is left as it is.
    project : Project
        ``prune``, ``train`` and ``seed`` decide, and ``engine`` where balance is asked for.
    dataset : Dataset, optional
        Nothing is learnt from its watched split. Without data there is no retraining.
    progress : callable
        Told after every epoch.
    scan : mapping, optional
        The sensitivity scan that the target ``loss`` goes by.
    folder : Path, optional
        Keeps the state after every epoch; a run that finds one goes on from there.
    log : callable
        Given the loss, the watched accuracy and the density of every epoch.

    Raises
    ------
    BadInputError
        If the module is not supported, a layer would have no weight left, the targets are not one
        for each layer, retraining diverges, or the folder holds the state of another run.
    CheckFailedError
        If the result does not fit the device that it was to fit.
    """
    settings = project.prune
    pruned = plain(module)
    check_fits(pruned, dataset)
    if dataset is None and settings.epochs:
        raise BadInputError(
            f'prune.epochs must be 0 where data.name is "none", not {settings.epochs}; '
            "give 0 to prune without retraining, or name a set of examples"
        )
    goal = target.find(project, pruned, dataset, scan)
    resume = Resume(
        folder if settings.epochs else None, lambda: _causes(project, pruned, dataset, goal)
    )
    unretrained = pruned
    if settings.epochs:
        # First of all, so that a target that leaves a layer nothing is refused before hours pass.
        unretrained = plain(module)
        cut(unretrained, goal.masks(unretrained, 1.0))
    method = _Method(project, dataset, goal, resume, progress, log)
    for done in range(len(method.finished), method.rounds):
        method.round(pruned, done)
    if settings.fit is not None:
        capacity.check(pruned, project, dataset)
    return Pruning(
        module=pruned,
        unretrained=unretrained,
        rounds=tuple(recall(entry) for entry in method.finished),
    )


class _Method:
    """The rounds of one pruning, and what its state remembers of them, as JSON values."""

    def __init__(
        self,
        project: Project,
        dataset: Dataset | None,
        goal: Target,
        resume: Resume,
        progress: Progress,
        log: Log,
    ) -> None:
        self._project, self._dataset, self._goal = project, dataset, goal
        self._resume, self._progress, self._log = resume, progress, log
        self._smooth = project.prune.schedule == "smooth"
        self.rounds = 1 if self._smooth else project.prune.rounds
        self._generator = torch.Generator().manual_seed(project.seed)
        self._goes_on = bool(resume.description)
        about = resume.description
        self.finished: list[dict[str, Any]] = about.setdefault("finished", [])
        self._now: dict[str, Any] = about.setdefault("now", {})

    def round(self, module: nn.Sequential, done: int) -> None:
        """Prune and retrain once, in place, after so many rounds are done."""
        settings = self._project.prune
        held = self._start(module, done)
        if self._dataset is not None and settings.epochs:
            given = {"l1": settings.l1, "weight_decay": settings.weight_decay}
            changes = {key: value for key, value in given.items() if value is not None}
            descend(
                module,
                self._dataset,
                self._project.train.model_copy(update=changes),
                epochs=settings.epochs,
                learning_rate=settings.learning_rate or self._project.train.learning_rate / 10,
                generator=self._generator,
                masks=held,
                freeze=settings.freeze,
                progress=_part(self._progress, done, self.rounds),
                log=lambda name, value, epoch: self._log(
                    name, value, done * settings.epochs + epoch
                ),
                resume=self._resume,
            )
        self.finished.append({**self._now, "retrained": self._watched(module)})

    def _start(self, module: nn.Sequential, done: int) -> Held:
        """Choose the masks of a round, or make room for those of a run that goes on."""
        settings = self._project.prune

        def choose(part: float) -> Masks:
            masks = self._goal.masks(module, part, smooth=True)
            self._now.update(layers=describe(module, masks), pruned=None)
            return masks

        goes_on, self._goes_on = self._goes_on, False
        if self._smooth and settings.epochs:
            return Ramp(
                choose, ramp=settings.ramp, regrow=settings.regrow, dropout=settings.dropout
            )
        if goes_on:
            return Held({}, dropout=settings.dropout)
        masks = self._goal.masks(module, (done + 1) / self.rounds)
        cut(module, masks)
        self._now.update(layers=describe(module, masks), pruned=self._watched(module))
        return Held(masks, dropout=settings.dropout)

    def _watched(self, module: nn.Module) -> float | None:
        return None if self._dataset is None else accuracy(module, self._dataset.watched)


def _causes(
    project: Project, module: nn.Module, dataset: Dataset | None, goal: Target
) -> dict[str, Any]:
    sections = ("seed", "data", "train", "prune")
    found = causes(project, sections, module, dataset)
    # What is derived from the scan, the device, or the number of PEs.
    return found | {"target of pruning": {"values": goal.values, "groups": goal.groups}}


def _part(progress: Progress, done: int, rounds: int) -> Progress:
    """Report one round's progress as that of all rounds."""

    def tell(epoch: int, epochs: int, note: str) -> None:
        progress(done * epochs + epoch, rounds * epochs, f"round {done + 1} of {rounds}, {note}")

    return tell
