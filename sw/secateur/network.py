"""The integer network: what the hardware must compute, bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict

from secateur.artefact import ArrayFile, digest
from secateur.convolution import Convolution
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant, round_to
from secateur.layer import Layer
from secateur.schema import parse

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Layer", "Network"]

#: The network's file. Version 1 knew fully connected layers only.
FILE = ArrayFile(kind="network", version=2, maker="`secateur quantize`")


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Layers, one after the other. :meth:`compute` is the numeric definition.

    Activations between layers are flat, in PyTorch's order of channels, rows and columns, so that
    its Flatten, which comes before the first fully connected layer, changes nothing.

    Raises
    ------
    BadInputError
        If there is no layer, or consecutive layers do not fit.
    """

    name: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise BadInputError(f"network {self.name!r} must have at least one layer")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.outputs != after.inputs:
                raise BadInputError(
                    f"layer {after.name!r} must take the {before.outputs} outputs of "
                    f"{before.name!r}, not {after.inputs}"
                )
            _check_planes(before, after)
            if before.requant.output != after.input:
                raise BadInputError(
                    f"layer {after.name!r} must take {before.name!r}'s {before.requant.output}, "
                    f"not {after.input}"
                )

    @property
    def inputs(self) -> int:
        """Length of x."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Length of y."""
        return self.layers[-1].outputs

    @property
    def accumulator_width(self) -> int:
        """Bits that no accumulator of any layer leaves."""
        return max(layer.accumulator_width for layer in self.layers)

    def quantize_input(self, x: NDArray[np.floating]) -> NDArray[np.int64]:
        """Turn real inputs (float[..., inputs]) into the integers that :meth:`compute` takes.

        Rounds half up and saturates.
        """
        first = self.layers[0]
        return round_to(x, first.input_fraction, first.input)

    def activations(self, x: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Input of every layer, then the network's output: int64[..., length] each."""
        values = [x]
        for layer in self.layers:
            values.append(layer.compute(values[-1]))
        return values

    def compute(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Compute the network: int64[..., inputs] to int64[..., outputs]."""
        return self.activations(x)[-1]

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """Take the network apart: JSON values, and arrays."""
        layers = [
            {
                "name": layer.name,
                "weight_width": layer.weight_width,
                "input": [layer.input.width, layer.input.signed],
                "output": [layer.requant.output.width, layer.requant.output.signed],
                "shift": layer.requant.shift,
                "relu": layer.requant.relu,
                "codebook": None if layer.codebook is None else layer.codebook.tolist(),
                "fractions": [layer.input_fraction, layer.weight_fraction, layer.output_fraction],
                "convolution": None if layer.convolution is None else asdict(layer.convolution),
            }
            for layer in self.layers
        ]
        arrays = {}
        for index, layer in enumerate(self.layers):
            arrays[f"{index}.weights"] = np.ascontiguousarray(layer.weights, dtype=np.int32)
            arrays[f"{index}.bias"] = np.ascontiguousarray(layer.bias, dtype=np.int64)
        return {"name": self.name, "layers": layers}, arrays

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the network, in hexadecimal."""
        return digest(*self._parts())

    def save(self, path: Path) -> None:
        """Write the network's file: all of it or nothing."""
        FILE.write(path, *self._parts())

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read :meth:`save`'s file.

        Raises
        ------
        BadInputError
            If the file is missing, damaged, altered, of another kind or of another version.
        """
        description, arrays = FILE.read(path)
        try:
            return cls._from_parts(parse(_Network, json.dumps(description)), arrays)
        # A KeyError is an array that is missing, a TypeError one of numbers that are no integers,
        # an OverflowError a codebook of numbers beyond int64.
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise FILE.damaged(path, error) from None

    @classmethod
    def _from_parts(cls, text: _Network, arrays: dict[str, NDArray]) -> Network:
        layers = []
        for index, fields in enumerate(text.layers):
            formats = [
                NumberFormat(width=width, signed=signed)
                for width, signed in (fields.input, fields.output)
            ]
            codebook = fields.codebook
            layers.append(
                Layer(
                    name=fields.name,
                    weights=arrays[f"{index}.weights"].astype(np.int64, casting="safe"),
                    bias=arrays[f"{index}.bias"].astype(np.int64, casting="safe"),
                    weight_width=fields.weight_width,
                    input=formats[0],
                    requant=Requant(shift=fields.shift, output=formats[1], relu=fields.relu),
                    codebook=None if codebook is None else np.array(codebook, dtype=np.int64),
                    input_fraction=fields.fractions[0],
                    weight_fraction=fields.fractions[1],
                    output_fraction=fields.fractions[2],
                    convolution=fields.convolution,
                )
            )
        return cls(name=text.name, layers=tuple(layers))


def _check_planes(before: Layer, after: Layer) -> None:
    """Refuse a convolution that does not take the planes that the layer before gives."""
    wanted = after.convolution
    if wanted is None:
        return
    if before.convolution is None:
        raise BadInputError(
            f"layer {after.name!r}, a convolution, must come before every fully connected layer, "
            f"not after {before.name!r}"
        )
    given = (len(before.weights), *before.convolution.plane)
    planes = (wanted.channels, wanted.height, wanted.width)
    if given != planes:
        sizes = (" x ".join(map(str, size)) for size in (given, planes))
        raise BadInputError(
            f"layer {after.name!r} must take the {next(sizes)} planes of {before.name!r}, not "
            f"{next(sizes)}"
        )


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer in the file's description: formats as (width, signed), the rest as in Layer."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    weight_width: int
    input: tuple[int, bool]
    output: tuple[int, bool]
    shift: int
    relu: bool
    codebook: tuple[int, ...] | None
    fractions: tuple[int, int, int]
    convolution: Convolution | None


@dataclass(frozen=True, kw_only=True)
class _Network:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    layers: tuple[_Layer, ...]
