"""The integer network against torch's integer arithmetic, and its file."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs, random_network
from secateur.convolution import Convolution, Pool
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import FILE, Layer, Network

#: A convolution, as the file has it, for the layer below.
SHAPE = {"channels": 3, "height": 5, "width": 6, "kernel": [1, 1]}
UNSIGNED = NumberFormat(width=8, signed=False)
SIGNED = NumberFormat(width=8, signed=True)


def layer(**fields) -> Layer:
    """A layer of 2 x 3 with what the test changes."""
    return Layer(**{
        "name": "fc",
        "weights": np.array([[1, 0, -2], [0, 3, 0]]),
        "bias": np.array([1, -1]),
        "weight_width": 4,
        "input": UNSIGNED,
        "requant": Requant(shift=1, output=SIGNED, relu=False),
        **fields,
    })


def convolution(**fields: Any) -> Convolution:
    """Give :data:`SHAPE` with what the test changes."""
    return Convolution(**{"channels": 3, "height": 5, "width": 6, "kernel": (1, 1), **fields})


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 12), min_size=2, max_size=5))
def test_compute_is_torch(seed: int, lengths: list[int]) -> None:
    """Matrix products by torch in int64, requantisation by floor division of Python integers."""
    network = random_network(seed, lengths, density=0.6)
    x = random_inputs(seed, network, 5)
    y = torch.from_numpy(x)
    for part in network.layers:
        requant, output = part.requant, part.requant.output
        acc = torch.nn.functional.linear(
            y, torch.from_numpy(part.weights), torch.from_numpy(part.bias)
        )
        rounded = [
            [(2 * v + (1 << requant.shift)) // (2 << requant.shift) for v in row]
            for row in acc.tolist()
        ]
        low = 0 if requant.relu else output.lowest
        y = torch.tensor(rounded).clamp(low, output.highest)
    assert network.compute(x).tolist() == y.tolist()


@given(st.integers(0, 2**32 - 1))
def test_accumulator_width_is_exact(seed: int) -> None:
    """The extreme inputs reach into the last bit, and no input leaves the width."""
    (part,) = random_network(seed, [6, 4], density=0.7).layers
    lows, highs = part.input.lowest, part.input.highest
    most = np.where(part.weights > 0, highs, lows) * part.weights
    least = np.where(part.weights > 0, lows, highs) * part.weights
    top = (most.sum(axis=1) + np.maximum(part.bias, 0)).max()
    bottom = (least.sum(axis=1) + np.minimum(part.bias, 0)).min()
    width = part.accumulator_width
    assert -(1 << (width - 1)) <= bottom
    assert top < 1 << (width - 1)
    assert bottom < -(1 << (width - 2)) or top >= 1 << (width - 2)


@pytest.mark.parametrize(("values", "width"), [(2, 1), (3, 2), (4, 2), (5, 3), (15, 4), (16, 4)])
def test_codes_count_the_values(values: int, width: int) -> None:
    one = layer(
        weights=np.array([[1, 0]]), bias=np.array([0]), codebook=np.arange(values), weight_width=8
    )
    assert (one.code_width, layer().code_width) == (width, 4)


@pytest.mark.parametrize(
    ("bias", "width"), [(256, 10), (257, 11), (-512, 10), (-513, 11), (0, 9), (-256, 9)]
)
def test_the_bias_counts_in_the_accumulator(bias: int, width: int) -> None:
    """Of an input from 0 to 255, with and without the bias."""
    one = layer(weights=np.array([[1]]), bias=np.array([bias]), input=UNSIGNED)
    assert one.accumulator_width == width


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"bias": np.array([1])},
            "layer 'fc': weights must be [rows, columns] with one bias a row, not (2, 3) and (1,)",
        ),
        ({"weights": np.zeros((2, 3), int)}, "layer 'fc' has no weight left; prune it less"),
        ({"weight_width": 2}, "layer 'fc': weights must fit in 2 bits"),
        (
            {"codebook": np.array([-2, 1, 3])},
            "layer 'fc': the codebook must be ascending and hold 0",
        ),
        (
            {"codebook": np.array([0, 1, 3, -2])},
            "layer 'fc': the codebook must be ascending and hold 0",
        ),
        ({"bias": np.array([1.0, -1.0])}, "layer 'fc': bias must be int64, not float64"),
        (
            {"codebook": np.array([[-2, 0], [1, 3]])},
            "layer 'fc': the codebook must be a list of values of 4 bits",
        ),
        ({"codebook": np.array([-2, 0, 1])}, "layer 'fc': a weight is not in the codebook"),
    ],
)
def test_layers_that_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        layer(**fields)


def test_networks_that_are_refused() -> None:
    first = layer()
    for layers, message in (
        ((), "network 'net' must have at least one layer"),
        ((first, layer(input=SIGNED)), "layer 'fc' must take the 2 outputs of 'fc', not 3"),
        (
            (first, layer(weights=np.ones((2, 2), int))),
            f"layer 'fc' must take 'fc''s {SIGNED}, not {UNSIGNED}",
        ),
    ):
        with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
            Network(name="net", layers=layers)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.array([1, 2]), "[..., 3], not (2,)"),
        (np.array([0, 0, 256]), "from 0 to 255, not from 0 to 256"),
        (np.array([0, -1, 0]), "from 0 to 255, not from -1 to 0"),
    ],
)
def test_inputs_that_are_refused(x: np.ndarray, said: str) -> None:
    message = f"layer 'fc': x must be {said}"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        layer().compute(x)


def test_quantize_input_rounds_half_up_and_saturates() -> None:
    network = Network(name="net", layers=(layer(input_fraction=2),))
    x = np.array([[0.124, 0.125, 99.0], [-0.125, -0.126, 63.8]])
    assert network.quantize_input(x).tolist() == [[0, 1, 255], [0, 0, 255]]


@pytest.mark.parametrize("codebook", [False, True])
def test_saved_is_loaded(tmp_path: Path, codebook: bool) -> None:
    convolutions = random_convolutional_network(
        5, (2, 9, 8), convolutions=2, lengths=(3,), codebook=codebook
    )
    for network in (random_network(3, [9, 7, 4], codebook=codebook), convolutions):
        network.save(tmp_path / "network.safetensors")
        loaded = Network.load(tmp_path / "network.safetensors")
        assert loaded.digest == network.digest
        assert [a.convolution for a in loaded.layers] == [a.convolution for a in network.layers]
        x = random_inputs(4, network, 50)
        assert np.array_equal(loaded.compute(x), network.compute(x))


def test_the_digest_sees_everything() -> None:
    part = layer()
    changes = [
        {"name": "other"},
        {"weights": part.weights * [[1, 1, 1], [1, -1, 1]]},
        {"bias": part.bias + 1},
        {"weight_width": 5},
        {"input": SIGNED},
        {"requant": dataclasses.replace(part.requant, shift=2)},
        {"requant": dataclasses.replace(part.requant, relu=True)},
        {"requant": dataclasses.replace(part.requant, output=UNSIGNED)},
        {"codebook": np.array([-2, 0, 1, 3])},
        {"input_fraction": 1},
        {"weight_fraction": 1},
        {"output_fraction": 1},
        *(
            {"convolution": convolution(**more)}
            for more in (
                {},
                {"height": 6},
                {"width": 5},
                {"channels": 1, "kernel": (1, 3)},
                {"channels": 1, "kernel": (3, 1)},
                {"channels": 6, "groups": 2},
                {"stride": (1, 2)},
                {"stride": (2, 1)},
                {"channels": 1, "kernel": (3, 1), "padding": (1, 0)},
                {"pool": Pool(kind="max", size=(2, 1))},
                {"pool": Pool(kind="max", size=(1, 2))},
                {"pool": Pool(kind="average", size=(1, 2))},
            )
        ),
    ]
    networks = [Network(name="net", layers=(layer(**fields),)) for fields in ({}, *changes)]
    assert len({network.digest for network in networks}) == len(changes) + 1


@pytest.mark.parametrize(
    ("changes", "arrays", "reason"),
    [
        ({"weight_width": 2}, {}, "layer 'fc': weights must fit in 2 bits"),
        (
            {"weight_width": 17},
            {},
            (
                "layer 'fc': widths must be at most 16 and fractions within 1000, not (17, 8, 8) "
                "and (0, 0, 0)"
            ),
        ),
        (
            {"fractions": [1001, 0, 0]},
            {},
            (
                "layer 'fc': widths must be at most 16 and fractions within 1000, not (4, 8, 8) "
                "and (1001, 0, 0)"
            ),
        ),
        ({"shift": 1.5}, {}, "layers: 0: shift: Input should be a valid integer"),
        ({"shift": 48}, {}, "ValueError('shift must be between 0 and 47, not 48')"),
        ({"input": [8, 3]}, {}, "layers: 0: input: 1: Input should be a valid boolean"),
        ({"input": [1, True]}, {}, "ValueError('width must be between 2 and 64, not 1')"),
        ({"fractions": "abc"}, {}, "layers: 0: fractions: Input should be a valid array"),
        ({"more": 1}, {}, "layers: 0: more: Unexpected keyword argument"),
        ({"convolution": {}}, {}, "layers: 0: convolution: channels: Field required"),
        (
            {"convolution": SHAPE | {"more": 1}},
            {},
            "layers: 0: convolution: more: Unexpected keyword argument",
        ),
        (
            {"convolution": SHAPE | {"stride": [1, 1.5]}},
            {},
            "layers: 0: convolution: stride: 1: Input should be a valid integer",
        ),
        (
            {"convolution": SHAPE | {"stride": [1, 5]}},
            {},
            "layers: 0: convolution: Value error, the stride must be from 1 to 4, not 1 x 5",
        ),
        (
            {"convolution": SHAPE | {"pool": {"kind": "min", "size": [1, 1]}}},
            {},
            "layers: 0: convolution: pool: kind: Input should be 'max' or 'average'",
        ),
        (
            {"convolution": SHAPE | {"channels": 2}},
            {},
            "layer 'fc': rows must have the 2 weights of a kernel, not 3",
        ),
        (
            {"codebook": [-2, 0, 1, 3, 500]},
            {},
            "layer 'fc': the codebook must be a list of values of 4 bits",
        ),
        (
            {"codebook": [[0, 1], [3, -2]]},
            {},
            "layers: 0: codebook: 0: Input should be a valid integer",
        ),
        (
            {"codebook": [0, 1 << 64]},
            {},
            "OverflowError('Python int too large to convert to C long')",
        ),
        (
            {},
            {"0.bias": np.array([1.0, 2.0])},
            (
                "TypeError(\"Cannot cast array data from dtype('float64') to dtype('int64') "
                "according to the rule 'safe'\")"
            ),
        ),
        (
            {},
            {"0.bias": np.array([2**63 - 1, 0])},
            "layer 'fc': the bias must fit in 48 bits",
        ),
        (
            {},
            {"0.weights": np.ones(3, np.int32)},
            "layer 'fc': weights must be [rows, columns] with one bias a row, not (3,) and (2,)",
        ),
    ],
)
def test_files_that_make_no_network(
    tmp_path: Path, changes: dict, arrays: dict, reason: str
) -> None:
    """Files of the right kind with their digest, whose contents are no network's."""
    path = tmp_path / "network.safetensors"
    Network(name="net", layers=(layer(),)).save(path)
    description, found = FILE.read(path)
    description["layers"][0] |= changes
    FILE.write(path, description, found | arrays)
    with pytest.raises(BadInputError) as caught:
        Network.load(path)
    again = "make it again with `secateur quantize`"
    assert str(caught.value) == f"{path} is damaged ({reason}); {again}"


def test_files_of_another_version(tmp_path: Path) -> None:
    """The first version knew no convolutions."""
    path = tmp_path / "network.safetensors"
    Network(name="net", layers=(layer(),)).save(path)
    description, arrays = FILE.read(path)
    assert FILE.version == 2
    dataclasses.replace(FILE, version=1).write(path, description, arrays)
    with pytest.raises(BadInputError) as caught:
        Network.load(path)
    assert str(caught.value) == (
        f"{path} has version 1 and this Secateur reads 2; update Secateur or make the file again"
    )


def test_files_that_lack_a_part(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    Network(name="net", layers=(layer(),)).save(path)
    description, arrays = FILE.read(path)
    FILE.write(path, description, {"0.bias": arrays["0.bias"]})
    again = "make it again with `secateur quantize`"
    with pytest.raises(BadInputError) as caught:
        Network.load(path)
    assert str(caught.value) == f"{path} is damaged (KeyError('0.weights')); {again}"
    del description["layers"][0]["shift"]
    FILE.write(path, description, arrays)
    with pytest.raises(BadInputError) as caught:
        Network.load(path)
    assert str(caught.value) == f"{path} is damaged (layers: 0: shift: Field required); {again}"
