"""Masks while learning: what is masked stays zero, what may return does, the schedule is exact."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.dataset import Dataset, Split
from secateur.descent import descend
from secateur.masking import CHOICES, INTERVAL, Held, Ramp, cut
from secateur.project import TrainSettings


def dataset(count: int = 64) -> Dataset:
    rng = np.random.default_rng(3)
    labels = np.arange(count) % 3
    x = (rng.uniform(size=(3, 6))[labels] + rng.normal(scale=0.2, size=(count, 6))).astype("f4")
    split = Split(x, labels)
    return Dataset("clouds", split, split, split)


def network(seed: int = 1) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def largest(module: nn.Module, density: float) -> dict[str, torch.Tensor]:
    masks = {}
    for name in ("0.weight", "3.weight"):
        weight = module.get_parameter(name).detach()
        bound = weight.abs().flatten().sort(descending=True).values[round(density * 24) - 1]
        masks[name] = weight.abs() >= bound
    return masks


def learn(module: nn.Module, held: Held, epochs: int = 4, **settings: Any) -> None:
    descend(
        module,
        dataset(),
        TrainSettings.model_validate({"batch_size": 4, **settings}),
        epochs=epochs,
        learning_rate=0.1,
        generator=torch.Generator().manual_seed(5),
        masks=held,
    )


class Recorded(Ramp):
    """A ramp that writes down the steps of its choices, and the weights before each step."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        self.steps: list[int] = []
        self.parts: list[float] = []
        self.before: list[torch.Tensor] = []
        self.after: list[torch.Tensor] = []
        self.module = module
        super().__init__(self.note, **options)

    def note(self, part: float) -> dict[str, torch.Tensor]:
        self.parts.append(part)
        return largest(self.module, 1 - 0.75 * part)

    def before_step(self, step: int) -> None:
        self.before.append(self.module.get_parameter("0.weight").detach().clone())
        chosen = len(self.parts)
        super().before_step(step)
        self.after.append(self.module.get_parameter("0.weight").detach().clone())
        if len(self.parts) > chosen:
            self.steps.append(step)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_momentum_does_not_carry_what_is_masked(optimizer: str) -> None:
    """The masks come in the middle of a run, when momentum would move what they make zero."""
    module = network()
    ramp = Recorded(module, ramp=0.5, regrow=False)
    learn(module, ramp, optimizer=optimizer)
    for step, weight in enumerate(ramp.before[1:], 1):
        assert torch.equal(weight != 0, ramp.after[step - 1] != 0), step


def test_the_ramp_ends_where_it_says_and_stays() -> None:
    module = network()
    ramp = Recorded(module, ramp=0.6, regrow=True)
    learn(module, ramp)  # 64 steps, 39 of them before the end of the ramp
    assert ramp.steps == [*range(40)]
    assert ramp.parts == [step / (0.6 * 64) for step in range(39)] + [1.0]
    for name, mask in ramp.masks.items():
        assert mask.sum() == 6
        assert torch.equal(module.get_parameter(name) != 0, mask)
    assert ramp.density == 12 / 72


def test_many_steps_have_an_interval() -> None:
    module = network()
    ramp = Recorded(module, ramp=0.75, regrow=True)
    learn(module, ramp, epochs=30)  # 480 steps
    interval = 360 // CHOICES
    assert 1 < interval < INTERVAL
    assert ramp.steps == [*range(0, 360, interval), 360]


def test_connections_return_only_if_they_may() -> None:
    for regrow in (True, False):
        module = network()
        ramp = Recorded(module, ramp=0.9, regrow=regrow)
        learn(module, ramp)
        removed = [weight == 0 for weight in ramp.after]
        returned = any(bool((a & ~b).any()) for a, b in itertools.pairwise(removed))
        assert returned == regrow


def test_one_step_is_enough_for_a_ramp() -> None:
    module = network()
    ramp = Recorded(module, ramp=0.9, regrow=True)
    learn(module, ramp, epochs=1, batch_size=64)
    assert (ramp.steps, ramp.parts) == ([0], [1.0])
    assert int(module.get_parameter("0.weight").count_nonzero()) == 6


def test_dropout_shrinks_while_masks_are_held() -> None:
    module = network()
    seen = []
    part = module[2]
    assert isinstance(part, nn.Dropout)

    class Watch(Held):
        def before_step(self, step: int) -> None:
            seen.append(part.p)

    masks = largest(module, 0.5)  # of 48 connections in the first layer 12 are left
    learn(module, Watch(masks, dropout=True), epochs=1)
    assert seen == [0.25] * 16
    assert part.p == 0.5
    seen.clear()
    learn(module, Watch(masks), epochs=1)
    assert seen == [0.5] * 16


def test_cut_also_removes_nan() -> None:
    module = nn.Sequential(nn.Linear(2, 1))
    nn.init.constant_(module.get_parameter("0.weight"), torch.nan)
    cut(module, {"0.weight": torch.tensor([[True, False]])})
    assert module.get_parameter("0.weight").isnan().tolist() == [[True, False]]
