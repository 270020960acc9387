"""Dead neurons and channels: equal outputs, in integers that float64 holds exactly."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.model import weighted
from secateur.shrink import dead_neurons, shrink
from secateur.trace import plain

SEEDS = st.integers(0, 2**32 - 1)


def fill(rng: np.random.Generator, module: nn.Sequential, density: float, dead: float) -> None:
    """Draw small integers; make some rows and some inputs of each layer zero."""
    module.double()
    for layer in weighted(module).values():
        shape = tuple(layer.weight.shape)
        weight = rng.integers(-2, 3, shape) * (rng.random(shape) < density)
        weight *= (rng.random(shape[0]) >= dead).reshape(-1, *[1] * (len(shape) - 1))
        weight *= (rng.random(shape[1]) >= dead).reshape(1, -1, *[1] * (len(shape) - 2))
        layer.weight.data = torch.from_numpy(weight).double()
        if layer.bias is not None:
            bias = rng.integers(-3, 4, shape[0]) * (rng.random(shape[0]) < 0.7)
            layer.bias.data = torch.from_numpy(bias).double()


def perceptron(rng: np.random.Generator) -> nn.Sequential:
    sizes = rng.integers(1, 12, rng.integers(2, 6)).tolist()
    parts: list[nn.Module] = []
    for columns, rows in pairwise(sizes):
        parts.append(nn.Linear(columns, rows, bias=rng.random() < 0.7))
        parts += [nn.ReLU()] * int(rng.random() < 0.7) + [nn.Dropout()] * int(rng.random() < 0.3)
    return plain(nn.Sequential(*parts))


def convolutional(rng: np.random.Generator) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """Layers for 12 x 12 inputs; whatever pools, divides by a power of two."""
    channels = start = int(rng.integers(1, 4))
    size = 12
    parts: list[nn.Module] = []
    for _ in range(int(rng.integers(1, 4))):
        kernel, padding = int(rng.integers(1, 4)), int(rng.integers(2))
        if size + 2 * padding < kernel:
            break
        out = int(rng.integers(1, 7))
        groups = channels if rng.random() < 0.2 else 1
        out *= groups
        bias = bool(rng.random() < 0.7)
        parts.append(nn.Conv2d(channels, out, kernel, padding=padding, groups=groups, bias=bias))
        channels, size = out, size + 2 * padding - kernel + 1
        parts += [nn.ReLU()] * int(rng.random() < 0.7)
        pool, padding = rng.integers(4), int(rng.integers(2))
        if pool < 3 and size >= 2:
            counts = {} if pool < 2 else {"count_include_pad": bool(rng.integers(2))}
            kind = nn.MaxPool2d if pool < 2 else nn.AvgPool2d
            parts.append(kind(2, padding=padding, **counts))
            size = (size + 2 * padding) // 2
    if size in (2, 4, 8):
        parts.append(nn.AdaptiveAvgPool2d(2))
        size = 2
    parts.append(nn.Flatten())
    width = channels * size**2
    for rows in rng.integers(1, 6, rng.integers(1, 3)).tolist():
        parts += [nn.Dropout(), nn.Linear(width, rows), nn.ReLU()]
        width = rows
    return plain(nn.Sequential(*parts[:-1])), (start, 12, 12)


def compare(module: nn.Sequential, shape: Sequence[int], rng: np.random.Generator) -> nn.Sequential:
    x = torch.from_numpy(rng.integers(-4, 5, (8, *shape))).double()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    small = shrink(module)
    assert torch.equal(small.eval()(x), module.eval()(x))
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    # Nothing dead is left to find.
    widths = [layer.weight.shape for layer in weighted(small).values()]
    assert [layer.weight.shape for layer in weighted(shrink(small)).values()] == widths
    assert set(dead_neurons(small).values()) == {0}
    for name, count in dead_neurons(module).items():
        assert len(weighted(module)[name].weight) - len(weighted(small)[name].weight) == count
    assert [name for name, _ in small.named_children()] == [
        name for name, _ in module.named_children()
    ]
    return small


DENSITIES = st.sampled_from([0.05, 0.2, 0.5, 1.0])
DEAD = st.sampled_from([0.0, 0.3, 0.7])


@settings(max_examples=120)
@given(SEEDS, DENSITIES, DEAD)
def test_perceptrons_compute_the_same(seed: int, density: float, dead: float) -> None:
    rng = np.random.default_rng(seed)
    module = perceptron(rng)
    fill(rng, module, density, dead)
    small = compare(module, (next(iter(weighted(module).values())).weight.shape[1],), rng)
    # Every neuron left has an input and an output, unless nothing reaches the outputs at all.
    layers = [layer.weight.detach() != 0 for layer in weighted(small).values()]
    live = torch.ones(layers[0].shape[1], dtype=torch.bool)
    for used in layers:
        live = used[:, live].any(dim=1)
    if live.any():
        for used, after in pairwise(layers):
            assert used.any(dim=1).all()
            assert after.any(dim=0).all()


@settings(max_examples=120)
@given(SEEDS, DENSITIES, DEAD)
def test_convolutions_compute_the_same(seed: int, density: float, dead: float) -> None:
    rng = np.random.default_rng(seed)
    module, shape = convolutional(rng)
    fill(rng, module, density, dead)
    compare(module, shape, rng)


def chain(*parts: nn.Module, dead: int = 1, bias: float = 2.0) -> nn.Sequential:
    """Weights of one, but for one neuron of the first layer: without inputs, and with a bias."""
    module = plain(nn.Sequential(*parts)).double()
    for layer in weighted(module).values():
        nn.init.ones_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    first = next(iter(weighted(module).values()))
    with torch.no_grad():
        first.weight[dead] = 0
        if first.bias is not None:
            first.bias[dead] = bias
    return module


def biases(module: nn.Sequential) -> list[list[float] | None]:
    layers = weighted(module).values()
    return [None if layer.bias is None else layer.bias.tolist() for layer in layers]


RNG_SEED = 11


@pytest.mark.parametrize(
    ("module", "shape", "dropped", "folded"),
    [
        # Two times three weights of one: the kernel's, or the plane's behind the Flatten.
        (chain(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 1, (3, 2))), (1, 9, 9), 1, [12.0]),
        (chain(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(18, 1)), (1, 4, 5), 1, [12.0]),
        (chain(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2, padding=1), nn.Conv2d(3, 1, 1)),
         (1, 9, 9), 1, [2.0]),
        (chain(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), nn.Conv2d(3, 1, 1)), (1, 9, 9), 1, [2.0]),
        (chain(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2, padding=1, count_include_pad=False),
               nn.Conv2d(3, 1, 1)), (1, 9, 9), 1, [2.0]),
        (chain(nn.Conv2d(1, 3, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 1)),
         (1, 9, 9), 1, [8.0]),
        # A negative bias is stopped by the ReLU, so that even padding does no harm.
        (chain(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1), bias=-1.0),
         (1, 9, 9), 1, [0.0]),
        # No bias, no constant; none is made.
        (chain(nn.Conv2d(1, 3, 3, bias=False), nn.Conv2d(3, 1, 3, padding=1, bias=False)),
         (1, 9, 9), 1, None),
        # A bias is made where there was none.
        (chain(nn.Linear(3, 2), nn.Dropout(), nn.Linear(2, 2, bias=False)), (3,), 1, [2.0, 2.0]),
        # Borders differ: the channel stays.
        (chain(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1)), (1, 9, 9), 0, [0.0]),
        (chain(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 1, 3, padding=(0, 1))), (1, 9, 9), 0, [0.0]),
        (chain(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2, padding=1), nn.Conv2d(3, 1, 1)),
         (1, 9, 9), 0, [0.0]),
        # Around groups nothing is dropped.
        (chain(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 1, 1)), (2, 9, 9), 0, [0.0]),
        (chain(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1, groups=4)), (1, 9, 9), 0, [0.0] * 4),
    ],
)  # fmt: skip
def test_a_constant_is_folded_where_that_is_exact(
    module: nn.Sequential, shape: tuple[int, ...], dropped: int, folded: list[float] | None
) -> None:
    small = compare(module, shape, np.random.default_rng(RNG_SEED))
    assert next(iter(dead_neurons(module).values())) == dropped
    assert biases(small)[1] == folded


def test_a_constant_that_stays_for_a_border_is_no_constant_afterwards() -> None:
    """Behind the padding it is another value at the border, which the next layer passes on."""
    module = chain(
        nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 1, 1), dead=1, bias=1.0
    )
    with torch.no_grad():
        weighted(module)["1"].weight[0, 1] = weighted(module)["1"].weight[1, 0] = 0
    small = compare(module, (1, 4, 4), np.random.default_rng(RNG_SEED))
    assert dead_neurons(module) == {"0": 0, "1": 0, "2": 0}
    assert [layer.weight.shape[0] for layer in weighted(small).values()] == [2, 2, 1]


def test_constants_are_folded_through_several_layers_and_rows_are_dropped_backwards() -> None:
    module = plain(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 3), nn.Linear(3, 2))).double()
    numbers = (
        ([[1], [0]], [0, 5]),  # row 1 is 5
        ([[2, 0], [0, 3], [1, 1]], [0, 1, 7]),  # row 1 is 3 * 5 + 1; row 2 is not read
        ([[1, 2, 0], [0, 0, 0]], [4, 6]),
    )
    for layer, (weight, bias) in zip(weighted(module).values(), numbers, strict=True):
        layer.weight.data = torch.tensor(weight).double()
        layer.bias = nn.Parameter(torch.tensor(bias).double())
    small = compare(module, (1,), np.random.default_rng(RNG_SEED))
    assert dead_neurons(module) == {"0": 1, "1": 2, "2": 0}
    assert biases(small) == [[0.0], [0.0], [36.0, 6.0]]


@pytest.mark.parametrize(
    ("zero", "want"),
    [
        (0, [(1, 3), (4, 1), (2, 4)]),
        (1, [(1, 3), (1, 1), (2, 1)]),
        (2, [(3, 3), (1, 3), (2, 1)]),
    ],
)
def test_where_nothing_reaches_the_outputs_a_neuron_of_each_layer_stays(
    zero: int, want: list[tuple[int, int]]
) -> None:
    module = chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        [*weighted(module).values()][zero].weight.zero_()
    small = compare(module, (3,), np.random.default_rng(RNG_SEED))
    assert [layer.weight.shape for layer in weighted(small).values()] == want


def test_folding_rounds_once() -> None:
    """In float32 the small weight would be lost between the large ones."""
    module = plain(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, (1, 3))))
    first, second = weighted(module).values()
    with torch.no_grad():
        first.weight[1] = 0
        first.bias = nn.Parameter(torch.tensor([0.0, 3.0]))
        second.weight[0, 1, 0] = torch.tensor([1.0, 2.0**-30, -1.0])
        second.bias = nn.Parameter(torch.zeros(1))
    assert biases(shrink(module)) == [[0.0], [3 * 2.0**-30]]


def test_parameters_are_new_and_training_goes_on_in_their_type() -> None:
    module = plain(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    small = shrink(module)
    assert small.training
    for before, after in zip(module.parameters(), small.parameters(), strict=True):
        assert torch.equal(before, after)
        assert before.data_ptr() != after.data_ptr()
        assert (after.dtype, after.requires_grad) == (torch.float32, True)
