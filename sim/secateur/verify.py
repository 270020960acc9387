"""The ladder of checks that a program, its network and the tools between them have to climb."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secateur.errors import CheckFailedError
from secateur.rungs.components import components
from secateur.rungs.decoder import decoder
from secateur.rungs.engine import on_icarus, on_verilator
from secateur.rungs.formal import formal
from secateur.rungs.integers import integers, real_values
from secateur.rungs.netlist import on_ecp5, on_ice40up
from secateur.rungs.rung import NotRunError, Rung
from secateur.rungs.streams import streams
from secateur.rungs.top import top_on_ecp5, top_on_ice40up
from secateur.rungs.whole_set import whole_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from secateur.rungs.rung import Subject

__all__ = ["LADDER", "Step", "verify"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A rung that is still to be climbed.

    Parameters
    ----------
    name, compared : str
        As in :class:`secateur.rungs.rung.Rung`.
    climb : callable
        Compares, and gives the amounts of what it compared. It raises ``CheckFailedError`` on a
        difference, and ``NotRunError`` where it cannot compare; whatever else it raises is a defect
        of the rung and ends the climb.
    """

    name: str
    compared: str
    climb: Callable[[Subject], dict[str, int]]


#: From the numbers to the cells. A failed rung makes those above it no less worth climbing.
LADDER = (
    Step(
        name="integers",
        compared="the network's integers with PyTorch's, layer by layer",
        climb=integers,
    ),
    Step(
        name="real values",
        compared="each layer with float64, half a step of rounding apart at most",
        climb=real_values,
    ),
    Step(
        name="streams",
        compared="the program's image, decoded, with the network",
        climb=streams,
    ),
    Step(
        name="decoder",
        compared="what the circuit of a PE reads from its stream with what Python does",
        climb=decoder,
    ),
    Step(
        name="components",
        compared="components, as circuits, with their specifications or with lists",
        climb=components,
    ),
    Step(
        name="engine, Verilator",
        compared="outputs and cycles of the engine's Verilog with the network and the cycle model",
        climb=on_verilator,
    ),
    Step(
        name="engine, Icarus",
        compared="the same on a simulator that knows X",
        climb=on_icarus,
    ),
    Step(
        name="proofs",
        compared="components with the properties that hold for every input",
        climb=formal,
    ),
    Step(
        name="netlist, ECP5",
        compared="outputs, cycles and cells after synthesis with network, model and design",
        climb=on_ecp5,
    ),
    Step(
        name="netlist, iCE40 UP5K",
        compared="the same in the cells of another family",
        climb=on_ice40up,
    ),
    Step(
        name="netlist with UART, ECP5",
        compared="every byte that engine and UART send after synthesis with their Verilog's, "
        "outputs with the network's",
        climb=top_on_ecp5,
    ),
    Step(
        name="netlist with UART, iCE40 UP5K",
        compared="the same in the cells of another family",
        climb=top_on_ice40up,
    ),
    Step(
        name="test set",
        compared="outputs of the engine's Verilog for every test input with the network",
        climb=whole_set,
    ),
)


def verify(subject: Subject, ladder: Sequence[Step] = LADDER) -> list[Rung]:
    """Climb every rung, whatever becomes of the others.

    Parameters
    ----------
    subject : Subject
        ``subject.note`` is told of each rung and its seconds.
    ladder : sequence of Step

    Returns
    -------
    list of Rung
        One for each step.
    """
    rungs = []
    for step in ladder:
        subject.progress(len(rungs), len(ladder), step.name)
        start = time.monotonic()
        rungs.append(_climb(step, subject))
        seconds = time.monotonic() - start
        subject.note(f"{step.name}: {rungs[-1].outcome}, {seconds:.1f} s")
    return rungs


def _climb(step: Step, subject: Subject) -> Rung:
    rung = Rung(name=step.name, compared=step.compared, outcome="passed")
    try:
        amounts = step.climb(subject)
    except NotRunError as error:
        return replace(rung, outcome="not run", why=str(error))
    except CheckFailedError as error:
        return replace(rung, outcome="failed", why=_sentence(error, subject.folder))
    # A rung that compared nothing has found out nothing.
    if not amounts or not all(amounts.values()):
        return replace(rung, outcome="failed", why=f"it compared nothing ({amounts})")
    return replace(rung, amounts=amounts)


def _sentence(error: Exception, folder: Path) -> str:
    """Say what is wrong, with file names that are the same in every folder."""
    said = str(error).partition("\n")[0]
    for place in (folder.resolve(), folder):
        said = said.replace(f"{place}/", "")
    return said
