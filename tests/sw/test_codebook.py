"""Weight sharing: k-means against its definition and against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from secateur.codebook import centroids, nearest

VALUES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=60)


@settings(deadline=None)
@given(VALUES, st.integers(1, 15))
def test_each_centroid_is_the_mean_of_what_is_nearest_to_it(numbers: list[int], count: int) -> None:
    values = np.array(numbers, dtype=np.float64) / 64
    centers = centroids(values, count)
    assert 1 <= len(centers) <= min(count, len(set(numbers)))
    assert (np.diff(centers) > 0).all()
    distances = abs(values[:, None] - centers)
    gaps = np.sort(distances, axis=1)
    if len(centers) > 1 and np.isclose(gaps[:, 0], gaps[:, 1]).any():
        return  # a value half way between two centroids belongs to either
    owner = distances.argmin(axis=1)
    for index, center in enumerate(centers):
        assert center == pytest.approx(values[owner == index].mean())


def test_few_values_are_their_own_centroids() -> None:
    assert centroids(np.array([3.0, -1.0, 3.0, 2.0]), 15).tolist() == [-1.0, 2.0, 3.0]
    assert centroids(np.array([5.0]), 7).tolist() == [5.0]
    assert centroids(np.array([1.0, 2.0, 6.0]), 1).tolist() == [3.0]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9, unique=True), st.integers(9, 15))
def test_few_values_are_their_own_centroids_to_the_last_bit(
    numbers: list[float], count: int
) -> None:
    """Whatever sums of all of them round to."""
    values = np.array(numbers) + 0.0  # no -0.0
    assert centroids(values, count).tolist() == sorted(set(values.tolist()))


@pytest.mark.parametrize("count", [3, 7, 15, 63])
def test_as_scikit_learn(count: int) -> None:
    """The same fixed point, but where clusters go empty, which each moves in its own way."""
    values = np.random.default_rng(count).normal(size=2000)
    start = np.linspace(values.min(), values.max(), count)[:, None]
    other = KMeans(count, init=start, tol=0, max_iter=300).fit(values[:, None])
    centers = centroids(values, count)
    assert len(centers) == count
    if count < 63:
        np.testing.assert_allclose(centers, np.sort(other.cluster_centers_.ravel()), atol=1e-9)
    else:
        error = np.square(values[:, None] - centers).min(axis=1).sum()
        assert error < -1.2 * float(other.score(values[:, None]))


@given(
    st.lists(st.integers(-128, 127), min_size=1, max_size=16, unique=True),
    st.lists(st.integers(-600, 600), max_size=30),
)
def test_nearest(codes: list[int], quarters: list[int]) -> None:
    codebook = np.array(sorted(codes))
    values = np.array(quarters, dtype=np.float64) / 4
    got = nearest(codebook, values)
    # Of two codes as near, `min` takes the first: the larger one.
    want = [min(reversed(codebook.tolist()), key=lambda code: abs(code - v)) for v in values]
    assert got.tolist() == want
