"""The digits examples on the Verilog of engines of several sizes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from secateur import data
from secateur.encode import encode, fit
from secateur.errors import CheckFailedError
from secateur.network import Network
from secateur.simulate import simulate

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "cosim"


@pytest.mark.cosim
@pytest.mark.parametrize("pes", [1, 3, 4, 8, 16])
def test_whole_test_split(digits: tuple[Network, data.Split], pes: int, tmp_path: Path) -> None:
    """Every output of every test image is the network's, and every latency the model's."""
    network, test = digits
    x = network.quantize_input(test.x)
    expected = network.compute(x)
    program = encode(network, fit(network, pes=pes))
    simulation = simulate(program, network, x, folder=tmp_path, cache=CACHE, seed=pes)
    assert len(test) == 355
    assert np.array_equal(simulation.y, expected)
    # All images twice, the first 32 a third time under stalls.
    assert (simulation.outputs, simulation.mismatches) == ((355 + 355 + 32) * 10, 0)
    assert test.accuracy(simulation.y) == test.accuracy(expected)
    assert simulation.latency.tolist() == simulation.model.tolist()
    for layer in simulation.layers:
        assert layer.cycles == layer.model
        assert len(layer.pe_busy) == pes


@pytest.mark.cosim
def test_convolutional_example(digits_cnn: tuple[Network, data.Split], tmp_path: Path) -> None:
    """From image to class: every output is the network's, and every cycle the model's."""
    network, test = digits_cnn[0], digits_cnn[1].head(50)
    x = network.quantize_input(test.flat)
    expected = network.compute(x)
    program = encode(network, fit(network, pes=8))
    simulation = simulate(program, network, x, folder=tmp_path, cache=CACHE)
    assert np.array_equal(simulation.y, expected)
    assert (simulation.outputs, simulation.mismatches) == ((50 + 50 + 32) * 10, 0)
    assert test.accuracy(simulation.y) == test.accuracy(expected) > 0.8
    assert simulation.latency.tolist() == simulation.model.tolist()
    assert [layer.cycles == layer.model for layer in simulation.layers] == [True] * 3


def _with_a_weight_negated(network: Network) -> Network:
    """The network with another sign of one weight of its last layer."""
    last = network.layers[-1]
    weights = last.weights.copy()
    row, column = np.argwhere(weights)[0]
    weights[row, column] = -weights[row, column]
    altered = dataclasses.replace(last, weights=weights, codebook=None)
    return Network(name="altered", layers=(*network.layers[:-1], altered))


def test_a_program_of_another_network(digits: tuple[Network, data.Split], tmp_path: Path) -> None:
    """The golden model of the engine says it before anything is simulated."""
    network, test = digits
    x = network.quantize_input(test.x)
    with pytest.raises(
        CheckFailedError,
        match=r"^the program does not compute network 'altered' \(golden model of the engine, "
        r"load error NONE\); encode that network$",
    ):
        simulate(
            encode(network, fit(network, pes=4)),
            _with_a_weight_negated(network),
            x,
            folder=tmp_path,
        )


@pytest.mark.cosim
def test_wrong_outputs_are_counted(
    digits: tuple[Network, data.Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the golden model were wrong in the same way, the outputs would still be compared."""
    network, test = digits
    altered = _with_a_weight_negated(network)
    x = network.quantize_input(test.x[:8])
    wrong = (altered.compute(x) != network.compute(x)).sum()
    assert wrong > 0
    monkeypatch.setattr("secateur.simulate._check_reference", lambda *_: None)
    simulation = simulate(
        encode(network, fit(network, pes=4)), altered, x, folder=tmp_path, cache=CACHE
    )
    assert simulation.mismatches == 3 * wrong
    assert np.array_equal(simulation.y, network.compute(x))
