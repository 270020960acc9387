"""Which rows each group of processing elements computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["balanced_order"]

#: Exchanges that are looked at, at most: about a second.
MOST_EXCHANGES = 1 << 25
#: Rows of a group that are looked at together, at most.
MOST_ROWS = 256


def balanced_order(loads: NDArray[np.int64], *, groups: int) -> NDArray[np.int64]:
    """Order rows so that the PEs of the groups, which take them in turn, have about the same load.

    A layer takes as many cycles as its most loaded PE. A group has one PE for each lane, and as
    many rows as the next group, or one fewer. Rows are dealt in rounds, heaviest first, each to the
    group whose sum of squared loads grows least (LPT with a bound on the number of jobs, for
    vectors); then rows of two groups are exchanged for as long as that lowers the sum. Within a
    group heavy rows come first: what is sparse lies at the end of a PE's columns, where it costs
    few padding entries.

    Parameters
    ----------
    loads : int64[rows, lanes]
        Entries of each row in each lane.
    groups : int

    Returns
    -------
    int64[rows]
        A permutation: the row at position i is of group ``i % groups``. The sum of the PEs' squared
        loads is at most that of the natural order.

    Examples
    --------
    >>> balanced_order(np.array([[9], [1], [9], [1], [1], [1]]), groups=2).tolist()
    [0, 2, 1, 3, 4, 5]
    >>> balanced_order(np.array([[9, 0], [9, 0], [0, 9], [0, 9]]), groups=2).tolist()
    [0, 1, 2, 3]
    """
    rows, lanes = loads.shape
    slots = -(-rows // groups)
    # Missing rows weigh nothing; no group may miss two.
    weight = np.zeros((slots * groups, lanes), dtype=np.int64)
    weight[:rows] = loads
    natural = np.arange(slots * groups).reshape(slots, groups)
    dealt = _deal(weight, groups)
    _exchange_all(dealt, weight, rows)
    if _squares(natural, weight) <= _squares(dealt, weight):
        dealt = natural
    # Groups that miss a row are the last ones.
    dealt = dealt[:, np.argsort((dealt >= rows).any(axis=0), kind="stable")]
    heavy_first = np.lexsort((dealt, -weight.sum(axis=1)[dealt], dealt >= rows), axis=0)
    return np.take_along_axis(dealt, heavy_first, axis=0).ravel()[:rows]


def _squares(dealt: NDArray[np.int64], weight: NDArray[np.int64]) -> int:
    """Sum the PEs' squared loads."""
    return int((weight[dealt].sum(axis=0) ** 2).sum())


def _deal(weight: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Deal rows, as many to each group: int64[slots, groups]."""
    heavy_first = np.argsort(-weight.sum(axis=1), kind="stable").reshape(-1, groups)
    dealt = np.empty_like(heavy_first)
    totals = np.zeros((groups, weight.shape[1]), dtype=np.int64)
    for slot, round_ in enumerate(heavy_first):
        taken = np.zeros(groups, dtype=bool)
        for row in round_:
            growth = np.where(taken, np.iinfo(np.int64).max, totals @ weight[row])
            group = int(np.argmin(growth))
            dealt[slot, group] = row
            taken[group] = True
            totals[group] += weight[row]
    return dealt


def _exchange_all(dealt: NDArray[np.int64], weight: NDArray[np.int64], rows: int) -> None:
    """Exchange rows until no exchange helps, or enough of them were looked at.

    Parameters
    ----------
    dealt : int64[slots, groups]
        Rows of each group; modified.
    weight : int64[slots * groups, lanes]
        Loads of each row.
    rows : int
        Rows from this one on are missing.
    """
    slots, groups = dealt.shape
    step = -(-slots // MOST_ROWS)
    rounds = list(_tournament(groups))
    looked_at, idle = 0, 0
    while rounds and looked_at < MOST_EXCHANGES:
        for first, second in rounds:
            sample = np.arange(looked_at // step % step, slots, step)
            helped = _exchange(dealt, weight, rows, first, second, sample)
            looked_at += first.size * sample.size**2
            idle = 0 if helped else idle + 1
            if idle >= len(rounds) * step:
                return


def _tournament(groups: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pair every group with every other one, in rounds in which none is paired twice."""
    players = np.arange(groups + groups % 2)
    for _ in range(players.size - 1):
        first, second = players[: players.size // 2], players[: players.size // 2 - 1 : -1]
        both = (first < groups) & (second < groups)
        if both.any():
            yield first[both], second[both]
        players[1:] = np.roll(players[1:], 1)


def _exchange(
    dealt: NDArray[np.int64],
    weight: NDArray[np.int64],
    rows: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    sample: NDArray[np.int64],
) -> bool:
    """Make the exchange that helps most between each pair of groups; tell whether there was one.

    Parameters
    ----------
    dealt, weight, rows
        As in :func:`_exchange_all`.
    first, second : int64[pairs]
        Groups, all different.
    sample : int64[slots looked at]
    """
    totals = weight[dealt].sum(axis=0)
    gap = totals[first] - totals[second]
    mine, theirs = dealt[np.ix_(sample, first)].T, dealt[np.ix_(sample, second)].T
    a, b = weight[mine], weight[theirs]  # [pairs, slots, lanes]
    # With d = b - a the sum of squares changes by twice d . (gap + d).
    change = -2 * np.matmul(a, b.transpose(0, 2, 1))
    change += ((a * a).sum(axis=2) - (a * gap[:, None]).sum(axis=2))[:, :, None]
    change += ((b * b).sum(axis=2) + (b * gap[:, None]).sum(axis=2))[:, None, :]
    # Where both groups miss a row, neither may give its own away.
    missing: NDArray[np.bool] = np.any(dealt >= rows, axis=0)
    both = (missing[first] & missing[second])[:, None]
    worst = np.iinfo(np.int64).max
    change[(both & (mine >= rows))[:, :, None] | (both & (theirs >= rows))[:, None, :]] = worst
    flat = change.reshape(first.size, -1)
    best = flat.argmin(axis=1)
    pairs = np.flatnonzero(flat[np.arange(first.size), best] < 0)
    x, y = np.divmod(best[pairs], sample.size)
    at, to = (sample[x], first[pairs]), (sample[y], second[pairs])
    dealt[at], dealt[to] = dealt[to], dealt[at]
    return pairs.size > 0
