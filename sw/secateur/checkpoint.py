"""The file of a float model: safetensors, with its layers as JSON in the metadata."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import ConfigDict
from torch import nn

from secateur import leaf
from secateur.artefact import ArrayFile
from secateur.chain import check
from secateur.errors import BadInputError
from secateur.schema import parse
from secateur.trace import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Checkpoint", "load", "save"]

#: The model's file. Version 1 knew fully connected layers only.
FILE = ArrayFile(kind="model", version=2, maker="`secateur train` or `secateur prune`")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a model's file holds.

    Parameters
    ----------
    module : nn.Sequential
        Plain; see :func:`secateur.trace.plain`.
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
    found = plain(module, copy=False)
    layers = [
        {"name": name, "layer": leaf.spec(name, part, type(part)).model_dump(mode="json")}
        for name, part in found.named_children()
    ]
    arrays = {name: tensor.detach().numpy() for name, tensor in found.named_parameters()}
    FILE.write(path, {"layers": layers}, arrays)


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
        layers = OrderedDict((layer.name, _layer(layer, arrays)) for layer in model.layers)
        if len(layers) != len(model.layers):
            raise BadInputError("layers must have different names")
        module = nn.Sequential(layers)
        check(module)
        return Checkpoint(module)
    except (KeyError, BadInputError) as error:
        raise FILE.damaged(path, error) from None


@dataclass(frozen=True, kw_only=True)
class _Layer:
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    name: str
    layer: leaf.AnySpec


@dataclass(frozen=True, kw_only=True)
class _Model:
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    layers: tuple[_Layer, ...]


def _layer(described: _Layer, arrays: Mapping[str, NDArray]) -> nn.Module:
    given: list[Tensor] = []
    bias = getattr(described.layer, "bias", None)  # None: a layer without weights
    for kind in ("weight", "bias")[: 0 if bias is None else 1 + bias]:
        array = arrays[f"{described.name}.{kind}"]
        if array.dtype != np.float32:
            raise BadInputError(
                f"layer {described.name!r}: {kind} must be float32, not {array.dtype}"
            )
        given.append(torch.from_numpy(array))
    try:
        return leaf.make(described.layer, *given)
    except BadInputError as error:
        raise BadInputError(f"layer {described.name!r}: {error}") from None
