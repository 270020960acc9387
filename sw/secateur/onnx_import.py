"""Networks of others: an ONNX model as a module that is pruned and built like any other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from secateur.errors import BadInputError, CheckFailedError
from secateur.model import outputs, weighted
from secateur.onnx_file import read_model, read_tensor
from secateur.onnx_graph import modules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

__all__ = ["Imported", "find_test_data", "import_model"]

#: How far an output may be from the one that is expected, as a part of the largest of these: sums
#: of floats depend on their order.
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """What a file holds.

    Parameters
    ----------
    module : nn.Sequential
        Plain; see :func:`secateur.trace.plain`.
    shape : tuple of int
        Of one input.
    compared : int
        Inputs whose outputs were compared with those that came with the model.
    """

    module: nn.Sequential
    shape: tuple[int, ...]
    compared: int


def find_test_data(path: Path) -> list[tuple[Path, Path]]:
    """Find inputs and outputs as ONNX's models bring them: beside a model or in folders there."""
    folders = [path.parent, *sorted(path.parent.glob("test_data_set_*"))]
    pairs = [(folder / "input_0.pb", folder / "output_0.pb") for folder in folders]
    return [pair for pair in pairs if all(file.is_file() for file in pair)]


def import_model(
    path: Path, pairs: Sequence[tuple[Path, Path]] = (), *, scale: float = 1.0
) -> Imported:
    """Read an ONNX model, and check that it gives the outputs that it should.

    The graph must be a chain of Conv, MatMul, Gemm, Add, Mul, BatchNormalization, Relu, pooling,
    Reshape and Flatten. Sums and products of constants and BatchNormalization become part of the
    weights; padding that is not the same on both sides becomes zeros of a larger kernel.

    Parameters
    ----------
    path : Path
    pairs : sequence of (Path, Path)
        Files of inputs and of what the model gives for them.
    scale : float
        What examples are to be multiplied by to be the model's inputs, which becomes a part of the
        first layer's weights, after the check.

    Raises
    ------
    BadInputError
        If a file is damaged, or the model not supported.
    CheckFailedError
        If an output is farther from the expected one than :data:`TOLERANCE` of the largest.
    """
    if not (math.isfinite(scale) and scale):
        raise BadInputError(f"the scale must be a finite number other than 0, not {scale}")
    module, shape = modules(read_model(path), path)
    compared = sum(_compare(module, shape, *pair) for pair in pairs)
    first = next(iter(weighted(module).values()))
    with torch.no_grad():
        first.weight.mul_(scale)
    return Imported(module=module, shape=shape, compared=compared)


def _compare(module: nn.Sequential, shape: tuple[int, ...], given: Path, wanted: Path) -> int:
    """Compare outputs with those of a file, and count the inputs."""
    x, want = (read_tensor(file).astype(np.float64) for file in (given, wanted))
    if x.shape[1:] != shape or not x.size:
        sizes = (" x ".join(map(str, size)) for size in (shape, x.shape))
        raise BadInputError(
            f"{given} must hold inputs of {next(sizes)}, one or more, not {next(sizes)}"
        )
    got = outputs(module, x.astype(np.float32))
    if want.shape != got.shape:
        raise BadInputError(
            f"{wanted} must hold {' x '.join(map(str, got.shape))} outputs, one row for each "
            f"input, not {' x '.join(map(str, want.shape))}"
        )
    apart, largest = np.abs(got - want).max(), np.abs(want).max()
    if not apart <= TOLERANCE * largest:  # nor NaN
        raise CheckFailedError(
            f"the outputs differ from {wanted} by up to {apart:.3g}, and {TOLERANCE:g} of the "
            f"largest, {largest:.3g}, is the most; the model is not read rightly, or the file is "
            f"another one's"
        )
    return len(x)
