"""The integer network a second time, to check the first: nothing here is :mod:`secateur.fixed`'s.

The integers are PyTorch's, in another order of operations; the real values are float64, in which
every product and sum of a network is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.network import Layer

__all__ = ["distances", "integer_layer", "states_scale"]


def _bounds(layer: Layer) -> tuple[int, int]:
    """Smallest and largest output, ReLU included."""
    output = layer.requant.output
    low, high = (-(2 ** (output.width - 1)), 2 ** (output.width - 1) - 1)
    if not output.signed:
        low, high = 0, 2**output.width - 1
    return (0 if layer.requant.relu else low), high


def integer_layer(layer: Layer, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compute a layer in PyTorch's int64, as ``docs/format.md`` writes it.

    ``sum = bias + Σ weight * activation``, then ``floor(sum / 2**shift + 1/2)``, saturated.

    Parameters
    ----------
    layer : Layer
    x : int64[inputs, columns]

    Returns
    -------
    int64[inputs, rows]

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

    sums = torch.tensor(x) @ torch.tensor(layer.weights).T + torch.tensor(layer.bias)
    # The half is the numerator's, so that nothing but integers is divided.
    twice = 2**layer.requant.shift
    rounded = torch.div(2 * sums + twice, 2 * twice, rounding_mode="floor")
    low, high = _bounds(layer)
    return rounded.clamp(low, high).numpy()


def states_scale(layer: Layer) -> bool:
    """Tell whether a layer's fractions say what its integers stand for: their shift is its own."""
    return layer.input_fraction + layer.weight_fraction - layer.output_fraction == (
        layer.requant.shift
    )


def distances(layer: Layer, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure how far a layer's outputs are from real arithmetic, in steps of the output.

    A step is ``2**-output_fraction``. With ``real`` the layer's output for the real values of its
    input, weights and biases, after ReLU and cut to the output's range, every distance
    ``|y * step - real| / step`` is at most 1/2: rounding moves a value by half a step, and what is
    cut is on the same bound in both. Accumulators have at most 48 bits, so that float64 adds
    nothing of its own and the bound needs no tolerance.

    Parameters
    ----------
    layer : Layer
        Of which :func:`states_scale` holds.
    x : int64[inputs, columns]
    y : int64[inputs, rows]

    Returns
    -------
    float64[inputs, rows]

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
    real = np.clip(inputs @ weights.T + biases, low * step, high * step)
    return np.abs(y * step - real) / step
