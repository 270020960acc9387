"""L1, the dropout formula of the paper, and layers that take turns."""

import itertools
import math

import numpy as np
import torch
from torch import nn

from secateur.dataset import Dataset, Split
from secateur.descent import descend
from secateur.project import TrainSettings
from secateur.regularize import add_l1, resting, shrink_dropout


def test_l1_is_the_sign_of_weights() -> None:
    weight = nn.Parameter(torch.tensor([[0.5, 0.0, -2.0]]))
    bias = nn.Parameter(torch.tensor([3.0]))
    frozen = nn.Parameter(torch.ones(1, 1))
    weight.grad, bias.grad = torch.ones(1, 3), torch.ones(1)
    add_l1([weight, bias, frozen], 0.25)
    assert weight.grad.tolist() == [[1.25, 1.0, 0.75]]
    assert bias.grad.tolist() == [1.0]
    assert frozen.grad is None


def test_dropout_goes_by_the_layer_before_it() -> None:
    module = nn.Sequential(
        nn.Dropout(0.2),
        nn.Conv2d(1, 2, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.4),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 4),
        nn.Dropout(0.8),
        nn.Linear(4, 2),
    )
    kept = {"1.weight": 2, "7.weight": 8, "9.weight": 2}  # of 8, 32, 8
    masks = {}
    for name, count in kept.items():
        mask = torch.zeros(module.get_parameter(name).numel(), dtype=torch.bool)
        mask[:count] = True
        masks[name] = mask.view_as(module.get_parameter(name))
    want = {0: 0.2 * math.sqrt(2 / 8), 4: 0.4 * 0.5, 6: 0.5 * 0.5, 8: 0.8 * math.sqrt(8 / 32)}
    assert shrink_dropout(module, masks) == {module[at]: p for at, p in want.items()}
    assert shrink_dropout(module, {}) == {}


def test_layers_take_turns() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    conv, linear = [*module[0].parameters()], [*module[3].parameters()]
    for part, want in ((0.0, conv), (0.49, conv), (0.5, linear), (0.9, linear)):
        assert [*map(id, resting(module, part))] == [*map(id, want)]
    assert resting(module[3:], 0.0) == resting(module[:2], 0.9) == []

    rng = np.random.default_rng(1)
    split = Split(rng.normal(size=(24, 1, 6, 6)).astype("f4"), np.arange(24) % 3)
    seen: list[list[torch.Tensor]] = [[p.detach().clone() for p in module.parameters()]]
    descend(
        module,
        Dataset("noise", split, split, split),
        TrainSettings.model_validate({"batch_size": 5}),
        epochs=3,  # the middle one begins in the first half
        learning_rate=0.1,
        generator=torch.Generator(),
        freeze=True,
        progress=lambda *_: seen.append([p.detach().clone() for p in module.parameters()]),
    )
    moved = [
        [not torch.equal(a, b) for a, b in zip(one, two, strict=True)]
        for one, two in itertools.pairwise(seen)
    ]
    assert moved == [[False] * 2 + [True] * 2] * 2 + [[True] * 2 + [False] * 2]
