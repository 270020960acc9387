"""The file of a float model: safetensors, with its architecture as JSON in the metadata."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from secateur.errors import BadInputError
from secateur.model import DenseLayer, dense_layers, sequential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ["CHECKPOINT_VERSION", "Checkpoint", "load", "save"]

#: Version of the model file.
CHECKPOINT_VERSION = 1

_AGAIN = "make it again with `secateur train` or `secateur prune`"


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
    tensors = {f"{layer.name}.weight": layer.weight.contiguous() for layer in layers}
    tensors |= {f"{la.name}.bias": la.bias.contiguous() for la in layers if la.bias is not None}
    description = {
        "version": CHECKPOINT_VERSION,
        "layers": [
            {"name": layer.name, "bias": layer.bias is not None, "relu": layer.relu}
            for layer in layers
        ],
        "facts": dict(facts or {}),
    }
    description["digest"] = _digest(description, tensors)
    # One key only: safetensors writes several in an order that differs from run to run.
    metadata = {"secateur.model": json.dumps(description, sort_keys=True)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(serialize(tensors, metadata))
        temporary.replace(path)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written ({error.strerror}); give another path"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Checkpoint:
    """Read :func:`save`'s file.

    Raises
    ------
    BadInputError
        If the file is missing, damaged, altered, of another kind or of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInputError(f"{path} does not exist; make it with `secateur train`") from None
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path} is not a readable model ({error}); {_AGAIN}") from None
    if "secateur.model" not in metadata:
        raise BadInputError(
            f"{path} is not a model; give the file that `secateur train` or `secateur prune` writes"
        )
    try:
        description = json.loads(metadata["secateur.model"])
        version = description["version"]
        if version != CHECKPOINT_VERSION:
            raise BadInputError(
                f"{path} has version {version!r} and this Secateur reads {CHECKPOINT_VERSION}; "
                f"update Secateur or make the file again"
            )
        # Before anything is built: what an altered file describes need not make a model.
        if description.pop("digest") != _digest(description, tensors):
            raise BadInputError(f"{path} was altered after it was written; {_AGAIN}")
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
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadInputError(f"{path} is damaged ({error!r}); {_AGAIN}") from None


def _digest(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
