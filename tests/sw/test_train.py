"""Gradient descent: repeatable, kind to global state, and right on a step done by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur import checkpoint
from secateur.data import Dataset, Split
from secateur.errors import BadInputError
from secateur.model import accuracy, build, dense_layers
from secateur.project import Project
from secateur.settings import TrainSettings
from secateur.train import descend, train


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
        weights.append(torch.cat([layer.weight.flatten() for layer in dense_layers(module)]))
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
    module = build(6, (), 3, torch.Generator().manual_seed(1))
    layer = dense_layers(module)[0]
    weight = layer.weight.double().numpy().copy()
    x, labels = dataset.train.x.astype(np.float64), dataset.train.labels
    assert layer.bias is not None
    logits = x @ weight.T + layer.bias.double().numpy()
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (soft - np.eye(3)[labels]).T @ x / len(x)
    descend(
        module,
        dataset,
        TrainSettings(batch_size=120, weight_decay=0.25, momentum=0.5),
        epochs=1,
        learning_rate=0.125,
        generator=torch.Generator(),
    )
    want = weight - 0.125 * (gradient + 0.25 * weight)
    np.testing.assert_allclose(dense_layers(module)[0].weight.numpy(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masked_weights_stay_zero(optimizer: str) -> None:
    dataset = blobs()
    module = build(6, (8,), 3, torch.Generator().manual_seed(1))
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
    text = str(caught.value)
    assert text.startswith("training diverged in epoch ")
    assert text.endswith("; lower the learning rate")


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
        "the model must have the 5 inputs and 3 outputs of 'blobs', not 6 and 3; "
        "give a model that was trained on it"
    )
