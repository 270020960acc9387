"""The engine as Yosys maps it to every family, under the same test bench as its Verilog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs, random_network
from secateur.cycles import model
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.gateware.engine import Engine
from secateur.hard_cells import engine_cells
from secateur.netlist import count_cells, write_netlist
from secateur.rungs.netlist import NETLIST_ARGUMENTS
from secateur.simulate import RUNS, run_bench

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.network import Network

DIRECT = random_network(9, [30, 60, 7], density=0.3)
CODED = random_network(15, [30, 60, 7], density=0.3, codebook=True)
#: Strides, padding, groups, windows of the maximum and of the average, and a layer after them.
DIRECT_MAPS = random_convolutional_network(
    165, (2, 12, 12), convolutions=2, lengths=[9], density=0.3
)
CODED_MAPS = random_convolutional_network(
    355, (2, 12, 12), convolutions=2, lengths=[9], density=0.3, codebook=True
)


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("device", "network", "load", "fields", "cells"),
    [
        # Depths at which block RAMs are used: 18 bits wide, and 36 bits for the biases.
        pytest.param(
            "ecp5-25k",
            DIRECT,
            True,
            {"weight_depth": 512, "column_depth": 128, "activation_depth": 128, "bias_depth": 128},
            {"dsp": 2, "bram": 7, "spram": 0},
            id="ecp5 loaded",
        ),
        # Codes, accumulators in block RAM, one bank, and the program as initial contents.
        pytest.param(
            "ecp5-25k",
            CODED,
            False,
            {"row_depth": 128, "banks": 1, "weight_depth": 512, "column_depth": 128},
            {"dsp": 2, "bram": 7, "spram": 0},
            id="ecp5 initial contents",
        ),
        # Five for the queues are Yosys's choice.
        pytest.param(
            "ice40-hx8k",
            CODED,
            False,
            {"banks": 1},
            {"dsp": 0, "bram": 24, "spram": 0},
            id="ice40 initial contents",
        ),
        # Weights in SPRAM, which a program has to be loaded into.
        pytest.param(
            "ice40-up5k",
            DIRECT,
            True,
            {"banks": 1, "weight_depth": 1024},
            {"dsp": 2, "bram": 13, "spram": 2},
            id="ice40up loaded",
        ),
        # Maps in a memory of each lane; the accumulators of all positions in block RAM.
        pytest.param(
            "ecp5-25k",
            CODED_MAPS,
            False,
            {"row_depth": 512, "accumulator_memories": 2},
            {"dsp": 2, "bram": 10, "spram": 0},
            id="ecp5 positions",
        ),
        pytest.param(
            "ice40-up5k",
            DIRECT_MAPS,
            True,
            {"banks": 1, "weight_depth": 1024, "positions": 4},
            {"dsp": 2, "bram": 16, "spram": 2},
            id="ice40up positions",
            marks=pytest.mark.long,
        ),
    ],
)
def test_bit_exact(
    tmp_path: Path,
    pytestconfig: pytest.Config,
    device: str,
    network: Network,
    load: bool,
    fields: dict[str, int],
    cells: dict[str, int],
) -> None:
    """Memories, multipliers and carry chains after synthesis compute what the network does."""
    program = encode(network, fit(network, pes=2, lanes=2, **fields))
    target = find_device(device)
    engine = Engine(program.spec, program=None if load else program, technology=target.technology)
    netlist = write_netlist(engine, device=target, folder=tmp_path)
    assert count_cells(netlist) == engine_cells(program.spec, target) == cells
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
        arguments=NETLIST_ARGUMENTS,
    )
    for run in RUNS:
        assert np.array_equal(program.restore(result[run]), want)
    latency, _ = model(program, network, x)
    assert np.array_equal(result["latency"], latency)
