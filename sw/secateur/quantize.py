"""From a float model to the integer network that the hardware computes bit for bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from secateur.codebook import centroids, nearest
from secateur.engine import RANGES
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant, round_to
from secateur.lowering import float_layers
from secateur.network import Layer, Network
from secateur.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from secateur.lowering import FloatLayer
    from secateur.progress import Progress
    from secateur.settings import QuantizeSettings

__all__ = ["best_fraction", "check_accumulators", "quantize", "quantize_weights"]

#: Largest shift of :class:`secateur.fixed.Requant`, bits.
MOST_SHIFT = 47
#: What a layer's largest output may be, so that its square and its scale are float64.
SMALLEST, LARGEST = 1e-100, 1e100


def best_fraction(
    values: NDArray[np.floating],
    target: NumberFormat,
    quantized: Callable[[int], NDArray[np.int64]] | None = None,
) -> int:
    """Choose the bits after the binary point that lose least.

    The squared error counts, so that a few outliers saturate where that makes all other values
    more precise. Of equally good ones the largest is taken, since biases and sums gain from it.

    Parameters
    ----------
    values : float[...]
        In real units.
    target : NumberFormat
        What they are stored as.
    quantized : callable, optional
        Gives the integers for a fraction; :func:`secateur.fixed.round_to` by default.

    Examples
    --------
    >>> best_fraction(np.array([0.0, 0.25, 1.0]), NumberFormat(width=8, signed=False))
    7
    >>> best_fraction(np.array([0.3] * 999 + [1.1]), NumberFormat(width=4, signed=True))
    4
    """
    values = np.asarray(values, dtype=np.float64)
    largest = np.abs(values).max(initial=0.0)
    if largest == 0.0:
        return target.width - target.signed  # numbers below 1, as good as any
    # The largest fraction at which nothing saturates by more than rounding, and some around it.
    # Two's complement reaches farther down than up, which counts where it has two bits.
    fitting = int(np.floor(np.log2(max(target.highest, -target.lowest)) - np.log2(largest)))
    errors = {}
    for fraction in range(fitting - target.width, fitting + target.width):
        integers = round_to(values, fraction, target) if quantized is None else quantized(fraction)
        errors[fraction] = float(np.square(integers * 2.0**-fraction - values).sum())
    return min(errors, key=lambda fraction: (errors[fraction], -fraction))


def quantize(
    module: nn.Module,
    x: NDArray[np.float32],
    settings: QuantizeSettings,
    name: str,
    progress: Progress = silent,
) -> Network:
    """Quantise a float model.

    Every scale is a power of two, chosen for each layer by :func:`best_fraction`: weights from
    themselves, activations from what the float model computes for ``x``. Biases are rounded in
    the accumulator's scale. After a ReLU activations are unsigned, otherwise signed; the input is
    signed only if ``x`` has a negative value. Weights that are zero stay zero. Of a convolution
    that the largest values are taken of, these choose the scale.

    Parameters
    ----------
    module : nn.Module
        Any supported module; it is left as it is.
    x : float32[n, ...]
        Calibration inputs from the training split, taken as [n, features] where the first layer is
        no convolution; the first ``settings.calibration_images`` of them are used.
    settings : QuantizeSettings
    name : str
        The network's.
    progress : callable
        Told after every layer.

    Raises
    ------
    BadInputError
        If the module is not supported, ``x`` does not fit it, a layer has no weight left after
        rounding, or needs wider accumulators than the engine can have.
    """
    found = float_layers(module, x.shape[1:])
    inputs = found[0].inputs
    values = np.asarray(x[: settings.calibration_images], dtype=np.float64)
    values = values.reshape(len(values), math.prod(values.shape[1:]))
    if values.shape[1:] != (inputs,) or not len(values):
        raise BadInputError(
            f"calibration inputs must be at least one row of {inputs} numbers, not {x.shape}; "
            f"calibrate with the examples that the model was trained on"
        )
    if not np.isfinite(values).all():
        raise BadInputError("calibration inputs hold NaN or infinity; remove those examples")
    source = NumberFormat(width=settings.activation_width, signed=bool((values < 0).any()))
    fraction = best_fraction(values, source)
    layers = []
    for done, layer in enumerate(found):
        outputs, values = _values(layer, values)
        largest = np.abs(outputs).max()
        if largest and not SMALLEST <= largest <= LARGEST:
            raise BadInputError(
                f"layer {layer.name!r} computes values of up to {largest:.3g}, beyond {SMALLEST:g} "
                f"to {LARGEST:g}; train the model with weight decay and scaled inputs"
            )
        layers.append(_layer(layer, source, fraction, outputs, settings))
        source, fraction = layers[-1].requant.output, layers[-1].output_fraction
        progress(done + 1, len(found), f"layer {layer.name}")
    return Network(name=name, layers=tuple(layers))


def _values(
    layer: FloatLayer, x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute what of a layer is rounded, and what the next one takes: float64[n, outputs]."""
    y = layer.activations(torch.from_numpy(x))
    pool = None if layer.convolution is None else layer.convolution.pool
    after = y
    if pool is not None:
        after = (F.max_pool2d if pool.kind == "max" else F.avg_pool2d)(y, pool.size)
    # Of an average, its values are what is rounded.
    rounded = after if pool is None or pool.kind == "max" else y
    return rounded.numpy(), after.flatten(1).numpy()


def _layer(
    found: FloatLayer,
    source: NumberFormat,
    fraction: int,
    outputs: NDArray[np.float64],
    settings: QuantizeSettings,
) -> Layer:
    """Quantise one layer, given its input's format and its outputs for the calibration inputs."""
    weights, codebook, weight_fraction = quantize_weights(
        found.weight.numpy(), settings, found.name
    )
    output = NumberFormat(width=settings.activation_width, signed=not found.relu)
    accumulator_fraction = fraction + weight_fraction
    # The requantiser shifts right only, and not farther than MOST_SHIFT.
    output_fraction = min(
        max(best_fraction(outputs, output), accumulator_fraction - MOST_SHIFT),
        accumulator_fraction,
    )
    bias = np.zeros(len(weights)) if found.bias is None else found.bias.double().numpy()
    widest = RANGES["accumulator_width"][1]
    accumulator = NumberFormat(width=widest, signed=True)
    largest = bias[np.abs(bias).argmax()]
    if abs(largest) * 2.0**accumulator_fraction > accumulator.highest:
        raise BadInputError(
            f"layer {found.name!r} has a bias of {largest:.3g}, too large beside its weights for "
            f"accumulators of {widest} bits; train the model with weight decay"
        )
    layer = Layer(
        name=found.name,
        weights=weights,
        bias=round_to(bias, accumulator_fraction, accumulator),
        weight_width=settings.weight_width,
        input=source,
        requant=Requant(
            shift=accumulator_fraction - output_fraction, output=output, relu=found.relu
        ),
        codebook=codebook,
        input_fraction=fraction,
        weight_fraction=weight_fraction,
        output_fraction=output_fraction,
        convolution=found.convolution,
    )
    check_accumulators(layer)
    return layer


def check_accumulators(layer: Layer) -> None:
    """Refuse a layer that needs wider accumulators than the engine can have."""
    widest = RANGES["accumulator_width"][1]
    if layer.accumulator_width > widest:
        raise BadInputError(
            f"layer {layer.name!r} needs accumulators of {layer.accumulator_width} bits and "
            f"{widest} is the most; lower quantize.activation_width or quantize.weight_width"
        )


def quantize_weights(
    weights: NDArray[np.float32], settings: QuantizeSettings, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, int]:
    """Quantise one layer's weights: directly, or to values that they share.

    Zeros cost nothing: time and memory beyond the result's go with the weights that are left.

    Parameters
    ----------
    weights : float32[...]
    settings : QuantizeSettings
    name : str
        The layer's, for messages.

    Returns
    -------
    integers : int64[...]
        The weights in units of ``2**-fraction``.
    codebook : int64[values], optional
        The values that they are drawn from, ascending, 0 among them; None for direct weights.
    fraction : int
        Bits after the binary point.

    Raises
    ------
    BadInputError
        If there is a codebook, and nothing is left that it does not round to zero.

    Examples
    --------
    >>> from secateur.settings import QuantizeSettings
    >>> weights = np.array([[0.5, 0.0], [-0.26, 0.24]], np.float32)
    >>> integers, codebook, fraction = quantize_weights(
    ...     weights, QuantizeSettings(weight_width=4, codebook_bits=2), "fc")
    >>> integers.tolist(), codebook.tolist(), fraction
    ([[4, 0], [-2, 2]], [-2, 0, 2, 4], 3)
    """
    target = NumberFormat(width=settings.weight_width, signed=True)
    places = np.nonzero(weights)
    survivors = weights[places].astype(np.float64)
    integers = np.zeros(weights.shape, dtype=np.int64)
    if not settings.codebook_bits or not len(survivors):
        fraction = best_fraction(survivors, target)
        integers[places] = round_to(survivors, fraction, target)
        return integers, None, fraction
    # One code is zero, which padding entries need.
    shared = centroids(survivors, (1 << settings.codebook_bits) - 1)

    def values(fraction: int) -> NDArray[np.int64]:
        return np.unique(np.append(round_to(shared, fraction, target), 0))

    fraction = best_fraction(
        survivors, target, lambda fraction: nearest(values(fraction), survivors * 2.0**fraction)
    )
    integers[places] = nearest(values(fraction), survivors * 2.0**fraction)
    if not integers.any():
        raise BadInputError(
            f"layer {name!r} has no weight left that its codebook does not round to zero; "
            f"raise quantize.codebook_bits or quantize.weight_width"
        )
    return integers, values(fraction), fraction
