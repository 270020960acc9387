"""The proofs of components, with solvers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from secateur.errors import CheckFailedError
from secateur.rungs.rung import NotRunError

if TYPE_CHECKING:
    from secateur.rungs.rung import Subject

__all__ = ["formal"]

#: Results of a proof: for runs of any length, or, as its first word, for those up to a bound.
PROVED, BOUNDED = "proved", "bounded"


def formal(subject: Subject) -> dict[str, int]:
    """Make every proof of :mod:`secateur.prove`, and count what was proved."""
    try:
        prove = importlib.import_module("secateur.prove")
    except ModuleNotFoundError as error:
        raise NotRunError(f"there is no module {error.name}") from None
    proofs = prove.prove_all(subject.progress)
    kinds = [proof.result.partition(" ")[0] for proof in proofs]
    wrong = [
        f"{p.name}: {p.result}"
        for p, kind in zip(proofs, kinds, strict=True)
        if kind not in (PROVED, BOUNDED)
    ]
    if wrong:
        raise CheckFailedError(f"{len(wrong)} of {len(proofs)} proofs failed; {'; '.join(wrong)}")
    found = {
        "proofs": kinds.count(PROVED),
        "proofs up to a bound": kinds.count(BOUNDED),
        "properties": sum(len(proof.assertions) for proof in proofs),
    }
    return {unit: count for unit, count in found.items() if count}
