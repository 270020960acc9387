"""Float models as layers of the integer network: the same values, or one sentence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from secateur.architectures import perceptron
from secateur.convolution import Convolution, Pool
from secateur.errors import BadInputError
from secateur.lowering import FloatLayer, float_layers
from secateur.model import outputs


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
def test_float_layers(module: nn.Module, names: list[str], relus: list[bool]) -> None:
    layers = float_layers(module)
    assert [layer.name for layer in layers] == names
    assert [layer.relu for layer in layers] == relus
    x = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    want = torch.from_numpy(x)
    for layer in layers:
        want = torch.nn.functional.linear(want, layer.weight, layer.bias)
        want = want.relu() if layer.relu else want
    assert np.array_equal(outputs(module, x), want.numpy())


def test_float_layers_share_memory_but_not_masks() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
    prune.l1_unstructured(second, "weight", 9)
    layers = float_layers(nn.Sequential(first, second))
    assert layers[0].weight.data_ptr() == first.weight.data_ptr()
    assert layers[0].bias is None
    assert layers[1].weight.count_nonzero() == 7


def computed(layers: list[FloatLayer], x: torch.Tensor) -> torch.Tensor:
    """Compute in float64, pooling included."""
    y = x.double().flatten(1)
    for layer in layers:
        y = layer.activations(y)
        if layer.convolution is not None and layer.convolution.pool is not None:
            pool = layer.convolution.pool
            kind = nn.MaxPool2d if pool.kind == "max" else nn.AvgPool2d
            y = kind(pool.size)(y)
        y = y.flatten(1)
    return y


def convolutional(seed: int) -> nn.Sequential:
    """Draw a model for inputs of 3 x 12 x 13."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*values: int) -> int:
        return values[int(torch.randint(len(values), (), generator=generator))]

    parts: list[nn.Module] = [
        nn.Conv2d(3, 6, (draw(1, 3, 5), draw(2, 3)), (1, draw(1, 2)), draw(0, 1) and (0, 1)),
        nn.BatchNorm2d(6) if draw(0, 1) else nn.Identity(),
        [nn.ReLU(), nn.MaxPool2d(2), nn.Identity()][draw(0, 1, 2)],
        [nn.MaxPool2d((2, 1)), nn.ReLU(), nn.Identity()][draw(0, 1, 2)],
        nn.Conv2d(6, 4, 2, groups=draw(1, 2), bias=bool(draw(0, 1))),
        nn.ReLU(),
        [nn.AvgPool2d((1, 2)), nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(1)][draw(0, 2)],
        nn.Flatten(),
    ]
    torch.manual_seed(seed)
    for part in parts:
        for parameter in part.parameters():
            nn.init.normal_(parameter)
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            nn.init.normal_(part.running_mean)
    features = nn.Sequential(*parts).eval()(torch.zeros(1, 3, 12, 13)).shape[1]
    return nn.Sequential(*parts, nn.Linear(features, 5))


@given(st.integers(0, 10_000))
def test_convolutional_models(seed: int) -> None:
    module = convolutional(seed)
    x = torch.randn(4, 3, 12, 13, generator=torch.Generator().manual_seed(seed))
    layers = float_layers(module, (3, 12, 13))
    assert [layer.convolution is None for layer in layers] == [False, False, True]
    with torch.no_grad():
        want = module.double().eval()(x.double())
    torch.testing.assert_close(computed(layers, x), want, rtol=1e-4, atol=1e-4)


def test_what_is_made_of_a_convolution() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.MaxPool2d((1, 3)),
    )
    (layer,) = float_layers(module, (4, 11, 13))
    assert layer.relu
    assert layer.weight.shape == (6, 12)
    assert layer.convolution == Convolution(
        channels=4,
        height=11,
        width=13,
        kernel=(3, 2),
        stride=(2, 1),
        padding=(1, 0),
        groups=2,
        pool=Pool(kind="max", size=(2, 6)),
    )
    assert layer.inputs == 4 * 11 * 13


CONV = nn.Conv2d(1, 2, 3)
OVERLAP = "windows that overlap or reach beyond the planes are not supported"


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (
            [nn.ReLU(), CONV],
            "the model must begin with a Linear or Conv2d layer, not a ReLU; remove it",
        ),
        (
            [nn.AvgPool2d(2), CONV],
            "the model must begin with a Linear or Conv2d layer, not an AvgPool2d; remove it",
        ),
        (
            [nn.Conv2d(1, 2, 12, padding=2)],
            "layer '0': the kernel must be from 1 x 1 to 11 x 11, not 12 x 12",
        ),
        ([nn.Conv2d(1, 2, 3, 5)], "layer '0': the stride must be from 1 to 4, not 5 x 5"),
        (
            [nn.Conv2d(1, 2, 3, padding=3)],
            "layer '0': the padding must be less than the kernel's 3 x 3, not 3 x 3",
        ),
        (
            [CONV, nn.MaxPool2d(3, 2)],
            (
                "layer '1', a MaxPool2d, must have a stride equal to its kernel_size, (3, 3), and "
                f"no padding, not (2, 2) and (0, 0); {OVERLAP}"
            ),
        ),
        (
            [CONV, nn.AvgPool2d(2, padding=1)],
            (
                "layer '1', an AvgPool2d, must have a stride equal to its kernel_size, (2, 2), and "
                f"no padding, not (2, 2) and (1, 1); {OVERLAP}"
            ),
        ),
        (
            [CONV, nn.AvgPool2d(3)],
            "layer '1': average-pooling must have sizes that are powers of two, not 3 x 3",
        ),
        (
            [CONV, nn.AdaptiveAvgPool2d(4)],
            (
                "layer '1', an AdaptiveAvgPool2d, must have an output_size that divides its planes "
                "of 6 x 6, not 4 x 4; choose such a one"
            ),
        ),
        (
            [CONV, nn.AvgPool2d(2), nn.MaxPool2d(2)],
            (
                "layer '2', a MaxPool2d, must not follow another pooling, unless both are of the "
                "largest value; make them one"
            ),
        ),
        (
            [CONV, nn.AvgPool2d(2), nn.ReLU()],
            (
                "layer '2', a ReLU, must come before the average-pooling after '0'; exchange them "
                "and train the model again"
            ),
        ),
    ],
)
def test_what_is_refused(parts: list[nn.Module], sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        float_layers(nn.Sequential(*parts), (1, 8, 8))
    assert str(caught.value) == sentence


def test_inputs_that_are_no_images() -> None:
    with pytest.raises(BadInputError) as caught:
        float_layers(CONV, (64,))
    assert str(caught.value) == (
        "a model with Conv2d layers must be given inputs of channels, rows and columns, not of 1 "
        "dimension; reshape the examples"
    )
    with pytest.raises(BadInputError) as caught:
        float_layers(nn.Sequential(CONV, nn.Flatten(), nn.Linear(72, 2)), (1, 9, 8))
    assert str(caught.value).startswith("layer '2', a Linear, cannot take what the layers before")


def test_images_that_no_engine_holds() -> None:
    with pytest.raises(BadInputError) as caught:
        float_layers(CONV, (1, 4096, 1025))
    assert str(caught.value) == (
        "layer '0': the input must have at most 4194304 activations, which is what the largest "
        "engine holds, not 1 x 4096 x 1025"
    )
