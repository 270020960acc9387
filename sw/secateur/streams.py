"""A sparse integer matrix as one stream of entries per processing element, and back.

The format is EIE's (Han et al., ISCA 2016, section III-B): every PE holds its slice of the rows,
column by column; an entry is a weight and the count of zeros of the slice since the entry before.
A PE has only the columns of its lane: those of PE p, of ``lanes`` side by side, are
``p % lanes``, ``p % lanes + lanes`` and so on, and its slice is that of group ``p // lanes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Slices", "Streams", "cut", "decode_matrix", "encode_matrix", "places", "positions"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Streams:
    """Entries of every PE, by column, by ascending slot.

    Parameters
    ----------
    weights : tuple of int64[entries], one array per PE
        Zero in a padding entry and in no other.
    zeros : tuple of int64[entries], one array per PE
        Slots skipped since the column's previous entry, or since its start.
    counts : int64[pes, words]
        Entries of each column of the PE's lane, padding included.
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Slices:
    """A matrix cut for the PEs, before the index width decides on padding entries.

    Parameters
    ----------
    weights : int64[nonzeros]
        Of all PEs, one behind the other, each by column, by ascending slot.
    gaps : int64[nonzeros]
        Slots between a weight and the one before it in the column, or the column's start.
    runs : int64[nonzeros]
        Which column of which PE: ``pe * words + word``.
    pes, words : int
        Words of ``lanes`` columns.
    """

    weights: NDArray[np.int64]
    gaps: NDArray[np.int64]
    runs: NDArray[np.int64]
    pes: int
    words: int

    def padding(self, index_width: int) -> int:
        """Count the padding entries that an index of so many bits needs."""
        return int((self.gaps >> index_width).sum())

    def streams(self, index_width: int) -> Streams:
        """Insert the padding entries that an index of so many bits needs."""
        # A padding entry is itself one of the zeros: it stands for 2**index_width of them.
        padding = self.gaps >> index_width
        place = np.arange(self.weights.size) + np.cumsum(padding)
        weights = np.zeros(self.weights.size + int(padding.sum()), dtype=np.int64)
        zeros = np.full_like(weights, (1 << index_width) - 1)
        weights[place] = self.weights
        zeros[place] = self.gaps & zeros[place]
        counts = np.bincount(np.repeat(self.runs, padding + 1), minlength=self.pes * self.words)
        counts = counts.reshape(self.pes, self.words)
        ends = np.cumsum(counts.sum(axis=1))[:-1]
        return Streams(
            weights=tuple(np.split(weights, ends)),
            zeros=tuple(np.split(zeros, ends)),
            counts=counts,
        )


def positions(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Invert a permutation: where each element stands in ``order``.

    Examples
    --------
    >>> positions(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    inverse = np.empty_like(order)
    inverse[order] = np.arange(order.size)
    return inverse


def cut(
    weights: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    *,
    shape: tuple[int, int],
    pes: int,
    lanes: int,
) -> Slices:
    """Cut a matrix, given by its non-zeros in any order, into one slice per PE.

    Parameters
    ----------
    weights : int64[nonzeros]
    rows, columns : int64[nonzeros]
        Positions: row i is slot ``i // groups`` of group ``i % groups``, of ``pes // lanes``
        groups; column j is that of lane ``j % lanes`` in word ``j // lanes``.
    shape : tuple of int
        Rows and columns of the matrix.
    pes, lanes : int

    Returns
    -------
    Slices
    """
    groups = pes // lanes
    slots, words = -(-shape[0] // groups), -(-shape[1] // lanes)
    slot, run = rows // groups, (rows % groups * lanes + columns % lanes) * words + columns // lanes
    sequence = np.argsort(run * slots + slot, kind="stable")
    run, slot = run[sequence], slot[sequence]
    gap = np.diff(slot, prepend=-1) - 1
    starts = np.diff(run, prepend=-1) != 0
    gap[starts] = slot[starts]
    return Slices(weights=weights[sequence], gaps=gap, runs=run, pes=pes, words=words)


def encode_matrix(
    matrix: NDArray[np.int64],
    *,
    pes: int,
    lanes: int = 1,
    index_width: int,
    order: NDArray[np.int64] | None = None,
) -> Streams:
    """Cut ``matrix`` into one stream per PE.

    Where more zeros lie before an entry than ``index_width`` bits count, a padding entry of weight
    zero is inserted.

    Parameters
    ----------
    matrix : int64[rows, columns]
    pes, lanes : int
        Processing elements, and lanes, which divide them.
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
    row, column = np.nonzero(matrix)
    position = row if order is None else positions(order)[row]
    slices = cut(matrix[row, column], position, column, shape=matrix.shape, pes=pes, lanes=lanes)
    return slices.streams(index_width)


def places(
    streams: Streams, *, lanes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give the row (its position in the order), the column and the weight of every entry.

    Returns
    -------
    rows, columns, weights : int64[entries]
        Of all PEs, one behind the other.
    """
    pes, words = streams.counts.shape
    rows, columns = [], []
    for pe, zeros in enumerate(streams.zeros):
        counts = streams.counts[pe]
        columns.append(np.repeat(np.arange(words), counts) * lanes + pe % lanes)
        # Slots passed so far, from which those passed before the column's first entry are taken.
        passed = np.concatenate([[0], np.cumsum(zeros + 1)])
        first = np.cumsum(counts) - counts
        slot = passed[1:] - 1 - np.repeat(passed[first], counts)
        rows.append(slot * (pes // lanes) + pe // lanes)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(streams.weights)


def decode_matrix(
    streams: Streams,
    *,
    lanes: int = 1,
    shape: tuple[int, int],
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Undo :func:`encode_matrix`.

    Parameters
    ----------
    streams : Streams
    lanes : int
    shape : tuple of int
        Rows and columns of the matrix.
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
    matrix = np.zeros(shape, dtype=np.int64)
    order = np.arange(shape[0]) if order is None else order
    position, column, weights = places(streams, lanes=lanes)
    real = weights != 0
    matrix[order[position[real]], column[real]] = weights[real]
    return matrix
