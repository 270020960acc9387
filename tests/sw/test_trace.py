"""Reading modules: every way of writing a chain computes the same, and what is refused."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from secateur.chain import SUPPORTED
from secateur.errors import BadInputError
from secateur.model import outputs, weighted
from secateur.trace import evaluating, plain


def randomized(module: nn.Module, seed: int = 1) -> nn.Module:
    """Give every parameter and every statistic of a module a value that matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.5, generator=generator)
    return module


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(7, *shape)).astype(np.float32)


class Functional(nn.Module):
    """The way most PyTorch tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 5)
        self.fc2 = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.3, training=self.training)
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


class Own(nn.Linear):
    """A subclass that computes the same."""


class Tutorial(nn.Module):
    """Convolutions, one pooling layer used twice, and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, (3, 5), stride=(1, 2), padding=(1, 0), bias=False)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 4, 3, padding="same", groups=2)
        self.fc = Own(4 * 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(self.conv2(x).relu_())
        x = F.max_pool2d(x, (1, 2), stride=1, padding=(0, 1))
        x = F.avg_pool2d(x, 2, 1, 1, count_include_pad=False)
        x = F.adaptive_avg_pool2d(torch.max_pool2d(x, 2, stride=1), (2, 1))
        return self.fc(x.view(-1, 8))


class Torchvision(nn.Module):
    """The form of torchvision's AlexNet and VGG with BatchNorm, small."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2, stride=1, padding=1),
            nn.Conv2d(4, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6, affine=False),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        self.classifier = nn.Sequential(
            nn.Dropout(0.25), nn.Linear(54, 8), nn.BatchNorm1d(8), nn.ReLU(True), nn.Linear(8, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


NAMES = {
    Functional: "view fc1 relu dropout fc2",
    Nested: "reshape body/fc body/act head/0 head/2 relu",
    Tutorial: (
        "conv1 relu pool conv2 relu_ pool/2 max_pool2d avg_pool2d max_pool2d_1 "
        "adaptive_avg_pool2d view fc"
    ),
    Torchvision: (
        "features/0 features/2 features/3 features/4 features/6 avgpool flatten classifier/0 "
        "classifier/1 classifier/3 classifier/4"
    ),
}


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(Functional, (6,)), (Nested, (6,)), (Tutorial, (2, 12, 19)), (Torchvision, (3, 13, 11))],
)
def test_what_is_read_computes_the_same(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    module = randomized(kind().train())
    found = plain(module)
    assert all(part.training for part in (*module.modules(), *found.modules()))
    assert [name for name, _ in found.named_children()] == NAMES[kind].split()
    x = inputs(*shape)
    want = outputs(module, x)
    assert want.dtype == np.float32
    assert len(np.unique(want)) > 3
    if kind is Torchvision:  # folding rounds anew
        error = np.abs(outputs(found, x) - want).max()
        assert error <= 8 * np.finfo(np.float32).eps * np.abs(want).max()
    else:
        assert np.array_equal(outputs(found, x), want)
    again = plain(found)
    assert str(again) == str(found)
    assert np.array_equal(outputs(again, x), outputs(found, x))


def test_batch_norm_is_folded_exactly() -> None:
    """Numbers whose products are exact: (w x + b - mean) / 2 * gamma + beta."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, eps=0.0), nn.Flatten())
    conv, norm = cast("nn.Conv2d", module[0]), cast("nn.BatchNorm2d", module[1])
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([3.0, 0.0]).view(2, 1, 1, 1))
        assert conv.bias is not None
        conv.bias.copy_(torch.tensor([1.0, 2.0]))
        norm.running_mean = torch.tensor([5.0, 6.0])
        norm.running_var = torch.tensor([4.0, 4.0])
        norm.weight.copy_(torch.tensor([8.0, -2.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.25]))
    found = weighted(plain(module))["0"]
    assert found.weight.flatten().tolist() == [12.0, 0.0]
    assert found.bias is not None
    assert found.bias.tolist() == [-15.5, 4.25]
    assert conv.weight[0].item() == 3.0


def test_dropout_stays() -> None:
    found = plain(Functional())
    assert cast("nn.Dropout", found.dropout).p == 0.3
    assert cast("nn.Dropout", plain(Torchvision()).get_submodule("classifier/0")).p == 0.25


def test_same_padding_becomes_numbers() -> None:
    found = plain(nn.Sequential(nn.Conv2d(1, 1, (5, 3), padding="same"), nn.Conv2d(1, 1, 2)))
    assert [layer.padding for layer in weighted(found).values()] == [(2, 1), (0, 0)]


def test_a_layer_alone() -> None:
    assert [*weighted(plain(nn.Linear(6, 3)))] == ["0"]


def test_names_that_meet() -> None:
    """A function's name is also a layer's, and a dot becomes what another name has."""

    class Meeting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 2))
            self.relu = nn.Linear(2, 2)
            self.add_module("body/0", nn.Linear(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.get_submodule("body/0")(self.relu(F.relu(self.body(x))))

    module = randomized(Meeting())
    found = plain(module)
    assert [*dict(found.named_children())] == ["body/0", "relu/2", "relu", "body/0/2"]
    assert np.array_equal(outputs(found, inputs(2)), outputs(module, inputs(2)))


def test_names_that_a_sequence_has_already() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.append = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.append(x)

    assert [*weighted(plain(Named()))] == ["append/2"]


def test_memory_is_shared_only_if_asked() -> None:
    module = nn.Sequential(nn.Linear(2, 1))
    weight = cast("nn.Linear", module[0]).weight
    copy, shared = plain(module), plain(module, copy=False)
    assert weighted(shared)["0"].weight.data_ptr() == weight.data_ptr()
    with torch.no_grad():
        weight.fill_(9.0)
    assert (weighted(copy)["0"].weight != 9.0).all()


def test_masks_are_applied() -> None:
    """Even those that no forward has applied yet, and of biases too."""
    conv = nn.Conv2d(1, 4, 2)
    prune.l1_unstructured(conv, "weight", 9)
    prune.l1_unstructured(conv, "bias", 1)
    cast("nn.Parameter", conv.weight_orig).data.fill_(2.0)  # `weight` is now out of date
    layer = weighted(plain(nn.Sequential(conv, nn.BatchNorm2d(4, eps=0.0))))["0"]
    assert layer.weight.count_nonzero() == 7
    assert layer.bias is not None
    assert layer.bias.count_nonzero() == 3
    assert set(layer.weight.flatten().tolist()) == {0.0, 2.0}


def test_masks_of_a_batch_norm_are_applied() -> None:
    """Even those that came with a state, which `weight` does not follow."""
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    prune.random_unstructured(module[1], "weight", 1)
    prune.random_unstructured(module[1], "bias", 1)
    state = module.state_dict()
    for kind, mask in (("weight", [1.0, 0.0, 1.0]), ("bias", [0.0, 1.0, 1.0])):
        state[f"1.{kind}_orig"] = torch.tensor([3.0, 4.0, 5.0])
        state[f"1.{kind}_mask"] = torch.tensor(mask)
    module.load_state_dict(state)
    x = inputs(1, 2, 2)
    found = outputs(plain(module), x)
    np.testing.assert_allclose(found, outputs(module, x), rtol=1e-5, atol=1e-5)
    assert (found[:, 1] == 4.0).all()


def test_other_parameters() -> None:
    """Parametrized, of another type, laid out in another way."""
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2)).double()
    assert [layer.weight.dtype for layer in weighted(plain(module)).values()] == [torch.float32] * 2
    conv = nn.Sequential(nn.Conv2d(3, 2, 3))
    conv[0].weight = nn.Parameter(torch.randn(2, 3, 3, 3).to(memory_format=torch.channels_last))
    assert weighted(plain(conv))["0"].weight.is_contiguous()
    assert torch.equal(weighted(plain(conv))["0"].weight, cast("Tensor", conv[0].weight))


def test_modes_are_put_back_each() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Dropout()).train()
    module[1].eval()
    with suppress(KeyError), evaluating(module):
        assert not any(part.training for part in module.modules())
        raise KeyError
    assert [part.training for part in module.modules()] == [True, True, False]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc(x)


class Branching(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else x


class Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), Branching())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


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


class TwoAdditions(Residual):
    """The node is named, not only its function."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return F.relu(y) - y


class Standardized(nn.Conv2d):
    """A subclass that computes something else."""

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class Scaled(nn.Conv2d):
    """A subclass that computes something else where ``forward`` calls it."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight * 2, bias)


def patched() -> nn.Module:
    """Make a layer that computes something else, although its class does not."""
    layer = nn.Linear(2, 2)
    layer.forward = lambda input: -input
    return nn.Sequential(layer)


def sized(option: str) -> nn.Module:
    """Make a module whose pooling has a size that is not known."""

    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return F.avg_pool2d(y, y.size(0) if option == "rows" else y.size()[2:])

    return Sized()


ANOTHER = "write the layer in another way"


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()),
            f"layer '1', a Sigmoid, is not supported; {SUPPORTED}",
        ),
        (
            nn.Sequential(nn.Conv1d(2, 2, 1)),
            f"layer '0', a Conv1d, is not supported; {SUPPORTED}",
        ),
        (Flattening(), f"layer 'flatten', a Flatten, must have start_dim 1, not 0; {ANOTHER}"),
        (AlwaysDropping(), f"the operation 'dropout' is not supported; {SUPPORTED}"),
        (
            Residual(),
            f"the model must be a chain, and the operation 'add' is not the next link; {SUPPORTED}",
        ),
        (
            TwoAdditions(),
            f"the model must be a chain, and the operation 'sub' is not the next link; {SUPPORTED}",
        ),
        (
            Skipping(),
            (
                "the model must be a chain, and the operation 'output' is not the next link; "
                f"{SUPPORTED}"
            ),
        ),
        (
            Branching(),
            (
                "the model's forward cannot be followed (symbolically traced variables cannot be "
                f"used as inputs to control flow); {SUPPORTED}"
            ),
        ),
        (
            Inside(),
            (
                "the model's forward of 'body.1' cannot be followed (symbolically traced variables "
                f"cannot be used as inputs to control flow); {SUPPORTED}"
            ),
        ),
        (Twice(), "layer 'fc' is used twice; make it two layers"),
        (
            Standardized(1, 1, 1),
            (
                "the model must be a chain, and the operation 'weight' is not the next link; "
                f"{SUPPORTED}"
            ),
        ),
        (
            Scaled(1, 1, 1),
            (
                "the model must be a chain, and the operation 'weight' is not the next link; "
                f"{SUPPORTED}"
            ),
        ),
        (patched(), f"layer '0', a Linear, is not supported; {SUPPORTED}"),
        (
            sized("window"),
            (
                "the model must be a chain, and the operation 'getitem' is not the next link; "
                f"{SUPPORTED}"
            ),
        ),
        (
            sized("rows"),
            (
                "layer 'avg_pool2d', an AvgPool2d, must have kernel_size two integers above 0, "
                f"not (size, size); {ANOTHER}"
            ),
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1)),
            (
                "layer '2', a BatchNorm2d, must follow a Conv2d at once, to be folded into it; "
                "move it there"
            ),
        ),
        (
            nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1)),
            (
                "layer '0', a BatchNorm1d, must follow a Linear at once, to be folded into it; "
                "move it there"
            ),
        ),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(3)),
            "layer '1', a BatchNorm1d, must take the 2 outputs of '0', not 3",
        ),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)),
            (
                "layer '1', a BatchNorm1d, must have running statistics, to be folded; train it "
                "with track_running_stats=True"
            ),
        ),
        *(
            (
                nn.Sequential(nn.Linear(2, 2, device=kind), nn.BatchNorm1d(2, device="meta")),
                f"layer {name!r} has no values yet; load the model's weights first",
            )
            for kind, name in (("meta", "0"), ("cpu", "1"))
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_refused(module: nn.Module, sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        plain(module)
    assert str(caught.value) == sentence


def hooked(name: str) -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    module.get_submodule(name).register_forward_hook(lambda *_: None)
    return module


def hooked_before() -> nn.Module:
    """A hook beside that of a pruning mask."""
    module = nn.Sequential(nn.Linear(3, 3))
    prune.l1_unstructured(module[0], "weight", 2)
    plain(module)
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
        plain(module)
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
        (lambda y: y.view(-1, 2, 2), "view"),
        (lambda y: y.view((-1, 2, 2)), "view"),
        (lambda y: y.view((2, 2)), "view"),
        (lambda y: torch.reshape(y, (-1,)), "reshape"),
        (lambda y: torch.dropout(y, 0.5, True), "dropout"),
        (lambda y: F.max_pool2d(y, 1, return_indices=True)[0], "max_pool2d_with_indices"),
    ],
)
def test_other_operations_are_refused(shape: Any, operation: str) -> None:
    with pytest.raises(BadInputError) as caught:
        plain(Shaped(shape))
    assert str(caught.value) == f"the operation {operation!r} is not supported; {SUPPORTED}"


def test_a_reshape_to_columns_is_refused() -> None:
    with pytest.raises(BadInputError) as caught:
        plain(Shaped(lambda y: y.reshape(y.shape[1], -1)))
    assert str(caught.value) == (
        f"the model must be a chain, and the operation 'getitem' is not the next link; {SUPPORTED}"
    )


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        lambda y: F.relu(y, inplace=True),
        F.relu_,
        torch.relu,
        torch.relu_,
        lambda y: y.relu(),
        lambda y: y.relu_(),
    ],
)
def test_every_relu(relu: Any) -> None:
    found = plain(Shaped(relu))
    assert [type(part) for part in found] == [nn.Linear, nn.ReLU]
    assert found[1].inplace is False


@pytest.mark.parametrize(
    "shape",
    [
        lambda y: y.reshape(y.shape[0], -1),
        lambda y: y.view(y.size(dim=0), -1),
        lambda y: y.view(y.size()[0], 4),
        lambda y: y.view(-1, 4),
        lambda y: y.view((y.shape[0], -1)),
        lambda y: y.reshape([-1, 4]),
        lambda y: torch.reshape(y, (y.size(0), -1)),
        lambda y: y.flatten(start_dim=1),
        lambda y: torch.flatten(y, 1, end_dim=-1),
    ],
)
def test_reshapes_to_rows_are_nothing_after_a_linear(shape: Any) -> None:
    assert [name for name, _ in plain(Shaped(shape)).named_children()] == ["fc"]
