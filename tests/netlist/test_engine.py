"""The engine as Yosys maps it to the ECP5, under the same test bench as its Verilog."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.networks import random_inputs, random_network
from secateur.cycles import model
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.gateware.engine import Engine
from secateur.netlist import write_netlist
from secateur.simulate import RUNS, run_bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("codebook", "load", "fields", "cells"),
    [
        # Depths at which block RAMs are used: 18 bits wide, and 36 bits for the biases.
        pytest.param(
            False,
            True,
            {"weight_depth": 512, "column_depth": 128, "activation_depth": 128, "bias_depth": 128},
            {"MULT18X18D": 2, "DP16KD": 7},
            id="loaded",
        ),
        # Codes, accumulators in block RAM, one bank, and the program as initial contents.
        pytest.param(
            True,
            False,
            {"row_depth": 128, "banks": 1, "weight_depth": 512, "column_depth": 128},
            {"MULT18X18D": 2, "DP16KD": 6},
            id="initial contents",
        ),
    ],
)
def test_bit_exact(
    tmp_path: Path,
    pytestconfig: pytest.Config,
    codebook: bool,
    load: bool,
    fields: dict[str, int],
    cells: dict[str, int],
) -> None:
    """Block RAM, multipliers and carry chains after synthesis compute what the network does."""
    network = random_network(15 if codebook else 9, [30, 60, 7], density=0.3, codebook=codebook)
    program = encode(network, fit(network, pes=2, **fields))
    engine = Engine(program.spec, program=None if load else program)
    netlist = write_netlist(engine, device=find_device("ecp5-25k"), folder=tmp_path)
    found = re.findall(r"^  (MULT18X18D|DP16KD) ", netlist.read_text(), re.MULTILINE)
    assert Counter(found) == cells
    x = random_inputs(4, network, 6)
    want = network.compute(x)
    assert len(np.unique(want)) > 10  # neither all zero nor all saturated
    result = run_bench(
        [netlist],
        program,
        x,
        load=load,
        folder=tmp_path,
        cache=pytestconfig.rootpath / "build/cosim",
        arguments=["-Wno-fatal"],  # the netlist leaves pins open, and Verilator warns of each
    )
    for run in RUNS:
        assert np.array_equal(program.restore(result[run]), want)
    latency, _ = model(program, network, x)
    assert np.array_equal(result["latency"], latency)
