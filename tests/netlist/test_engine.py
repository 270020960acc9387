"""The engine as Yosys maps it to the ECP5, under the same test bench as its Verilog."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from secateur import simulate as simulation
from secateur.bench.cosim import cosimulate
from secateur.bench.networks import random_inputs, random_network
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.netlist import write_netlist

if TYPE_CHECKING:
    from pathlib import Path

    from amaranth.lib import wiring


@pytest.mark.cosim
def test_bit_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """Block RAM, multipliers and carry chains after synthesis compute what the network does."""

    def on_netlist(component: wiring.Component, *, build_dir: Path, **options: Any) -> list[str]:
        source = write_netlist(component, device=find_device("ecp5-25k"), folder=build_dir)
        cells = re.findall(r"^  (MULT18X18D|DP16KD) ", source.read_text(), re.MULTILINE)
        assert Counter(cells) == {"MULT18X18D": 2, "DP16KD": 7}
        # The netlist leaves pins open, and Verilator warns of each.
        return cosimulate([source], build_dir=build_dir, arguments=["-Wno-fatal"], **options)

    monkeypatch.setattr(simulation, "cosimulate", on_netlist)
    # A network whose outputs are neither zero nor saturated: 36 different ones of 42.
    network = random_network(9, [30, 60, 7], density=0.3)
    # Depths at which block RAMs are used: 18 bits wide, and 36 bits for the biases.
    depths = {"weight_depth": 512, "column_depth": 128, "activation_depth": 128, "bias_depth": 128}
    spec = fit(network, pes=2, **depths)
    program = encode(network, spec)
    x = random_inputs(4, network, 6)
    result = simulation.simulate(
        program, network, x, folder=tmp_path, cache=pytestconfig.rootpath / "build/cosim"
    )
    assert result.outputs == 3 * 6 * 7
    assert result.mismatches == 0
