import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.balance import balanced_order


def totals(loads: np.ndarray, order: np.ndarray, pes: int) -> np.ndarray:
    return np.array([loads[order[pe::pes]].sum() for pe in range(pes)])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 12))
def test_is_a_permutation_and_never_worse_than_the_natural_order(loads, pes):
    loads = np.array(loads)
    order = balanced_order(loads, pes=pes)
    natural = np.arange(loads.size)
    np.testing.assert_array_equal(np.sort(order), natural)
    worst, before = totals(loads, order, pes).max(), totals(loads, natural, pes).max()
    assert worst < before or (worst == before and np.array_equal(order, natural))


def test_no_pe_misses_two_rows_however_uneven_the_loads():
    rng = np.random.default_rng(0)
    for _ in range(300):
        loads = rng.lognormal(2, 1.5, rng.integers(2, 30)).astype(np.int64)
        order = balanced_order(loads, pes=int(rng.integers(1, 10)))
        assert sorted(order) == list(range(loads.size))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 12))
def test_no_exchange_that_helps_the_most_loaded_pe_is_left(loads, pes):
    loads = np.array(loads)
    order = balanced_order(loads, pes=pes)
    sums = totals(loads, order, pes)
    # Of several that are as loaded, only one was looked at; the natural order was not improved.
    if np.array_equal(order, np.arange(loads.size)) or np.count_nonzero(sums == sums.max()) > 1:
        return
    for pe in range(pes):
        gap = sums.max() - sums[pe]
        change = loads[order[np.argmax(sums) :: pes]][:, None] - loads[order[pe::pes]][None, :]
        assert np.all(np.abs(gap - 2 * change) >= gap)


@pytest.mark.parametrize(("rows", "pes"), [(1, 1), (3, 4), (4, 4)])
def test_at_most_one_row_a_pe_stays_in_the_natural_order(rows, pes):
    assert balanced_order(np.arange(rows), pes=pes).tolist() == list(range(rows))


@pytest.mark.parametrize(("rows", "pes", "worst"), [(300, 16, 1.001), (100, 16, 1.01)])
def test_balances_rows_of_a_random_matrix(rows, pes, worst):
    loads = np.random.default_rng(1).binomial(784, 0.09, rows)
    sums = totals(loads, balanced_order(loads, pes=pes), pes)
    assert sums.max() <= worst * sums.mean()


def test_balances_rows_of_very_different_density():
    loads = np.random.default_rng(2).lognormal(4, 1, 300).astype(np.int64)
    sums = totals(loads, balanced_order(loads, pes=16), 16)
    assert sums.max() <= 1.002 * sums.mean()
    assert totals(loads, np.arange(300), 16).max() > 1.2 * sums.mean()


def test_within_a_pe_heavy_rows_come_first():
    loads = np.random.default_rng(3).binomial(784, 0.09, 100)
    order = balanced_order(loads, pes=8)
    for pe in range(8):
        assert np.all(np.diff(loads[order[pe::8]]) <= 0)


def test_many_rows_and_pes_are_ordered_at_once():
    loads = np.random.default_rng(4).lognormal(5, 1, 4096).astype(np.int64)
    start = time.process_time()
    order = balanced_order(loads, pes=256)
    assert time.process_time() - start < 5  # about 0.1 s: this bound catches a loop over pairs
    assert totals(loads, order, 256).max() <= 1.05 * max(loads.sum() / 256, loads.max())
