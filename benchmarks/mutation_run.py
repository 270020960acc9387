"""Run tests on a copy of the repository that has a bug."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mutation_causes import SOURCES, Causes

from secateur.artefact import write_whole
from secateur.digest import digest_file
from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from mutation import Mutant

__all__ = ["Copy", "Verdict", "copied", "judge"]

#: A test that takes so many times as long as without the bug, and so many seconds more, hangs.
TIMES, SECONDS = 4, 120
#: Exit codes of pytest.
PASSED, FAILED, INTERRUPTED, INTERNAL = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a mutant.

    Parameters
    ----------
    source : str
        Digest of the file without the bug.
    tests : dict of str to str
        Digests of what decides the test files that it rests on: the one that failed, or all.
    by : str
        The test that failed, the file that did not end in time, or nothing.
    timeout : bool
        Whether it did not end in time.
    """

    source: str
    tests: dict[str, str]
    by: str
    timeout: bool

    @property
    def says(self) -> str:
        """One word."""
        return "hangs   " if self.timeout else "killed  " if self.by else "SURVIVES"


@dataclass(frozen=True)
class Copy:
    """A copy of the repository.

    Parameters
    ----------
    original, folder : Path
    """

    original: Path
    folder: Path

    @cached_property
    def causes(self) -> Causes:
        """What its test files rest on."""
        return Causes(self.original)

    def run(self, test: str, timeout: float) -> tuple[int | None, str]:
        """Run a test file; give pytest's exit code, None if it did not end, and the failed test."""
        paths = os.pathsep.join(str(self.folder / folder) for folder in SOURCES)
        # A module that is changed twice within a second is not compiled again.
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-rf", test],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # what it starts ends with it
        ) as process:
            try:
                said = process.communicate(timeout=timeout)[0]
            except BaseException as ending:  # an interruption, too
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                if isinstance(ending, subprocess.TimeoutExpired):
                    return None, test
                raise
        failed = [line.split()[1] for line in said.splitlines() if line.startswith("FAILED ")]
        return process.returncode, failed[0] if failed else test


def copied(original: Path, folder: Path, *, lazily: bool) -> Copy:
    """Copy a repository, unless nothing will run in the copy."""
    if not lazily:
        ignored = shutil.ignore_patterns("build", ".*", "__pycache__")
        shutil.copytree(original, folder, dirs_exist_ok=True, ignore=ignored)
    return Copy(original, folder)


def judge(mutant: Mutant, copy: Copy, results: Path, *, known: bool) -> Verdict | None:
    """Give a mutant's verdict, from its file or from its tests.

    Raises
    ------
    CheckFailedError
        If a test fails without any bug.
    """
    kept = results / f"{mutant.key}.json"
    source = digest_file(copy.original / mutant.path)
    digests = {test: copy.causes.digest(test) for test in mutant.tests}
    if kept.exists():
        verdict = Verdict(**json.loads(kept.read_text()))
        asked = verdict.tests if verdict.by else digests
        if verdict.source == source and verdict.tests == {
            test: digests.get(test) for test in asked
        }:
            return verdict
    if known:
        return None
    changed = copy.folder / mutant.path
    whole = changed.read_text(encoding="utf-8")
    by, timeout, seen = "", False, dict(digests)
    for test in mutant.tests:
        limit = _limit(test, copy, results, digests[test])
        try:
            changed.write_text(mutant.apply(whole), encoding="utf-8")
            code, failed = copy.run(test, limit)
        finally:
            changed.write_text(whole, encoding="utf-8")
        if code == PASSED:
            continue
        if code not in (None, FAILED, INTERRUPTED, INTERNAL):
            raise CheckFailedError(f"{test} cannot be run: pytest ended with {code}")
        by, timeout, seen = failed, code is None, {test: digests[test]}
        break
    verdict = Verdict(source=source, tests=seen, by=by, timeout=timeout)
    write_whole(kept, json.dumps(asdict(verdict), indent=2).encode())
    return verdict


def _limit(test: str, copy: Copy, results: Path, digest: str) -> float:
    """Give the seconds that a test file may take, from a run without any bug."""
    name = test.replace("/", "-")
    kept = results / f"{name}.json"
    if not kept.exists() or json.loads(kept.read_text())["cause"] != digest:
        start = time.monotonic()
        code, failed = copy.run(test, 3600)
        if code != PASSED:
            raise CheckFailedError(f"{failed} fails without any bug; correct that first")
        found = {"cause": digest, "seconds": round(time.monotonic() - start, 1)}
        write_whole(kept, json.dumps(found).encode())
    return TIMES * json.loads(kept.read_text())["seconds"] + SECONDS
