"""Networks to train or to prune: small ones, and the four of Han et al., NIPS 2015."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from secateur.errors import BadInputError
from secateur.model import weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from secateur.settings import NetworkSettings

__all__ = ["ARCHITECTURES", "Architecture", "build", "perceptron"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of given sizes.

    Parameters
    ----------
    shape : tuple of int
        Of one input.
    classes : int
        Outputs.
    layers : callable
        Gives the layers and their names, parameters on torch's device "meta".
    """

    shape: tuple[int, ...]
    classes: int
    layers: Callable[[], list[tuple[str, nn.Module]]]


def build(
    settings: NetworkSettings, shape: tuple[int, ...], classes: int, generator: torch.Generator
) -> nn.Sequential:
    """Make the network that a project names, plain, with the weights that training begins from.

    Weights and biases are drawn as torch draws them, but from ``generator``: uniform within
    ``1 / sqrt(inputs of one output)``.

    Parameters
    ----------
    settings : NetworkSettings
        Without a checkpoint.
    shape : tuple of int
        Of one input; empty where there are no examples, and the architecture says it.
    classes : int
        Outputs; 0 where there are no examples.
    generator : torch.Generator

    Raises
    ------
    BadInputError
        If the architecture is made for other inputs or outputs.

    Examples
    --------
    >>> from secateur.settings import NetworkSettings
    >>> build(NetworkSettings(hidden=(5,)), (1, 2, 3), 4, torch.Generator())
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (fc1): Linear(in_features=6, out_features=5, bias=True)
      (fc1/relu): ReLU()
      (fc2): Linear(in_features=5, out_features=4, bias=True)
    )
    """
    name = settings.architecture
    if name == "perceptron":
        if not shape:
            raise BadInputError(
                'network.architecture must not be "perceptron" where data.name is "none", since '
                "examples say its inputs and outputs; name another, or a set of examples"
            )
        layers = _perceptron(math.prod(shape), settings.hidden, classes)
    else:
        architecture = ARCHITECTURES[name]
        shape, classes = shape or architecture.shape, classes or architecture.classes
        layers = architecture.layers()
        # A network that flattens its input at once takes it flat, too.
        given = (math.prod(shape),) if len(architecture.shape) == 1 else shape
        if (given, classes) != (architecture.shape, architecture.classes):
            sizes = (" x ".join(map(str, size)) for size in (architecture.shape, shape))
            raise BadInputError(
                f'network.architecture "{name}" must have inputs of {next(sizes)} and '
                f"{architecture.classes} classes, not {next(sizes)} and {classes}; name another "
                f"architecture or other examples"
            )
    first = [("flatten", nn.Flatten())] if name in _FLAT and len(shape) > 1 else []
    return _drawn([*first, *layers], generator)


def perceptron(
    features: int, hidden: Sequence[int], classes: int, generator: torch.Generator
) -> nn.Sequential:
    """Make a perceptron for flat inputs: layers ``fc1``, ``fc2`` ..., ReLU after each but the last.

    Examples
    --------
    >>> perceptron(784, (300, 100), 10, torch.Generator()).get_parameter("fc1.weight").shape
    torch.Size([300, 784])
    """
    return _drawn(_perceptron(features, hidden, classes), generator)


def _drawn(layers: Sequence[tuple[str, nn.Module]], generator: torch.Generator) -> nn.Sequential:
    """Give every layer its first weights."""
    module = nn.Sequential(OrderedDict(layers))
    for layer in weighted(module).values():
        bound = layer.weight[0].numel() ** -0.5
        for name, parameter in [*layer.named_parameters()]:
            values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            setattr(layer, name, nn.Parameter(values))
    return module


def _linear(columns: int, rows: int) -> nn.Linear:
    return nn.Linear(columns, rows, device="meta")


def _conv(channels: int, count: int, size: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    return nn.Conv2d(channels, count, size, stride, padding, device="meta")


def _pool(size: int, stride: int) -> nn.MaxPool2d:
    return nn.MaxPool2d((size, size), (stride, stride), (0, 0))


def _perceptron(features: int, hidden: Sequence[int], classes: int) -> list[tuple[str, nn.Module]]:
    sizes = [features, *hidden, classes]
    layers: list[tuple[str, nn.Module]] = []
    for index, (columns, rows) in enumerate(itertools.pairwise(sizes), 1):
        layers.append((f"fc{index}", _linear(columns, rows)))
        layers.append((f"fc{index}/relu", nn.ReLU()))
    return layers[:-1]


def _digits_cnn() -> list[tuple[str, nn.Module]]:
    """Two small convolutions, each as large as its input, and one fully connected layer."""
    return [
        ("conv1", _conv(1, 8, 3, padding=1)),
        ("conv1/relu", nn.ReLU()),
        ("pool1", _pool(2, 2)),
        ("conv2", _conv(8, 16, 3, padding=1)),
        ("conv2/relu", nn.ReLU()),
        ("pool2", _pool(2, 2)),
        ("flatten", nn.Flatten()),
        ("fc1", _linear(64, 10)),
    ]


def _lenet5() -> list[tuple[str, nn.Module]]:
    """Caffe's, with ReLU after fc1 only."""
    return [
        ("conv1", _conv(1, 20, 5)),
        ("pool1", _pool(2, 2)),
        ("conv2", _conv(20, 50, 5)),
        ("pool2", _pool(2, 2)),
        ("flatten", nn.Flatten()),
        ("fc1", _linear(800, 500)),
        ("fc1/relu", nn.ReLU()),
        ("fc2", _linear(500, 10)),
    ]


def _torchvision(
    features: Sequence[nn.Module], side: int, classifier: Sequence[nn.Module]
) -> list[tuple[str, nn.Module]]:
    """Name layers as torchvision does, so that its weights fit in their order."""
    return [
        *((f"features/{index}", layer) for index, layer in enumerate(features)),
        ("avgpool", nn.AdaptiveAvgPool2d((side, side))),
        ("flatten", nn.Flatten()),
        *((f"classifier/{index}", layer) for index, layer in enumerate(classifier)),
    ]


def _alexnet() -> list[tuple[str, nn.Module]]:
    """Make torchvision's: A. Krizhevsky, "One weird trick for parallelizing ...", 2014."""
    features = [
        *(_conv(3, 64, 11, stride=4, padding=2), nn.ReLU(), _pool(3, 2)),
        *(_conv(64, 192, 5, padding=2), nn.ReLU(), _pool(3, 2)),
        *(_conv(192, 384, 3, padding=1), nn.ReLU()),
        *(_conv(384, 256, 3, padding=1), nn.ReLU()),
        *(_conv(256, 256, 3, padding=1), nn.ReLU(), _pool(3, 2)),
    ]
    classifier = [
        *(nn.Dropout(), _linear(9216, 4096), nn.ReLU()),
        *(nn.Dropout(), _linear(4096, 4096), nn.ReLU()),
        _linear(4096, 1000),
    ]
    return _torchvision(features, 6, classifier)


def _vgg16() -> list[tuple[str, nn.Module]]:
    """Make torchvision's: K. Simonyan, A. Zisserman, ICLR 2015, configuration D."""
    features: list[nn.Module] = []
    channels = 3
    for count, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            features += [_conv(channels, count, 3, padding=1), nn.ReLU()]
            channels = count
        features.append(_pool(2, 2))
    classifier = [
        *(_linear(25088, 4096), nn.ReLU(), nn.Dropout()),
        *(_linear(4096, 4096), nn.ReLU(), nn.Dropout()),
        _linear(4096, 1000),
    ]
    return _torchvision(features, 7, classifier)


#: By the names of :class:`secateur.settings.NetworkSettings`.
ARCHITECTURES = {
    "digits-cnn": Architecture(shape=(1, 8, 8), classes=10, layers=_digits_cnn),
    "lenet-300-100": Architecture(
        shape=(784,), classes=10, layers=lambda: _perceptron(784, (300, 100), 10)
    ),
    "lenet5": Architecture(shape=(1, 28, 28), classes=10, layers=_lenet5),
    "alexnet": Architecture(shape=(3, 224, 224), classes=1000, layers=_alexnet),
    "vgg16": Architecture(shape=(3, 224, 224), classes=1000, layers=_vgg16),
}
#: Those that begin with a fully connected layer.
_FLAT = ("perceptron", "lenet-300-100")
