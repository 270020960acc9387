"""A sparse integer matrix as one stream of entries per processing element, and back.

The format is EIE's (Han et al., ISCA 2016, section III-B): every PE holds its slice of the rows,
column by column; an entry is a weight and the count of zeros of the slice since the entry before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Streams", "decode_matrix", "encode_matrix"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Streams:
    """Entries of every PE, by column, by ascending slot.

    Parameters
    ----------
    weights : tuple of int64[entries], one array per PE
        Zero in a padding entry and in no other.
    zeros : tuple of int64[entries], one array per PE
        Slots skipped since the column's previous entry, or since its start.
    counts : int64[pes, columns]
        Entries of each column, padding included.
    """

    weights: tuple[NDArray[np.int64], ...]
    zeros: tuple[NDArray[np.int64], ...]
    counts: NDArray[np.int64]

    @property
    def entries(self) -> int:
        """Entries of all PEs, padding included."""
        return int(self.counts.sum())

    @property
    def padding(self) -> int:
        """Padding entries of all PEs."""
        return sum(int(np.count_nonzero(weights == 0)) for weights in self.weights)


def _positions(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Invert a permutation: where each row stands in ``order``."""
    positions = np.empty_like(order)
    positions[order] = np.arange(order.size)
    return positions


def encode_matrix(
    matrix: NDArray[np.int64],
    *,
    pes: int,
    index_width: int,
    order: NDArray[np.int64] | None = None,
) -> Streams:
    """Cut ``matrix`` into one stream per PE.

    The row at position i of ``order`` is slot ``i // pes`` of PE ``i % pes``. Where more zeros lie
    before an entry than ``index_width`` bits count, a padding entry of weight zero is inserted.

    Parameters
    ----------
    matrix : int64[rows, columns]
    pes : int
        Processing elements.
    index_width : int
        Bits of an entry's count of zeros.
    order : int64[rows], optional
        A permutation of the rows; the natural one by default.

    Returns
    -------
    Streams

    Examples
    --------
    EIE's example.

    >>> column = np.zeros((23, 1), dtype=np.int64)
    >>> column[[2, 3, 22], 0] = [1, 2, 3]
    >>> streams = encode_matrix(column, pes=1, index_width=4)
    >>> streams.weights[0].tolist(), streams.zeros[0].tolist(), streams.counts.tolist()
    ([1, 2, 0, 3], [2, 0, 15, 2], [[4]])
    """
    rows, columns = matrix.shape
    row, column = np.nonzero(matrix)
    weight = matrix[row, column]
    position = row if order is None else _positions(order)[row]
    slot = position // pes
    # A run is one column of one PE.
    run = position % pes * columns + column
    sequence = np.argsort(run * -(-rows // pes) + slot, kind="stable")
    run, slot, weight = run[sequence], slot[sequence], weight[sequence]

    gap = np.diff(slot, prepend=-1) - 1
    starts = np.diff(run, prepend=-1) != 0
    gap[starts] = slot[starts]
    # A padding entry is itself one of the zeros: it stands for 2**index_width of them.
    padding = gap >> index_width
    place = np.arange(weight.size) + np.cumsum(padding)
    weights = np.zeros(weight.size + int(padding.sum()), dtype=np.int64)
    zeros = np.full_like(weights, (1 << index_width) - 1)
    weights[place] = weight
    zeros[place] = gap & zeros[place]
    counts = np.bincount(np.repeat(run, padding + 1), minlength=pes * columns)
    counts = counts.reshape(pes, columns)
    ends = np.cumsum(counts.sum(axis=1))[:-1]
    return Streams(
        weights=tuple(np.split(weights, ends)), zeros=tuple(np.split(zeros, ends)), counts=counts
    )


def decode_matrix(
    streams: Streams, *, rows: int, order: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Undo :func:`encode_matrix`.

    Parameters
    ----------
    streams : Streams
    rows : int
        Rows of the matrix.
    order : int64[rows], optional
        The permutation that the matrix was encoded with.

    Returns
    -------
    int64[rows, columns]

    Raises
    ------
    IndexError
        If an entry lies outside the matrix.
    """
    pes, columns = streams.counts.shape
    matrix = np.zeros((rows, columns), dtype=np.int64)
    order = np.arange(rows) if order is None else order
    for pe, (weights, zeros) in enumerate(zip(streams.weights, streams.zeros, strict=True)):
        counts = streams.counts[pe]
        column = np.repeat(np.arange(columns), counts)
        # Slots passed so far, from which those passed before the column's first entry are taken.
        passed = np.concatenate([[0], np.cumsum(zeros + 1)])
        first = np.cumsum(counts) - counts
        slot = passed[1:] - 1 - np.repeat(passed[first], counts)
        real = weights != 0
        matrix[order[slot[real] * pes + pe], column[real]] = weights[real]
    return matrix
