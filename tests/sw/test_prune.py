"""Pruning: the thresholds of the paper, exact counts, and survivors that are kept."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.architectures import perceptron
from secateur.dataset import Dataset, Split
from secateur.errors import BadInputError
from secateur.lowering import float_layers
from secateur.model import accuracy
from secateur.project import Project
from secateur.prune import Pruning, prune


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rng = np.random.default_rng(7)
    labels = np.arange(60) % 3
    x = (rng.uniform(size=(3, 6))[labels] + rng.normal(scale=0.2, size=(60, 6))).astype(np.float32)
    split = Split(x, labels)
    return Dataset("clouds", split, split, split)


def module(seed: int = 1) -> nn.Sequential:
    return perceptron(6, (20,), 3, torch.Generator().manual_seed(seed))


def pruned(dataset: Dataset, start: nn.Module | None = None, **sections: Any) -> Pruning:
    project = Project.model_validate({"name": "clouds"} | {"prune": sections})
    return prune(start or module(), project, dataset)


def weights(module: nn.Module) -> list[np.ndarray]:
    return [layer.weight.numpy() for layer in float_layers(module)]


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


def test_density_keeps_the_largest(dataset: Dataset) -> None:
    got = pruned(dataset, density=[0.3, 0.55], rounds=1, epochs=0)
    for before, after, stat, density in zip(
        weights(module()), weights(got.module), got.layers, (0.3, 0.55), strict=True
    ):
        count = round(density * before.size)
        least = np.sort(np.abs(before), axis=None)[-count]
        assert np.array_equal(after, np.where(np.abs(before) >= least, before, 0))
        assert (stat.weights, stat.non_zeros) == (before.size, count)
        assert stat.density == count / before.size
        assert stat.threshold == least
    assert got.unretrained is got.module


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
    assert retrained.rounds[0].pruned == once.rounds[0].pruned == once.rounds[0].retrained
    better = accuracy(retrained.module, dataset.watched)
    assert better == retrained.rounds[0].retrained
    assert better > accuracy(once.module, dataset.watched)


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


def test_a_target_that_removes_a_layer_is_refused_before_anything_is_learnt(
    dataset: Dataset,
) -> None:
    """However far its first rounds would get."""
    project = Project.model_validate({
        "name": "clouds",
        "prune": {"quality": 2.5, "rounds": 4, "epochs": 5},
    })
    told = []
    with pytest.raises(BadInputError) as caught:
        prune(module(), project, dataset, lambda *step: told.append(step))
    assert str(caught.value) == (
        "layer 'fc1' has no weight left at quality 2.5; lower prune.quality for it"
    )
    assert not told


@pytest.mark.parametrize("target", [{"budget": 0.3}, {"density": 0.3}])
def test_divergence_is_said_before_masks_are_chosen(
    dataset: Dataset, target: dict[str, Any]
) -> None:
    """A few steps into an epoch, at whose end it would be noticed, too."""
    given = {"schedule": "smooth", "epochs": 5, "learning_rate": 10.0, "weight_decay": 1.0}
    project = Project.model_validate({
        "name": "clouds",
        "train": {"batch_size": 1},
        "prune": given | target,
    })
    with pytest.raises(BadInputError) as caught:
        prune(module(), project, dataset)
    assert re.fullmatch(
        r"training diverged in epoch [0-9]+ at learning rate [0-9.]+ "
        r"\(layer 'fc1': weight holds NaN or infinity\); lower the learning rate",
        str(caught.value),
    )


def test_a_budget_is_for_the_whole_network(dataset: Dataset) -> None:
    got = pruned(dataset, budget=0.1, rounds=3, epochs=2)
    counts = [[layer.non_zeros for layer in stats.layers] for stats in got.rounds]
    assert [sum(count) for count in counts] == [round(180 * 0.1 ** (n / 3)) for n in (1, 2, 3)]
    # The layers' parts follow from the weights, and are not equal.
    assert len({layer.density for layer in got.layers}) == 2
    assert [int(np.count_nonzero(w)) for w in weights(got.module)] == counts[-1]


@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize("target", [{"budget": 0.15}, {"density": [0.1, 0.25]}])
def test_smoothly(dataset: Dataset, regrow: bool, target: dict[str, Any]) -> None:
    told = []
    points: list[tuple[str, float, int]] = []
    sections = {"schedule": "smooth", "regrow": regrow, "ramp": 0.5, "learning_rate": 0.1} | target
    project = Project.model_validate({
        "name": "clouds",
        "train": {"batch_size": 6, "weight_decay": 1e-4},
        "prune": sections | {"epochs": 20},
    })
    start = module()
    got = prune(
        start,
        project,
        dataset,
        lambda *step: told.append(step),
        log=lambda *point: points.append(point),
    )
    assert [np.count_nonzero(w) for w in weights(got.module)] == [
        layer.non_zeros for layer in got.layers
    ]
    total = sum(layer.non_zeros for layer in got.layers)
    assert total == 27
    reached = accuracy(got.module, dataset.watched)
    assert reached > 0.9
    assert got.rounds[0].retrained == reached
    assert (len(got.rounds), got.rounds[0].pruned) == (1, None)
    for given, want in zip(weights(start), weights(module()), strict=True):
        assert np.array_equal(given, want)
    # The unretrained one shows the target, on the weights that were given.
    assert sum(np.count_nonzero(w) for w in weights(got.unretrained)) == 27
    densities = [value for name, value, _ in points if name == "density"]
    assert densities == sorted(densities, reverse=True)
    assert densities[6] > densities[10] == densities[-1] == total / 180
    assert told[-1][2].endswith(", density 15.00%")
    assert [epoch for name, _, epoch in points if name == "loss"] == [*range(1, 21)]


def test_smoothly_without_retraining_is_one_cut(dataset: Dataset) -> None:
    once = pruned(dataset, budget=0.2, rounds=1, epochs=0)
    smooth = pruned(dataset, budget=0.2, schedule="smooth", epochs=0)
    for one, two in zip(weights(once.module), weights(smooth.module), strict=True):
        assert np.array_equal(one, two)
    assert once.rounds == smooth.rounds


def test_balance_gives_every_group_as_many(dataset: Dataset) -> None:
    project = Project.model_validate({
        "name": "a",
        "prune": {"density": 0.3, "balance": True, "rounds": 2, "epochs": 1},
        "engine": {"pes": 8, "lanes": 2},
    })
    got = prune(module(), project, dataset)
    first = weights(got.module)[0]
    assert [np.count_nonzero(first[group::4]) for group in range(4)] == [9, 9, 9, 9]


def test_retraining_has_a_decay_of_its_own(dataset: Dataset) -> None:
    """With L2, and with L1, what is left gets smaller than with none; training's is the default."""
    sums = {}
    kinds: dict[str, dict[str, Any]] = {
        "none": {"weight_decay": 0.0},
        "l2": {"weight_decay": 0.2},
        "l1": {"weight_decay": 0.0, "l1": 0.02},
    }
    for name, sections in kinds.items():
        got = pruned(dataset, density=0.5, rounds=1, epochs=10, learning_rate=0.05, **sections)
        sums[name] = sum(np.abs(w).sum() for w in weights(got.module))
    assert sums["l2"] < 0.9 * sums["none"]
    assert sums["l1"] < 0.9 * sums["none"]
    inherited = Project.model_validate({
        "name": "a",
        "train": {"weight_decay": 0.2},
        "prune": {"density": 0.5, "rounds": 1, "epochs": 10, "learning_rate": 0.05},
    })
    got = prune(module(), inherited, dataset)
    assert sum(np.abs(w).sum() for w in weights(got.module)) == sums["l2"]


def test_convolutions_rest_first() -> None:
    x = np.random.default_rng(2).normal(size=(24, 1, 4, 4)).astype(np.float32)
    split = Split(x, np.arange(24) % 3)
    images = Dataset("noise", split, split, split)
    start = nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    for freeze in (True, False):
        got = pruned(images, start, density=0.5, rounds=1, epochs=1, freeze=freeze)
        for name, rests in (("0.weight", freeze), ("0.bias", freeze), ("3.weight", False)):
            before, after = start.get_parameter(name), got.module.get_parameter(name)
            assert torch.equal(before[after != 0], after[after != 0]) == rests, name


def test_without_examples_nothing_is_retrained() -> None:
    project = Project.model_validate({
        "name": "a",
        "data": {"name": "none"},
        "prune": {"density": 0.5, "rounds": 1, "epochs": 0},
    })
    got = prune(module(), project, None)
    assert [layer.non_zeros for layer in got.layers] == [60, 30]
    assert (got.rounds[0].pruned, got.rounds[0].retrained) == (None, None)
    with pytest.raises(BadInputError) as caught:
        prune(module(), Project.model_validate({"name": "a", "data": {"name": "none"}}), None)
    assert str(caught.value) == (
        'prune.epochs must be 0 where data.name is "none", not 10; give 0 to prune without '
        "retraining, or name a set of examples"
    )
