"""Reading modules as layers: every way of writing a chain, and what is refused."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from secateur.data import Split
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.model import accuracy, build, dense_layers, outputs, plain
from secateur.network import Layer, Network

CHAIN = "use Linear, ReLU, Flatten and Dropout, one after the other"


class Functional(nn.Module):
    """The way most PyTorch tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 5)
        self.fc2 = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5, training=self.training)
        return self.fc2(x)


class Nested(nn.Module):
    """Submodules in submodules, methods, and shapes by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"fc": nn.Linear(6, 5), "act": nn.ReLU(inplace=True)})
        self.head = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(5, 3), nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], -1).flatten(1)
        return self.head(self.body["act"](self.body["fc"](torch.flatten(x, start_dim=1)))).relu()


@pytest.mark.parametrize(
    ("module", "names", "relus"),
    [
        (Functional(), ["fc1", "fc2"], [True, False]),
        (Nested(), ["body.fc", "head.2"], [True, True]),
        (nn.Linear(6, 3), ["0"], [False]),
        (nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), ["0", "1"], [False, False]),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.ReLU()), ["0"], [True]),
        (build(6, (5,), 3, torch.Generator()), ["fc1", "fc2"], [True, False]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_read_computes_the_same(
    module: nn.Module, names: list[str], relus: list[bool]
) -> None:
    module.train()
    layers = dense_layers(module)
    assert all(part.training for part in module.modules())  # left as it was
    assert [layer.name for layer in layers] == names
    assert [layer.relu for layer in layers] == relus
    x = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    want = outputs(module.eval(), x)
    assert want.dtype == np.float32
    assert np.array_equal(outputs(plain(module), x), want)


def test_plain_shares_no_memory() -> None:
    module = nn.Sequential(nn.Linear(2, 1))
    copy = plain(module)
    with torch.no_grad():
        cast("nn.Linear", module[0]).weight.fill_(9.0)
    assert (dense_layers(copy)[0].weight != 9.0).all()


def test_masks_are_applied() -> None:
    """Even those that no forward has applied yet, and of biases too."""
    linear = nn.Linear(4, 4)
    prune.l1_unstructured(linear, "weight", 9)
    prune.l1_unstructured(linear, "bias", 1)
    cast("nn.Parameter", linear.weight_orig).data.fill_(2.0)  # `weight` is now out of date
    layer = dense_layers(nn.Sequential(linear))[0]
    assert layer.weight.count_nonzero() == 7
    assert layer.bias is not None
    assert layer.bias.count_nonzero() == 3
    assert set(layer.weight.flatten().tolist()) == {0.0, 2.0}


def test_parametrized_and_double_weights() -> None:
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2)).double()
    layers = dense_layers(module)
    assert [layer.weight.dtype for layer in layers] == [torch.float32] * 2


def test_build_draws_from_its_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build(64, (20,), 10, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        assert not torch.equal(tensor, other.state_dict()[name])
    assert [tuple(layer.weight.shape) for layer in dense_layers(first)] == [(20, 64), (10, 20)]
    weight = dense_layers(first)[0].weight
    assert 0.12 < weight.abs().max() <= 0.125
    assert abs(weight.mean()) < 0.01


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc(x)


class Branching(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else x


class Twice(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(x))


class Skipping(Residual):
    def forward(self, x: Tensor) -> Tensor:
        self.fc(x)
        return x


class AlwaysDropping(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.fc(x), 0.5)


class Flattening(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten())


def broken(value: float, name: str) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        module.get_parameter(name)[0] = value
    return module


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()),
            f"layer '1', a Sigmoid, is not supported; {CHAIN}",
        ),
        (
            nn.Sequential(nn.Flatten(0), nn.Linear(2, 2)),
            f"layer '0', a Flatten, is not supported; {CHAIN}",
        ),
        (Flattening(), f"the operation 'flatten' is not supported; {CHAIN}"),
        (AlwaysDropping(), f"the operation 'dropout' is not supported; {CHAIN}"),
        (
            Residual(),
            f"the model must be a chain, and the operation 'add' is not the next link; {CHAIN}",
        ),
        (
            Skipping(),
            f"the model must be a chain, and the operation 'output' is not the next link; {CHAIN}",
        ),
        (
            Branching(),
            (
                "the model's forward cannot be followed (symbolically traced variables cannot be "
                f"used as inputs to control flow); {CHAIN}"
            ),
        ),
        (Twice(), "layer 'fc' is used twice; make it two layers"),
        (nn.Sequential(nn.Flatten()), f"the model has no Linear layer; {CHAIN}"),
        (
            nn.Sequential(nn.ReLU(), nn.Linear(2, 2)),
            "the model must begin with a Linear layer, not a ReLU; remove it",
        ),
        (
            nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)),
            "layer '1' must take the 3 outputs of '0', not 2",
        ),
        (
            broken(float("nan"), "0.weight"),
            "layer '0': weight holds NaN or infinity; train the model again",
        ),
        (
            broken(float("-inf"), "0.bias"),
            "layer '0': bias holds NaN or infinity; train the model again",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_refused(module: nn.Module, sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        dense_layers(module)
    assert str(caught.value) == sentence


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


def hooked(name: str) -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    module.get_submodule(name).register_forward_hook(lambda *_: None)
    return module


def hooked_before() -> nn.Module:
    """A hook beside that of a pruning mask."""
    module = nn.Sequential(nn.Linear(3, 3))
    prune.l1_unstructured(module[0], "weight", 2)
    dense_layers(module)
    module[0].register_forward_pre_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("module", "where"),
    [
        (hooked("0"), "layer '0'"),
        (hooked("1"), "layer '1'"),
        (hooked(""), "the model"),
        (hooked_before(), "layer '0'"),
    ],
)
def test_hooks_are_refused(module: nn.Module, where: str) -> None:
    with pytest.raises(BadInputError) as caught:
        dense_layers(module)
    assert str(caught.value) == (
        f"{where} has a forward hook, which would be lost; remove it or make it a layer"
    )


class Shaped(nn.Module):
    """A layer and what the test makes of its output."""

    def __init__(self, shape: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shape(self.fc(x))


@pytest.mark.parametrize(
    ("shape", "operation"),
    [
        (lambda y: y.view(y.size(1), -1), "size"),
        (lambda y: y.view(y.size(dim=-1), -1), "size"),
        (lambda y: y.view(-1, y.size(0)), "view"),
    ],
)
def test_other_reshapes_are_refused(shape: Any, operation: str) -> None:
    with pytest.raises(BadInputError) as caught:
        dense_layers(Shaped(shape))
    assert str(caught.value) == (f"the operation {operation!r} is not supported; {CHAIN}")


def test_a_reshape_to_columns_is_refused() -> None:
    with pytest.raises(BadInputError) as caught:
        dense_layers(Shaped(lambda y: y.reshape(y.shape[1], -1)))
    assert str(caught.value) == (
        f"the model must be a chain, and the operation 'getitem' is not the next link; {CHAIN}"
    )


@pytest.mark.parametrize(
    "shape",
    [
        lambda y: y.reshape(y.shape[0], -1),
        lambda y: y.view(y.size(dim=0), -1),
        lambda y: y.view(y.size()[0], 4),
        lambda y: y.view(-1, 4),
    ],
)
def test_reshapes_to_rows_are_nothing(shape: Any) -> None:
    assert [layer.name for layer in dense_layers(Shaped(shape))] == ["fc"]
