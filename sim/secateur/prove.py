"""Every proof about the gateware, and the page that lists them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.bench.formal import prove
from secateur.markdown import table, update
from secateur.progress import silent
from secateur.proofs import (
    accumulate,
    buffer,
    column,
    control,
    loader,
    map_loops,
    map_pool,
    map_store,
    map_walk,
    payload,
    programs,
    queue,
    store,
    streams,
    walk,
)

if TYPE_CHECKING:
    from secateur.progress import Progress

__all__ = ["CLAIMS", "TABLES", "Proof", "prove_all"]

#: Everything that is claimed.
CLAIMS = (
    *queue.CLAIMS,
    *buffer.CLAIMS,
    *payload.CLAIMS,
    *column.CLAIMS,
    *walk.CLAIMS,
    *store.CLAIMS,
    *accumulate.CLAIMS,
    *control.CLAIMS,
    *programs.CLAIMS,
    *loader.CLAIMS,
    *map_loops.CLAIMS,
    *map_walk.CLAIMS,
    *map_store.CLAIMS,
    *map_pool.CLAIMS,
    *streams.CLAIMS,
)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A claim that was proved.

    Parameters
    ----------
    name, size : str
        The component, and its parameters in the proof.
    result : str
        ``proved``, for runs of any length, or ``bounded to N cycles`` from reset.
    assertions : tuple of str
        What holds in every cycle.
    """

    name: str
    size: str
    result: str
    assertions: tuple[str, ...]


def prove_all(progress: Progress = silent) -> list[Proof]:
    """Prove everything that is claimed of the gateware, one after the other.

    Raises
    ------
    RefutedError
        If something does not hold, with a run that shows it.
    CheckFailedError
        If a tool fails or a proof takes too long.
    """
    proofs = []
    for done, claim in enumerate(CLAIMS):
        progress(done, len(CLAIMS), claim.name)
        assertions = prove(claim)
        proofs.append(
            Proof(name=claim.name, size=claim.size, result=claim.result, assertions=assertions)
        )
    progress(len(CLAIMS), len(CLAIMS), "all proved")
    return proofs


def _claims() -> str:
    """List what is claimed; that it holds is for the proofs to say."""
    return table(
        ("claim", "size", "runs", "holds in every cycle", "faults"),
        *(
            (
                claim.name,
                claim.size,
                "of any length" if claim.cycles is None else f"of {claim.cycles} cycles",
                "; ".join(claim.elaborate().claims),
                len(claim.faults),
            )
            for claim in CLAIMS
        ),
    )


#: Every table by its name on the page.
TABLES = {"claims": _claims}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(update(path.read_text(), TABLES))
