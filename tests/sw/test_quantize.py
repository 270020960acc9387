"""Quantisation: exact where the numbers are, least error elsewhere, and what is refused."""

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.architectures import perceptron
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant, round_to
from secateur.model import outputs
from secateur.network import Layer
from secateur.quantize import best_fraction, check_accumulators, quantize
from secateur.settings import QuantizeSettings


def linear(weight: Any, bias: Any = None) -> nn.Linear:
    weight = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float32)
    return layer


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.integers(-8, 12),
    st.integers(2, 16),
    st.booleans(),
)
def test_round_to_is_the_formula(
    values: list[float], fraction: int, width: int, signed: bool
) -> None:
    target = NumberFormat(width=width, signed=signed)
    # The sum in `x + 0.5` is one float operation: take values that it does not round.
    values = [round(v * 16) / 16 for v in values]
    want = [
        max(
            target.lowest,
            min(target.highest, floor(Fraction(v) * Fraction(2) ** fraction + Fraction(1, 2))),
        )
        for v in values
    ]
    assert round_to(np.array(values), fraction, target).tolist() == want


@settings(deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30),
    st.integers(2, 10),
    st.booleans(),
)
@example([17.0, -65.0], 2, True)
def test_no_other_fraction_is_better(values: list[float], width: int, signed: bool) -> None:
    exact = np.array(values if signed else np.abs(values), dtype=np.float64)
    if 0 < abs(exact).max() < 1e-3:
        exact *= 1e6
    target = NumberFormat(width=width, signed=signed)

    def error(fraction: int) -> float:
        return float(((round_to(exact, fraction, target) * 2.0**-fraction - exact) ** 2).sum())

    best = best_fraction(exact, target)
    for fraction in range(-20, 40):
        assert error(best) <= error(fraction)


def test_saturating_few_for_the_sake_of_many() -> None:
    """Not the fraction at which the maximum fits."""
    values = np.concatenate([np.random.default_rng(1).normal(size=5000), [60.0]])
    target = NumberFormat(width=4, signed=True)
    best = best_fraction(values, target)
    assert round_to(values, best, target).max() == 7
    assert 60.0 * 2.0**best > 8


def test_exact_values_stay_exact() -> None:
    """Worked by hand: 3.25 * 2**6 is 208 and 3.5 * 2**5 is 112, and both would not fit doubled."""
    module = nn.Sequential(
        linear([[1.5, -0.5], [0.0, 3.5]], [0.125, -1.0]), nn.ReLU(), linear([[1.0, -2.0]])
    )
    x = np.array([[0.25, 1.0], [2.0, 3.25]], np.float32)
    network = quantize(module, x, QuantizeSettings(), "hand")
    first, second = network.layers
    assert (network.name, first.name, second.name) == ("hand", "0", "2")
    assert first.input == NumberFormat(width=8, signed=False)
    assert (first.input_fraction, first.weight_fraction) == (6, 5)
    assert first.weights.tolist() == [[48, -16], [0, 112]]
    assert first.bias.tolist() == [256, -2048]
    assert first.requant.relu
    assert first.requant.output == second.input == NumberFormat(width=8, signed=False)
    assert (first.output_fraction, first.requant.shift) == (4, 7)
    assert second.weights.tolist() == [[64, -128]]
    assert second.bias.tolist() == [0]
    assert not second.requant.relu
    assert second.requant.output == NumberFormat(width=8, signed=True)
    integers = network.quantize_input(x)
    assert integers.tolist() == [[16, 64], [128, 208]]
    # [0.0, 2.5] and [1.5, 10.375] in sixteenths
    assert network.activations(integers)[1].tolist() == [[0, 40], [24, 166]]
    got = network.compute(integers) * 2.0**-second.output_fraction
    assert np.array_equal(got, outputs(module, x))


def test_only_negative_inputs_make_the_input_signed() -> None:
    module = nn.Sequential(linear([[1.0]]))
    for x, signed in ((0.0, False), (-0.5, True)):
        network = quantize(module, np.array([[x], [1.0]], np.float32), QuantizeSettings(), "n")
        assert network.layers[0].input == NumberFormat(width=8, signed=signed)


def test_calibration_takes_only_its_images() -> None:
    module = nn.Sequential(linear([[1.0]]))
    x = np.array([[0.5], [-100.0]], np.float32)
    network = quantize(module, x, QuantizeSettings(calibration_images=1), "n")
    assert not network.layers[0].input.signed


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.floats(0.1, 1.0),
    st.integers(-30, 30),
    st.integers(-30, 30),
    st.integers(4, 16),
    st.integers(2, 16),
    st.sampled_from([0, 3, 4, 5, 6]),
)
def test_any_network_of_any_scale(
    seed: int,
    sizes: list[int],
    density: float,
    weight_scale: int,
    input_scale: int,
    activation_width: int,
    weight_width: int,
    codebook_bits: int,
) -> None:
    """Zeros stay zero, the codebook is small and holds 0, and nothing leaves its format."""
    generator = torch.Generator().manual_seed(seed)
    module = perceptron(sizes[0], sizes[1:-1], sizes[-1], generator)
    layers = [part for part in module if isinstance(part, nn.Linear)]
    for index, part in enumerate(layers):
        part.weight.data *= torch.rand(part.weight.shape, generator=generator) < density
        part.weight.data *= 2.0**weight_scale
        part.weight.data[0, 0] = 2.0**weight_scale
        # As large as the layer's sums: biases far beyond them are refused.
        part.bias.data *= 2.0 ** (weight_scale * (index + 1) + input_scale)
    x = (torch.randn(20, sizes[0], generator=generator) * 2.0**input_scale).numpy()
    settings = QuantizeSettings(
        activation_width=activation_width, weight_width=weight_width, codebook_bits=codebook_bits
    )
    network = quantize(module, x, settings, "any")
    for part, layer in zip(layers, network.layers, strict=True):
        assert (layer.weights[part.weight.detach().numpy() == 0] == 0).all()
        assert layer.accumulator_width <= 48
        if codebook_bits:
            assert layer.codebook is not None
            assert 0 in layer.codebook
            assert len(layer.codebook) <= 1 << codebook_bits
        else:
            assert layer.codebook is None
    values = network.activations(network.quantize_input(x))
    for layer, value in zip(network.layers, values[1:], strict=True):
        assert layer.requant.output.holds(value)


@pytest.mark.parametrize("codebook_bits", [0, 4])
def test_close_to_the_float_network(codebook_bits: int) -> None:
    """At 16 bits and with a codebook as rich as the weights, nothing but rounding is lost."""
    generator = torch.Generator().manual_seed(1)
    module = perceptron(12, (16,), 4, generator)
    if codebook_bits:
        for part in module:
            if isinstance(part, nn.Linear):
                part.weight.data = torch.round(part.weight.data * 24) / 24
    x = torch.rand(50, 12, generator=generator).numpy()
    settings = QuantizeSettings(activation_width=16, weight_width=16, codebook_bits=codebook_bits)
    network = quantize(module, x, settings, "close")
    got = network.compute(network.quantize_input(x)) * 2.0 ** -network.layers[-1].output_fraction
    np.testing.assert_allclose(got, outputs(module, x), atol=5e-4)


def test_a_codebook_of_weights_it_can_hold_is_exact() -> None:
    weights = [[-0.75, 0.0, 0.25, 0.5, -0.75, 1.0]]
    module = nn.Sequential(linear(weights))
    x = np.eye(6, dtype=np.float32)
    layer = quantize(module, x, QuantizeSettings(codebook_bits=3), "n").layers[0]
    assert layer.codebook is not None
    assert layer.codebook.tolist() == [-48, 0, 16, 32, 64]
    assert layer.weights.tolist() == [[-48, 0, 16, 32, -48, 64]]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_every_code_is_used(bits: int) -> None:
    """All weights are positive, so none of the centroids is the zero."""
    module = nn.Sequential(linear([np.linspace(0.1, 1, 99).tolist()]))
    x = np.ones((1, 99), np.float32)
    layer = quantize(module, x, QuantizeSettings(codebook_bits=bits), "n").layers[0]
    assert layer.codebook is not None
    assert len(layer.codebook) == 1 << bits


def test_repeatable_and_told() -> None:
    module = perceptron(6, (5,), 3, torch.Generator().manual_seed(1))
    x = np.random.default_rng(1).uniform(size=(30, 6)).astype(np.float32)
    told = []
    first = quantize(module, x, QuantizeSettings(), "n", lambda *step: told.append(step))
    assert first.digest == quantize(module, x, QuantizeSettings(), "n").digest
    assert told == [(1, 2, "layer fc1"), (2, 2, "layer fc2")]


def test_images_are_taken_flat() -> None:
    module = perceptron(6, (5,), 3, torch.Generator().manual_seed(1))
    x = np.random.default_rng(1).uniform(size=(30, 1, 2, 3)).astype(np.float32)
    flat = quantize(module, x.reshape(30, 6), QuantizeSettings(), "n")
    assert quantize(module, x, QuantizeSettings(), "n").digest == flat.digest


def test_exact_convolutions_stay_exact() -> None:
    """Weights in quarters, a mean of halves: 0.75 and 1.5 are rounded to steps of 1/64."""
    conv = nn.Conv2d(1, 2, (1, 2), bias=True)
    conv.weight.data = torch.tensor([[[[0.75, -0.25]]], [[[0.0, 1.0]]]])
    conv.bias = nn.Parameter(torch.tensor([0.25, -2.0]))
    x = np.array([[[[1.0, 3.0, 2.0]]], [[[0.0, 1.0, 3.5]]]], np.float32)
    for pool, kind in ((nn.MaxPool2d((1, 2)), "max"), (nn.AvgPool2d((1, 2)), "average")):
        module = nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), linear([[1.0, -0.5]]))
        network = quantize(module, x, QuantizeSettings(), "hand")
        first, second = network.layers
        assert first.convolution is not None
        assert first.convolution.pool is not None
        assert first.convolution.pool.kind == kind
        assert (first.input_fraction, first.weight_fraction) == (6, 6)
        assert first.weights.tolist() == [[48, -16], [0, 64]]
        assert first.bias.tolist() == [1024, -8192]
        assert second.input == first.requant.output == NumberFormat(width=8, signed=False)
        got = network.compute(network.quantize_input(x.reshape(2, 3)))
        assert np.array_equal(got * 2.0**-second.output_fraction, outputs(module, x))


def test_the_largest_choose_the_scale_of_a_convolution() -> None:
    """Of -100 and -1 the largest value is -1, and the average -50.5 is one of both, rounded."""
    conv = nn.Conv2d(1, 1, 1, bias=False)
    conv.weight.data = torch.tensor([[[[-1.0]]]])
    x = np.array([[[[100.0, 1.0]]]], np.float32)
    fractions = []
    for pool in (nn.MaxPool2d((1, 2)), nn.AvgPool2d((1, 2)), nn.Identity()):
        network = quantize(nn.Sequential(conv, pool), x, QuantizeSettings(), "n")
        fractions.append(network.layers[0].output_fraction)
    assert fractions == [7, 0, 0]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000),
    st.integers(-30, 30),
    st.integers(4, 16),
    st.integers(2, 16),
    st.sampled_from([0, 3, 5]),
)
def test_any_convolution_of_any_scale(
    seed: int, scale: int, activation_width: int, weight_width: int, codebook_bits: int
) -> None:
    """Zeros stay zero, nothing leaves its format, and wide formats are close to the floats."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), (1, 2), (1, 0), groups=1 + seed % 2),
        nn.BatchNorm2d(4).eval(),
        nn.ReLU(),
        (nn.MaxPool2d if seed % 3 else nn.AvgPool2d)((2, 1)),
        nn.Conv2d(4, 3, 2),
        nn.Flatten(),
        nn.Linear(3 * 3 * 3, 5),
    )
    first = module[0]
    assert isinstance(first, nn.Conv2d)
    first.weight.data *= torch.rand_like(first.weight) < 0.5
    first.weight.data[0, 0, 0, 0] = 0.5
    for name, parameter in module.named_parameters():
        if name in ("0.bias", "4.bias", "6.bias"):
            parameter.data *= 2.0**scale
    x = (torch.randn(20, 2, 8, 8) * 2.0**scale).numpy()
    given = QuantizeSettings(
        activation_width=activation_width, weight_width=weight_width, codebook_bits=codebook_bits
    )
    network = quantize(module, x, given, "any")
    assert (network.layers[0].weights[first.weight.detach().flatten(1).numpy() == 0] == 0).all()
    values = network.activations(network.quantize_input(x.reshape(20, -1)))
    for layer, value in zip(network.layers, values[1:], strict=True):
        assert layer.requant.output.holds(value)
        assert layer.accumulator_width <= 48
        assert value.shape == (20, layer.outputs)
    if activation_width > 13 and weight_width > 13 and not codebook_bits:
        got = values[-1] * 2.0 ** -network.layers[-1].output_fraction
        want = outputs(module.eval(), x)
        np.testing.assert_allclose(got, want, atol=1e-2 * 2.0**scale)


@pytest.mark.parametrize(
    ("module", "x", "sentence"),
    [
        (
            linear([[1.0, 2.0]]),
            np.zeros((3, 1)),
            (
                "calibration inputs must be at least one row of 2 numbers, not (3, 1); "
                "calibrate with the examples that the model was trained on"
            ),
        ),
        (
            linear([[1.0]]),
            np.zeros((0, 1)),
            (
                "calibration inputs must be at least one row of 1 numbers, not (0, 1); "
                "calibrate with the examples that the model was trained on"
            ),
        ),
        (
            linear([[1.0]]),
            np.array([[np.nan]]),
            "calibration inputs hold NaN or infinity; remove those examples",
        ),
        (
            linear([[0.0]]),
            np.ones((1, 1)),
            "layer '0' has no weight left; prune it less",
        ),
        (
            linear([[1.0]], [-1e18]),
            np.ones((1, 1)),
            (
                "layer '0' has a bias of -1e+18, too large beside its weights for accumulators of "
                "48 bits; train the model with weight decay"
            ),
        ),
        (
            linear([[1.0], [1.0]], [0.5, 1e30]),
            np.ones((1, 1)),
            (
                "layer '0' has a bias of 1e+30, too large beside its weights for accumulators of "
                "48 bits; train the model with weight decay"
            ),
        ),
        (
            nn.Sequential(*[linear([[3e38]]) for _ in range(9)]),
            np.ones((1, 1)),
            (
                "layer '2' computes values of up to 2.7e+115, beyond 1e-100 to 1e+100; train the "
                "model with weight decay and scaled inputs"
            ),
        ),
        (
            nn.Sequential(*[linear([[1e-44]]) for _ in range(9)]),
            np.ones((1, 1)),
            (
                "layer '2' computes values of up to 9.44e-133, beyond 1e-100 to 1e+100; train the "
                "model with weight decay and scaled inputs"
            ),
        ),
    ],
)
def test_refused(module: nn.Module, x: np.ndarray, sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        quantize(module, x.astype(np.float32), QuantizeSettings(), "n")
    assert str(caught.value) == sentence


def test_all_zero_inputs_and_dead_layers_are_legal() -> None:
    """A hidden layer whose outputs are all zero still gets scales."""
    module = nn.Sequential(linear([[-1.0], [-2.0]]), nn.ReLU(), linear([[1.0, 0.5]], [0.25]))
    for x in (np.zeros((4, 1), np.float32), np.ones((4, 1), np.float32)):
        network = quantize(module, x, QuantizeSettings(), "n")
        got = (
            network.compute(network.quantize_input(x)) * 2.0 ** -network.layers[-1].output_fraction
        )
        assert got.tolist() == [[0.25]] * 4


def test_a_shift_is_as_far_as_the_requantiser_can() -> None:
    """Outputs that are always zero have no scale of their own, and tiny sums are far from 1."""
    module = nn.Sequential(linear([[-1e-30]], [0.0]), nn.ReLU(), linear([[1.0]], [0.0]))
    network = quantize(module, np.ones((4, 1), np.float32), QuantizeSettings(), "n")
    assert network.layers[0].requant.shift == 47
    assert (network.compute(network.quantize_input(np.ones((1, 1)))) == 0).all()


@pytest.mark.parametrize("columns", [65536, 65540])
def test_no_engine_has_wider_accumulators(columns: int) -> None:
    """The largest weights and inputs: 48 bits are enough for the sums, and then they are not."""
    wide = NumberFormat(width=16, signed=False)
    layer = Layer(
        name="fc",
        weights=np.full((1, columns), 32767),
        bias=np.zeros(1, dtype=np.int64),
        weight_width=16,
        input=wide,
        requant=Requant(shift=0, output=wide, relu=True),
    )
    if columns == 65536:
        check_accumulators(layer)
        return
    with pytest.raises(BadInputError) as caught:
        check_accumulators(layer)
    assert str(caught.value) == (
        "layer 'fc' needs accumulators of 49 bits and 48 is the most; lower "
        "quantize.activation_width or quantize.weight_width"
    )
