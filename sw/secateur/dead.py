"""Removal of neurons that no pruned connection needs any more, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from secateur.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.convolution import Convolution
    from secateur.network import Layer

__all__ = ["Reduction", "remove_dead"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction:
    """A network without dead neurons.

    Parameters
    ----------
    network : Network
        Computes the original's outputs from the inputs that are left.
        Its convolutions have one group.
    kept : tuple of int64[length]
        Ascending original indices of the inputs that are left, then of each layer's rows; the last
        layer keeps all.
    """

    network: Network
    kept: tuple[NDArray[np.int64], ...]


def remove_dead(network: Network) -> Reduction:
    """Drop every neuron without an input or an output connection.

    A hidden row without weights is the constant ``requant(bias)``: it is folded into the next
    layer's biases (Han et al., NIPS 2015, section 3.5, drops it, which is exact without a bias
    only). A hidden row or an input that no weight of the next layer reads is dropped. Both are
    repeated until nothing changes. Every layer keeps at least one weight, though: where the
    network is constant from some layer on, one path that carries nothing stays.

    A row of a convolution is a channel. One that nothing reads is dropped, but not one that is
    constant, which the next layer may pad with zeros, nor an input of a convolution, since images
    are sent whole.

    Parameters
    ----------
    network : Network

    Returns
    -------
    Reduction
        ``reduction.network.compute(x[..., reduction.kept[0]])`` equals ``network.compute(x)``.

    Examples
    --------
    >>> from secateur.fixed import NumberFormat, Requant
    >>> from secateur.network import Layer
    >>> byte = NumberFormat(width=8, signed=True)
    >>> def layer(weights, bias):
    ...     return Layer(name="fc", weights=np.array(weights), bias=np.array(bias), weight_width=8,
    ...                  input=byte, requant=Requant(shift=0, output=byte, relu=True))
    >>> network = Network(name="net", layers=(
    ...     layer([[1, 0, 2], [0, 0, 0]], [0, 5]), layer([[3, 1]], [1])))
    >>> reduction = remove_dead(network)
    >>> [kept.tolist() for kept in reduction.kept]
    [[0, 2], [0], [0]]
    >>> reduction.network.layers[1].bias.tolist()
    [6]
    """
    pinned: dict[int, tuple[int, int]] = {}
    cubes = _cubes(network)
    while True:
        weights, biases, kept = _reduce(network, cubes, pinned)
        empty = [index for index, matrix in enumerate(weights) if not matrix.any()]
        if not empty:
            break
        for index in empty:
            row, unit, _ = np.unravel_index(np.argmax(cubes[index] != 0), cubes[index].shape)
            pinned[index] = int(row), int(unit)
    layers = tuple(
        replace(layer, weights=matrix, bias=bias, convolution=_narrowed(layer, rows.size))
        for layer, matrix, bias, rows in zip(network.layers, weights, biases, kept, strict=False)
    )
    if network.layers[0].convolution is not None:
        kept = np.arange(network.inputs), *kept[1:]
    return Reduction(network=Network(name=network.name, layers=layers), kept=kept)


def _cubes(network: Network) -> list[NDArray[np.int64]]:
    """View all weights as int64[rows, units, weights of a unit].

    A unit is a row of the layer before, a channel of the image or an input.
    """
    cubes = []
    for index, layer in enumerate(network.layers):
        units = layer.inputs if layer.convolution is None else layer.convolution.channels
        if index:
            units = len(network.layers[index - 1].weights)
        cubes.append(_lowered(layer).reshape(len(layer.weights), units, -1))
    return cubes


def _lowered(layer: Layer) -> NDArray[np.int64]:
    """Give a layer's weights for all channels."""
    if layer.convolution is None:
        return layer.weights
    return layer.convolution.lower(layer.weights)


def _narrowed(layer: Layer, channels: int) -> Convolution | None:
    """Leave so many channels to a layer that may be a convolution."""
    if layer.convolution is None:
        return None
    return replace(layer.convolution, channels=channels, groups=1)


def _reduce(
    network: Network, cubes: list[NDArray[np.int64]], pinned: dict[int, tuple[int, int]]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], tuple[NDArray[np.int64], ...]]:
    """Find what is left of weights, biases and indices; ``pinned`` (layer: row, unit) stays.

    One pass forward and one backward reach the fixed point: folding a constant takes no weight
    from a column that is read, and dropping an unread row takes none from a row that is left.
    """
    layers = network.layers
    used: list[NDArray[np.bool_]] = [np.any(cube, axis=2) for cube in cubes]
    alive = [np.ones(each.shape[1], dtype=bool) for each in used]
    alive.append(np.ones(layers[-1].bias.size, dtype=bool))
    stays = [np.zeros_like(mask) for mask in alive]
    stays[0][:] = layers[0].convolution is not None
    for index, (row, unit) in pinned.items():
        stays[index][unit] = stays[index + 1][row] = True

    biases = [layer.bias for layer in layers]
    for index, (layer, after) in enumerate(pairwise(layers)):
        if layer.convolution is not None:
            continue
        fed = used[index][:, alive[index]].any(axis=1) | stays[index + 1]
        constant = layer.requant.compute(biases[index][~fed])
        biases[index + 1] = biases[index + 1] + after.weights[:, ~fed] @ constant
        alive[index + 1] &= fed
    for index in reversed(range(len(layers))):
        read = used[index][alive[index + 1]].any(axis=0) | stays[index]
        alive[index] &= read

    kept = [np.flatnonzero(mask) for mask in alive]
    weights = []
    for index, (layer, cube) in enumerate(zip(layers, cubes, strict=True)):
        if alive[index].all() and alive[index + 1].all():
            weights.append(_lowered(layer))
        else:
            left = cube[np.ix_(kept[index + 1], kept[index])]
            weights.append(left.reshape(len(left), left.shape[1] * left.shape[2]))
        biases[index] = biases[index][kept[index + 1]]
    return weights, biases, tuple(kept)
