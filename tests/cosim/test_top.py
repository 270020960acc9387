"""The engine behind its UART as emitted Verilog, driven by the host's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.cosim import cosimulate
from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.gateware.top import Top

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.data import Split
    from secateur.network import Network

DIVISOR, CLOCK = 4, 100_000_000


@pytest.mark.cosim
def test_top(
    digits: tuple[Network, Split],
    other_digits: Network,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    """Two networks of other sizes and pruning in turn on one engine, with all test images."""
    network, test = digits
    networks = [network, other_digits]
    specs = [fit(network, pes=4).to_dict() for network in networks]
    spec = EngineSpec(**{name: max(fields[name] for fields in specs) for name in specs[0]})
    for index, network in enumerate(networks):
        encode(network, spec).save(tmp_path / f"{index}.sct")
        x = network.quantize_input(test.x)
        y = network.compute(x)
        assert len(np.unique(y, axis=0)) > len(test) * 0.9, "outputs that are alike show nothing"
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
