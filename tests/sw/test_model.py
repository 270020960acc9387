"""Float models: their layers with weights, and what they compute."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from secateur.architectures import perceptron
from secateur.data import Split
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.model import accuracy, dense_layers, outputs, plain, weighted
from secateur.network import Layer, Network

ENGINE = "is not supported by the engine; use Linear, ReLU, Flatten and Dropout only"


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


@pytest.mark.parametrize(
    ("module", "names", "relus"),
    [
        (nn.Linear(6, 3), ["0"], [False]),
        (nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), ["0", "1"], [False, False]),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.ReLU()), ["0"], [True]),
        (
            nn.Sequential(
                nn.Flatten(),
                nn.Sequential(nn.Linear(6, 3), nn.ReLU()),
                nn.Dropout(),
                nn.Linear(3, 2),
            ),
            ["1/0", "3"],
            [True, False],
        ),
        (perceptron(6, (5,), 3, torch.Generator()), ["fc1", "fc2"], [True, False]),
    ],
)
def test_dense_layers(module: nn.Module, names: list[str], relus: list[bool]) -> None:
    layers = dense_layers(module)
    assert [layer.name for layer in layers] == names
    assert [layer.relu for layer in layers] == relus
    x = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    want = torch.from_numpy(x)
    for layer in layers:
        want = torch.nn.functional.linear(want, layer.weight, layer.bias)
        want = want.relu() if layer.relu else want
    assert np.array_equal(outputs(module, x), want.numpy())


def test_dense_layers_share_memory_but_not_masks() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
    prune.l1_unstructured(second, "weight", 9)
    layers = dense_layers(nn.Sequential(first, second))
    assert layers[0].weight.data_ptr() == first.weight.data_ptr()
    assert layers[0].bias is None
    assert layers[1].weight.count_nonzero() == 7


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            nn.Sequential(nn.ReLU(), nn.Linear(2, 2)),
            "the model must begin with a Linear layer, not a ReLU; remove it",
        ),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), f"layer '0', a Conv2d, {ENGINE}"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 2)),
            f"layer '0', an AdaptiveAvgPool2d, {ENGINE}",
        ),
    ],
)
def test_what_the_engine_lacks(module: nn.Module, sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        dense_layers(module)
    assert str(caught.value) == sentence


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
