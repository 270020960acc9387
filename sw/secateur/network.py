"""The integer network: what the hardware must compute, bit for bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict

from secateur.artefact import ArrayFile, digest
from secateur.engine import RANGES
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant, round_to, signed_width
from secateur.schema import parse

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Layer", "Network"]

#: Bits of a weight or an activation at most, and after the binary point, of either sign.
MOST_WIDTH, MOST_FRACTION = RANGES["weight_width"][1], 1000
#: The network's file.
FILE = ArrayFile(kind="network", version=1, maker="`secateur quantize`")


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A fully connected layer in integers.

    Real values are ``integer * 2**-fraction``; the fractions scale inputs and outputs for people
    and decide no bit.

    Parameters
    ----------
    name : str
        The layer's name in the model.
    weights : int64[rows, columns]
        Each representable in ``weight_width`` bits, two's complement.
    bias : int64[rows]
        In the accumulator's scale.
    weight_width : int
        Bits of a weight.
    input : NumberFormat
        Format of the layer's input.
    requant : Requant
        From accumulator to output.
    codebook : int64[values], optional
        Ascending values that the weights are drawn from, zero among them; none for direct weights.
    input_fraction, weight_fraction, output_fraction : int
        Bits after the binary point.

    Raises
    ------
    BadInputError
        If the arrays do not fit each other or their formats, or no weight is left.
    """

    name: str
    weights: NDArray[np.int64]
    bias: NDArray[np.int64]
    weight_width: int
    input: NumberFormat
    requant: Requant
    codebook: NDArray[np.int64] | None = None
    input_fraction: int = 0
    weight_fraction: int = 0
    output_fraction: int = 0

    def __post_init__(self) -> None:
        arrays = {"weights": self.weights, "bias": self.bias, "codebook": self.codebook}
        for key, array in arrays.items():
            if array is not None and array.dtype != np.int64:
                raise BadInputError(f"layer {self.name!r}: {key} must be int64, not {array.dtype}")
        widths = (self.weight_width, self.input.width, self.requant.output.width)
        fractions = (self.input_fraction, self.weight_fraction, self.output_fraction)
        if max(widths) > MOST_WIDTH or max(map(abs, fractions)) > MOST_FRACTION:
            raise BadInputError(
                f"layer {self.name!r}: widths must be at most {MOST_WIDTH} and fractions within "
                f"{MOST_FRACTION}, not {widths} and {fractions}"
            )
        if self.weights.ndim != 2 or self.bias.shape != self.weights.shape[:1]:
            raise BadInputError(
                f"layer {self.name!r}: weights must be [rows, columns] with one bias a row, "
                f"not {self.weights.shape} and {self.bias.shape}"
            )
        if not np.any(self.weights):
            raise BadInputError(f"layer {self.name!r} has no weight left; prune it less")
        values = NumberFormat(width=self.weight_width, signed=True)
        if not values.holds(self.weights):
            raise BadInputError(
                f"layer {self.name!r}: weights must fit in {self.weight_width} bits"
            )
        widest = RANGES["accumulator_width"][1]
        if not NumberFormat(width=widest, signed=True).holds(self.bias):
            raise BadInputError(f"layer {self.name!r}: the bias must fit in {widest} bits")
        if self.codebook is not None:
            if self.codebook.ndim != 1 or not values.holds(self.codebook):
                raise BadInputError(
                    f"layer {self.name!r}: the codebook must be a list of values of "
                    f"{self.weight_width} bits"
                )
            if 0 not in self.codebook or np.any(np.diff(self.codebook) <= 0):
                raise BadInputError(
                    f"layer {self.name!r}: the codebook must be ascending and hold 0"
                )
            if not np.isin(self.weights, self.codebook).all():
                raise BadInputError(f"layer {self.name!r}: a weight is not in the codebook")

    @property
    def code_width(self) -> int:
        """Bits of the index of a weight in the codebook, or of a direct weight."""
        if self.codebook is None:
            return self.weight_width
        return (len(self.codebook) - 1).bit_length()

    @property
    def accumulator_width(self) -> int:
        """Bits that no partial sum of any input leaves, in any order, with and without the bias."""
        # Formats reach from at most zero to at least zero: each product has a bound of either sign.
        positive = np.maximum(self.weights, 0).sum(axis=1)
        negative = np.minimum(self.weights, 0).sum(axis=1)
        lowest = positive * self.input.lowest + negative * self.input.highest
        highest = positive * self.input.highest + negative * self.input.lowest
        return signed_width(
            int((lowest + np.minimum(self.bias, 0)).min()),
            int((highest + np.maximum(self.bias, 0)).max()),
        )

    def compute(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Compute the layer.

        Parameters
        ----------
        x : int64[..., columns]
            Each representable in ``input``.

        Returns
        -------
        int64[..., rows]

        Examples
        --------
        >>> layer = Layer(name="fc", weights=np.array([[1, 0], [-2, 3]]), bias=np.array([4, 0]),
        ...               weight_width=3, input=NumberFormat(width=4, signed=True),
        ...               requant=Requant(shift=1, output=NumberFormat(width=4, signed=False),
        ...                               relu=True))
        >>> layer.compute(np.array([[2, 7], [7, -8]])).tolist()
        [[3, 9], [6, 0]]
        >>> layer.accumulator_width
        7
        """
        if x.shape[-1:] != self.weights.shape[1:]:
            raise BadInputError(
                f"layer {self.name!r}: x must be [..., {self.weights.shape[1]}], not {x.shape}"
            )
        if not self.input.holds(x):
            raise BadInputError(
                f"layer {self.name!r}: x must be from {self.input.lowest} to "
                f"{self.input.highest}, not from {x.min()} to {x.max()}"
            )
        return self.requant.compute(x @ self.weights.T + self.bias)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Fully connected layers, one after the other. :meth:`compute` is the numeric definition.

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
            if before.weights.shape[0] != after.weights.shape[1]:
                raise BadInputError(
                    f"layer {after.name!r} must take the {before.weights.shape[0]} outputs of "
                    f"{before.name!r}, not {after.weights.shape[1]}"
                )
            if before.requant.output != after.input:
                raise BadInputError(
                    f"layer {after.name!r} must take {before.name!r}'s {before.requant.output}, "
                    f"not {after.input}"
                )

    @property
    def inputs(self) -> int:
        """Length of x."""
        return self.layers[0].weights.shape[1]

    @property
    def outputs(self) -> int:
        """Length of y."""
        return self.layers[-1].weights.shape[0]

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
                )
            )
        return cls(name=text.name, layers=tuple(layers))


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer in the file's description: format as (width, signed), fractions as in Layer."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    weight_width: int
    input: tuple[int, bool]
    output: tuple[int, bool]
    shift: int
    relu: bool
    codebook: tuple[int, ...] | None
    fractions: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class _Network:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    layers: tuple[_Layer, ...]
