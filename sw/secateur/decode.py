"""The network in a program, read back from its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.format import Section
from secateur.image import read_image
from secateur.streams import Streams, decode_matrix

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
        network's order.
    """
    contents = read_image(program.spec, program.image)
    table = contents[Section.LAYERS, 0]
    biases = np.stack([*contents[Section.BIASES, 0].values()], axis=1)
    layers = []
    columns = np.array(program.input_order)
    for index, layer in enumerate(program.layers):
        order = np.array(layer.order)
        matrix = decode_matrix(
            _streams(program, contents, int(table["column_base"][index]), columns.size, index),
            rows=order.size,
        )
        bias = biases[table["bias_base"][index] :].ravel()[: order.size]
        rows = np.argsort(order)
        layers.append((matrix[np.ix_(rows, np.argsort(columns))], bias[rows]))
        columns = order
    return layers


def _streams(program: Program, contents: Contents, base: int, columns: int, layer: int) -> Streams:
    """Collect one layer's entries from the memories of all PEs."""
    weights, zeros, counts = [], [], []
    for pe in range(program.spec.pes):
        column, entry = contents[Section.COLUMNS, pe], contents[Section.WEIGHTS, pe]
        start = column["start"][base : base + columns]
        count = column["count"][base : base + columns]
        address = np.arange(count.sum()) + np.repeat(start - np.cumsum(count) + count, count)
        code = entry["code"][address]
        if program.spec.codebook_bits:
            codebook = contents[Section.CODEBOOKS, 0]["value"]
            code = codebook[(layer << program.spec.codebook_bits) + code]
        weights.append(code)
        zeros.append(entry["zeros"][address])
        counts.append(count)
    return Streams(weights=tuple(weights), zeros=tuple(zeros), counts=np.stack(counts))
