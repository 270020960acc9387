"""The dense network: trained as a project says, or the one that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from secateur import architectures, checkpoint
from secateur.descent import descend
from secateur.errors import BadInputError
from secateur.logs import unlogged
from secateur.model import weighted
from secateur.progress import silent
from secateur.resume import Resume, causes
from secateur.trace import plain

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.dataset import Dataset
    from secateur.logs import Log
    from secateur.progress import Progress
    from secateur.project import Project

__all__ = ["check_fits", "train"]


def train(
    project: Project,
    dataset: Dataset | None,
    progress: Progress = silent,
    *,
    folder: Path | None = None,
    log: Log = unlogged,
) -> nn.Sequential:
    """Train the network that a project describes, or load the trained one that it names.

    Parameters
    ----------
    project : Project
    dataset : Dataset, optional
        Where there is none, the network has its initial weights.
    progress : callable
        Told after every epoch.
    folder : Path, optional
        Keeps the state after every epoch; a run that finds one goes on from there.
    log : callable
        Given the loss and the watched accuracy of every epoch.

    Returns
    -------
    nn.Sequential
        Plain; see :func:`secateur.trace.plain`.

    Raises
    ------
    BadInputError
        If the project's checkpoint cannot be used with ``dataset``, training diverges, or the
        folder holds the state of another run.
    """
    if project.checkpoint is not None:
        module = checkpoint.load(project.checkpoint).module
        check_fits(module, dataset)
        return module
    if dataset is None and project.train.epochs:
        raise BadInputError(
            f'train.epochs must be 0 where data.name is "none", not {project.train.epochs}; '
            "give 0 for the network's initial weights, or name a set of examples"
        )
    generator = torch.Generator().manual_seed(project.seed)
    shape, classes = ((), 0) if dataset is None else (dataset.shape, dataset.classes)
    module = architectures.build(project.network, shape, classes, generator)
    if dataset is not None:
        check_fits(module, dataset)
        sections = ("seed", "data", "network", "train")
        descend(
            module,
            dataset,
            project.train,
            epochs=project.train.epochs,
            learning_rate=project.train.learning_rate,
            generator=generator,
            progress=progress,
            log=log,
            resume=Resume(folder, lambda: causes(project, sections, module, dataset)),
        )
    return module


def check_fits(module: nn.Module, dataset: Dataset | None) -> None:
    """Refuse a module whose inputs or outputs are not those of ``dataset``."""
    if dataset is None:
        return
    given = plain(module).eval()
    try:
        with torch.no_grad():
            fits = given(torch.zeros(1, *dataset.shape)).shape == (1, dataset.classes)
    except RuntimeError:
        fits = False
    if not fits:
        (first, head), *_, (last, tail) = [*weighted(given).items()] * 2
        shape = " x ".join(map(str, dataset.shape))
        raise BadInputError(
            f"the model must take the {shape} inputs of {dataset.name!r} and give its "
            f"{dataset.classes} classes, but its first layer, {first!r}, takes {_takes(head)} and "
            f"its last, {last!r}, gives {tail.weight.shape[0]}; give a model that was trained on it"
        )


def _takes(layer: nn.Linear | nn.Conv2d) -> str:
    if isinstance(layer, nn.Linear):
        return str(layer.in_features)
    return f"{layer.in_channels} channels"
