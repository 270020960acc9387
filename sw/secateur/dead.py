"""Removal of neurons that no pruned connection needs any more, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from secateur.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Reduction", "remove_dead"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction:
    """A network without dead neurons.

    Parameters
    ----------
    network : Network
        Computes the original's outputs from the inputs that are left.
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
    while True:
        weights, biases, kept = _reduce(network, pinned)
        empty = [index for index, matrix in enumerate(weights) if not matrix.any()]
        if not empty:
            break
        for index in empty:
            row, column = np.unravel_index(
                np.argmax(network.layers[index].weights != 0), network.layers[index].weights.shape
            )
            pinned[index] = int(row), int(column)
    layers = tuple(
        replace(layer, weights=matrix, bias=bias)
        for layer, matrix, bias in zip(network.layers, weights, biases, strict=True)
    )
    return Reduction(network=Network(name=network.name, layers=layers), kept=kept)


def _reduce(
    network: Network, pinned: dict[int, tuple[int, int]]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], tuple[NDArray[np.int64], ...]]:
    """Find what is left of weights, biases and indices; ``pinned`` (layer: row, column) stays.

    One pass forward and one backward reach the fixed point: folding a constant takes no weight
    from a column that is read, and dropping an unread row takes none from a row that is left.
    """
    layers = network.layers
    used = [layer.weights != 0 for layer in layers]
    alive = [np.ones(network.inputs, dtype=bool)]
    alive += [np.ones(layer.bias.size, dtype=bool) for layer in layers]
    stays = [np.zeros_like(mask) for mask in alive]
    for index, (row, column) in pinned.items():
        stays[index][column] = stays[index + 1][row] = True

    biases = [layer.bias for layer in layers]
    for index, (layer, after) in enumerate(pairwise(layers)):
        fed = used[index][:, alive[index]].any(axis=1) | stays[index + 1]
        constant = layer.requant.compute(biases[index][~fed])
        biases[index + 1] = biases[index + 1] + after.weights[:, ~fed] @ constant
        alive[index + 1] &= fed
    for index in reversed(range(len(layers))):
        read = used[index][alive[index + 1]].any(axis=0) | stays[index]
        alive[index] &= read

    kept = [np.flatnonzero(mask) for mask in alive]
    weights = []
    for index, layer in enumerate(layers):
        whole = alive[index].all() and alive[index + 1].all()
        weights.append(
            layer.weights if whole else layer.weights[np.ix_(kept[index + 1], kept[index])]
        )
        biases[index] = biases[index][kept[index + 1]]
    return weights, biases, tuple(kept)
