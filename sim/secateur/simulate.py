"""Run a program on the Verilog of its engine, and compare every output and every cycle."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.bench.cosim import cosimulate
from secateur.cycles import model
from secateur.errors import CheckFailedError
from secateur.instrument import InstrumentedEngine
from secateur.progress import silent
from secateur.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from amaranth.lib import wiring
    from numpy.typing import NDArray

    from secateur.network import Network
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["SimulatedLayer", "Simulation", "run_bench", "simulate"]

#: The test bench, and the files that pass between it and this module.
TESTBENCH = "secateur.bench.tb_engine"
JOB, RESULT = "job.npz", "result.npz"
#: Arrays of outputs: each input alone, one behind the other, and some under stalls.
RUNS = ("y_alone", "y_followed", "y_stalled")
#: What is counted of a layer, before each PE's useful multiplications.
COUNTED = ("cycles", "walking", "blocked", "waiting", "broadcasts")
#: Inputs that are run again under random stalls on every stream.
STALLED = 32


@dataclass(frozen=True, kw_only=True)
class SimulatedLayer:
    """What was measured of a layer, as means over the inputs.

    Parameters
    ----------
    name : str
    cycles, walking, blocked, waiting, broadcasts : float
        Cycles of the layer, from the start of its walk to the end of its drain; of those, while a
        word was passed, while a full queue held it up, and while it was not there yet; columns
        whose activation is not zero.
    ideal : float
        Useful multiplications over PEs, cycles.
    model : float
        Cycles by the cycle model.
    pe_busy : list of float
        Useful multiplications of each PE.
    """

    name: str
    cycles: float
    walking: float
    blocked: float
    waiting: float
    broadcasts: float
    ideal: float
    model: float
    pe_busy: list[float]

    @property
    def utilization(self) -> float:
        """Useful multiplications per PE and cycle."""
        return self.ideal / self.cycles


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """What the simulated engine gave.

    Parameters
    ----------
    simulator : str
    y : int64[inputs, outputs]
        Its outputs, inferred one after the other.
    outputs, mismatches : int
        Output values compared over all runs, and those that differ from the network's.
    latency, model : int64[inputs]
        Cycles from the first word of x to the last of y, measured and by the cycle model.
    period : float
        Cycles per inference when inputs follow each other without a pause.
    layers : list of SimulatedLayer
    """

    simulator: str
    y: NDArray[np.int64]
    outputs: int
    mismatches: int
    latency: NDArray[np.int64]
    model: NDArray[np.int64]
    period: float
    layers: list[SimulatedLayer]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the outputs, for JSON."""
        return {
            "simulator": self.simulator,
            "images": len(self.y),
            "outputs": self.outputs,
            "mismatches": self.mismatches,
            "cycles": {
                "mean": float(self.latency.mean()),
                "min": int(self.latency.min()),
                "max": int(self.latency.max()),
                "period": self.period,
            },
            "ideal": sum(layer.ideal for layer in self.layers),
            "model": float(self.model.mean()),
            "model_differs": int((self.latency != self.model).sum()),
            "layers": [
                {**dataclasses.asdict(layer), "utilization": layer.utilization}
                for layer in self.layers
            ],
        }


def simulate(
    program: Program,
    network: Network,
    x: NDArray[np.int64],
    *,
    folder: Path,
    simulator: str = "verilator",
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Simulation:
    """Load the program into its engine through the load stream and infer.

    Every input is run three times: alone, which measures its latency; right behind the one before;
    and, the first 32 of them, under random stalls on both streams. The golden model of
    the engine runs the same image.

    Parameters
    ----------
    program : Program
        The program.
    network : Network
        The network that it was encoded from, whose ``compute()`` decides what is right.
    x : int64[inputs, network.inputs]
        Inputs, at least one.
    folder : Path
        Gets the Verilog, the logs and the results.
    simulator : str
        As in :func:`secateur.bench.cosim.cosimulate`.
    seed : int
        Of the stalls.
    cache : Path, optional
        Holds the simulator's builds.
    progress : callable
        As in :mod:`secateur.progress`.

    Raises
    ------
    CheckFailedError
        If a tool is missing or fails, the engine hangs or refuses the program, or the golden
        model differs from the network.
    """
    expected = network.compute(x)
    progress(0, 0, f"{len(x)} inputs on the golden model")
    _check_reference(program, network, x)
    latency, layers = model(program, network, x)

    progress(0, 0, f"{len(x)} inputs, three ways, on {simulator}")
    result = run_bench(
        InstrumentedEngine(program.spec, layers=len(program.layers)),
        program,
        x,
        load=True,
        folder=folder,
        simulator=simulator,
        seed=seed,
        cache=cache,
    )
    runs = [program.restore(result[name]) for name in RUNS]
    counters = result["counters"] / len(x)
    return Simulation(
        simulator=simulator,
        y=runs[0],
        outputs=sum(run.size for run in runs),
        mismatches=sum(int((run != expected[: len(run)]).sum()) for run in runs),
        latency=result["latency"],
        model=latency,
        period=float(result["period"]),
        layers=[
            SimulatedLayer(
                name=layer.name,
                **dict(zip(COUNTED, counts.tolist(), strict=False)),
                ideal=float(counts[len(COUNTED) :].mean()),
                model=float(modelled.cycles.mean()),
                pe_busy=counts[len(COUNTED) :].tolist(),
            )
            for layer, modelled, counts in zip(program.layers, layers, counters, strict=True)
        ],
    )


def run_bench(
    design: wiring.Component | Sequence[Path],
    program: Program,
    x: NDArray[np.int64],
    *,
    load: bool,
    folder: Path,
    cache: Path | None,
    **options: Any,
) -> dict[str, NDArray]:
    """Run the inputs of :func:`simulate` on any form of an engine.

    Parameters
    ----------
    design : Component or sequence of Path
        As in :func:`secateur.bench.cosim.cosimulate`, with the ports of an engine.
    program : Program
        The program.
    x : int64[inputs, program.inputs]
        Inputs.
    load : bool
        Whether to load the program; otherwise the design holds it.
    folder, cache
        As in :func:`simulate`.
    options
        Further arguments of :func:`secateur.bench.cosim.cosimulate`.

    Returns
    -------
    dict of str to array
        Words of y of each of :data:`RUNS`, ``latency``, ``period`` and ``counters``, empty where
        the design has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / JOB,
        image=np.frombuffer(program.image if load else b"", dtype=np.uint8),
        x=program.arrange(x),
        stalled=min(STALLED, len(x)),
        output_words=program.output_words,
        layers=len(program.layers),
        spec=json.dumps(program.spec.to_dict()),
        program=program.id,
        counted=COUNTED,
    )
    (folder / RESULT).unlink(missing_ok=True)
    cosimulate(
        design,
        testbench=TESTBENCH,
        build_dir=folder,
        env={"JOB": str((folder / JOB).resolve()), "RESULT": str((folder / RESULT).resolve())},
        cache=cache,
        **options,
    )
    with np.load(folder / RESULT, allow_pickle=False) as result:
        return dict(result)


def _check_reference(program: Program, network: Network, x: NDArray[np.int64]) -> None:
    """Check that the golden model of the engine agrees with the network."""
    reference = Reference(program.spec)
    refusal = reference.load(program.image)
    if refusal or not np.array_equal(
        program.restore(reference.infer(program.arrange(x))), network.compute(x)
    ):
        raise CheckFailedError(
            f"the program does not compute network {network.name!r} (golden model of the engine, "
            f"load error {refusal.name}); encode that network"
        )
