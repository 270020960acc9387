"""The file of a float model: safetensors, with its architecture as JSON in the metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from secateur.artefact import ArrayFile
from secateur.model import DenseLayer, dense_layers, sequential

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

__all__ = ["Checkpoint", "load", "save"]

#: The model's file.
FILE = ArrayFile(kind="model", version=1, maker="`secateur train` or `secateur prune`")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model and what its maker wrote down beside it.

    Parameters
    ----------
    module : nn.Sequential
        Linear and ReLU only.
    facts : dict
        JSON values, such as the settings that the model was made with.
    """

    module: nn.Sequential
    facts: dict[str, Any]


def save(module: nn.Module, path: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a supported module, its pruning masks made exact zeros, and ``facts`` (JSON values).

    The file appears whole or not at all.

    Raises
    ------
    BadInputError
        If the module is not supported, or the file cannot be written.
    """
    layers = dense_layers(module)
    arrays = {f"{layer.name}.weight": layer.weight.contiguous().numpy() for layer in layers}
    arrays |= {
        f"{layer.name}.bias": layer.bias.contiguous().numpy()
        for layer in layers
        if layer.bias is not None
    }
    description = {
        "layers": [
            {"name": layer.name, "bias": layer.bias is not None, "relu": layer.relu}
            for layer in layers
        ],
        "facts": dict(facts or {}),
    }
    FILE.write(path, description, arrays)


def load(path: Path) -> Checkpoint:
    """Read :func:`save`'s file.

    Raises
    ------
    BadInputError
        If the file is missing, damaged, altered, of another kind or of another version.
    """
    description, arrays = FILE.read(path)
    try:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        module = sequential(
            DenseLayer(
                name=fields["name"],
                weight=tensors[f"{fields['name']}.weight"],
                bias=tensors[f"{fields['name']}.bias"] if fields["bias"] else None,
                relu=fields["relu"],
            )
            for fields in description["layers"]
        )
        return Checkpoint(module, description["facts"])
    except (KeyError, TypeError) as error:
        raise FILE.damaged(path, error) from None
