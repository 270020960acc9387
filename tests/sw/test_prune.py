"""Pruning: the thresholds of the paper, exact counts, and survivors that are kept."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.data import Dataset, Split
from secateur.errors import BadInputError
from secateur.model import build, dense_layers, plain
from secateur.project import Project
from secateur.prune import Pruning, prune, remove


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rng = np.random.default_rng(7)
    labels = np.arange(60) % 3
    x = (rng.uniform(size=(3, 6))[labels] + rng.normal(scale=0.2, size=(60, 6))).astype(np.float32)
    split = Split(x, labels)
    return Dataset("clouds", split, split, split)


def module(seed: int = 1) -> nn.Sequential:
    return build(6, (20,), 3, torch.Generator().manual_seed(seed))


def pruned(dataset: Dataset, start: nn.Module | None = None, **sections: Any) -> Pruning:
    project = Project.model_validate({"name": "clouds"} | {"prune": sections})
    return prune(start or module(), project, dataset)


def weights(module: nn.Module) -> list[np.ndarray]:
    return [layer.weight.numpy() for layer in dense_layers(module)]


def test_quality_is_times_the_standard_deviation(dataset: Dataset) -> None:
    got = pruned(dataset, quality=[0.7, 1.2], rounds=1, epochs=0)
    for dense, sparse, quality in zip(
        weights(module()), weights(got.module), (0.7, 1.2), strict=True
    ):
        exact = dense.astype(np.float64)
        deviation = np.sqrt(np.mean((exact - exact.mean()) ** 2))
        want = np.where(np.abs(exact) >= quality * deviation, dense, 0)
        assert np.array_equal(sparse, want)
        assert 0 < np.count_nonzero(sparse) < sparse.size


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.floats(0.05, 1.0))
def test_density_keeps_the_largest(seed: int, density: float) -> None:
    dense = module(seed)
    sparse = plain(dense)
    stats, masks = remove(sparse, "density", [density] * 2, dense_layers(dense))
    for before, after, stat in zip(weights(dense), weights(sparse), stats, strict=True):
        count = round(density * before.size)
        least = np.sort(np.abs(before), axis=None)[-count]
        assert np.array_equal(after, np.where(np.abs(before) >= least, before, 0))
        assert (stat.weights, stat.non_zeros) == (before.size, count)
        assert stat.density == count / before.size
        assert stat.threshold == least
        assert np.array_equal(masks[f"{stat.name}.weight"].numpy(), after != 0)


def test_equal_weights_still_give_the_density(dataset: Dataset) -> None:
    flat = module()
    for name in ("fc1.weight", "fc2.weight"):
        flat.get_parameter(name).data.fill_(-0.5)
    got = pruned(dataset, flat, density=0.25, rounds=1, epochs=0)
    assert [layer.non_zeros for layer in got.layers] == [30, 15]
    assert np.flatnonzero(weights(got.module)[0]).tolist() == [*range(30)]


def test_rounds_approach_the_target_by_equal_factors(dataset: Dataset) -> None:
    got = pruned(dataset, density=[0.1, 0.5], rounds=3, epochs=2)
    for index, target in enumerate((0.1, 0.5)):
        size = (120, 60)[index]
        want = [round(target ** (step / 3) * size) for step in (1, 2, 3)]
        assert [stats.layers[index].non_zeros for stats in got.rounds] == want
    assert got.layers == got.rounds[-1].layers
    assert [int(np.count_nonzero(w)) for w in weights(got.module)] == [12, 30]


def test_rounds_approach_a_quality_by_equal_steps(dataset: Dataset) -> None:
    """Without retraining, the thresholds of the dense layer count in every round."""
    got = pruned(dataset, quality=1.2, rounds=3, epochs=0)
    for index, dense in enumerate(weights(module())):
        deviation = dense.astype(np.float64).std()
        want = [int((abs(dense) >= quality * deviation).sum()) for quality in (0.4, 0.8, 1.2)]
        assert [stats.layers[index].non_zeros for stats in got.rounds] == want


def test_retraining_keeps_zeros_and_moves_the_rest(dataset: Dataset) -> None:
    once = pruned(dataset, density=0.3, rounds=1, epochs=0)
    retrained = pruned(dataset, density=0.3, rounds=1, epochs=40, learning_rate=0.02)
    for removed, kept in zip(weights(once.module), weights(retrained.module), strict=True):
        assert np.array_equal(removed != 0, kept != 0)
        assert not np.array_equal(removed, kept)
        # From the values that they had, not from new ones.
        assert np.corrcoef(removed[removed != 0], kept[removed != 0])[0, 1] > 0.8
    for same, want in zip(weights(retrained.unretrained), weights(once.module), strict=True):
        assert np.array_equal(same, want)
    assert retrained.rounds[0].retrained > retrained.rounds[0].pruned == once.rounds[0].pruned


def test_pruned_modules_stay_pruned(dataset: Dataset) -> None:
    """Zeros count as removed: a target above what is there changes nothing."""
    first = pruned(dataset, density=0.2, rounds=1, epochs=0).module
    again = pruned(dataset, first, density=0.4, rounds=2, epochs=0)
    for before, after in zip(weights(first), weights(again.module), strict=True):
        assert np.array_equal(before, after)
    retrained = pruned(dataset, first, quality=0, rounds=2, epochs=1)
    for before, after in zip(weights(first), weights(retrained.module), strict=True):
        assert np.array_equal(before != 0, after != 0)
    further = pruned(dataset, first, density=0.05, rounds=2, epochs=0)
    assert [stats.layers[0].non_zeros for stats in further.rounds] == [12, 6]
    assert [stats.layers[1].non_zeros for stats in further.rounds] == [6, 3]


def test_repeatable_and_the_given_module_is_left_alone(dataset: Dataset) -> None:
    start = module()
    told = []
    project = Project.model_validate({"name": "a", "prune": {"rounds": 2, "epochs": 3}})
    first = prune(start, project, dataset, lambda *step: told.append(step))
    second = prune(start, project, dataset)
    for one, two in zip(weights(first.module), weights(second.module), strict=True):
        assert np.array_equal(one, two)
    assert first.rounds == second.rounds
    for one, two in zip(weights(start), weights(module()), strict=True):
        assert np.array_equal(one, two)
    assert [step[:2] for step in told] == [(done, 6) for done in range(1, 7)]
    assert told[3][2].startswith("round 2 of 2, loss ")


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"density": [0.5, 0.001]},
            "layer 'fc2' has no weight left at density 0.001; raise prune.density for it",
        ),
        (
            {"quality": [9.0, 0.1]},
            "layer 'fc1' has no weight left at quality 9; lower prune.quality for it",
        ),
        (
            {"density": [0.5]},
            "prune.density must have one number for each of the model's 2 layers, not 1",
        ),
    ],
)
def test_refused(dataset: Dataset, sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        pruned(dataset, rounds=1, epochs=0, **sections)
    assert str(caught.value) == sentence


def test_a_layer_without_weights_is_refused(dataset: Dataset) -> None:
    dead = module()
    dead.get_parameter("fc2.weight").data.zero_()
    for target in ({"quality": 0.0}, {"density": 1.0}):
        with pytest.raises(BadInputError, match=r"^layer 'fc2' has no weight left at "):
            pruned(dataset, dead, rounds=1, epochs=0, **target)
