"""What a rung of the ladder is given, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from secateur.progress import silent, unnoted

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from secateur.network import Network
    from secateur.program import Program
    from secateur.progress import Note, Progress

__all__ = ["Amounts", "NotRunError", "Rung", "Subject"]


class NotRunError(Exception):
    """A rung cannot be climbed here, for the reason that it says; nothing was found out."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much is compared where nothing but patience limits it.

    Parameters
    ----------
    drawn : int
        Inputs that are drawn at random, for the network and for each of its layers.
    pes : int
        PEs whose streams go through the circuit.
    words : int
        Words of columns of each layer that they get, at most.
    cases : int
        Values, or cycles, for each component.
    verilator, icarus, netlist : int
        Test inputs for the engine on each simulator, and for netlists.
    processes : int
        Simulations of the whole test set side by side.
    """

    drawn: int = 256
    pes: int = 2
    words: int = 4096
    cases: int = 2000
    verilator: int = 200
    icarus: int = 10
    netlist: int = 20
    processes: int = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What is verified, and where.

    Parameters
    ----------
    program : Program
    network : Network
        That it was encoded from.
    x : int64[inputs, network.inputs]
        All test inputs.
    folder : Path
        An existing folder for what tools write; each rung has one of its own in it.
    cache : Path
        Builds of simulators, for all rungs.
    seed : int
        Of whatever is drawn.
    checked : bool
        Whether the hardware can check its weights; a project's ``synthesize.check``.
    amounts : Amounts
    progress : callable
        As in :mod:`secateur.progress`.
    note : callable
        Given lines about what is no result, such as speed.
    """

    program: Program
    network: Network
    x: NDArray[np.int64]
    folder: Path
    cache: Path
    seed: int = 0
    checked: bool = False
    amounts: Amounts = field(default_factory=Amounts)
    progress: Progress = silent
    note: Note = unnoted

    def room(self, name: str) -> Path:
        """Make a rung's own folder."""
        room = self.folder / name
        room.mkdir()
        return room


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What came of a rung.

    Parameters
    ----------
    name : str
    compared : str
        What it compares with what.
    outcome : {"passed", "failed", "not run"}
    amounts : dict of str to int
        How much it compared, by unit; empty unless it passed.
    why : str
        Why it did not pass, one sentence or its first part; empty if it did.
    """

    name: str
    compared: str
    outcome: Literal["passed", "failed", "not run"]
    amounts: dict[str, int] = field(default_factory=dict)
    why: str = ""
