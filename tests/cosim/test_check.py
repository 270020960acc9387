"""The check of the weights through the UART, in the emitted Verilog, with bits that flip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.cosim import cosimulate
from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.gateware.top import Top
from secateur.verilog import to_verilog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secateur.network import Network

DIVISOR, CLOCK = 4, 100_000_000
LENGTHS = [20, 24, 9]


def dense(seed: int, density: float) -> Network:
    """Draw a network of fully connected layers."""
    return random_network(seed, LENGTHS, density=density, codebook=True)


def convolutional(seed: int, density: float) -> Network:
    """Draw a network for an engine with positions."""
    return random_convolutional_network(
        seed, (2, 6, 5), lengths=[6], density=density, codebook=True, most_kernel=3
    )


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("draw", "banks"),
    [(dense, 1), (dense, 2), (convolutional, 2)],
    ids=["one bank", "two banks", "positions"],
)
def test_check(
    draw: Callable[[int, float], Network],
    banks: int,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    """Two programs in turn, the second one shorter, on one engine."""
    networks = [draw(seed, density) for seed, density in ((1, 0.8), (2, 0.4))]
    specs = [fit(network, pes=4, lanes=2, banks=banks).to_dict() for network in networks]
    spec = EngineSpec(**{name: max(fields[name] for fields in specs) for name in specs[0]})
    for index, network in enumerate(networks):
        encode(network, spec).save(tmp_path / f"{index}.sct")
        x = random_inputs(index, network, 4)
        np.savez(tmp_path / f"{index}.npz", x=x, y=network.compute(x))
    top = Top(spec, clock=CLOCK, baud=CLOCK // DIVISOR, max_payload=256, checked=True)
    source = tmp_path / "dut.v"
    source.write_text(to_verilog(top, "dut"))
    visible = tmp_path / "visible.vlt"
    visible.write_text('`verilator_config\npublic_flat_rw -module "*.weights" -var "memory"\n')
    passed = cosimulate(
        [visible, source],
        testbench="secateur.bench.tb_check",
        build_dir=tmp_path / "simulation",
        cache=pytestconfig.rootpath / "build/cosim",
        env={"JOB": str(tmp_path), "DIVISOR": str(DIVISOR)},
    )
    assert passed == ["flips", "results"]
