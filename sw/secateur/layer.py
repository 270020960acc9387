"""A layer in integers: its weights, its number formats, and what it computes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.convolution import BATCH
from secateur.engine import RANGES
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant, signed_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.convolution import Convolution

__all__ = ["Layer"]

#: Bits of a weight or an activation at most, and after the binary point, of either sign.
MOST_WIDTH, MOST_FRACTION = RANGES["weight_width"][1], 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A fully connected layer or a convolution in integers.

    Real values are ``integer * 2**-fraction``; the fractions scale inputs and outputs for people
    and decide no bit.

    Parameters
    ----------
    name : str
        The layer's name in the model.
    weights : int64[rows, columns]
        Each representable in ``weight_width`` bits, two's complement. Of a convolution, a row is an
        output channel, and its columns are those of :meth:`Convolution.windows`: PyTorch's weight
        ``[rows, channels / groups, y, x]``, flattened.
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
    convolution : Convolution, optional
        Where the rows of weights are applied; none for a fully connected layer.

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
    convolution: Convolution | None = None

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
        if self.convolution is not None:
            self._check_convolution(self.convolution)
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

    def _check_convolution(self, convolution: Convolution) -> None:
        rows, columns = self.weights.shape
        if columns != convolution.columns:
            raise BadInputError(
                f"layer {self.name!r}: rows must have the {convolution.columns} weights of a "
                f"kernel, not {columns}"
            )
        if rows % convolution.groups:
            raise BadInputError(
                f"layer {self.name!r}: groups must divide the {rows} rows, not be "
                f"{convolution.groups}"
            )
        try:
            convolution.check_size("output", (rows, *convolution.positions))
        except ValueError as error:
            raise BadInputError(f"layer {self.name!r}: {error}") from None

    @property
    def inputs(self) -> int:
        """Activations of the input."""
        if self.convolution is not None:
            return self.convolution.inputs
        return self.weights.shape[1]

    @property
    def outputs(self) -> int:
        """Activations of the output."""
        if self.convolution is not None:
            return len(self.weights) * math.prod(self.convolution.plane)
        return len(self.weights)

    @property
    def code_width(self) -> int:
        """Bits of the index of a weight in the codebook, or of a direct weight."""
        if self.codebook is None:
            return self.weight_width
        return (len(self.codebook) - 1).bit_length()

    @property
    def accumulator_width(self) -> int:
        """Bits that no partial sum of any input leaves, in any order, with and without the bias."""
        # Where a kernel stands on padding, its sum is a partial one.
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

        A sum is that of a row's weights by what they see, and its bias. It is requantised, and a
        convolution's result then pooled.

        Parameters
        ----------
        x : int64[..., inputs]
            Each representable in ``input``.

        Returns
        -------
        int64[..., outputs]

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
        if x.shape[-1:] != (self.inputs,):
            raise BadInputError(
                f"layer {self.name!r}: x must be [..., {self.inputs}], not {x.shape}"
            )
        if not self.input.holds(x):
            raise BadInputError(
                f"layer {self.name!r}: x must be from {self.input.lowest} to "
                f"{self.input.highest}, not from {x.min()} to {x.max()}"
            )
        if self.convolution is None:
            return self.requant.compute(x @ self.weights.T + self.bias)
        flat = x.reshape(-1, self.inputs)
        y = np.empty((len(flat), self.outputs), dtype=np.int64)
        seen = self.convolution.columns * math.prod(self.convolution.positions)
        step = max(1, BATCH // (seen * self.convolution.groups))
        for at in range(0, len(flat), step):
            part = slice(at, at + step)
            y[part] = self._convolve(self.convolution, flat[part])
        return y.reshape(*x.shape[:-1], self.outputs)

    def _convolve(self, convolution: Convolution, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Compute a convolution: int64[n, inputs] to int64[n, outputs]."""
        y = self.requant.compute(convolution.sums(x, self.weights) + self.bias[:, None, None])
        if convolution.pool is not None:
            y = convolution.pool.compute(y)
        return y.reshape(len(x), -1)
