"""The engine behind its UART as emitted Verilog, driven by the host's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.cosim import cosimulate
from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.gateware.top import Top

if TYPE_CHECKING:
    from pathlib import Path

DIVISOR, CLOCK = 4, 100_000_000
#: Inputs per program.
COUNT = 100


@pytest.mark.cosim
def test_top(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Two networks of other sizes and another density on one engine; outputs differ by input."""
    networks = [
        random_network(22, [64, 32, 10]),
        random_network(45, [37, 19, 23, 6], density=0.4, dead=0.2),
    ]
    depths = {
        "weight_depth": 512,
        "column_depth": 128,
        "row_depth": 16,
        "bias_depth": 32,
        "layer_depth": 4,
    }
    spec = fit(networks[0], pes=4, activation_depth=64, accumulator_width=24, **depths)
    for index, network in enumerate(networks):
        encode(network, spec).save(tmp_path / f"{index}.sct")
        x = random_inputs(index, network, COUNT)
        y = network.compute(x)
        assert len(np.unique(y, axis=0)) > COUNT // 2, "outputs that are alike show nothing"
        np.savez(tmp_path / f"{index}.npz", x=x, y=y)
    other = fit(networks[0], pes=3)
    encode(networks[0], other).save(tmp_path / "other.sct")
    passed = cosimulate(
        Top(spec, clock=CLOCK, baud=CLOCK // DIVISOR, max_payload=256),
        testbench="secateur.bench.tb_top",
        build_dir=tmp_path / "simulation",
        cache=pytestconfig.rootpath / "build/cosim",
        env={"JOB": str(tmp_path), "DIVISOR": str(DIVISOR)},
        seed=1,
    )
    assert len(passed) == 5


@pytest.mark.cosim
def test_top_with_a_program(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Out of reset; activations of two bytes, and a slower line."""
    network = random_network(12, [40, 12, 9], width=12)
    spec = fit(network, pes=2)
    program = encode(network, spec)
    program.save(tmp_path / "0.sct")
    x = random_inputs(1, network, 20)
    np.savez(tmp_path / "0.npz", x=x, y=network.compute(x))
    passed = cosimulate(
        Top(spec, program=program, clock=CLOCK, baud=CLOCK // 11, max_payload=256),
        testbench="secateur.bench.tb_top_attached",
        build_dir=tmp_path / "simulation",
        cache=pytestconfig.rootpath / "build/cosim",
        env={"JOB": str(tmp_path), "DIVISOR": "11"},
    )
    assert passed == ["attached"]
