"""Tests of the tests: `python benchmarks/mutation.py [--only PATH] [--docs docs]`.

`mutants/gateware.toml` and `mutants/software.toml` list deliberate bugs. Each is put into a copy of
the repository, in which the tests that concern its file run, the quickest first, until one fails:
then the mutant is killed, as it is by a test that does not end in time. What is killed by none
survives, and is either equivalent, for the reason that the list gives, or wants a test.

A verdict is kept in build/mutation for as long as all that its tests rest on is the same: they
themselves and the modules that these name, directly or not. So a run that is broken off goes on.
The last line is JSON; `--docs docs` writes docs/mutation.md. It takes hours: a mutant takes seconds
where a component's own tests kill it.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import signal
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mutation_run import Verdict, copied, judge
from mutation_tables import page, summary

from secateur.artefact import write_whole
from secateur.bench.fault import replaced
from secateur.errors import CheckFailedError

ROOT = Path(__file__).resolve().parents[1]
LISTS = ("gateware", "software")
#: Below this share of killed mutants the command fails.
LEAST = 0.95


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One deliberate bug.

    Parameters
    ----------
    path : str
        The file, relative to the repository.
    old, new : str
        What is replaced, and by what.
    note : str
        What goes wrong.
    tests : tuple of str
        Test files, in the order in which they are tried.
    equivalent : str
        Why no test can see it; empty where one can.
    """

    path: str
    old: str
    new: str
    note: str
    tests: tuple[str, ...]
    equivalent: str = ""

    def apply(self, text: str) -> str:
        """Put the bug into the file's text.

        Raises
        ------
        LookupError
            If the text does not hold ``old`` exactly once.
        """
        return replaced(text, self.old, self.new, where=self.path)

    @property
    def key(self) -> str:
        """What names its verdict."""
        return hashlib.sha256(repr((self.path, self.old, self.new)).encode()).hexdigest()[:16]


def read(name: str) -> list[Mutant]:
    """Read one of :data:`LISTS`, the first mutant of each file first, then the second ones."""
    path = Path(__file__).with_name("mutants") / f"{name}.toml"
    found = []
    for file in tomllib.loads(path.read_text(encoding="utf-8"))["file"]:
        for place, fields in enumerate(file["mutants"]):
            mutant = Mutant(path=file["path"], tests=tuple(file["tests"]), **fields)
            found.append((place, mutant))
    return [mutant for _, mutant in sorted(found, key=lambda pair: pair[0])]


def main() -> int:
    """Judge the mutants and say what share is killed."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--only", default="", help="files whose path holds this")
    parser.add_argument("--known", action="store_true", help="run nothing, tell what is known")
    parser.add_argument("--docs", type=Path, help="folder of mutation.md")
    given = parser.parse_args()
    os.nice(10)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has started ends with it
    mutants = {name: read(name) for name in LISTS}
    turns = itertools.chain.from_iterable(itertools.zip_longest(*mutants.values()))
    chosen = [each for each in turns if each is not None and given.only in each.path]
    results = ROOT / "build" / "mutation"
    results.mkdir(parents=True, exist_ok=True)
    verdicts: dict[Mutant, Verdict] = {}
    with tempfile.TemporaryDirectory(dir=results, ignore_cleanup_errors=True) as work:
        copy = copied(ROOT, Path(work), lazily=given.known)
        for done, mutant in enumerate(chosen, 1):
            verdict = judge(mutant, copy, results, known=given.known)
            if verdict is not None:
                verdicts[mutant] = verdict
                print(
                    f"{done}/{len(chosen)} {verdict.says} {mutant.path}: {mutant.note}", flush=True
                )
    totals = {name: summary(part, verdicts) for name, part in mutants.items()}
    if given.docs:
        write_whole(given.docs / "mutation.md", page(mutants, verdicts).encode())
    print(json.dumps(totals))
    return (
        0 if all(each["share"] is None or each["share"] >= LEAST for each in totals.values()) else 1
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CheckFailedError as error:
        sys.exit(f"mutation: {error}")
