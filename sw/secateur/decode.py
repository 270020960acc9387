"""The network in a program, read back from its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.format import Section
from secateur.image import read_image
from secateur.sound_maps import described_walks
from secateur.streams import places
from secateur.words import offsets_in, streams_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.image import Contents
    from secateur.program import Program

__all__ = ["decode"]


def decode(program: Program) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Undo :func:`secateur.encode.encode`, but for the removal of dead neurons.

    Returns
    -------
    list of (int64[rows, columns], int64[rows])
        Weights and biases of each layer, without dead rows and columns, otherwise in the
        network's order. A convolution has the columns of all channels that are left, a layer
        behind one those of all of their activations.
    """
    contents = read_image(program.spec, program.image)
    bases = contents[Section.LAYERS, 0]["bias_base"]
    biases = np.stack([*contents[Section.BIASES, 0].values()], axis=1)
    layers = []
    streams = streams_in(program.spec, contents)
    found = _columns(program, contents)
    for layer, base, entries, (width, listed) in zip(
        program.layers, bases, streams, found, strict=True
    ):
        order = np.array(layer.order)
        rows, columns, weights = places(entries, lanes=program.spec.lanes)
        real = weights != 0
        matrix = np.zeros((order.size, width), dtype=np.int64)
        matrix[_ranks(order)[rows[real]], listed[columns[real]]] = weights[real]
        bias = biases[base:].ravel()[: order.size]
        layers.append((matrix, bias[np.argsort(order)]))
    return layers


def _columns(program: Program, contents: Contents) -> list[tuple[int, NDArray[np.int64]]]:
    """Count each layer's columns, and tell which one each place of a lane's list is."""
    orders = [np.array(program.input_order), *(np.array(layer.order) for layer in program.layers)]
    if not program.spec.positions:
        return [(order.size, _ranks(order)) for order in orders[:-1]]
    walks = described_walks(program.input_order, program.layers, lanes=program.spec.lanes)
    if program.layers[0].convolution is not None:
        orders[0] = np.arange(walks[0].channels)
    columns = []
    offsets = offsets_in(program.spec, contents)
    for walk, each, order in zip(walks, offsets, orders, strict=False):
        flat = each.ravel()
        inside = walk.inside(flat)  # where a lane has no more columns, nothing need be
        listed = np.zeros_like(flat)
        listed[inside] = walk.column_at(flat[inside], _ranks(order))
        columns.append((walk.columns, listed))
    return columns


def _ranks(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell the how-manieth smallest each element is."""
    return np.argsort(np.argsort(order))
