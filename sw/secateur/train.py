"""Learning by gradient descent: the dense network, and what pruning left of one."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from secateur import checkpoint
from secateur.errors import BadInputError
from secateur.model import accuracy, build, dense_layers
from secateur.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from secateur.data import Dataset
    from secateur.progress import Progress
    from secateur.project import Project
    from secateur.settings import TrainSettings

__all__ = ["check_fits", "descend", "reproducible", "train"]


@contextmanager
def reproducible() -> Iterator[None]:
    """Compute the same on every run: one thread, since sums depend on how they are shared out."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def train(project: Project, dataset: Dataset, progress: Progress = silent) -> nn.Sequential:
    """Train the network that a project describes, or load the trained one that it names.

    Returns
    -------
    nn.Sequential
        Linear and ReLU only.

    Raises
    ------
    BadInputError
        If the project's checkpoint cannot be used with ``dataset``, or training diverges.
    """
    if project.checkpoint is not None:
        module = checkpoint.load(project.checkpoint).module
        check_fits(module, dataset)
        return module
    generator = torch.Generator().manual_seed(project.seed)
    module = build(dataset.features, project.network.hidden, dataset.classes, generator)
    descend(
        module,
        dataset,
        project.train,
        epochs=project.train.epochs,
        learning_rate=project.train.learning_rate,
        generator=generator,
        progress=progress,
    )
    return module


def check_fits(module: nn.Module, dataset: Dataset) -> None:
    """Refuse a module whose inputs or outputs are not those of ``dataset``."""
    layers = dense_layers(module)
    inputs, outputs = layers[0].weight.shape[1], layers[-1].weight.shape[0]
    if (inputs, outputs) != (dataset.features, dataset.classes):
        raise BadInputError(
            f"the model must have the {dataset.features} inputs and {dataset.classes} outputs of "
            f"{dataset.name!r}, not {inputs} and {outputs}; give a model that was trained on it"
        )


def descend(
    module: nn.Module,
    dataset: Dataset,
    settings: TrainSettings,
    *,
    epochs: int,
    learning_rate: float,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    progress: Progress = silent,
) -> None:
    """Minimise the cross-entropy on the training split, in place.

    The learning rate falls from ``learning_rate`` to zero along half a cosine.

    Parameters
    ----------
    module : nn.Module
    dataset : Dataset
        The validation split is only watched.
    settings : TrainSettings
        The optimizer and its batches.
    epochs : int
    learning_rate : float
    generator : torch.Generator
        Shuffles the examples.
    masks : mapping of str to bool[rows, columns], optional
        By parameter: where false, the parameter, which must be zero there, stays zero.
    progress : callable
        Told after every epoch.

    Raises
    ------
    BadInputError
        If the loss becomes infinite or NaN.
    """
    x = torch.from_numpy(dataset.train.x)
    labels = torch.from_numpy(dataset.train.labels)
    frozen = [(module.get_parameter(name), mask) for name, mask in (masks or {}).items()]
    optimizer = _optimizer(module, settings)
    with reproducible():
        for epoch in range(epochs):
            rate = learning_rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
            for group in optimizer.param_groups:
                group["lr"] = rate
            total = 0.0
            for batch in torch.randperm(len(x), generator=generator).split(settings.batch_size):
                optimizer.zero_grad()
                loss = F.cross_entropy(module(x[batch]), labels[batch])
                loss.backward()
                for parameter, mask in frozen:
                    # With a zero gradient the momentum, and weight decay of a zero, stay zero too.
                    assert parameter.grad is not None
                    parameter.grad.mul_(mask)
                optimizer.step()
                total += loss.item() * len(batch)
            if not math.isfinite(total):
                raise BadInputError(
                    f"training diverged in epoch {epoch + 1} at learning rate {rate:.3g}; "
                    f"lower the learning rate"
                )
            progress(
                epoch + 1,
                epochs,
                f"loss {total / len(x):.4f}, validation {accuracy(module, dataset.validation):.1%}",
            )


def _optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    parameters, decay = module.parameters(), settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=0.0, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=0.0, momentum=settings.momentum, weight_decay=decay)
