"""Random programs for as many seeds as one likes, and the page of what they met.

``python -m secateur.bench.cover_page --seeds 20`` runs them; ``--docs docs`` writes `coverage.md`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.bench.cover import ENGINES, cover
from secateur.coverage.points import POINTS
from secateur.errors import CheckFailedError
from secateur.markdown import table, update

if TYPE_CHECKING:
    from secateur.bench.cover import Coverage

__all__ = ["page_parts"]


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    seeds: int
    build: Path
    docs: Path | None


def page_parts(coverage: Coverage) -> dict[str, str]:
    """Give the parts of `coverage.md` that a run decides, by name."""
    points = [
        (f"`{name}`", POINTS[name], *(count or "" for count in seen.values()))
        for name, seen in coverage.cycles.items()
    ]
    engines = [
        (
            name,
            *(spec.pes, spec.lanes, spec.jobs, spec.accumulator_memories, spec.banks),
            spec.codebook_bits or "direct",
            *(spec.activation_width, spec.weight_width, spec.queue_depth),
        )
        for name, spec in ENGINES.items()
    ]
    heading = ("engine", "PEs", "lanes", "jobs", "memories", "banks", "codes", "x bits", "w bits")
    return {
        "run": (
            f"{coverage.programs:,} programs, {coverage.inputs:,} inputs and {coverage.outputs:,} "
            f"outputs, all equal to the network's; {coverage.resets:,} resets. "
            f"{len(POINTS) - len(coverage.missed)} of {len(POINTS)} points were met."
        ),
        "engines": table((*heading, "queue"), *engines),
        "points": table(("point", "a cycle in which", *ENGINES), *points),
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="0 to so many less 1")
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--docs", type=Path, help="write coverage.md there")
    given = _Arguments(**vars(parser.parse_args()))
    coverage = cover(
        given.build / "cover",
        given.build / "cosim",
        range(given.seeds),
        lambda done, total, note: print(f"{done}/{total} {note}", flush=True),
    )
    parts = page_parts(coverage)
    print(parts["run"])
    if given.docs:
        page = given.docs / "coverage.md"
        text = update(page.read_text("utf-8"), {name: lambda n=name: parts[n] for name in parts})
        page.write_text(text, "utf-8")
    if coverage.missed:
        raise CheckFailedError(f"no run met {', '.join(coverage.missed)}")


if __name__ == "__main__":
    main()
