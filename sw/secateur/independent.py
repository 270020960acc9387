"""The integer network a second time, to check the first: nothing here is :mod:`secateur.fixed`'s.

The integers are PyTorch's, in another order of operations; the real values are float64, in which
every product and sum of a network is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.convolution import Convolution, Pool
    from secateur.network import Layer

__all__ = ["distances", "integer_layer", "most_distance", "states_scale"]


def _bounds(layer: Layer) -> tuple[int, int]:
    """Smallest and largest output, ReLU included."""
    output = layer.requant.output
    low, high = (-(2 ** (output.width - 1)), 2 ** (output.width - 1) - 1)
    if not output.signed:
        low, high = 0, 2**output.width - 1
    return (0 if layer.requant.relu else low), high


def integer_layer(layer: Layer, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compute a layer in PyTorch's int64, as ``docs/format.md`` writes it.

    ``sum = bias + Σ weight * activation``, then ``floor(sum / 2**shift + 1/2)``, saturated, and
    pooled.

    Parameters
    ----------
    layer : Layer
    x : int64[inputs, layer.inputs]

    Returns
    -------
    int64[inputs, layer.outputs]

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.

    Examples
    --------
    >>> from secateur.fixed import NumberFormat, Requant
    >>> from secateur.network import Layer
    >>> nibble = NumberFormat(width=4, signed=True)
    >>> layer = Layer(name="fc", weights=np.array([[1], [-3]]), bias=np.array([0, 2]),
    ...               weight_width=3, input=nibble,
    ...               requant=Requant(shift=1, output=nibble, relu=False))
    >>> integer_layer(layer, np.array([[3], [-5]])).tolist()
    [[2, -3], [-2, 7]]
    """
    import torch

    values, weights, bias = map(torch.tensor, (x, layer.weights, layer.bias))
    conv = layer.convolution
    if conv is None:
        sums = values @ weights.T + bias
    else:
        planes = values.view(len(x), conv.channels, conv.height, conv.width)
        kernels = weights.view(len(weights), -1, *conv.kernel)
        sums = torch.nn.functional.conv2d(
            planes, kernels, bias, conv.stride, conv.padding, groups=conv.groups
        )
    # The half is the numerator's, so that nothing but integers is divided.
    twice = 2**layer.requant.shift
    rounded = torch.div(2 * sums + twice, 2 * twice, rounding_mode="floor")
    low, high = _bounds(layer)
    y = rounded.clamp(low, high)
    if conv is not None and conv.pool is not None:
        size = conv.pool.size
        windows = y.unfold(2, size[0], size[0]).unfold(3, size[1], size[1])
        if conv.pool.kind == "max":
            y = windows.amax(dim=(4, 5))
        else:
            count = size[0] * size[1]
            totals = 2 * windows.sum(dim=(4, 5)) + count
            y = torch.div(totals, 2 * count, rounding_mode="floor")
    return y.flatten(1).numpy()


def states_scale(layer: Layer) -> bool:
    """Tell whether a layer's fractions say what its integers stand for: their shift is its own."""
    return layer.input_fraction + layer.weight_fraction - layer.output_fraction == (
        layer.requant.shift
    )


def most_distance(layer: Layer) -> float:
    """Give the largest of :func:`distances` that is no fault, in steps of the output.

    Half a step for requantisation, which the largest of several values does not add to, and half a
    step for an average.
    """
    pool = None if layer.convolution is None else layer.convolution.pool
    return 1.0 if pool is not None and pool.kind == "average" else 0.5


def distances(layer: Layer, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure how far a layer's outputs are from real arithmetic, in steps of the output.

    A step is ``2**-output_fraction``. With ``real`` the layer's output for the real values of its
    input, weights and biases, after ReLU, cut to the output's range and pooled, every distance
    ``|y * step - real| / step`` is at most :func:`most_distance`: rounding moves a value by half a
    step, and what is cut is on the same bound in both. Accumulators have at most 48 bits, so that
    float64 adds nothing of its own and the bound needs no tolerance; an average over more than 32
    values may need more bits, if a sum before it needs all of these.

    Parameters
    ----------
    layer : Layer
        Of which :func:`states_scale` holds.
    x : int64[inputs, layer.inputs]
    y : int64[inputs, layer.outputs]

    Returns
    -------
    float64[inputs, layer.outputs]

    Examples
    --------
    >>> from secateur.fixed import NumberFormat, Requant
    >>> from secateur.network import Layer
    >>> nibble = NumberFormat(width=4, signed=True)
    >>> layer = Layer(name="fc", weights=np.array([[1]]), bias=np.array([0]), weight_width=3,
    ...               input=nibble, requant=Requant(shift=2, output=nibble, relu=False),
    ...               weight_fraction=2)
    >>> x = np.array([[2], [5]])
    >>> distances(layer, x, layer.compute(x)).tolist()
    [[0.5], [0.25]]
    """
    inputs = x * 2.0**-layer.input_fraction
    weights = layer.weights * 2.0**-layer.weight_fraction
    biases = layer.bias * 2.0 ** -(layer.input_fraction + layer.weight_fraction)
    step = 2.0**-layer.output_fraction
    low, high = _bounds(layer)
    conv = layer.convolution
    if conv is None:
        sums = inputs @ weights.T + biases
    else:
        sums = _planes(conv, inputs, weights) + biases[:, None, None]
    real = np.clip(sums, low * step, high * step)
    if conv is not None and conv.pool is not None:
        real = _pooled(conv.pool, real)
    return np.abs(y * step - real.reshape(y.shape)) / step


def _planes(
    conv: Convolution, inputs: NDArray[np.floating], weights: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Add up each weight times all that it meets: float64[inputs, rows, y, x]."""
    (height, width), (step_y, step_x) = conv.positions, conv.stride
    (top, left), channels = conv.padding, conv.channels // conv.groups
    planes = inputs.reshape(-1, conv.channels, conv.height, conv.width)
    padded = np.pad(planes, ((0, 0), (0, 0), (top, top), (left, left)))
    sums = np.zeros((len(inputs), len(weights), height, width))
    for row, column in np.argwhere(weights):
        channel, y, x = np.unravel_index(column, (channels, *conv.kernel))
        channel += row * conv.groups // len(weights) * channels
        rows = slice(y, y + step_y * height, step_y)
        columns = slice(x, x + step_x * width, step_x)
        sums[:, row] += weights[row, column] * padded[:, channel, rows, columns]
    return sums


def _pooled(pool: Pool, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Pool real values: float64[inputs, rows, y, x]."""
    size_y, size_x = pool.size
    height, width = values.shape[2] // size_y, values.shape[3] // size_x
    parts = np.array([
        values[:, :, y : y + size_y * height : size_y, x : x + size_x * width : size_x][
            :, :, :height, :width
        ]
        for y in range(size_y)
        for x in range(size_x)
    ])
    return parts.max(axis=0) if pool.kind == "max" else parts.mean(axis=0)
