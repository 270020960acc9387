"""Retraining in integers, on the digits: what is learnt is the integer network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.architectures import perceptron
from secateur.data import load
from secateur.dataset import Dataset
from secateur.descent import descend
from secateur.errors import BadInputError
from secateur.finetune import finetune
from secateur.model import accuracy, outputs
from secateur.network import Network
from secateur.project import Project
from secateur.quantize import quantize
from secateur.settings import DataSettings
from secateur.straight_through import IntegerNetwork


def project(**quantize: Any) -> Project:
    return Project.model_validate({
        "name": "digits",
        "train": {"epochs": 15, "learning_rate": 0.1},
        "quantize": {"codebook_bits": 2, "epochs": 4, "learning_rate": 0.02} | quantize,
    })


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    found = load(DataSettings())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def module(dataset: Dataset) -> nn.Sequential:
    """A perceptron of which a fifth of the weights is left."""
    generator = torch.Generator().manual_seed(1)
    module = perceptron(64, (32,), 10, generator)
    settings = project().train
    for rate in (0.1, 0.05):
        masks = {
            name: parameter.abs() >= parameter.abs().quantile(0.8 if rate < 0.1 else 0)
            for name, parameter in module.named_parameters()
            if name.endswith("weight")
        }
        for name, mask in masks.items():
            module.get_parameter(name).data.mul_(mask)
        descend(
            module,
            dataset,
            settings,
            epochs=12,
            learning_rate=rate,
            generator=generator,
            masks=masks,
        )
    return module


def quantized(module: nn.Module, dataset: Dataset, which: Project) -> Network:
    return quantize(module, dataset.train.x, which.quantize, which.name)


def loss(network: Network, dataset: Dataset) -> float:
    module = IntegerNetwork(network)
    x, labels = torch.from_numpy(dataset.train.x), torch.from_numpy(dataset.train.labels)
    return float(nn.functional.cross_entropy(module(x), labels).detach())


@pytest.mark.parametrize(("codebook_bits", "activation_width"), [(2, 8), (4, 4), (0, 8)])
def test_the_integer_network_learns(
    module: nn.Sequential, dataset: Dataset, codebook_bits: int, activation_width: int
) -> None:
    """Its loss falls, its zeros, codes and scales stay."""
    which = project(codebook_bits=codebook_bits, activation_width=activation_width, weight_width=6)
    before = quantized(module, dataset, which)
    after = finetune(before, which, dataset)
    assert loss(after, dataset) < loss(before, dataset)
    pairs = [*zip(before.layers, after.layers, strict=True)]
    assert not all(np.array_equal(new.weights, old.weights) for old, new in pairs)
    for old, new in pairs:
        assert (new.weights[old.weights == 0] == 0).all()
        assert new.requant == old.requant
        assert new.input == old.input
        assert not np.array_equal(new.bias, old.bias)
        if codebook_bits:
            for value in np.unique(old.weights):
                assert len(np.unique(new.weights[old.weights == value])) == 1
            assert new.codebook is not None
            assert len(new.codebook) <= 1 << codebook_bits
        else:
            assert new.codebook is None


def test_few_values_are_worth_more_when_they_are_tuned(
    module: nn.Sequential, dataset: Dataset
) -> None:
    which = project()
    before = quantized(module, dataset, which)
    after = finetune(before, which, dataset)
    want, start, end = (accuracy(each, dataset.validation) for each in (module, before, after))
    assert start < end
    assert want - end < (want - start) / 2


@pytest.mark.parametrize("codebook_bits", [0, 2, 4])
def test_learning_sees_what_the_hardware_computes(
    module: nn.Sequential, dataset: Dataset, codebook_bits: int
) -> None:
    """On every example of the digits, before and after retraining."""
    which = project(codebook_bits=codebook_bits, epochs=1)
    before = quantized(module, dataset, which)
    for network in (before, finetune(before, which, dataset)):
        learns = IntegerNetwork(network)
        for split in (dataset.train, dataset.validation, dataset.test):
            want = network.compute(network.quantize_input(split.x))
            got = outputs(learns, split.x) * 2.0 ** network.layers[-1].output_fraction
            assert np.array_equal(got, want)


def test_no_epoch_changes_nothing(module: nn.Sequential, dataset: Dataset) -> None:
    which = project(epochs=0)
    network = quantized(module, dataset, which)
    assert finetune(network, which, dataset) is network


def test_repeatable_and_told(module: nn.Sequential, dataset: Dataset, tmp_path: Path) -> None:
    which = project(epochs=2)
    network = quantized(module, dataset, which)
    told: list[tuple[int, int, str]] = []
    first = finetune(network, which, dataset, lambda *step: told.append(step))
    second = finetune(network, which, dataset, folder=tmp_path)
    assert first.digest == second.digest != network.digest
    assert [step[:2] for step in told] == [(1, 2), (2, 2)]


class Killed(Exception):
    """What ends a run in its middle."""


def test_goes_on_where_it_was_broken_off(
    module: nn.Sequential, dataset: Dataset, tmp_path: Path
) -> None:
    which = project(epochs=3)
    network = quantized(module, dataset, which)

    def kill(done: int, total: int, note: str) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        finetune(network, which, dataset, kill, folder=tmp_path)
    told: list[int] = []
    again = finetune(network, which, dataset, lambda done, *_: told.append(done), folder=tmp_path)
    assert told == [2, 3]
    assert again.digest == finetune(network, which, dataset).digest


def test_a_broken_off_run_of_another_network_is_refused(
    module: nn.Sequential, dataset: Dataset, tmp_path: Path
) -> None:
    """Even of one with the same weights and biases."""
    which = project(epochs=1)
    network = quantized(module, dataset, which)
    finetune(network, which, dataset, folder=tmp_path)
    last = network.layers[-1]
    shift = replace(last.requant, shift=last.requant.shift + 1)
    other = replace(network, layers=(*network.layers[:-1], replace(last, requant=shift)))
    with pytest.raises(BadInputError) as caught:
        finetune(other, which, dataset, folder=tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds a run that was broken off with another network; give the same again to "
        "go on, or delete that folder to begin again"
    )


def test_too_wide_accumulators_are_refused(
    module: nn.Sequential, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a bias come to where no engine can add to it."""
    which = project(activation_width=16, weight_width=16)
    network = quantized(module, dataset, which)

    def learn(module: nn.Module, *_: Any, **__: Any) -> None:
        assert isinstance(module, IntegerNetwork)
        assert module.dtype == torch.float64
        module.get_parameter("fc2.bias").data.fill_(1e30)

    monkeypatch.setattr("secateur.finetune.descend", learn)
    with pytest.raises(BadInputError) as caught:
        finetune(network, which, dataset)
    assert str(caught.value) == (
        "layer 'fc2' needs accumulators of 49 bits and 48 is the most; lower "
        "quantize.activation_width or quantize.weight_width"
    )


def test_the_rate_is_a_tenth_of_training_s(module: nn.Sequential, dataset: Dataset) -> None:
    rates = [
        finetune(quantized(module, dataset, which), which, dataset).digest
        for which in (project(learning_rate=None), project(learning_rate=0.1 * 0.1))
    ]
    assert rates[0] == rates[1]


def test_divergence_is_told(module: nn.Sequential, dataset: Dataset) -> None:
    which = project(learning_rate=10.0, epochs=1)
    which = which.model_copy(
        update={"train": which.train.model_copy(update={"weight_decay": 1e6, "momentum": 0.99})}
    )
    network = quantized(module, dataset, which)
    with pytest.raises(BadInputError) as caught:
        finetune(network, which, dataset)
    assert str(caught.value) == (
        "training diverged in epoch 1 at learning rate 0.0213 (layer 'fc1': bias holds NaN or "
        "infinity); lower the learning rate"
    )
