"""The proofs of components, with solvers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from secateur.errors import CheckFailedError
from secateur.rungs.rung import NotRunError

if TYPE_CHECKING:
    from secateur.rungs.rung import Subject

__all__ = ["formal"]

#: Results of a proof: for runs of any length, or for those up to a bound.
PROVED, BOUNDED = "proved", "bounded"


def formal(subject: Subject) -> dict[str, int]:
    """Make every proof, and count what was proved."""
    try:
        prove = importlib.import_module("secateur.prove")
    except ModuleNotFoundError as error:
        raise NotRunError(f"there is no module {error.name}") from None
    results = dict(prove.prove_all(subject.progress))
    wrong = [f"{name}: {said}" for name, said in results.items() if said not in (PROVED, BOUNDED)]
    if wrong:
        raise CheckFailedError(f"{len(wrong)} of {len(results)} proofs failed; {'; '.join(wrong)}")
    said = [*results.values()]
    found = {"proofs": said.count(PROVED), "proofs up to a bound": said.count(BOUNDED)}
    return {unit: count for unit, count in found.items() if count}
