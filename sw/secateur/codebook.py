"""Weight sharing: few values for all weights of a layer.

S. Han, H. Mao, W. J. Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning,
Trained Quantization and Huffman Coding", ICLR 2016, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["centroids", "nearest"]

#: Lloyd's iterations; in one dimension a few tens reach the fixed point.
MOST_ITERATIONS = 300


def centroids(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Cluster values by k-means, from centroids spread linearly between the extremes.

    Linear initialisation keeps the few large weights, which matter most (Deep Compression,
    section 3.2).

    Parameters
    ----------
    values : float64[n]
        At least one.
    count : int
        Clusters, at least 1.

    Returns
    -------
    float64[at most count]
        Ascending; fewer than ``count`` where there are fewer different values.

    Examples
    --------
    >>> centroids(np.array([-2.0, -1.8, 0.5, 0.7, 3.0]), 3)
    array([-1.9,  0.6,  3. ])
    """
    ordered = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centers = np.linspace(ordered[0], ordered[-1], count)
    if count == 1:
        centers = np.array([ordered.mean()])
    for _ in range(MOST_ITERATIONS):
        # In one dimension a cluster is an interval, bounded half way between two centroids.
        bounds = np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2, side="right")
        bounds = np.concatenate([[0], bounds, [len(ordered)]])
        bounds = np.unique(bounds)  # an empty cluster ends where it begins
        sizes = np.diff(bounds)
        # Sums of many others round: values that are all the same are their mean to the last bit.
        moved = np.diff(sums[bounds]) / sizes
        moved = moved.clip(ordered[bounds[:-1]], ordered[bounds[1:] - 1])
        if len(moved) < count:
            # A cluster that lost its values begins again at the one that is farthest from its own.
            distances = abs(ordered - np.repeat(moved, sizes))
            farthest = distances.argsort(stable=True)[len(moved) - count :]
            moved = np.union1d(moved, ordered[farthest[distances[farthest] > 0]])
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers


def nearest(codebook: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Replace each value by the nearest of an ascending codebook, the larger one of two as near.

    Parameters
    ----------
    codebook : int64[codes]
    values : float64[...]

    Returns
    -------
    int64[...]

    Examples
    --------
    >>> nearest(np.array([-4, 0, 1]), np.array([-9.0, -2.0, 0.4, 0.5, 7.0])).tolist()
    [-4, 0, 0, 1, 1]
    """
    return codebook[np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values, side="right")]
