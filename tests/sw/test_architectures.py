"""The networks of the paper: their sizes, their layers, and the weights that they begin with."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.architectures import ARCHITECTURES, build, perceptron
from secateur.chain import check, shapes
from secateur.errors import BadInputError
from secateur.model import weighted
from secateur.settings import NetworkSettings
from secateur.trace import plain


def built(name: str, shape: tuple[int, ...] = (), classes: int = 0, seed: int = 1) -> nn.Sequential:
    settings = NetworkSettings.model_validate({"architecture": name})
    return build(settings, shape, classes, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "weights", "parameters"),
    [
        ("digits-cnn", 72 + 1152 + 640, 72 + 1152 + 640 + 34),
        ("lenet-300-100", 266_200, 266_610),
        ("lenet5", 430_500, 431_080),
        ("alexnet", 61_090_496, 61_100_840),
        ("vgg16", 138_344_128, 138_357_544),
    ],
)
def test_sizes_of_the_paper(name: str, weights: int, parameters: int) -> None:
    """The paper's 267 K, 431 K, 61 M and 138 M."""
    module = built(name)
    assert sum(layer.weight.numel() for layer in weighted(module).values()) == weights
    assert sum(tensor.numel() for tensor in module.parameters()) == parameters
    found = shapes(module, ARCHITECTURES[name].shape)
    assert [*found.values()][-1] == (ARCHITECTURES[name].classes,)
    check(module)


def test_layers_of_lenet5() -> None:
    module = built("lenet5", (1, 28, 28), 10)
    assert {name: tuple(layer.weight.shape) for name, layer in weighted(module).items()} == {
        "conv1": (20, 1, 5, 5),
        "conv2": (50, 20, 5, 5),
        "fc1": (500, 800),
        "fc2": (10, 500),
    }
    relus = [name for name, part in module.named_children() if isinstance(part, nn.ReLU)]
    assert relus == ["fc1/relu"]  # as Caffe's


class AlexNet(nn.Module):
    """As torchvision writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(p=0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class VGG16(AlexNet):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        layers: list[nn.Module] = []
        channels = 3
        for size in (64, 64, 0, 128, 128, 0, *(256, 256, 256, 0), *((512, 512, 512, 0) * 2)):
            if size:
                layers += [nn.Conv2d(channels, size, kernel_size=3, padding=1), nn.ReLU(True)]
                channels = size
            else:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(p=0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(p=0.5),
            nn.Linear(4096, 1000),
        )


@pytest.mark.parametrize(("name", "kind"), [("alexnet", AlexNet), ("vgg16", VGG16)])
def test_same_as_torchvision_writes_it(name: str, kind: type[nn.Module]) -> None:
    """The same layers in the same order, so that the one's weights fit the other."""
    module = built(name)
    with torch.device("meta"):
        other = kind()
    for (_, mine), theirs in zip(
        module.named_parameters(), [*other.named_parameters()], strict=True
    ):
        owner, _, parameter = theirs[0].rpartition(".")
        assert mine.shape == theirs[1].shape
        setattr(other.get_submodule(owner), parameter, mine)
    read = plain(other, copy=False)
    assert str(read) == str(module)
    assert [*read.state_dict()] == [*module.state_dict()]
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        want = other.eval()(x)
        assert want.std() > 1e-3
        assert torch.equal(module.eval()(x), want)


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_same_as_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    with torch.device("meta"):
        other = getattr(models, name)()
    found = {key: tensor.shape for key, tensor in built(name).state_dict().items()}
    theirs = {key.replace(".", "/"): tensor.shape for key, tensor in other.state_dict().items()}
    assert {key.replace(".", "/"): shape for key, shape in found.items()} == theirs


def test_drawn_from_its_generator_alone_and_as_torch_does() -> None:
    before = torch.get_rng_state()
    first, again, other = (built("lenet5", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        assert not torch.equal(tensor, other.state_dict()[name])
    for inputs, layer in zip((25, 500, 800, 500), weighted(first).values(), strict=True):
        theirs = type(layer)(**_arguments(layer))
        for mine, reference in ((layer.weight, theirs.weight), (layer.bias, theirs.bias)):
            assert mine is not None
            assert reference is not None
            assert reference.abs().max() <= inputs**-0.5
            assert 0.8 * inputs**-0.5 < mine.abs().max() <= inputs**-0.5
        spread = layer.weight.std() * math.sqrt(3 * inputs)  # 1 for a uniform distribution
        assert abs(spread - 1) < 0.1


def _arguments(layer: nn.Linear | nn.Conv2d) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {"in_features": layer.in_features, "out_features": layer.out_features}
    return {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
    }


@pytest.mark.parametrize(("shape", "first"), [((64,), "fc1"), ((1, 8, 8), "flatten")])
def test_perceptron(shape: tuple[int, ...], first: str) -> None:
    settings = NetworkSettings(hidden=(20, 5))
    module = build(settings, shape, 10, torch.Generator().manual_seed(1))
    assert next(module.named_children())[0] == first
    same = perceptron(64, (20, 5), 10, torch.Generator().manual_seed(1))
    assert all(map(torch.equal, module.parameters(), same.parameters()))
    assert [*weighted(module)] == ["fc1", "fc2", "fc3"]
    assert module(torch.zeros(2, *shape)).shape == (2, 10)


def test_lenet_300_100_takes_images_and_rows() -> None:
    assert built("lenet-300-100", (1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert built("lenet-300-100", (784,), 10)(torch.zeros(2, 784)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "sentence"),
    [
        (
            "perceptron",
            (),
            0,
            (
                'network.architecture must not be "perceptron" where data.name is "none", since '
                "examples say its inputs and outputs; name another, or a set of examples"
            ),
        ),
        (
            "lenet5",
            (784,),
            10,
            (
                'network.architecture "lenet5" must have inputs of 1 x 28 x 28 and 10 classes, not '
                "784 and 10; name another architecture or other examples"
            ),
        ),
        (
            "lenet-300-100",
            (64,),
            10,
            (
                'network.architecture "lenet-300-100" must have inputs of 784 and 10 classes, not '
                "64 and 10; name another architecture or other examples"
            ),
        ),
        (
            "alexnet",
            (3, 224, 224),
            10,
            (
                'network.architecture "alexnet" must have inputs of 3 x 224 x 224 and 1000 '
                "classes, not 3 x 224 x 224 and 10; name another architecture or other examples"
            ),
        ),
    ],
)
def test_other_sizes_are_refused(
    name: str, shape: tuple[int, ...], classes: int, sentence: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        built(name, shape, classes)
    assert str(caught.value) == sentence
