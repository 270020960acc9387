"""The simulation without a test bench in Python, which the benchmark of cycles is made with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.bench.fast import build_fast, run_fast
from secateur.bench.fast_memory import BARE, bare_sources
from secateur.bench.networks import random_inputs, random_network
from secateur.cycles import followed, model
from secateur.encode import encode, fit
from secateur.errors import CheckFailedError
from secateur.instrument import InstrumentedEngine, counters_layout
from secateur.technology import PORTABLE, Technology

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.mark.cosim
@pytest.mark.parametrize("technology", [PORTABLE, BARE], ids=lambda each: each.name)
def test_bursts(technology: Technology, tmp_path: Path) -> None:
    """Outputs, cycles and multiplications of inputs alone and behind each other."""
    network = random_network(1, [70, 41, 9], codebook=True)
    # Weights in more words than the smallest memories have, so that some are bare.
    spec = fit(network, pes=4, weight_depth=1024)
    program = encode(network, spec)
    design = InstrumentedEngine(spec, layers=2, technology=technology)
    sources = bare_sources(tmp_path) if technology is BARE else []
    executable = build_fast(design, folder=tmp_path, cache=CACHE, sources=sources)
    assert ("bare_memory" in (tmp_path / "dut.v").read_text()) == (technology is BARE)

    x = random_inputs(2, network, 7)
    told = []
    run = run_fast(
        executable,
        design,
        program,
        x,
        bursts=[1, 1, 5],
        folder=tmp_path,
        progress=lambda *now: told.append(now),
    )
    assert np.array_equal(run.y, network.compute(x))
    latency, layers = model(program, network, x)
    assert np.array_equal((run.ends - run.starts + 1)[:2], latency[:2])
    assert np.array_equal(run.ends[2:] - run.starts[2] + 1, followed(program, network, x[2:]))
    counters = [counters_layout(spec, 2).from_bits(bits) for bits in run.counters]
    assert len(counters) == 4
    for first, last, burst in ((0, 1, slice(1)), (1, 2, slice(1, 2)), (2, 3, slice(2, 7))):
        for index, layer in enumerate(layers):
            before, after = (counters[at].layers[index].multiplications for at in (first, last))
            counted = [after[pe] - before[pe] for pe in range(spec.pes)]
            assert counted == layer.multiplications[burst].sum(axis=0).tolist()


@pytest.mark.cosim
def test_a_program_of_another_engine(tmp_path: Path) -> None:
    network = random_network(1, [70, 41, 9], codebook=True)
    spec = fit(network, pes=4, weight_depth=1024)
    design = InstrumentedEngine(spec, layers=2)
    executable = build_fast(design, folder=tmp_path, cache=CACHE)
    program = encode(network, replace(spec, queue_depth=spec.queue_depth + 1))
    x = random_inputs(2, network, 1)
    with pytest.raises(
        CheckFailedError,
        match=r"^the simulation ended with code 1: the engine refused the program$",
    ):
        run_fast(executable, design, program, x, bursts=[1], folder=tmp_path)
