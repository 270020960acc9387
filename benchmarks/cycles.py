"""Cycles of the engine on real and published networks: `python benchmarks/cycles.py`.

What is measured is the Verilog of the whole engine, in Verilator, with a program loaded through its
load stream; every output is compared with what the network computes, and every multiplication
counted. Nothing is estimated but by the cycle model, which stands beside it.

- LeNet-300-100 on MNIST, pruned 12, 24 and 46 times, learnt by the project's own stages (a few
  minutes, kept in build/), 200 test images.
- LeNet-5 on MNIST, pruned 12 and 71 times (`examples/lenet5.toml`; half an hour of learning), on an
  engine with positions, 500 test images.
- The nine layers of EIE (Han et al., ISCA 2016) at 64 PEs: random weights and activations of the
  published densities, and one of them at 256 PEs, with the time that generating its Verilog takes.
- MLPerf Tiny's autoencoder for anomaly detection, pruned to a tenth of its weights. Speed only:
  it is not retrained, and no accuracy is claimed.

MNIST and the autoencoder lie in the folder that SECATEUR_DATA names. Everything takes tens
of minutes on two cores. The last line is JSON; `--docs docs` writes docs/cycles.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# What learns is fastest with a thread of its own, and gives the same result only so.
os.environ["OMP_NUM_THREADS"] = "1"

from cycles_measure import covering
from cycles_networks import EIE, LENET5, autoencoder, eie_layer, lenet, lenet5
from cycles_run import ONCE, Case, Run, Through, run_all
from cycles_sizes import sizes
from cycles_tables import page, show, summary
from rich.console import Console

from secateur.artefact import write_whole
from secateur.bench.fast_memory import BARE
from secateur.encode import fit
from secateur.engine import EngineSpec
from secateur.gateware.engine import Engine
from secateur.verilog import to_verilog

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from secateur.network import Network
    from secateur.progress import Progress

ROOT = Path(__file__).resolve().parents[1]

RATES = (12, 24, 46)
#: What the engines for LeNet-300-100 and the autoencoder are given beside PEs, for speed.
FAST = {"accumulator_memories": 2, "jobs": 4}
#: The engines for LeNet-300-100: what is given of each, by name; the rest is fitted to hold the
#: programs of all three rates. Queues of 27 columns take twice the memory of the default; the
#: accumulators of 8 jobs lie in the same block RAMs as those of 4.
LENET_ENGINES: dict[str, dict[str, int]] = {
    "4": {"pes": 4, **FAST},
    "8": {"pes": 8, **FAST},
    "8-queue-27": {"pes": 8, "queue_depth": 27, **FAST},
    "16": {"pes": 16, **FAST},
    "16-queue-27": {"pes": 16, "queue_depth": 27, **FAST},
    "16-queue-27-jobs-8": {"pes": 16, "queue_depth": 27, **FAST, "jobs": 8},
    "16-one-memory": {"pes": 16, **FAST, "accumulator_memories": 1},
    "32": {"pes": 32, **FAST},
}
#: The engine for LeNet-5, and images that run alone.
LENET5_ENGINE, LENET5_ALONE = {"pes": 16}, 20
#: The engine for the autoencoder.
AD01_ENGINE = {"pes": 16, **FAST}
#: Part of its weights that is kept.
AD01_KEPT = 0.1
#: The engine for EIE's layers.
EIE_ENGINE = EngineSpec(
    pes=64,
    lanes=8,
    codebook_bits=4,
    # EIE's 4 bits would make half of VGG-6's entries padding.
    index_width=7,
    entry_width=11,
    accumulator_width=28,
    bias_width=16,
    queue_depth=27,
    weight_depth=1 << 17,  # VGG-6
    count_width=9,
    column_depth=1 << 12,
    row_depth=1 << 11,  # NT-Wd
    activation_depth=1 << 12,
    bias_depth=1 << 12,
    layer_depth=2,
    banks=1,
    jobs=4,
    accumulator_memories=2,
)
#: A larger one, and the layer that it is measured on.
LARGE_ENGINE = replace(EIE_ENGINE, pes=256, lanes=16, weight_depth=1 << 13, row_depth=1 << 8)
LARGE_LAYER = "Alex-7"
#: Inputs of EIE's layers: those that run alone, and those that follow each other.
EIE_ALONE, EIE_INPUTS = 2, 8
#: Inputs that follow each other in the cycle model, which takes up to a millisecond for each cycle.
MODELLED, EIE_MODELLED = 12, 3


def learnt(rate: int, progress: Progress) -> tuple[Network, NDArray[np.int64], float]:
    """Get LeNet-300-100 pruned ``rate`` times."""
    return ONCE.get(("lenet", rate), lambda: lenet(rate, Through(progress)))


def run_lenet(rate: int, size: str, run: Run) -> dict[str, Any]:
    """Measure LeNet-300-100 pruned ``rate`` times."""
    networks = [learnt(each, run.progress)[0] for each in RATES]
    network, x, error = learnt(rate, run.progress)

    def spec() -> EngineSpec:
        return covering([fit(each, **LENET_ENGINES[size]) for each in networks])

    engine = run.engine(f"lenet-{size}", spec, len(network.layers))
    name = f"lenet-{rate}-{size}"
    figures = run.measure(name, engine, network, x, alone=len(x), modelled=MODELLED)
    return {**figures, "error": error, "rate": rate}


def run_lenet5(rate: int, run: Run) -> dict[str, Any]:
    """Measure LeNet-5 pruned ``rate`` times."""
    network, x, error = lenet5(rate, Through(run.progress))
    name = f"lenet5-{rate}"
    engine = run.engine(name, lambda: fit(network, **LENET5_ENGINE), len(network.layers))
    figures = run.measure(name, engine, network, x, alone=LENET5_ALONE, modelled=MODELLED)
    return {**figures, "error": error, "rate": rate}


def run_ad01(run: Run) -> dict[str, Any]:
    """Measure the autoencoder."""
    network, x = autoencoder(AD01_KEPT)
    engine = run.engine("ad01", lambda: fit(network, **AD01_ENGINE), len(network.layers))
    return run.measure("ad01", engine, network, x, alone=len(x), modelled=MODELLED)


def run_eie(name: str, run: Run) -> dict[str, Any]:
    """Measure a layer of EIE's."""
    run.progress(0, 0, "drawing the weights")
    network, x = eie_layer(name, EIE_INPUTS)
    engine = run.engine("eie", lambda: EIE_ENGINE, 1, bare=True)
    return run.measure(name, engine, network, x, alone=EIE_ALONE, modelled=EIE_MODELLED)


def generation(spec: EngineSpec) -> dict[str, float]:
    """Generate an engine's Verilog: seconds, seconds of CPU in all processes, and bytes."""
    start, used = time.monotonic(), sum(os.times()[:4])
    text = to_verilog(Engine(spec, technology=BARE), "engine")
    seconds = {"seconds": time.monotonic() - start, "cpu": sum(os.times()[:4]) - used}
    return {**{name: round(each, 1) for name, each in seconds.items()}, "bytes": len(text)}


def run_large(run: Run) -> dict[str, Any]:
    """Measure a layer of EIE's on the larger engine, and how long that takes to generate."""
    run.progress(0, 0, "generating the Verilog")
    generated = run.models.submit(generation, LARGE_ENGINE).result()  # in a process of its own
    network, x = eie_layer(LARGE_LAYER, EIE_INPUTS)
    engine = run.engine("large", lambda: LARGE_ENGINE, 1, bare=True)
    name = f"{LARGE_LAYER}-{LARGE_ENGINE.pes}"
    found = run.measure(name, engine, network, x, alone=EIE_ALONE, modelled=EIE_MODELLED)
    return {**found, "generation": generated}


def run_sizes(run: Run) -> dict[str, Any]:
    """Model EIE's layers on other engines."""
    return sizes(EIE_ENGINE, run.models, run.progress)


def cases() -> list[Case]:
    """List all, what takes longest first."""
    lenets = [
        Case(name=f"lenet-{rate}-{size}", kind="lenet", run=partial(run_lenet, rate, size))
        for size in LENET_ENGINES
        for rate in RATES
    ]
    return [
        lenets[0],  # learns all three
        *(Case(name=name, kind="eie", run=partial(run_eie, name)) for name in EIE),
        Case(name=f"{LARGE_LAYER}-{LARGE_ENGINE.pes}", kind="large", run=run_large),
        Case(name="sizes", kind="sizes", run=run_sizes),
        Case(name="ad01", kind="ad01", run=run_ad01),
        *(
            Case(name=f"lenet5-{rate}", kind="lenet5", run=partial(run_lenet5, rate))
            for rate in LENET5
        ),
        *lenets[1:],
    ]


def main() -> None:
    """Measure all cases, or those that are named."""
    every = cases()
    parser = argparse.ArgumentParser(description="Measure cycles of the engine's Verilog.")
    names = [case.name for case in every]
    parser.add_argument("--case", action="append", choices=names, help="one of them only")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "cycles")
    parser.add_argument("--docs", type=Path, help="write cycles.md to this folder")
    given = parser.parse_args()
    if given.docs and given.case:
        parser.error("the page is of all cases: --docs and --case do not go together")
    chosen = [case for case in every if given.case is None or case.name in given.case]
    found = run_all(chosen, given.output, Console(stderr=True))
    found = {name: found[name] for name in sorted(found, key=names.index)}
    show(Console(width=140), found)
    if given.docs:
        write_whole(given.docs / "cycles.md", page(found).encode())
    json.dump({"summary": summary(found), **found}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
