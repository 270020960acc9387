"""The file of a float model: safetensors, with its architecture as JSON in the metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import ConfigDict

from secateur.artefact import ArrayFile
from secateur.errors import BadInputError
from secateur.model import DenseLayer, dense_layers, sequential
from secateur.schema import parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

__all__ = ["Checkpoint", "load", "save"]

#: The model's file.
FILE = ArrayFile(kind="model", version=1, maker="`secateur train` or `secateur prune`")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a model's file holds.

    Parameters
    ----------
    module : nn.Sequential
        Linear and ReLU only.
    """

    module: nn.Sequential


def save(module: nn.Module, path: Path) -> None:
    """Write a supported module, its pruning masks made exact zeros.

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
        ]
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
        model = parse(_Model, json.dumps(description))
        module = sequential(_layer(fields, arrays) for fields in model.layers)
        # Layers that do not fit each other, or of the same name, are seen here.
        if len(dense_layers(module)) != len(model.layers):
            raise BadInputError("layers must have different names")
        return Checkpoint(module)
    except (KeyError, BadInputError) as error:
        raise FILE.damaged(path, error) from None


@dataclass(frozen=True, kw_only=True)
class _Layer:
    __pydantic_config__ = ConfigDict(strict=True)

    name: str
    bias: bool
    relu: bool


@dataclass(frozen=True, kw_only=True)
class _Model:
    __pydantic_config__ = ConfigDict(strict=True)

    layers: tuple[_Layer, ...]


def _layer(fields: _Layer, arrays: Mapping[str, NDArray]) -> DenseLayer:
    weight = arrays[f"{fields.name}.weight"]
    bias = arrays[f"{fields.name}.bias"] if fields.bias else np.zeros(weight.shape[:1], np.float32)
    if weight.ndim != 2 or not weight.size or bias.shape != weight.shape[:1]:
        raise BadInputError(
            f"layer {fields.name!r}: weights must be [rows, columns], at least one of each, with "
            f"one bias a row, not {weight.shape} and {bias.shape}"
        )
    if {weight.dtype, bias.dtype} != {np.dtype(np.float32)}:
        raise BadInputError(
            f"layer {fields.name!r}: weights and biases must be float32, not {weight.dtype} and "
            f"{bias.dtype}"
        )
    return DenseLayer(
        name=fields.name,
        weight=torch.from_numpy(weight),
        bias=torch.from_numpy(bias) if fields.bias else None,
        relu=fields.relu,
    )
