"""An integer network as a module that learns: its forward is exact, its gradient passes rounding.

Y. Bengio, N. Leonard, A. Courville, "Estimating or Propagating Gradients Through Stochastic Neurons
for Conditional Computation", 2013 (arXiv 1308.3432); B. Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.engine import RANGES
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat

if TYPE_CHECKING:
    from secateur.convolution import Convolution
    from secateur.network import Layer, Network

__all__ = ["IntegerNetwork"]

#: Integers of this many bits, and a half added to them, are exact in float32.
EXACT_WIDTH = 24
#: Bits after the binary point, of either sign, with which no product leaves float32's range.
EXACT_FRACTION = 40
#: How far a parameter may be beyond its bound and still learn: it is the quotient of a product, and
#: rounded, so that it may be farther than the integer that it stands for.
SLACK = 2.0**-10


class _Round(torch.autograd.Function):
    """Round half up and saturate; the gradient is that of the saturation alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, target: NumberFormat, slack: float) -> Tensor:
        rounded = torch.floor(values + 0.5).clamp_(target.lowest, target.highest)
        inside = (values >= target.lowest - slack) & (values <= target.highest + slack)
        ctx.save_for_backward(inside)
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


class _Share(torch.autograd.Function):
    """Put shared values where they belong; each value's gradient is the sum of its weights'.

    Deep Compression, section 3.3.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, codes: Tensor, places: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(codes, places)
        ctx.count = len(values)
        return values.new_zeros(size).index_copy_(0, places, values[codes])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        codes, places = ctx.saved_tensors
        summed = gradients[0].new_zeros(ctx.count).index_add_(0, codes, gradients[0][places])
        return summed, None, None, None


def _round(values: Tensor, target: NumberFormat, slack: float = 0.0) -> Tensor:
    return cast("Tensor", _Round.apply(values, target, slack))


class _IntegerLayer(nn.Module):
    """A layer: integers in, integers out, with real parameters behind them."""

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer
        self.weight_format = NumberFormat(width=layer.weight_width, signed=True)
        widest = EXACT_WIDTH if dtype == torch.float32 else RANGES["accumulator_width"][1]
        self.bias_format = NumberFormat(width=widest, signed=True)
        # Python floats: of any fraction.
        self.weight_scale = 2.0**layer.weight_fraction
        self.bias_scale = 2.0 ** (layer.weight_fraction + layer.input_fraction)
        self.bias = nn.Parameter(torch.from_numpy(layer.bias / self.bias_scale).to(dtype))
        flat = layer.weights.ravel()
        self.places: Tensor
        self.codes: Tensor
        self.sizes: Tensor
        self.register_buffer("places", torch.from_numpy(np.flatnonzero(flat)))
        survivors = flat[flat != 0]
        if layer.codebook is None:
            values, codes = survivors, np.arange(len(survivors))
        else:
            values, codes = np.unique(survivors, return_inverse=True)
        self.register_buffer("codes", torch.from_numpy(codes))
        # The step of a shared value is that of its weights when each moves by their mean, at one
        # learning rate for all: the parameter is the value times the root of how many share it.
        self.register_buffer("sizes", torch.from_numpy(np.sqrt(np.bincount(codes))).to(dtype))
        scaled = torch.from_numpy(values / self.weight_scale).to(dtype)
        self.values = nn.Parameter(scaled * self.sizes)

    def integers(self) -> tuple[Tensor, Tensor]:
        """Weights [rows, columns] and biases [rows] as the integers that they are rounded to."""
        values = _round(self.values / self.sizes * self.weight_scale, self.weight_format, SLACK)
        shape = self.layer.weights.shape
        weights = _Share.apply(values, self.codes, self.places, shape[0] * shape[1])
        return (
            cast("Tensor", weights).view(shape),
            _round(self.bias * self.bias_scale, self.bias_format),
        )

    def forward(self, x: Tensor) -> Tensor:
        requant = self.layer.requant
        target = requant.output
        if requant.relu and target.signed:
            target = NumberFormat(width=target.width - 1, signed=False)
        weights, biases = self.integers()
        conv = self.layer.convolution
        if conv is None:
            return _round(F.linear(x, weights, biases) * 0.5**requant.shift, target)
        y = _round(_convolve(conv, x, weights, biases) * 0.5**requant.shift, target)
        if conv.pool is not None and conv.pool.kind == "max":
            y = F.max_pool2d(y, conv.pool.size)
        elif conv.pool is not None:
            y = _round(F.avg_pool2d(y, conv.pool.size), target)
        return y.flatten(1)

    def read(self) -> Layer:
        """Give the integer layer as the parameters are now."""
        with torch.no_grad():
            weights, biases = (part.cpu().numpy().astype(np.int64) for part in self.integers())
        codebook = None if self.layer.codebook is None else np.unique(np.append(weights, 0))
        return replace(self.layer, weights=weights, bias=biases, codebook=codebook)


def _convolve(conv: Convolution, x: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """Give the sums of a convolution, float[n, rows, y, x].

    By a matrix product, which is exact for integers: torch's conv2d may transform its operands
    first (S. Winograd's algorithm), or round them (TF32).
    """
    planes = x.view(len(x), conv.channels, conv.height, conv.width)
    seen = F.unfold(planes, conv.kernel, padding=conv.padding, stride=conv.stride)
    by_group = weights.view(conv.groups, -1, conv.columns)
    sums = by_group @ seen.view(len(x), conv.groups, conv.columns, -1)
    return (sums.view(len(x), len(weights), -1) + biases[:, None]).view(
        len(x), len(weights), *conv.positions
    )


class IntegerNetwork(nn.Sequential):
    """A module that computes what an integer network computes, and learns.

    Its parameters are real numbers: the biases, and the different values of each layer's weights,
    all that are not zero where there is no codebook. The forward rounds and saturates them as
    quantisation does, and computes with the integers that result, exactly: in float32 while no
    accumulator needs more than 24 bits when it is made, else in float64. Backward, rounding is
    taken for the identity (the straight-through estimator) and what saturates learns nothing.
    Which weights share a value stays as it is, zeros stay zero, and so do all scales.

    Parameters
    ----------
    network : Network
        Where learning begins.

    Raises
    ------
    BadInputError
        If two layers have the same name.

    Examples
    --------
    >>> from secateur.fixed import Requant
    >>> from secateur.network import Layer, Network
    >>> layer = Layer(name="fc", weights=np.array([[1, 0], [-2, 3]]), bias=np.array([4, 0]),
    ...               weight_width=3, input=NumberFormat(width=4, signed=True), output_fraction=1,
    ...               requant=Requant(shift=1, output=NumberFormat(width=4, signed=False),
    ...                               relu=True))
    >>> module = IntegerNetwork(Network(name="small", layers=(layer,)))
    >>> module(torch.tensor([[2.0, 7.0], [7.0, -8.0]])).tolist()
    [[1.5, 4.5], [3.0, 0.0]]
    >>> module.read().layers[0].weights.tolist()
    [[1, 0], [-2, 3]]
    """

    def __init__(self, network: Network) -> None:
        fractions = [
            abs(fraction)
            for layer in network.layers
            for fraction in (layer.input_fraction, layer.weight_fraction, layer.output_fraction)
        ]
        exact = network.accumulator_width <= EXACT_WIDTH and max(fractions) <= EXACT_FRACTION
        dtype = torch.float32 if exact else torch.float64
        # A module's name may not hold a dot.
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            (layer.name.replace(".", "/"), _IntegerLayer(layer, dtype)) for layer in network.layers
        )
        if len(layers) != len(network.layers):
            raise BadInputError(
                f"network {network.name!r} must have layers of different names to be retrained; "
                f"rename one"
            )
        super().__init__(layers)
        self.network, self.dtype = network, dtype

    def forward(self, input: Tensor) -> Tensor:
        """Compute the network: float[n, ...] to float[n, outputs], in real units."""
        first, last = self.network.layers[0], self.network.layers[-1]
        # In float64, as `Network.quantize_input`: half a step is added before rounding down.
        x = _round(input.flatten(1).double() * 2.0**first.input_fraction, first.input)
        return super().forward(x.to(self.dtype)) * 2.0**-last.output_fraction

    def read(self) -> Network:
        """Give the integer network as the parameters are now."""
        layers = (cast("_IntegerLayer", layer).read() for layer in self)
        return replace(self.network, layers=tuple(layers))
