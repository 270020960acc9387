"""What the mutants say, in numbers and as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secateur.markdown import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mutation import Mutant
    from mutation_run import Verdict

__all__ = ["page", "summary"]

INTRODUCTION = """\
# Deliberate bugs
How much would the tests notice? `make mutate` puts bugs into a copy of the sources, one at a time,
and runs the tests that concern the changed file, the quickest first, until one fails. A mutant is
killed when a test fails or does not end in time, and survives when all of them pass.
`benchmarks/mutants` lists the bugs; `python benchmarks/mutation.py --docs docs` writes this page.
The share is that of the mutants which were run and are not equivalent: nothing can tell those from
the original.

A mutant counts as run only if its file, its tests and all that these rest on were the same then as
in the sources that this page was written from; after a change it has to be run again."""


def summary(mutants: Sequence[Mutant], verdicts: Mapping[Mutant, Verdict]) -> dict[str, Any]:
    """Count mutants: all, those that were run, killed, hung, equivalent; and the share killed."""
    ran = [mutant for mutant in mutants if mutant in verdicts]
    killed = [mutant for mutant in ran if verdicts[mutant].by]
    equivalent = [mutant for mutant in ran if not verdicts[mutant].by and mutant.equivalent]
    judged = len(ran) - len(equivalent)
    return {
        "mutants": len(mutants),
        "run": len(ran),
        "killed": len(killed),
        "by_timeout": sum(verdicts[mutant].timeout for mutant in killed),
        "equivalent": len(equivalent),
        "share": round(len(killed) / judged, 4) if judged else None,
    }


def page(mutants: Mapping[str, Sequence[Mutant]], verdicts: Mapping[Mutant, Verdict]) -> str:
    """Write the page."""
    parts = [INTRODUCTION]
    keys = ("mutants", "run", "killed", "by_timeout", "equivalent")
    rows = []
    for name, part in mutants.items():
        found = summary(part, verdicts)
        share = "" if found["share"] is None else f"{found['share']:.1%}"
        rows.append((name, *(found[key] for key in keys), share))
    heading = ("of", "mutants", "run", "killed", "of these by time", "equivalent", "share killed")
    parts.append(table(heading, *rows))
    everything = [mutant for part in mutants.values() for mutant in part]
    survivors = [
        (f"`{mutant.path}`", mutant.note, mutant.equivalent or "not explained")
        for mutant in everything
        if mutant in verdicts and not verdicts[mutant].by
    ]
    parts.append("## Survivors")
    parts.append(table(("file", "bug", "why"), *survivors) if survivors else "None.")
    parts.append("## By file")
    rows = []
    for path in sorted({mutant.path for mutant in everything}):
        found = summary([mutant for mutant in everything if mutant.path == path], verdicts)
        rows.append((f"`{path}`", *(found[key] for key in keys)))
    parts.append(
        table(("file", "mutants", "run", "killed", "of these by time", "equivalent"), *rows)
    )
    return "\n\n".join(parts) + "\n"
