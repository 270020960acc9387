"""The engine as Yosys maps it to every family, under the same test bench as its Verilog."""

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

#: The cells that Yosys would not infer as they are needed.
HARD = "MULT18X18D|DP16KD|SB_MAC16|SB_RAM40_4K|SB_SPRAM256KA"


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("device", "codebook", "load", "fields", "cells"),
    [
        # Depths at which block RAMs are used: 18 bits wide, and 36 bits for the biases.
        pytest.param(
            "ecp5-25k",
            False,
            True,
            {"weight_depth": 512, "column_depth": 128, "activation_depth": 128, "bias_depth": 128},
            {"MULT18X18D": 2, "DP16KD": 7},
            id="ecp5 loaded",
        ),
        # Codes, accumulators in block RAM, one bank, and the program as initial contents.
        pytest.param(
            "ecp5-25k",
            True,
            False,
            {"row_depth": 128, "banks": 1, "weight_depth": 512, "column_depth": 128},
            {"MULT18X18D": 2, "DP16KD": 6},
            id="ecp5 initial contents",
        ),
        # Two for the codebooks and five for the queues are Yosys's choice.
        pytest.param(
            "ice40-hx8k",
            True,
            False,
            {"banks": 1},
            {"SB_RAM40_4K": 24},
            id="ice40 initial contents",
        ),
        # Weights in SPRAM, which a program has to be loaded into.
        pytest.param(
            "ice40-up5k",
            False,
            True,
            {"banks": 1, "weight_depth": 1024},
            {"SB_MAC16": 2, "SB_SPRAM256KA": 2, "SB_RAM40_4K": 13},
            id="ice40up loaded",
        ),
    ],
)
def test_bit_exact(
    tmp_path: Path,
    pytestconfig: pytest.Config,
    device: str,
    codebook: bool,
    load: bool,
    fields: dict[str, int],
    cells: dict[str, int],
) -> None:
    """Memories, multipliers and carry chains after synthesis compute what the network does."""
    network = random_network(15 if codebook else 9, [30, 60, 7], density=0.3, codebook=codebook)
    program = encode(network, fit(network, pes=2, lanes=2, **fields))
    target = find_device(device)
    engine = Engine(program.spec, program=None if load else program, technology=target.technology)
    netlist = write_netlist(engine, device=target, folder=tmp_path)
    # Behind the models of the cells, which are modules of these names.
    found = re.findall(rf"^  ({HARD}) ", netlist.read_text().partition("module dut(")[2], re.M)
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
