"""Thresholds: against sorting, against fractions, and with ties, zeros and groups."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.errors import BadInputError
from secateur.threshold import by_budget, by_density, by_quality, deviations

SEEDS = st.integers(0, 2**32 - 1)
DENSITIES = st.floats(0.05, 1.0)
SHAPES = st.sampled_from([(1, 1), (4, 9), (13, 7), (6, 3, 2, 2), (5, 1, 3, 3)])
#: Few different values, so that there are ties and zeros, or hardly any that are equal.
LEVELS = st.sampled_from([1, 2, 5, 10**6])


def draw(seed: int, *shapes: tuple[int, ...], levels: int = 10**6) -> dict[str, Tensor]:
    """Weights that are integers, not all zero."""
    rng = np.random.default_rng(seed)
    weights = {}
    for index, shape in enumerate(shapes, 1):
        values = rng.integers(-levels, levels + 1, shape)
        values.flat[rng.integers(values.size)] = levels
        weights[f"fc{index}.weight"] = torch.from_numpy(values).float()
    return weights


def everywhere(weights: Mapping[str, Tensor], value: float) -> dict[str, float]:
    return dict.fromkeys(weights, value)


def largest(weight: Tensor, count: int) -> list[int]:
    """Flat indices of the largest, by sorting."""
    values = weight.abs().flatten().tolist()
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    return sorted(index for index in order[:count] if values[index])


def indices(mask: Tensor) -> list[int]:
    return mask.flatten().nonzero().flatten().tolist()


@settings(max_examples=200)
@given(SEEDS, SHAPES, LEVELS, DENSITIES)
def test_density_is_what_sorting_gives(
    seed: int, shape: tuple[int, ...], levels: int, density: float
) -> None:
    weights = draw(seed, shape, (3, 40), levels=levels)
    before = {key: weight.clone() for key, weight in weights.items()}
    wanted = {"fc1.weight": max(density, 0.5), "fc2.weight": density}
    if shape == (1, 1):
        wanted["fc1.weight"] = 1.0
    masks = by_density(weights, wanted)
    for key, weight in weights.items():
        assert torch.equal(weight, before[key])
        assert (masks[key].dtype, masks[key].shape) == (torch.bool, weight.shape)
        assert indices(masks[key]) == largest(weight, round(wanted[key] * weight.numel()))


@settings(max_examples=100)
@given(SEEDS, SHAPES, LEVELS, st.floats(0.0, 1.0))
def test_quality_is_times_the_standard_deviation(
    seed: int, shape: tuple[int, ...], levels: int, quality: float
) -> None:
    weights = draw(seed, shape, levels=levels)
    deviation = deviations(weights)["fc1.weight"]
    values = weights["fc1.weight"].flatten().tolist()
    survivors = [int(value) for value in values if value]
    mean = Fraction(sum(survivors), len(survivors))
    variance = sum((value - mean) ** 2 for value in survivors) / len(survivors)
    assert deviation == pytest.approx(float(variance) ** 0.5, rel=1e-12)
    mask = by_quality(weights, {"fc1.weight": quality}, {"fc1.weight": deviation})["fc1.weight"]
    want = [i for i, value in enumerate(values) if value and abs(value) >= quality * deviation]
    assert indices(mask) == want


def test_a_threshold_between_two_floats_counts_as_it_is() -> None:
    """Rounded to the weights' 32 bits it would be 1.0, which is less than the threshold."""
    weights = {"fc.weight": torch.tensor([[1.0, -1.0, 1.0000001, -1.0000001]])}
    mask = by_quality(weights, {"fc.weight": 1 + 1e-12}, {"fc.weight": 1.0})["fc.weight"]
    assert mask.tolist() == [[False, False, True, True]]
    mask = by_quality(weights, {"fc.weight": 1.0}, {"fc.weight": 1.0})["fc.weight"]
    assert mask.all()


def test_the_deviation_of_many_weights_is_that_of_all() -> None:
    values = np.random.default_rng(3).normal(0.5, 0.1, (3, 1_000_000)).astype(np.float32)
    values[0, ::2] = 0
    want = values[values != 0].astype(np.float64).std()
    got = deviations({"fc.weight": torch.from_numpy(values)})["fc.weight"]
    assert got == pytest.approx(want, rel=1e-12)
    assert deviations({"fc.weight": torch.zeros(2, 2)}) == {"fc.weight": 0.0}


@settings(max_examples=200)
@given(SEEDS, SHAPES, LEVELS, st.floats(0.1, 1.0))
def test_a_budget_ranks_by_the_part_that_is_lost(
    seed: int, shape: tuple[int, ...], levels: int, density: float
) -> None:
    weights = draw(seed, shape, (3, 20), (2, 2), levels=levels)
    budget = round(density * sum(weight.numel() for weight in weights.values()))
    ranked = []
    for layer, weight in enumerate(weights.values()):
        values = [int(value) for value in weight.flatten().tolist()]
        left = 0
        order = sorted((-abs(value), index) for index, value in enumerate(values) if value)
        for _, index in order:
            left += values[index] ** 2
            ranked.append((-Fraction(values[index] ** 2, left), layer, index))
    ranked.sort()
    masks = by_budget(weights, density)
    for layer, mask in enumerate(masks.values()):
        assert indices(mask) == sorted(i for _, at, i in ranked[:budget] if at == layer)


def test_a_budget_leaves_no_layer_dead() -> None:
    weights = draw(5, (30, 30), (10, 10), (4, 4))
    weights["fc2.weight"] *= 1e-6
    weights["fc3.weight"] *= 1e-20
    masks = by_budget(weights, 3 / 1016)
    assert [int(mask.sum()) for mask in masks.values()] == [1, 1, 1]


@settings(max_examples=100)
@given(SEEDS, st.integers(1, 20), st.integers(1, 9), LEVELS, st.floats(0.1, 1.0))
def test_groups_keep_equally_many(
    seed: int, rows: int, groups: int, levels: int, density: float
) -> None:
    weights = draw(seed, (rows, 12), levels=levels)
    weight = weights["fc1.weight"]
    mask = by_density(weights, {"fc1.weight": density}, groups=groups)["fc1.weight"]
    count = min(round(density * weight.numel()), int(weight.count_nonzero()))
    assert int(mask.sum()) == count
    shares = [int(mask[group::groups].sum()) for group in range(groups)]
    for group, share in enumerate(shares):
        part = weight[group::groups]
        assert indices(mask[group::groups]) == largest(part, share)
        # Only a group that has no more is behind.
        assert share >= max(shares) - 1 or share == int(part.count_nonzero())


def test_quality_and_budget_keep_as_many_in_groups() -> None:
    weights = draw(9, (32, 20), (16, 8))
    dense = deviations(weights)
    alone = by_quality(weights, everywhere(weights, 1.2), dense)
    dealt = by_quality(weights, everywhere(weights, 1.2), dense, groups=4)
    budget = by_budget(weights, 0.3)
    for masks, want in ((dealt, alone), (by_budget(weights, 0.3, groups=4), budget)):
        for key, mask in masks.items():
            shares = [int(mask[group::4].sum()) for group in range(4)]
            assert sum(shares) == int(want[key].sum())
            assert max(shares) - min(shares) <= 1
            assert not torch.equal(mask, want[key])


def test_weights_may_lie_in_memory_in_any_order() -> None:
    """Of equal weights as many stay, though those of a column are neighbours."""
    weights = {"fc.weight": torch.ones(4, 3).t()}
    for masks in (by_density(weights, {"fc.weight": 0.5}), by_budget(weights, 0.5)):
        assert masks["fc.weight"].tolist() == [[True] * 4, [True, True, False, False], [False] * 4]


def test_a_budget_is_kept_where_scores_are_too_near_to_differ() -> None:
    """Beside the largest weight's square the others' are lost in float64: all of them tie."""
    weights = {
        name: torch.tensor([[1e10, 1.0, 1.0, 1.0, 1.0]]) for name in ("fc1.weight", "fc2.weight")
    }
    masks = by_budget(weights, 0.7)
    assert [int(mask.sum()) for mask in masks.values()] == [5, 2]


def test_zeros_are_never_kept() -> None:
    weights = {"fc.weight": torch.tensor([[0.0, -0.0], [1e-45, 2.0]])}
    want = [[False, False], [True, True]]
    assert by_density(weights, {"fc.weight": 1.0})["fc.weight"].tolist() == want
    assert by_budget(weights, 1.0)["fc.weight"].tolist() == want
    assert by_quality(weights, {"fc.weight": 0.0}, {"fc.weight": 1.0})["fc.weight"].tolist() == want


def test_each_layer_has_a_target_of_its_own() -> None:
    weights = draw(2, (10, 10), (10, 10))
    masks = by_density(weights, {"fc2.weight": 0.5, "fc1.weight": 0.25})
    assert [int(mask.sum()) for mask in masks.values()] == [25, 50]
    assert list(masks) == ["fc1.weight", "fc2.weight"]


WEIGHTS = draw(1, (6, 6), (3, 6))
DEAD = WEIGHTS | {"fc2.weight": torch.zeros(3, 6)}


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (
            lambda: by_density(WEIGHTS, {"fc1.weight": 0.5, "fc2.weight": 0.001}),
            "layer 'fc2' has no weight left at density 0.001; raise prune.density for it",
        ),
        (
            lambda: by_density(DEAD, everywhere(DEAD, 1.0), groups=2),
            "layer 'fc2' has no weight left at density 1; raise prune.density for it",
        ),
        (
            lambda: by_quality(WEIGHTS, everywhere(WEIGHTS, 9.0), deviations(WEIGHTS)),
            "layer 'fc1' has no weight left at quality 9; lower prune.quality for it",
        ),
        (
            lambda: by_quality(DEAD, everywhere(DEAD, 0.0), deviations(DEAD)),
            "layer 'fc2' has no weight left at quality 0; lower prune.quality for it",
        ),
        (
            lambda: by_budget(WEIGHTS, 1 / 54),
            "layer 'fc2' has no weight left at budget 0.01852; raise prune.budget",
        ),
        (
            lambda: by_budget(WEIGHTS, 0.001),
            "layer 'fc1' has no weight left at budget 0.001; raise prune.budget",
        ),
        (
            lambda: by_budget(DEAD, 1.0),
            "layer 'fc2' has no weight left at budget 1; raise prune.budget",
        ),
    ],
)
def test_refused(masks, sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        masks()
    assert str(caught.value) == sentence
