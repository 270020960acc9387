"""The Verilog that `secateur generate` writes: an engine that holds its program."""

from pathlib import Path

import numpy as np
import pytest

from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.generate import generate
from secateur.simulate import RUNS, run_bench
from secateur.simulator import SIMULATORS

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("codebook", [False, True], ids=["direct", "codebook"])
def test_bit_exact(tmp_path: Path, simulator: str, codebook: bool) -> None:
    """It answers from reset on, without being loaded."""
    if SIMULATORS[simulator].missing():
        pytest.skip(f"{simulator} is not installed")
    network = random_network(15 if codebook else 9, [30, 60, 7], density=0.3, codebook=codebook)
    program = encode(network, fit(network, pes=4))
    source = tmp_path / "engine.v"
    source.write_text(generate(program))
    x = random_inputs(4, network, 12)
    want = network.compute(x)
    assert len(np.unique(want)) > 10
    result = run_bench(
        [source],
        program,
        x,
        load=False,
        folder=tmp_path,
        cache=CACHE,
        simulator=simulator,
        toplevel="engine",
    )
    for run in RUNS:
        assert np.array_equal(program.restore(result[run]), want)
