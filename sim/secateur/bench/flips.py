"""What a single flipped bit in the weight memory may change, as `docs/engine.md` states it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from secateur.entry import unpack_entries
from secateur.format import Section
from secateur.image import read_image, write_image
from secateur.streams import decode_matrix
from secateur.words import streams_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.program import Program
    from secateur.streams import Streams

__all__ = ["flipped", "may_differ"]


def flipped(program: Program, *, pe: int, address: int, bit: int) -> Program:
    """Flip a bit of an entry; the image's CRC-32 is that of the altered words."""
    contents = read_image(program.spec, program.image)
    entries = contents[Section.WEIGHTS, pe]["entry"].copy()
    entries[address] ^= 1 << bit
    contents[Section.WEIGHTS, pe] = {"entry": entries}
    return replace(program, image=write_image(program.spec, contents))


def may_differ(program: Program, *, pe: int, address: int, bit: int) -> NDArray[np.bool]:
    """Tell which outputs depend on a bit of an entry.

    Parameters
    ----------
    program : Program
        With the entry as it should be.
    pe, address, bit : int
        The word of that PE's weight memory, and its bit.

    Returns
    -------
    bool[outputs]
        Whether some input may give another value there once the bit is flipped.
    """
    spec = program.spec
    streams = streams_in(spec, read_image(spec, program.image))
    sums = _sums(program, streams, pe, address, bit)
    rows = np.zeros(len(program.input_order), dtype=bool)
    for index, (layer, entries) in enumerate(zip(program.layers, streams, strict=True)):
        matrix = decode_matrix(entries, lanes=spec.lanes, shape=(len(layer.order), rows.size))
        rows = (matrix[:, rows] != 0).any(axis=1)
        group = pe // spec.lanes
        hit = [slot * spec.groups + group for layer_, slot in sums if layer_ == index]
        rows[[row for row in hit if row < rows.size]] = True
    outputs = np.zeros(program.outputs, dtype=bool)
    outputs[list(program.output_order)] = rows
    return outputs


def _sums(
    program: Program, streams: list[Streams], pe: int, address: int, bit: int
) -> set[tuple[int, int]]:
    """Find the accumulators of the PE that get another sum: (layer, accumulator)."""
    spec = program.spec
    contents = read_image(spec, program.image)
    table = contents[Section.LAYERS, 0]
    counts = contents[Section.COLUMNS, 0][f"count{pe}"]
    entries = contents[Section.WEIGHTS, pe]["entry"]
    for index, (base, first, words) in enumerate(
        zip(table["weight_base"], table["column_base"], table["source_words"], strict=True)
    ):
        ends = base + np.cumsum(counts[first : first + words])
        if not base <= address < ends[-1]:
            continue
        word = int(np.searchsorted(ends, address, side="right"))
        start = int(ends[word] - counts[first + word])
        column = entries[start : ends[word]]
        altered = column.copy()
        altered[address - start] ^= 1 << bit
        extra = int(table["code_extra"][index]) if "code_extra" in table else 0
        width = spec.code_widths[0] + extra
        here, there = (_slots(each, width, spec.row_depth) for each in (column, altered))
        if bit < width:
            return {(index, int(here[address - start]))}
        moves = (here != there) & (
            streams[index].weights[pe][start - base : ends[word] - base] != 0
        )
        moved = {*here[moves].tolist(), *there[moves].tolist()}
        # An accumulator that the layer does not drain keeps its sum for a layer that does.
        drained = [-(-int(rows) * spec.lanes // spec.groups) for rows in table["rows_words"]]
        return {
            (layer, slot)
            for slot in moved
            for layer, slots in enumerate(drained)
            if layer == index or (slot >= drained[index] and slot < slots)
        }
    return set()


def _slots(entries: NDArray[np.int64], width: int, depth: int) -> NDArray[np.int64]:
    """Give the accumulator of each entry of a column."""
    _, zeros = unpack_entries(entries, code_width=width, signed=False)
    return (np.cumsum(zeros + 1) - 1) % depth
