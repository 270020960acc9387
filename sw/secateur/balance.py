"""Which rows each processing element computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["balanced_order"]


def balanced_order(loads: NDArray[np.int64], *, pes: int) -> NDArray[np.int64]:
    """Order rows so that the PEs, which take them in turn, have about the same load.

    A layer takes as many cycles as its most loaded PE, and each PE must have as many rows as the
    next, or one fewer. Rows are dealt in rounds, heaviest first, each round's heaviest to the least
    loaded PE (LPT with a bound on the number of jobs); then rows of the most loaded PE are
    exchanged for lighter ones for as long as that helps. Within a PE heavy rows come first: what is
    sparse lies at the end of its columns, where it costs few padding entries.

    Parameters
    ----------
    loads : int64[rows]
        Entries of each row.
    pes : int
        Processing elements.

    Returns
    -------
    int64[rows]
        A permutation; the natural one if no order has a less loaded worst PE.

    Examples
    --------
    >>> balanced_order(np.array([9, 1, 9, 1, 1, 1]), pes=2).tolist()
    [0, 2, 1, 3, 4, 5]
    """
    rows = loads.size
    slots = -(-rows // pes)
    natural = np.arange(rows)
    if rows <= pes:
        return natural
    # Missing rows weigh nothing and come in the last round; no PE may miss two.
    weight = np.append(loads, np.zeros(slots * pes - rows, dtype=np.int64))
    dealt = np.argsort(-weight, kind="stable").reshape(slots, pes)
    totals = np.zeros(pes, dtype=np.int64)
    for round_ in dealt:
        round_[np.argsort(totals, kind="stable")] = round_.copy()
        totals += weight[round_]
    while _exchange(dealt, weight, rows):
        pass
    if weight[dealt].sum(axis=0).max() >= max(loads[pe::pes].sum() for pe in range(pes)):
        return natural
    # PEs that miss a row are the last ones.
    dealt = dealt[:, np.argsort((dealt >= rows).any(axis=0), kind="stable")]
    heavy_first = np.lexsort((dealt, -weight[dealt]), axis=0)
    return np.take_along_axis(dealt, heavy_first, axis=0).ravel()[:rows]


def _exchange(dealt: NDArray[np.int64], weight: NDArray[np.int64], rows: int) -> bool:
    """Exchange a row of the most loaded PE for a lighter one of the least loaded PE that helps.

    The lighter one may be missing, unless the most loaded PE misses one already.

    Parameters
    ----------
    dealt : int64[slots, pes]
        Rows of each PE; modified.
    weight : int64[slots * pes]
        Load of each row.
    rows : int
        Rows from this one on are missing.

    Returns
    -------
    bool
        False if no exchange helps.
    """
    totals = weight[dealt].sum(axis=0)
    most = int(np.argmax(totals))
    heavy = weight[dealt[:, most]]
    full = bool(np.all(dealt[:, most] < rows))
    for other in np.argsort(totals, kind="stable"):
        gap = int(totals[most] - totals[other])
        theirs = np.flatnonzero((dealt[:, other] < rows) | full)
        theirs = theirs[np.argsort(weight[dealt[theirs, other]], kind="stable")]
        light = weight[dealt[theirs, other]]
        # For each row of the most loaded PE, the two around half the gap below it.
        above = np.searchsorted(light, heavy - gap / 2)
        for index in (np.minimum(above, light.size - 1), np.maximum(above - 1, 0)):
            left = np.abs(gap - 2 * (heavy - light[index]))
            row = int(np.argmin(left))
            if left[row] < gap:
                b = theirs[index[row]]
                dealt[row, most], dealt[b, other] = dealt[b, other], dealt[row, most]
                return True
    return False
