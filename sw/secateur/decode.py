"""The network in a program, read back from its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.format import Section
from secateur.image import read_image
from secateur.streams import decode_matrix
from secateur.words import streams_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.program import Program

__all__ = ["decode"]


def decode(program: Program) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Undo :func:`secateur.encode.encode`, but for the removal of dead neurons.

    Returns
    -------
    list of (int64[rows, columns], int64[rows])
        Weights and biases of each layer, without dead rows and columns, otherwise in the
        network's order.
    """
    contents = read_image(program.spec, program.image)
    bases = contents[Section.LAYERS, 0]["bias_base"]
    biases = np.stack([*contents[Section.BIASES, 0].values()], axis=1)
    layers = []
    columns = np.array(program.input_order)
    streams = streams_in(program.spec, contents)
    for layer, base, entries in zip(program.layers, bases, streams, strict=True):
        order = np.array(layer.order)
        matrix = decode_matrix(entries, lanes=program.spec.lanes, shape=(order.size, columns.size))
        bias = biases[base:].ravel()[: order.size]
        rows = np.argsort(order)
        layers.append((matrix[np.ix_(rows, np.argsort(columns))], bias[rows]))
        columns = order
    return layers
