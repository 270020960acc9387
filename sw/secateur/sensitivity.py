"""How sensitive each layer is to pruning: its accuracy curve, and the densities that follow.

Han et al. 2015, section 5: each layer is pruned alone, at many densities and without retraining,
and what the network then gets right shows how much that layer can spare.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from secateur.errors import BadInputError
from secateur.masking import cut
from secateur.model import BATCH, weighted
from secateur.progress import silent
from secateur.repeatable import placed, reproducible
from secateur.results import Sensitivity
from secateur.schema import parse
from secateur.summary import percent
from secateur.threshold import by_density
from secateur.trace import evaluating, plain
from secateur.train import check_fits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from secateur.dataset import Dataset, Split
    from secateur.progress import Progress

__all__ = ["DENSITIES", "choose", "read", "sensitivity", "tabulate"]

#: Densities that are tried, from 0.75 to 0.01: eight for each factor of ten.
DENSITIES = tuple(10 ** (-step / 8) for step in range(1, 17))


def sensitivity(
    module: nn.Module,
    dataset: Dataset | None,
    progress: Progress = silent,
    *,
    densities: Sequence[float] = DENSITIES,
) -> dict[str, Any]:
    """Measure the accuracy on the watched split with one layer pruned, for every layer in turn.

    Of the layer the weights of largest magnitude are kept; all other layers are as they are, and
    nothing is retrained. What comes before the layer is computed once for all its densities.

    Parameters
    ----------
    module : nn.Module
        Any supported module, which may have zeros already; it is left as it is.
    dataset : Dataset, optional
        Where there are no examples, nothing is measured.
    progress : callable
        Told after every accuracy.
    densities : sequence of float
        To try, between 0 and 1; those that a layer is below, or that would leave it without
        weights, are left out.

    Returns
    -------
    dict
        JSON values: ``accuracy`` (of ``module``, 0 to 1, or None), ``split`` ("validation" or
        "train"), ``examples``, and ``layers``, in order, each with its ``name``, its number of
        ``weights``, its ``densities``, the first of which is the one that it has, and the
        ``accuracies`` that belong to them.

    Raises
    ------
    BadInputError
        If the module is not supported, or does not fit ``dataset``.
    """
    if dataset is None:
        return {"accuracy": None, "split": None, "examples": 0, "layers": []}
    check_fits(module, dataset)
    given = plain(module)
    layers, split = weighted(given), dataset.watched
    parts = [*given.children()]
    curves: list[dict[str, Any]] = []
    steps = sum(len(_tried(layer.weight, densities)) for layer in layers.values())
    with (
        reproducible(),
        evaluating(given),
        torch.no_grad(),
        placed(given) as (device, memory_format),
    ):
        batches = [
            part.to(device).contiguous(memory_format=memory_format)
            for part in torch.from_numpy(np.ascontiguousarray(split.x)).split(BATCH)
        ]
        whole = _accuracy(given, batches, split)
        for index, (name, part) in enumerate(given.named_children()):
            if name in layers:
                weight = layers[name].weight
                found, dense = [whole], weight.clone()
                tried = _tried(weight, densities)
                for density in tried:
                    cut(part, by_density({"weight": weight}, {"weight": density}))
                    found.append(_accuracy(nn.Sequential(*parts[index:]), batches, split))
                    done = sum(len(curve["densities"]) - 1 for curve in curves) + len(found) - 1
                    progress(done, steps, f"{name} at {density:.1%}: {found[-1]:.1%}")
                weight.copy_(dense)
                own = int(weight.count_nonzero()) / weight.numel()
                curves.append({
                    "name": name,
                    "weights": weight.numel(),
                    "densities": [own, *tried],
                    "accuracies": found,
                })
            batches = [part(batch) for batch in batches]
    return {
        "accuracy": whole,
        "split": "validation" if len(dataset.validation) else "train",
        "examples": len(split),
        "layers": curves,
    }


def choose(scan: Mapping[str, Any], loss: float, names: Sequence[str] = ()) -> dict[str, float]:
    """Choose for each layer the least density with which, alone, it costs no more than a loss.

    From the layer's own density down, the last one is sought before the accuracy first falls below
    that of the network less ``loss``. Between it and the next one the logarithm of the density is
    interpolated linearly in the accuracy.

    Parameters
    ----------
    scan : mapping
        What :func:`sensitivity` returned.
    loss : float
        Of accuracy, 0 to 1: 0.01 is one point.
    names : sequence of str, optional
        The layers that the scan must be of.

    Returns
    -------
    dict of str to float
        Density by layer.

    Raises
    ------
    BadInputError
        If nothing was measured, or other layers were.

    Examples
    --------
    >>> layer = {"name": "fc", "densities": [1.0, 0.1, 0.01], "accuracies": [0.9, 0.9, 0.5]}
    >>> scan = {"accuracy": 0.9, "layers": [layer]}
    >>> f"{choose(scan, 0.2)['fc']:.5f}"
    '0.03162'
    """
    if scan["accuracy"] is None:
        raise BadInputError(
            "prune.loss needs a sensitivity scan with examples, and this one had none; name a set "
            "of examples, or give prune.density"
        )
    found = [layer["name"] for layer in scan["layers"]]
    if names and found != [*names]:
        raise BadInputError(
            f"the sensitivity scan must be of the model's layers, {[*names]}, not {found}; run "
            "`secateur sensitivity` again"
        )
    least = scan["accuracy"] - loss
    return {layer["name"]: _reaching(layer, least) for layer in scan["layers"]}


def read(path: Path, model: str | None = None) -> dict[str, Any]:
    """Read a scan from its file.

    Parameters
    ----------
    path : Path
    model : str, optional
        SHA-256 of the file of the model that it must be of.

    Raises
    ------
    BadInputError
        If the file is damaged, or of another model.
    """
    try:
        scan = parse(Sensitivity, path.read_bytes())
    except (OSError, BadInputError) as error:
        raise BadInputError(
            f"{path} is damaged ({error}); make it again with `secateur sensitivity`"
        ) from None
    if model is not None and scan.digests.get("model.safetensors") != model:
        raise BadInputError(
            f"{path} is of another model; make it again with `secateur sensitivity`"
        )
    return scan.model_dump()


def tabulate(scan: Mapping[str, Any]) -> Table:
    """Make a table of a scan for a terminal: a line for each density, a column for each layer."""
    layers = scan["layers"]
    if not layers:
        return Table("no examples to measure with")
    of = f"accuracy on {scan['examples']:,} {scan['split']} examples, only this layer pruned"
    table = Table("weights left", title=of, title_justify="left")
    curves = [
        dict(zip(each["densities"][1:], each["accuracies"][1:], strict=True)) for each in layers
    ]
    for layer in layers:
        table.add_column(layer["name"], justify="right")
    table.add_row("as they are", *(percent(scan["accuracy"]) for _ in layers))
    for density in sorted({key for curve in curves for key in curve}, reverse=True):
        table.add_row(percent(density), *(percent(curve.get(density)) for curve in curves))
    return table


def _tried(weight: Tensor, densities: Sequence[float]) -> list[float]:
    """Give, descending, the densities that leave a layer less than it has, more than nothing."""
    left, size = int(weight.count_nonzero()), weight.numel()
    return [each for each in sorted(densities, reverse=True) if 1 <= round(each * size) < left]


def _accuracy(module: nn.Module, batches: Sequence[Tensor], split: Split) -> float:
    return split.accuracy(torch.cat([module(batch).cpu() for batch in batches]).numpy())


def _reaching(layer: Mapping[str, Any], least: float) -> float:
    """Give the density at which a layer's curve first falls to an accuracy; its last one if not."""
    points = [*zip(layer["densities"], layer["accuracies"], strict=True)]
    for (density, accuracy), (lower, worse) in pairwise(points):
        if worse < least:
            part = (accuracy - least) / (accuracy - worse)
            return math.exp(math.log(density) * (1 - part) + math.log(lower) * part)
    return points[-1][0]
