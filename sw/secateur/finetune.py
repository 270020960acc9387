"""Retraining an integer network: rounding is part of what learning sees.

S. Han, H. Mao, W. J. Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning,
Trained Quantization and Huffman Coding", ICLR 2016, section 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from secateur.descent import descend
from secateur.logs import unlogged
from secateur.progress import silent
from secateur.quantize import check_accumulators
from secateur.resume import Resume, causes
from secateur.straight_through import IntegerNetwork

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.dataset import Dataset
    from secateur.logs import Log
    from secateur.network import Network
    from secateur.progress import Progress
    from secateur.project import Project

__all__ = ["finetune"]

#: Part of training's learning rate where the project gives none.
LEARNING_RATE = 0.1


def finetune(
    network: Network,
    project: Project,
    dataset: Dataset,
    progress: Progress = silent,
    *,
    folder: Path | None = None,
    log: Log = unlogged,
) -> Network:
    """Retrain an integer network's biases and codebooks, or its weights where it has none.

    It learns for ``project.quantize.epochs`` epochs as :class:`IntegerNetwork`, with the optimizer
    of ``project.train``. Removed connections stay removed, each weight keeps its code, and no
    scale changes. Equal inputs give equal networks.

    Parameters
    ----------
    network : Network
        Left as it is.
    project : Project
        Its ``seed`` shuffles the examples.
    dataset : Dataset
    progress : callable
        Told after every epoch.
    folder : Path, optional
        Keeps the state after every epoch; a run that finds one goes on from there.
    log : callable
        Given the loss and the watched accuracy of every epoch.

    Returns
    -------
    Network
        ``network`` itself where there is no epoch.

    Raises
    ------
    BadInputError
        If learning diverges, a layer has no weight left or needs wider accumulators than the
        engine can have, or the folder holds the state of another run.
    """
    settings = project.quantize
    if not settings.epochs:
        return network
    module = IntegerNetwork(network)
    rate = settings.learning_rate
    descend(
        module,
        dataset,
        # bfloat16 has fewer bits than the integers.
        project.train.model_copy(update={"precision": "float32"}),
        epochs=settings.epochs,
        learning_rate=project.train.learning_rate * LEARNING_RATE if rate is None else rate,
        generator=torch.Generator().manual_seed(project.seed),
        progress=progress,
        log=log,
        resume=Resume(
            folder,
            lambda: {
                **causes(project, ("seed", "data", "train", "quantize"), module, dataset),
                "network": network.digest,
            },
        ),
    )
    tuned = module.read()
    for layer in tuned.layers:
        check_accumulators(layer)
    return tuned
