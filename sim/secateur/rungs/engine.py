"""The engine's Verilog under cocotb."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from secateur.errors import CheckFailedError
from secateur.rungs.rung import NotRunError
from secateur.simulate import simulate
from secateur.simulator import SIMULATORS

if TYPE_CHECKING:
    from secateur.rungs.rung import Subject

__all__ = ["on_icarus", "on_verilator", "require_simulator"]


def require_simulator(name: str) -> None:
    """Raise unless a simulator is there.

    Raises
    ------
    NotRunError
        If one of its programs is missing.
    """
    if missing := SIMULATORS[name].missing():
        raise NotRunError(f"{' and '.join(missing)} is not installed")


def _engine(subject: Subject, *, simulator: str) -> dict[str, int]:
    """Load the program, infer, and compare every output and the cycles of every input.

    Inputs alone, behind each other and under stalls, as :func:`secateur.simulate.simulate` says.
    """
    require_simulator(simulator)
    x = subject.x[: getattr(subject.amounts, simulator)]
    simulation = simulate(
        subject.program,
        subject.network,
        x,
        folder=subject.room(simulator),
        simulator=simulator,
        seed=subject.seed,
        cache=subject.cache,
        progress=subject.progress,
    )
    if simulation.mismatches:
        raise CheckFailedError(
            f"{simulation.mismatches} of {simulation.outputs} outputs differ from the network's"
        )
    late = int((simulation.latency != simulation.model).sum())
    if late:
        raise CheckFailedError(f"{late} of {len(x)} latencies differ from the cycle model's")
    return {"test inputs": len(x), "outputs": simulation.outputs, "latencies": len(x)}


on_verilator = partial(_engine, simulator="verilator")
on_icarus = partial(_engine, simulator="icarus")
