"""The proofs of components, with solvers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.prove import CLAIMS, prove_all
from secateur.rungs.netlist import require_yosys

if TYPE_CHECKING:
    from secateur.rungs.rung import Subject

__all__ = ["formal"]


def formal(subject: Subject) -> dict[str, int]:
    """Make every proof of :mod:`secateur.prove`, and count what was proved."""
    require_yosys()
    proofs = prove_all(subject.progress)
    unbounded = sum(claim.cycles is None for claim in CLAIMS)
    return {
        "proofs": unbounded,
        "proofs up to a bound": len(proofs) - unbounded,
        "properties": sum(len(proof.assertions) for proof in proofs),
    }
