"""Gradient descent: repeatable, kind to global state, and right on a step done by hand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur import checkpoint
from secateur.architectures import perceptron
from secateur.dataset import Dataset, Split
from secateur.descent import descend
from secateur.errors import BadInputError
from secateur.lowering import float_layers
from secateur.model import accuracy
from secateur.project import Project
from secateur.settings import TrainSettings
from secateur.train import check_fits, train


def blobs(seed: int = 5, features: int = 6, classes: int = 3) -> Dataset:
    """Well separated clouds, so that anything that learns at all learns them."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 4, size=(classes, features))

    def split(count: int) -> Split:
        labels = np.arange(count) % classes
        x = centers[labels] + rng.normal(scale=0.3, size=(count, features))
        return Split(x.astype(np.float32), labels)

    return Dataset("blobs", split(120), split(30), split(30))


def project(**sections: Any) -> Project:
    return Project.model_validate({"name": "blobs", "network": {"hidden": [8]}} | sections)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_learns_and_tells(optimizer: str) -> None:
    told = []
    settings = project(train={"epochs": 12, "optimizer": optimizer, "learning_rate": 0.02})
    dataset = blobs()
    module = train(settings, dataset, lambda *step: told.append(step))
    assert accuracy(module, dataset.test) == 1.0
    assert [step[:2] for step in told] == [(epoch, 12) for epoch in range(1, 13)]
    assert told[-1][2].startswith("loss 0.0")
    assert told[-1][2].endswith(", validation 100.0%")


def test_same_seed_same_bits_and_nothing_global() -> None:
    dataset, state = blobs(), torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    before = threads + 1, torch.are_deterministic_algorithms_enabled()
    weights = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # whatever others draw must not matter
        module = train(project(seed=seed, train={"epochs": 2}), dataset)
        weights.append(torch.cat([layer.weight.flatten() for layer in float_layers(module)]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert before == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
    train(project(train={"epochs": 1}), dataset)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_step_is_the_formula() -> None:
    """Softmax regression, one batch: weights less rate times (gradient + decay * weights)."""
    dataset = blobs()
    module = perceptron(6, (), 3, torch.Generator().manual_seed(1))
    layer = float_layers(module)[0]
    weight = layer.weight.double().numpy().copy()
    x, labels = dataset.train.x.astype(np.float64), dataset.train.labels
    assert layer.bias is not None
    logits = x @ weight.T + layer.bias.double().numpy()
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (soft - np.eye(3)[labels]).T @ x / len(x)
    descend(
        module,
        dataset,
        TrainSettings.model_validate({"batch_size": 120, "weight_decay": 0.25, "momentum": 0.5}),
        epochs=1,
        learning_rate=0.125,
        generator=torch.Generator(),
    )
    want = weight - 0.125 * (gradient + 0.25 * weight)
    np.testing.assert_allclose(float_layers(module)[0].weight.numpy(), want, rtol=1e-5, atol=1e-6)


def test_two_steps_follow_half_a_cosine_with_l1_and_l2() -> None:
    """The rate is that of the step, not of the epoch: full in the first, half in the second."""
    dataset = blobs()
    module = perceptron(6, (), 3, torch.Generator().manual_seed(1))
    weight = float_layers(module)[0].weight.double().numpy().copy()
    bias = float_layers(module)[0].bias
    assert bias is not None
    bias = bias.double().numpy().copy()
    x, labels = dataset.train.x.astype(np.float64), dataset.train.labels
    generator = torch.Generator().manual_seed(4)
    descend(
        module,
        dataset,
        TrainSettings.model_validate({
            "batch_size": 60,
            "weight_decay": 0.25,
            "l1": 0.125,
            "momentum": 0.5,
        }),
        epochs=1,
        learning_rate=0.125,
        generator=generator,
    )
    again = torch.Generator().manual_seed(4)
    torch.randint(2**62, (), generator=again)
    order = torch.randperm(120, generator=again).numpy()
    moment: list[np.ndarray | float] = [0.0, 0.0]
    for step, rate in enumerate((0.125, 0.0625)):
        batch = order[60 * step : 60 * step + 60]
        logits = x[batch] @ weight.T + bias
        soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (soft - np.eye(3)[labels[batch]]) / 60
        moment[0] = 0.5 * moment[0] + error.T @ x[batch] + 0.25 * weight + 0.125 * np.sign(weight)
        moment[1] = 0.5 * moment[1] + error.sum(axis=0) + 0.25 * bias
        weight = weight - rate * moment[0]
        bias = bias - rate * moment[1]
    np.testing.assert_allclose(float_layers(module)[0].weight.numpy(), weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masked_weights_stay_zero(optimizer: str) -> None:
    dataset = blobs()
    module = perceptron(6, (8,), 3, torch.Generator().manual_seed(1))
    masks = {}
    for name in ("fc1.weight", "fc2.weight"):
        parameter = module.get_parameter(name)
        masks[name] = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(2)) < 0.5
        parameter.data *= masks[name]
    before = {name: module.get_parameter(name).detach().clone() for name in masks}
    descend(
        module,
        dataset,
        TrainSettings.model_validate({"optimizer": optimizer, "weight_decay": 0.01}),
        epochs=3,
        learning_rate=0.05,
        generator=torch.Generator(),
        masks=masks,
    )
    for name, mask in masks.items():
        after = module.get_parameter(name)
        assert (after[~mask] == 0).all()
        assert (after[mask] != before[name][mask]).any()


def test_divergence_is_said() -> None:
    with pytest.raises(BadInputError) as caught:
        train(project(train={"epochs": 9, "learning_rate": 10, "weight_decay": 1}), blobs())
    assert re.fullmatch(
        r"training diverged in epoch [1-9] at learning rate [0-9.]+ "
        r"\(layer 'fc1': weight holds NaN or infinity\); lower the learning rate",
        str(caught.value),
    )


def test_a_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    checkpoint.save(module, tmp_path / "mine.safetensors")
    (tmp_path / "p.toml").write_text('[network]\ncheckpoint = "mine.safetensors"')
    loaded = Project.load(tmp_path / "p.toml")
    for got, want in zip(train(loaded, blobs()).parameters(), module.parameters(), strict=True):
        assert torch.equal(got, want)
    with pytest.raises(BadInputError) as caught:
        train(loaded, blobs(features=5))
    assert str(caught.value) == (
        "the model must take the 5 inputs of 'blobs' and give its 3 classes, but its first layer, "
        "'0', takes 6 and its last, '2', gives 3; give a model that was trained on it"
    )


def images() -> Dataset:
    rng = np.random.default_rng(8)
    labels = np.arange(48) % 3
    x = rng.normal(scale=0.3, size=(48, 2, 6, 5)).astype(np.float32)
    x[np.arange(48), 0, labels, labels] += 3
    split = Split(x, labels)
    return Dataset("images", split, split, split)


def convolutional(channels: int = 2, classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, classes),
    )


def test_convolutions_learn_and_keep_their_memory_format() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = convolutional()
    before = [*module.parameters()]
    descend(
        module,
        images(),
        TrainSettings.model_validate({"batch_size": 7}),
        epochs=25,
        learning_rate=0.1,
        generator=torch.Generator(),
    )
    assert accuracy(module, images().test) == 1.0
    assert [*map(id, module.parameters())] == [*map(id, before)]
    assert all(parameter.is_contiguous() and parameter.grad is None for parameter in before)
    assert module.training


@pytest.mark.parametrize(
    ("module", "layers"),
    [
        (convolutional(channels=1), "'0', takes 1 channels and its last, '5', gives 3"),
        (convolutional(classes=10), "'0', takes 2 channels and its last, '5', gives 10"),
        (nn.Sequential(nn.Linear(5, 3)), "'0', takes 5 and its last, '0', gives 3"),
    ],
)
def test_a_model_of_other_images_is_refused(module: nn.Module, layers: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_fits(module, images())
    assert str(caught.value) == (
        "the model must take the 2 x 6 x 5 inputs of 'images' and give its 3 classes, but its "
        f"first layer, {layers}; give a model that was trained on it"
    )


def test_without_examples_there_are_initial_weights() -> None:
    settings = {"data": {"name": "none"}, "network": {"architecture": "lenet-300-100"}}
    module = train(Project.model_validate({"name": "a", "train": {"epochs": 0}} | settings), None)
    assert [*module.get_parameter("fc1.weight").shape] == [300, 784]
    with pytest.raises(BadInputError) as caught:
        train(Project.model_validate({"name": "a"} | settings), None)
    assert str(caught.value) == (
        'train.epochs must be 0 where data.name is "none", not 60; give 0 for the network\'s '
        "initial weights, or name a set of examples"
    )


def test_curves_are_logged() -> None:
    points = []
    settings = project(train={"epochs": 3})
    told = []
    module = train(
        settings, blobs(), lambda *step: told.append(step), log=lambda *point: points.append(point)
    )
    assert [(name, epoch) for name, _, epoch in points] == [
        (name, epoch) for epoch in (1, 2, 3) for name in ("loss", "accuracy")
    ]
    assert points[-1][1] == accuracy(module, blobs().validation)
    assert told[-1][2].startswith(f"loss {points[-2][1]:.4f}, ")


def test_products_of_fewer_bits_learn_as_well_and_leave_float32() -> None:
    settings = {"epochs": 8, "batch_size": 8, "learning_rate": 0.05}
    exact, brief = (
        train(project(train={**settings, "precision": precision}), blobs())
        for precision in ("float32", "bfloat16")
    )
    for module in (exact, brief):
        assert {value.dtype for value in module.parameters()} == {torch.float32}
        assert accuracy(module, blobs().test) > 0.95
    first, second = (float_layers(module)[0].weight for module in (exact, brief))
    assert not torch.equal(first, second)  # the setting does something
    assert torch.allclose(first, second, atol=0.1)
