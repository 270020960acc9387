"""Requantizer as emitted Verilog, under cocotb."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secateur.bench.cosim import cosimulate
from secateur.gateware.requant import Requantizer
from secateur.simulator import SIMULATORS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(("accumulator", "activation"), [(24, 8), (48, 16)])
def test_bit_exact(
    accumulator: int, activation: int, simulator: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if simulator == "icarus" and SIMULATORS[simulator].missing():
        pytest.skip("Icarus Verilog is not installed")
    passed = cosimulate(
        Requantizer(accumulator_width=accumulator, activation_width=activation),
        testbench="secateur.bench.tb_requant",
        build_dir=tmp_path,
        cache=pytestconfig.rootpath / "build/cosim",
        simulator=simulator,
        seed=1,
    )
    assert passed == ["bit_exact"]
