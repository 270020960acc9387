"""The program's image against the network that it was encoded from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.decode import decode
from secateur.errors import CheckFailedError
from secateur.format import Section
from secateur.image import IncompleteImageError, RefusedImageError, read_image
from secateur.sound_maps import described_walks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.image import Contents
    from secateur.network import Layer, Network
    from secateur.program import Program
    from secateur.rungs.rung import Subject

__all__ = ["streams"]


def streams(subject: Subject) -> dict[str, int]:
    """Decode the image and compare every weight, bias, codebook and layer table entry.

    Of neurons that the encoder left out, that no neuron that is left reads them, or that nothing
    they read is left: then they are constants, which must have become part of the biases. A channel
    of a convolution is left out only if nothing reads it.
    """
    program, network = subject.program, subject.network
    try:
        contents = read_image(program.spec, program.image)
        decoded = decode(program)
    except (RefusedImageError, IncompleteImageError, LookupError) as error:
        raise CheckFailedError(f"the program's image cannot be decoded: {error}") from None
    found = {"layers": 0, "weights": 0, "zeros": 0, "biases": 0, "codebook values": 0}
    cubes = [_by_unit(network, index) for index in range(len(network.layers))]
    before = np.array(program.input_order)
    if network.layers[0].convolution is not None:  # of which all inputs are there
        before = np.arange(cubes[0].shape[1])
    constants = np.zeros(cubes[0].shape[1], dtype=np.int64)
    for index, (layer, cube) in enumerate(zip(network.layers, cubes, strict=True)):
        order = np.array(program.layers[index].order)
        columns, rows = np.sort(before), np.sort(order)
        weights, biases = decoded[index]
        _same(layer, "weights", weights, cube[np.ix_(rows, columns)].reshape(rows.size, -1))
        sums = layer.bias + cube.sum(axis=2) @ constants
        _same(layer, "biases", biases, sums[rows])
        # What is left out is decided here already, and nothing that is left reads it.
        gone = np.ones(len(layer.bias), dtype=bool)
        gone[rows] = False
        decides = gone & ~cube[:, columns].any(axis=(1, 2)) & (layer.convolution is None)
        if index + 1 < len(network.layers):
            after, order = network.layers[index + 1], program.layers[index + 1].order
            _unread(after, cubes[index + 1], gone & ~decides, order)
        if index == 0:
            dropped = np.isin(np.arange(cube.shape[1]), columns, invert=True)
            _unread(layer, cube, dropped, program.layers[0].order)
        constants = np.where(decides, layer.requant.compute(sums), 0)
        book = _codebook(contents, index, program.spec.codebook_bits, layer)
        _table(contents, index, layer)
        _layout(contents, index, layer, program)
        found["layers"] += 1
        found["weights"] += int(np.count_nonzero(weights))
        found["zeros"] += int((weights == 0).sum())
        found["biases"] += len(biases)
        found["codebook values"] += book
        before = np.array(program.layers[index].order)
    return {unit: count for unit, count in found.items() if count}


def _by_unit(network: Network, index: int) -> NDArray[np.int64]:
    """View a layer's weights as int64[rows, units, weights of a unit].

    A unit is an input, a channel of the image or a row of the layer before.
    """
    layer = network.layers[index]
    if layer.convolution is not None:
        shape = len(layer.weights), layer.convolution.channels, -1
        return layer.convolution.lower(layer.weights).reshape(shape)
    units = len(network.layers[index - 1].weights) if index else layer.inputs
    return layer.weights.reshape(len(layer.weights), units, -1)


def _same(layer: Layer, what: str, got: NDArray[np.int64], want: NDArray[np.int64]) -> None:
    if got.shape != want.shape or (got != want).any():
        wrong = int((got != want).sum()) if got.shape == want.shape else "all"
        raise CheckFailedError(
            f"{wrong} of {want.size} {what} of layer {layer.name!r} in the image are not the "
            "network's"
        )


def _unread(
    layer: Layer, cube: NDArray[np.int64], gone: NDArray[np.bool_], order: tuple[int, ...]
) -> None:
    """Check that no row that is left has a weight for a unit that is gone."""
    if cube[np.ix_(np.array(order), np.flatnonzero(gone))].any():
        raise CheckFailedError(
            f"the image leaves out an input that layer {layer.name!r} has weights for"
        )


def _codebook(contents: Contents, index: int, bits: int, layer: Layer) -> int:
    """Compare a layer's codebook, and count its values; 0 where weights are stored directly."""
    if not bits or layer.codebook is None:
        return 0
    values = contents[Section.CODEBOOKS, 0]["value"][index << bits :][: len(layer.codebook)]
    _same(layer, "codebook values", values, layer.codebook)
    return len(values)


def _table(contents: Contents, index: int, layer: Layer) -> None:
    """Compare what the layer table says of a layer's numbers."""
    table = contents[Section.LAYERS, 0]
    want = {
        "shift": layer.requant.shift,
        "relu": int(layer.requant.relu),
        "input_signed": int(layer.input.signed),
        "output_signed": int(layer.requant.output.signed),
    }
    for name, value in want.items():
        if table[name][index] != value:
            raise CheckFailedError(
                f"{name} of layer {layer.name!r} must be {value} in the image, "
                f"not {table[name][index]}"
            )


def _layout(contents: Contents, index: int, layer: Layer, program: Program) -> None:
    """Compare a layer's convolution, and where the layer table says that it reads and writes."""
    if program.layers[index].convolution != layer.convolution:
        raise CheckFailedError(f"layer {layer.name!r} has another convolution in the program")
    if not program.spec.positions:
        return
    walks = described_walks(program.input_order, program.layers, lanes=program.spec.lanes)
    table = contents[Section.LAYERS, 0]
    for name, value in walks[index].fields(program.spec).items():
        if table[name][index] != value:
            raise CheckFailedError(
                f"{name} of layer {layer.name!r} must be {value} in the image, "
                f"not {table[name][index]}"
            )
