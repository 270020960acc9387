"""Layers that are loaded while others compute: `python benchmarks/streaming.py [NETWORK]`.

A network that is larger than the engine's memories runs layer by layer. The engine has two banks
and holds the largest layer in each: while a layer computes a batch of inputs, the host sends the
next layer's weights into the bank that is free, and keeps the layer's outputs, which are the next
one's inputs. Behind the last layer comes the first, for the next batch.

Measured is the Verilog of the engine, in Verilator, a byte of an image a cycle; every output of
every layer is compared with what the network computes. NETWORK is a `network.safetensors`, by
default LeNet-300-100 on MNIST, pruned 12 times, as `cycles.py` learns it.

Predicted before: a layer's image takes L cycles to load, its bytes and the loader's pauses. The
layer before computes a batch of B in C(B) cycles: those that the cycle model has for the first
inputs, and as many more for each further one as for the last of these. The engine waits for
max(0, L - C(B) - 2) cycles, so all of the load is hidden once B times the cycles of an inference
are more than the bytes of the image; the hidden share is 1 - waits / loads.

MNIST lies in the folder that SECATEUR_DATA names. The last line is JSON; `--docs docs` writes
docs/streaming.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# What learns is fastest with a thread of its own, and gives the same result only so.
os.environ["OMP_NUM_THREADS"] = "1"

from cycles_measure import BuiltEngine, covering
from cycles_networks import lenet
from cycles_tables import Shown, count, percent
from rich.console import Console

from secateur import data
from secateur.artefact import write_whole
from secateur.bench.streamed import load_cycles, one_by_one, run_streamed
from secateur.cycles import followed
from secateur.encode import encode, fit
from secateur.errors import BadInputError, CheckFailedError
from secateur.network import Network
from secateur.progress import Display
from secateur.project import Project

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from secateur.bench.streamed import Step
    from secateur.engine import EngineSpec

ROOT = Path(__file__).resolve().parents[1]

#: How many times the default network is pruned.
RATE = 12
#: What the engine is given; the rest is fitted to hold the largest layer.
ENGINE = {"pes": 16, "jobs": 4, "accumulator_memories": 2, "banks": 2}
#: Inputs for which a layer is loaded, and batches of each size.
BATCHES, ROUNDS = (1, 8, 32, 128, 512), 2
#: Inputs in the cycle model, which takes up to a millisecond for each cycle; those at the end of
#: them that say what a further one takes.
MODELLED, LAST = 8, 4
#: Fields of a step, and their headings.
TIMES = {
    "computing": "computing",
    "loading": "load of the next",
    "waiting": "waiting",
    "changing": "changing",
    "cycles": "all",
}
NOTE = (
    "Cycles of a step, means over the batches of a size: while a layer computes a batch, the next "
    "layer's image is loaded, a byte a cycle. computing: with an inference under way. waiting: all "
    "outputs have come and the load still goes on. changing: the rest, in which the engine "
    "exchanges the programs, clears its accumulators and copies its codebooks. hidden: the part of "
    "the load in which the engine did not wait. predicted: the same, from max(0, load - computing "
    "- 2), with the load counted from the image and the computing from the cycle model."
)


def refusal(network: Network, spec: EngineSpec) -> str:
    """Say why the engine does not hold the whole network."""
    try:
        encode(network, spec)
    except BadInputError as error:
        return str(error)
    raise CheckFailedError("the engine for the largest layer holds the network; prune it less")


def modelled(network: Network, spec: EngineSpec, x: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Predict of each layer what its load takes, its first inputs, and each further one."""
    layers = []
    for layer, inputs in zip(one_by_one(network), network.activations(x), strict=False):
        program = encode(layer, spec)
        ends = followed(program, layer, inputs)
        layers.append({
            "name": layer.layers[0].name,
            "bytes": len(program.image),
            "load": load_cycles(program),
            "first": ends.tolist(),
            "further": float(ends[-1] - ends[-1 - LAST]) / LAST,
        })
    for layer, following in behind(layers):
        layer["enough"] = next(n for n in itertools.count(1) if not wait(layer, following, n))
    return layers


def behind(layers: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pair each layer with the one that is loaded while it computes."""
    return [*zip(layers, layers[1:] + layers[:1], strict=True)]


def wait(layer: dict[str, Any], following: dict[str, Any], batch: int) -> float:
    """Predict the cycles for which the engine waits for the layer that follows."""
    first = layer["first"]
    computing = first[min(batch, len(first)) - 1] + max(0, batch - len(first)) * layer["further"]
    return max(0.0, following["load"] - computing - 2)


def measured(batch: int, steps: list[Step], layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what was measured of a batch, beside what was predicted."""
    rows = []
    for index, (layer, following) in enumerate(behind(layers)):
        own = [step for step in steps if step.layer == index]
        row = {name: sum(getattr(step, name) for step in own) / len(own) for name in TIMES}
        rows.append({"name": layer["name"], **row, "predicted": wait(layer, following, batch)})
    total = {name: sum(row[name] for row in rows) for name in (*TIMES, "predicted")}
    return {"layers": rows, "all": {"name": "all", **total}}


def hidden(row: dict[str, Any], waits: str = "waiting") -> float:
    """Give the part of a load in which the engine did not wait."""
    return 1 - row[waits] / row["loading"]


def table(found: dict[str, Any]) -> Shown:
    """Show all batches."""
    rows = [
        [
            *(f"{batch}", row["name"], *(count(row[name]) for name in TIMES)),
            *(percent(hidden(row)), percent(hidden(row, "predicted"))),
        ]
        for batch, each in found["batches"].items()
        for row in (*each["layers"], each["all"])
    ]
    return Shown(
        "Load and computation",
        ("batch", "layer", *TIMES.values(), "hidden", "predicted"),
        rows,
    )


def engine(found: dict[str, Any]) -> str:
    """Say which engine it is, and what it does not hold."""
    spec = found["spec"]
    layers = found["layers"]
    sizes = ", ".join(f"{layer['name']} {layer['bytes']:,} bytes" for layer in layers)
    enough = ", ".join(f"{layer['name']} {layer['enough']:,}" for layer in layers)
    return (
        f"{found['network']} on an engine of {spec['pes']} PEs, {spec['lanes']} lanes and two "
        f"banks of {spec['weight_depth']:,} entries a PE. The whole network does not fit: "
        f"{found['refusal']}. Images: {sizes}. "
        f"Inputs behind which the next layer's load should be hidden whole: {enough}."
    )


def page(found: dict[str, Any]) -> str:
    """Write everything as a page."""
    intro = (
        "`python benchmarks/streaming.py --docs docs` writes this page. A network that is larger "
        "than the engine's memories runs layer by layer: while a layer computes a batch of inputs, "
        "the host sends the next layer's weights into the bank that is free. The generated Verilog "
        "is measured in Verilator, and every output of every layer compared with what the network "
        "computes."
    )
    formula = (
        "All of a load is hidden when the batch times the cycles of an inference of the layer "
        "that computes are more than the bytes of the next layer's image. A host that sends a byte "
        "every n cycles needs a batch n times as large."
    )
    parts = ["# Layers from a host", intro, engine(found), formula, NOTE, table(found).markdown()]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure all batches."""
    parser = argparse.ArgumentParser(description="Measure how much of a load is hidden.")
    parser.add_argument("network", type=Path, nargs="?", help="a network.safetensors on MNIST")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "streaming")
    parser.add_argument("--docs", type=Path, help="write streaming.md to this folder")
    given = parser.parse_args()
    display = Display(Console(stderr=True))
    if given.network:
        network = Network.load(given.network)
    else:
        network = replace(lenet(RATE, display)[0], name=f"LeNet-300-100 pruned {RATE} times")
    test = data.require(Project.load(Path(__file__).with_name("cycles.toml")).data).test
    x = network.quantize_input(test.head(ROUNDS * max(BATCHES)).flat)

    spec = covering([fit(layer, **ENGINE) for layer in one_by_one(network)])
    with display.step("streaming") as progress:
        progress(0, 0, "the cycle model")
        found: dict[str, Any] = {
            "network": network.name,
            "spec": spec.to_dict(),
            "refusal": refusal(network, spec),
            "layers": (layers := modelled(network, spec, x[:MODELLED])),
            "batches": {},
        }
        progress(0, 0, "compiling the engine")
        cache = given.output / "cache"
        built = BuiltEngine.build(spec, 1, bare=False, folder=given.output, cache=cache)
        for batch in BATCHES:
            steps = run_streamed(
                built.executable,
                built.design,
                network,
                x[: ROUNDS * batch],
                batch=batch,
                folder=given.output,
                progress=progress,
            )
            found["batches"][batch] = measured(batch, steps, layers)
    console = Console(width=140)
    console.print(engine(found), NOTE, sep="\n\n", end="\n\n", highlight=False)
    console.print(table(found).rich())
    if given.docs:
        write_whole(given.docs / "streaming.md", page(found).encode())
    shares = {batch: hidden(each["all"]) for batch, each in found["batches"].items()}
    json.dump({"summary": {"hidden": shares}, **found}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
