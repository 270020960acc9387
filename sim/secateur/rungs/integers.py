"""The network's definition against arithmetic that shares no code with it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import CheckFailedError
from secateur.independent import distances, integer_layer, most_distance, states_scale
from secateur.rungs.rung import NotRunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from secateur.network import Layer
    from secateur.rungs.rung import Subject

__all__ = ["drawn", "integers", "real_values"]


def integers(subject: Subject) -> dict[str, int]:
    """Compare ``Network.compute()`` with PyTorch's integers.

    The whole network on the test inputs, each side with the hidden values of its own; and each
    layer alone on drawn inputs and on those that drive its sums to their bounds.
    """
    if importlib.util.find_spec("torch") is None:
        raise NotRunError(
            "it needs torch, which is not installed; run `pip install secateur[train]`"
        )
    network = subject.network
    independent = subject.x
    outputs = 0
    for layer, got in zip(network.layers, network.activations(subject.x)[1:], strict=True):
        independent = integer_layer(layer, independent)
        outputs += _equal(layer, got, independent)
    for layer, x in drawn(subject):
        outputs += _equal(layer, layer.compute(x), integer_layer(layer, x))
    return {**_inputs(subject), "outputs": outputs}


def real_values(subject: Subject) -> dict[str, int]:
    """Compare every layer with float64: half a step of rounding apart, and no more.

    See :func:`secateur.independent.distances` for the bound, and why it is exact; an average is a
    second rounding.
    """
    network = subject.network
    silent = [layer.name for layer in network.layers if not states_scale(layer)]
    if silent:
        raise NotRunError(
            f"the fractions of layer {silent[0]!r} do not give its shift, so its integers stand "
            "for no real values"
        )
    activations = network.activations(subject.x)
    cases = [*zip(network.layers, activations, activations[1:], strict=False)]
    cases += [(layer, x, layer.compute(x)) for layer, x in drawn(subject)]
    for layer, x, y in cases:
        apart = distances(layer, x, y)
        most = most_distance(layer)
        if apart.max() > most:
            at, row = np.unravel_index(apart.argmax(), apart.shape)
            raise CheckFailedError(
                f"output {row} of layer {layer.name!r} is {apart.max():g} steps from its real "
                f"value for input {at}, and {'half a step' if most == 0.5 else 'one step'} is the "
                f"most"
            )
    return {**_inputs(subject), "outputs": sum(y.size for _, _, y in cases)}


def _inputs(subject: Subject) -> dict[str, int]:
    count = sum(len(x) for _, x in drawn(subject))
    return {"test inputs": len(subject.x), "drawn inputs of layers": count}


def drawn(subject: Subject) -> Iterator[tuple[Layer, NDArray[np.int64]]]:
    """Draw inputs for each layer; for some of its rows, the two with the largest sums."""
    rng = np.random.default_rng(subject.seed)
    count = subject.amounts.drawn
    for layer in subject.network.layers:
        low, high = layer.input.lowest, layer.input.highest
        rows = _facing(layer, max(1, count // 4))
        ends = np.where(rows > 0, high, low), np.where(rows > 0, low, high)
        constant = np.repeat([[low], [high], [0]], layer.inputs, axis=1)
        random = rng.integers(low, high + 1, (count, layer.inputs))
        yield layer, np.concatenate([*ends, constant, random])


def _facing(layer: Layer, count: int) -> NDArray[np.int64]:
    """Give the weights that inputs meet in the first rows: int64[at most count, inputs].

    Of a convolution, at the position where the kernel stands on the least padding.
    """
    rows = layer.weights[:count]
    conv = layer.convolution
    if conv is None:
        return rows
    # What a window shows of the inputs' numbers, counted from 1, is where its columns are.
    places = conv.windows(np.arange(1, layer.inputs + 1)[None])[0]
    places = places[:, np.count_nonzero(places[0], axis=1).argmax()]
    facing = np.zeros((len(rows), layer.inputs + 1), dtype=np.int64)
    group = np.arange(len(rows)) * conv.groups // len(layer.weights)
    np.put_along_axis(facing, places[group], rows, axis=1)
    return facing[:, 1:]


def _equal(layer: Layer, got: NDArray[np.int64], want: NDArray[np.int64]) -> int:
    """Count the outputs, all equal."""
    if (got != want).any():
        at, row = np.argwhere(got != want)[0]
        raise CheckFailedError(
            f"output {row} of layer {layer.name!r} is {got[at, row]} for input {at}, "
            f"and {want[at, row]} by the independent arithmetic"
        )
    return got.size
