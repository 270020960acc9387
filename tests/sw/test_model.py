"""Float models: their layers with weights, and what they compute."""

import numpy as np
import torch
from torch import Tensor, nn

from secateur.data import Split
from secateur.fixed import NumberFormat, Requant
from secateur.model import accuracy, outputs, plain, weighted
from secateur.network import Layer, Network


def test_layers_with_weights_in_their_order() -> None:
    module = plain(
        nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 1, groups=2),
            nn.Flatten(),
        ).append(nn.Linear(24, 3))
    )
    found = weighted(module)
    assert [*found] == ["0", "3", "5"]
    assert [tuple(layer.weight.flatten(1).shape) for layer in found.values()] == [
        (4, 18),
        (6, 2),
        (3, 24),
    ]
    assert all(module.get_parameter(f"{name}.weight") is found[name].weight for name in found)


class Counting(nn.Module):
    """Remembers the sizes of its batches and its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout()
        self.seen: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((len(x), self.training or self.drop.training))
        return self.drop(x.flatten(1))


def test_outputs_in_batches_at_inference() -> None:
    module = Counting()
    x = np.arange(2 * 2 * 2201, dtype=np.float32).reshape(2201, 2, 2)
    assert np.array_equal(outputs(module, x), x.reshape(2201, 4))
    assert module.seen == [(1000, False), (1000, False), (201, False)]
    assert module.training
    assert module.drop.training
    assert outputs(module.eval(), x[:0]).shape == (0, 4)
    assert not module.training


def test_accuracy_of_both_kinds() -> None:
    """x in halves: the integer network sees 2x."""
    split = Split(np.array([[0.5], [-1.0], [1.5]], np.float32), np.array([0, 1, 1]))
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    narrow = NumberFormat(width=4, signed=True)
    layer = Layer(
        name="fc",
        weights=np.array([[1], [-1]]),
        bias=np.array([0, 0]),
        weight_width=2,
        input=narrow,
        requant=Requant(shift=0, output=narrow, relu=False),
        input_fraction=1,
    )
    assert accuracy(module, split) == 2 / 3
    assert accuracy(Network(name="n", layers=(layer,)), split) == 2 / 3
