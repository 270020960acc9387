"""Proofs: a claim about a component, proved, or refuted by a run that is printed.

SymbiYosys finds the run (:mod:`secateur.bench.sby`); Amaranth's simulator runs it again, so that a
table shows the names of the sources, and no fault of one tool alone refutes a claim. The solver has
no X: that ready and valid are 0 or 1 after reset is seen in simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Fragment
from amaranth.sim import Simulator

from secateur.bench.sby import solve
from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.bench.fault import Fault
    from secateur.bench.harness import Harness
    from secateur.bench.sby import Run

__all__ = ["Claim", "RefutedError", "prove"]

#: Cycles of a run that are printed, the last ones.
SHOWN = 24


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is proved of one component.

    Parameters
    ----------
    name : str
        Short and unique.
    size : str
        The component's parameters in the proof, in a few words.
    make : callable
        Builds the harness with what it assumes and claims.
    cycles : int, optional
        Look at runs of so many cycles from reset; without it, at all runs.
    faults : tuple of Fault
        With each of these in the gateware, the proof must fail.
    """

    name: str
    size: str
    make: Callable[[], Harness]
    cycles: int | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def result(self) -> str:
        """What a proof that succeeds says: of runs of which length."""
        return "proved" if self.cycles is None else f"bounded to {self.cycles} cycles"

    def elaborate(self) -> Harness:
        """Build the harness and elaborate it, without proving anything."""
        harness = self.make()
        Fragment.get(harness.m, None)
        return harness


class RefutedError(CheckFailedError):
    """A claim does not hold.

    Parameters
    ----------
    name : str
        Of the claim.
    broken : tuple of str
        The conditions that do not hold in the last cycle.
    run : str
        Every cycle of the run as a table.
    """

    def __init__(self, name: str, broken: tuple[str, ...], run: str) -> None:
        self.name, self.broken, self.run = name, broken, run
        conditions = " and ".join(repr(condition) for condition in broken)
        super().__init__(f"{name}: {conditions} does not hold at the end of this run\n{run}")


def prove(claim: Claim, *, seconds: int = 600) -> tuple[str, ...]:
    """Prove a claim.

    Returns
    -------
    tuple of str
        The conditions that hold.

    Raises
    ------
    RefutedError
        If one does not.
    CheckFailedError
        If the proof takes more than ``seconds`` or a tool fails.
    """
    harness = claim.make()
    try:
        text = harness.to_rtlil()
        run = solve(text, cycles=claim.cycles, seconds=seconds, checks=harness.checks)
    except CheckFailedError as error:
        raise CheckFailedError(f"{claim.name}: {error}") from None
    if run is not None:
        raise _refute(claim, run)
    return tuple(harness.claims)


def _refute(claim: Claim, run: Run) -> RefutedError:
    """Run what SymbiYosys found in Amaranth's simulator, up to the first cycle that is wrong."""
    harness = claim.make()
    rows: dict[str, list[int]] = {name: [] for name in harness.ports}
    broken: list[str] = []

    async def bench(ctx: Any) -> None:
        for inputs in run:
            for name, value in inputs.items():
                if name in harness.ports:
                    ctx.set(harness.ports[name], value)
            for name, row in rows.items():
                row.append(ctx.get(harness.ports[name]))
            broken.extend(name for name, signal in harness.claims.items() if not ctx.get(signal))
            for name, signal in harness.assumptions.items():
                assert ctx.get(signal), f"{claim.name}: the run breaks the assumption {name!r}"
            if broken:
                return
            await ctx.tick()

    simulator = Simulator(harness.m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert broken, f"{claim.name}: nothing is broken by the run in Amaranth's simulator"
    return RefutedError(claim.name, tuple(broken), _table(rows))


def _table(rows: dict[str, list[int]]) -> str:
    """Lay a run out with a line for each signal and a column for each cycle."""
    length = max(map(len, rows.values()))
    first = max(0, length - SHOWN)
    lines = {"cycle": [*range(first, length)]} | {n: row[first:] for n, row in rows.items()}
    name_width = max(map(len, lines))
    widths = [max(len(str(row[i])) for row in lines.values()) for i in range(length - first)]
    return "\n".join(
        " ".join([f"{name:<{name_width}}", *map("{:>{}}".format, row, widths)])
        for name, row in lines.items()
    )
