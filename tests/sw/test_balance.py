import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.balance import balanced_order


def totals(loads: np.ndarray, order: np.ndarray, groups: int) -> np.ndarray:
    """Load of each PE: int64[groups, lanes]."""
    return np.array([loads[order[group::groups]].sum(axis=0) for group in range(groups)])


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    lanes = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(st.integers(0, 50), min_size=lanes, max_size=lanes), min_size=1,
                         max_size=40))  # fmt: skip
    return np.array(rows), draw(st.integers(1, 12))


@given(cases())
def test_is_a_permutation_and_never_worse_than_the_natural_order(case):
    loads, groups = case
    order = balanced_order(loads, groups=groups)
    natural = np.arange(len(loads))
    np.testing.assert_array_equal(np.sort(order), natural)
    sums, before = totals(loads, order, groups), totals(loads, natural, groups)
    assert (sums**2).sum() <= (before**2).sum()


def test_no_group_misses_two_rows_however_uneven_the_loads():
    rng = np.random.default_rng(0)
    for _ in range(300):
        loads = rng.lognormal(2, 1.5, (rng.integers(2, 30), 2)).astype(np.int64)
        order = balanced_order(loads, groups=int(rng.integers(1, 10)))
        assert sorted(order) == list(range(len(loads)))


@settings(deadline=None)
@given(cases())
def test_no_exchange_that_helps_is_left(case):
    loads, groups = case
    order = balanced_order(loads, groups=groups)
    sums = totals(loads, order, groups)
    natural = totals(loads, np.arange(len(loads)), groups)
    if (sums**2).sum() == (natural**2).sum():  # the natural order was not improved
        return
    for one in range(len(order)):
        for other in range(one):
            a, b = one % groups, other % groups
            change = loads[order[other]] - loads[order[one]]
            after = sums.copy()
            after[a] += change
            after[b] -= change
            assert a == b or (after**2).sum() >= (sums**2).sum()


@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (3, 4), (4, 4)])
def test_at_most_one_row_a_group_stays_in_the_natural_order(rows, groups):
    order = balanced_order(np.arange(rows)[:, None], groups=groups)
    assert order.tolist() == list(range(rows))


@pytest.mark.parametrize(
    ("rows", "groups", "lanes", "worst"),
    [(300, 16, 1, 1.001), (100, 16, 1, 1.01), (300, 4, 4, 1.002), (100, 4, 4, 1.01)],
)
def test_balances_rows_of_a_random_matrix(rows, groups, lanes, worst):
    loads = np.random.default_rng(1).binomial(784 // lanes, 0.09, (rows, lanes))
    sums = totals(loads, balanced_order(loads, groups=groups), groups)
    assert np.all(sums.max(axis=0) <= worst * sums.mean(axis=0))


def test_balances_rows_of_very_different_density():
    loads = np.random.default_rng(2).lognormal(4, 1, (300, 1)).astype(np.int64)
    sums = totals(loads, balanced_order(loads, groups=16), 16)
    assert sums.max() <= 1.002 * sums.mean()
    assert totals(loads, np.arange(300), 16).max() > 1.2 * sums.mean()


def test_balances_every_lane_and_not_only_their_sum():
    """Each row is heavy in one lane only, and all rows weigh the same."""
    loads = np.kron(np.eye(4, dtype=np.int64), np.full((8, 1), 10))
    sums = totals(loads, balanced_order(loads, groups=4), 4)
    np.testing.assert_array_equal(sums, np.full((4, 4), 20))


def test_within_a_group_heavy_rows_come_first():
    loads = np.random.default_rng(3).binomial(196, 0.09, (100, 4))
    for groups in (8, 1):
        order = balanced_order(loads, groups=groups)
        for group in range(groups):
            assert np.all(np.diff(loads[order[group::groups]].sum(axis=1)) <= 0)


@pytest.mark.parametrize(("rows", "groups", "lanes"), [(4096, 256, 1), (4096, 2, 4), (8192, 16, 4)])
def test_many_rows_are_ordered_at_once(rows, groups, lanes):
    loads = np.random.default_rng(4).lognormal(5, 1, (rows, lanes)).astype(np.int64)
    start = time.process_time()
    sums = totals(loads, balanced_order(loads, groups=groups), groups)
    assert time.process_time() - start < 5  # about 1 s: this bound catches a loop over pairs
    assert np.all(sums.max(axis=0) <= 1.05 * np.maximum(sums.mean(axis=0), loads.max(axis=0)))
