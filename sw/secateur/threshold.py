"""Which weights are left: of each layer those of the largest magnitude, and how many of each.

A mask is true where a weight is left. Masks are kept by parameter, as the weights are, so that
``module.get_parameter(key)`` is what a mask belongs to. Nothing here changes a weight. A layer of
100 million weights takes seconds: it is divided in linear time, and nothing is sorted whose fate
is certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Masks", "by_budget", "by_density", "by_quality", "deviations"]

#: By parameter ("fc1.weight"), bool of the weight's shape: true where a weight is left.
Masks = dict[str, torch.Tensor]

#: Weights whose deviations from the mean are held at a time, in float64.
_CHUNK = 1 << 20


def by_quality(
    weights: Mapping[str, Tensor],
    qualities: Mapping[str, float],
    deviations: Mapping[str, float],
    *,
    groups: int = 1,
) -> Masks:
    """Keep the weights whose magnitude reaches a quality times the layer's standard deviation.

    Han et al. 2015, section 3. Of weights with a normal distribution a quality of 1 removes 68 %,
    1.5 removes 87 % and 2 removes 95 %.

    Parameters
    ----------
    weights : mapping of str to float32[rows, ...]
        By parameter.
    qualities : mapping of str to float
    deviations : mapping of str to float
        Of the dense layers, from :func:`deviations`: those of survivors grow with every round.
    groups : int
        Above 1, as many weights are kept, but equally many of each group: see :func:`by_density`.

    Returns
    -------
    Masks

    Raises
    ------
    BadInputError
        If a layer would have no weight left.

    Examples
    --------
    >>> weights = {"fc.weight": torch.tensor([[3.0, -1.0], [1.0, -3.0]])}
    >>> by_quality(weights, {"fc.weight": 1.0}, deviations(weights))["fc.weight"].int().tolist()
    [[1, 0], [0, 1]]
    """
    masks = {}
    for key, weight in weights.items():
        values = _values(weight)
        least = _at_least(qualities[key] * deviations[key], values.dtype)
        mask = _reaches(values, least) & (values != 0)
        if groups > 1:
            mask = _largest_of_groups(values, int(np.count_nonzero(mask)), groups)
        masks[key] = _mask(key, weight, mask, "quality", qualities[key], "lower prune.quality")
    return masks


def by_density(
    weights: Mapping[str, Tensor], densities: Mapping[str, float], *, groups: int = 1
) -> Masks:
    """Keep of each layer the largest weights, ``round(density * size)`` of them.

    Zeros are never kept, so that fewer are left where there are not as many others; of equal
    weights the first ones stay.

    Parameters
    ----------
    weights : mapping of str to float32[rows, ...]
        By parameter.
    densities : mapping of str to float
        0 to 1.
    groups : int
        Row i belongs to group i mod ``groups``, as the engine deals rows to groups of its
        processing elements. Groups keep equally many, or one more or less, as far as they have
        them: load-balance-aware pruning, Han et al., "ESE: Efficient Speech Recognition Engine with
        Sparse LSTM on FPGA", FPGA 2017, section 3.

    Returns
    -------
    Masks

    Raises
    ------
    BadInputError
        If a layer would have no weight left.

    Examples
    --------
    >>> weights = {"fc.weight": torch.tensor([[3.0, -4.0, 2.0], [1.0, 0.0, -1.0]])}
    >>> by_density(weights, {"fc.weight": 0.5})["fc.weight"].int().tolist()
    [[1, 1, 1], [0, 0, 0]]
    >>> by_density(weights, {"fc.weight": 0.5}, groups=2)["fc.weight"].int().tolist()
    [[1, 1, 0], [1, 0, 0]]
    """
    masks = {}
    for key, weight in weights.items():
        values = _values(weight)
        mask = _largest_of_groups(values, round(densities[key] * values.size), groups)
        masks[key] = _mask(key, weight, mask, "density", densities[key], "raise prune.density")
    return masks


def by_budget(weights: Mapping[str, Tensor], density: float, *, groups: int = 1) -> Masks:
    """Keep ``round(density * size)`` weights of the whole network, ranked across its layers.

    A weight's score is its square over the sum of the squares that are not smaller in its layer:
    the part of what would be left that is lost with it. The largest weight of each layer scores 1,
    so that no layer dies. J. Lee, S. Park, S. Mo, S. Ahn, J. Shin, "Layer-adaptive Sparsity for the
    Magnitude-based Pruning", ICLR 2021, equation 1.

    Parameters
    ----------
    weights : mapping of str to float32[rows, ...]
        By parameter.
    density : float
        0 to 1.
    groups : int
        Above 1, each layer keeps as many, but equally many of each group: see :func:`by_density`.

    Returns
    -------
    Masks
        Zeros are never kept; of equal scores the first layer's stays.

    Raises
    ------
    BadInputError
        If a layer would have no weight left: it has none, or there are more layers than weights
        to keep.

    Examples
    --------
    >>> weights = {"fc1.weight": torch.tensor([[1.0, 2.0, 4.0, 8.0]]),
    ...            "fc2.weight": torch.tensor([[0.1, 0.1]])}
    >>> {key: mask.int().tolist() for key, mask in by_budget(weights, 0.5).items()}
    {'fc1.weight': [[0, 0, 0, 1]], 'fc2.weight': [[1, 1]]}
    """
    arrays = {key: _values(weight) for key, weight in weights.items()}
    budget = round(density * sum(values.size for values in arrays.values()))
    counts = _counts([*arrays.values()], budget)
    return {
        key: _mask(
            key,
            weights[key],
            _largest_of_groups(values, count, groups),
            "budget",
            density,
            "raise prune.budget",
        )
        for (key, values), count in zip(arrays.items(), counts, strict=True)
    }


def deviations(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Compute the standard deviation of each layer's weights that are not zero, in float64.

    Examples
    --------
    >>> deviations({"fc.weight": torch.tensor([[1.0, 0.0, -1.0]])})
    {'fc.weight': 1.0}
    """
    return {key: _deviation(_values(weight)) for key, weight in weights.items()}


def _values(weight: Tensor) -> NDArray[np.float32]:
    """Look at a weight as [rows, columns]; those of a convolution are one row for each output."""
    return weight.detach().cpu().flatten(1).contiguous().numpy()


def _deviation(values: NDArray[np.float32]) -> float:
    if not (count := int(np.count_nonzero(values))):
        return 0.0
    mean = float(values.sum(dtype=np.float64)) / count
    return (_sum_of_squares(values.reshape(-1), mean) / count) ** 0.5


def _mask(
    key: str, weight: Tensor, mask: NDArray[np.bool], target: str, value: float, way_out: str
) -> Tensor:
    """Give a mask the weight's shape and device; refuse one that keeps nothing."""
    if not mask.any():
        raise BadInputError(
            f"layer {key.removesuffix('.weight')!r} has no weight left at {target} {value:.4g}; "
            f"{way_out}{' for it' if target != 'budget' else ''}"
        )
    return torch.from_numpy(mask).view(weight.shape).to(weight.device)


def _at_least(bound: float, dtype: np.dtype) -> NDArray[np.float32]:
    """Round a bound up to a value of the weights' type, with which the comparisons are the same."""
    rounded = np.array(bound, dtype)
    return rounded if float(rounded) >= bound else np.nextafter(rounded, np.array(np.inf, dtype))


def _reaches(values: NDArray[np.float32], least: NDArray[np.float32]) -> NDArray[np.bool]:
    """Tell where a magnitude is at least ``least``; needs no copy of the magnitudes."""
    return (values >= least) | (values <= -least)


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.bool]:
    """Choose the ``count`` largest magnitudes, at most as many as are not zero."""
    if count == 0:
        return np.zeros(values.shape, dtype=np.bool)
    # Quickselect, in linear time and in place.
    magnitudes = np.abs(values).ravel()
    magnitudes.partition(magnitudes.size - count)
    least = magnitudes[-count]
    del magnitudes
    mask = _reaches(values, least)
    if surplus := int(np.count_nonzero(mask)) - count:
        tied = np.flatnonzero(np.abs(values) == least)
        mask.reshape(-1)[tied[-surplus:]] = False
    return mask


def _largest_of_groups(values: NDArray[np.float32], count: int, groups: int) -> NDArray[np.bool]:
    """Choose ``count`` magnitudes in all, the largest of each group of rows, equally many."""
    parts = [values[group::groups] for group in range(groups)]
    available = [int(np.count_nonzero(part)) for part in parts]
    if groups == 1:
        return _largest(values, min(count, available[0]))
    mask = np.zeros(values.shape, dtype=np.bool)
    for group, share in enumerate(_shares(available, min(count, sum(available)))):
        mask[group::groups] = _largest(parts[group], share)
    return mask


def _shares(available: list[int], count: int) -> list[int]:
    """Split a count, at most what is available, as equally as that allows.

    >>> _shares([5, 1, 5, 0], 8)
    [3, 1, 4, 0]
    """
    shares = [0] * len(available)
    # Those that have least first: what they cannot take is for the others.
    for done, group in enumerate(sorted(range(len(available)), key=lambda g: available[g])):
        shares[group] = min(available[group], count // (len(available) - done))
        count -= shares[group]
    return shares


def _counts(layers: list[NDArray[np.float32]], budget: int) -> list[int]:
    """Count what a budget for all layers leaves of each.

    Whatever the others' scores are, no layer keeps more than the budget or loses more than is
    lost in all. Only the weights between are scored: with two layers as many of the larger as of
    the smaller one.
    """
    sizes = [int(np.count_nonzero(values)) for values in layers]
    budget = min(budget, sum(sizes))
    counts = [max(0, size - (sum(sizes) - budget)) for size in sizes]
    budget_left = budget - sum(counts)
    scores = [
        _scores(values, safe, min(size, budget))
        for values, safe, size in zip(layers, counts, sizes, strict=True)
    ]
    every = np.concatenate(scores)
    if not every.size:
        return counts
    every.partition(every.size - budget_left - 1)
    # The best of those that go: what is better stays, and what is as good where there is room.
    best = every[every.size - budget_left - 1]
    stay = [int(np.count_nonzero(part > best)) for part in scores]
    for index, part in enumerate(scores):
        stay[index] += min(int(np.count_nonzero(part == best)), budget_left - sum(stay))
    return [safe + more for safe, more in zip(counts, stay, strict=True)]


def _scores(values: NDArray[np.float32], first: int, last: int) -> NDArray[np.float64]:
    """Score the weights of a layer from rank ``first`` to before ``last``, the largest being 0."""
    if first == last:
        return np.empty(0)
    magnitudes = np.abs(values).ravel()
    magnitudes.partition(magnitudes.size - last)
    largest = magnitudes[magnitudes.size - last :]
    largest.partition(last - first - 1)
    ranked = np.sort(largest[: last - first])[::-1]
    larger = _sum_of_squares(largest[last - first :])
    squares = np.square(ranked, dtype=np.float64)
    sums = np.cumsum(squares)
    sums += larger
    return np.divide(squares, sums, out=squares)


def _sum_of_squares(values: NDArray[np.float32], mean: float = 0.0) -> float:
    """Sum up the squared distances from a mean, in float64, of the values that are not zero."""
    chunks = (values[first : first + _CHUNK] for first in range(0, values.size, _CHUNK))
    return sum(float(np.square(chunk[chunk != 0] - np.float64(mean)).sum()) for chunk in chunks)
