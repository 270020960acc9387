"""The decoder in hardware against the one in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.decoder import column_value, decoded_by_circuit
from secateur.errors import CheckFailedError
from secateur.image import read_image
from secateur.streams import decode_matrix
from secateur.words import streams_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.bench.decoder import Entry
    from secateur.rungs.rung import Subject

__all__ = ["decoder"]


def decoder(subject: Subject) -> dict[str, int]:
    """Pass a PE's columns through its circuit, and compare what it multiplies.

    The first PEs of the engine, all layers, in each the columns of the first words: rows, weights,
    columns and the number of entries are those that Python reads from the same image.
    """
    program, amounts = subject.program, subject.amounts
    python = streams_in(program.spec, read_image(program.spec, program.image))
    pes = min(amounts.pes, program.spec.pes)
    lanes, groups = program.spec.lanes, program.spec.pes // program.spec.lanes
    matrices = [
        decode_matrix(
            layer,
            lanes=lanes,
            shape=(groups * program.spec.row_depth, lanes * layer.counts.shape[1]),
        )
        for layer in python
    ]
    found = {"PEs": pes, "columns": 0, "entries": 0}
    for pe in range(pes):
        subject.progress(pe, pes, "PEs in the simulator of Amaranth")
        circuit = decoded_by_circuit(program, pe, words=amounts.words)
        for layer, streams, dense, entries in zip(
            program.layers, python, matrices, circuit, strict=True
        ):
            counts = streams.counts[pe, : amounts.words]
            mine = dense[pe // lanes :: groups, pe % lanes :: lanes][:, : len(counts)]
            where = np.repeat(np.arange(len(counts)), counts).tolist()
            for number, (got, word) in enumerate(zip(entries, where, strict=False)):
                want = mine[got.slot, word], column_value(word, program.spec.activation_width)
                if (got.weight, got.value) != want:
                    raise CheckFailedError(
                        f"entry {number} of PE {pe} in layer {layer.name!r} is {got} in the "
                        f"circuit, and Python has the weight {want[0]} and the value {want[1]} "
                        "there"
                    )
            _complete(entries, mine, len(where), layer.name)
            found["columns"] += len(counts)
            found["entries"] += len(entries)
    return found


def _complete(entries: list[Entry], matrix: NDArray[np.int64], count: int, name: str) -> None:
    """Check that no weight is missing, and none comes twice."""
    weights = sum(entry.weight != 0 for entry in entries)
    if len(entries) != count or weights != np.count_nonzero(matrix):
        raise CheckFailedError(
            f"the circuit multiplies {len(entries)} entries of layer {name!r}, {weights} of them "
            f"weights, and Python has {count}, {np.count_nonzero(matrix)} of them weights"
        )
