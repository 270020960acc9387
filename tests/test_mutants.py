"""The lists of deliberate bugs still fit the sources that they change."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mutation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("mutation")


@pytest.mark.parametrize(("name", "least"), [("gateware", 160), ("software", 85)])
def test_every_mutant_applies(mutation: ModuleType, name: str, least: int) -> None:
    mutants = mutation.read(name)
    assert len(mutants) >= least
    assert len({mutant.key for mutant in mutants}) == len(mutants)
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in {m.path for m in mutants}}
    wholes = {path: ast.dump(ast.parse(text)) for path, text in texts.items()}
    for mutant in mutants:
        changed = ast.dump(ast.parse(mutant.apply(texts[mutant.path])))
        assert changed != wholes[mutant.path], mutant
        assert mutant.tests, mutant
        for test in mutant.tests:
            what = "def test_" if test.startswith("tests/") else ">>> "  # pytest finds no test else
            assert what in (ROOT / test).read_text(encoding="utf-8"), mutant


def test_every_file_of_the_gateware_has_some(mutation: ModuleType) -> None:
    changed = {mutant.path for mutant in mutation.read("gateware")}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "hw" / "secateur" / "gateware").rglob("*.py")
    }
    assert there <= changed


def test_what_does_not_apply_is_told(mutation: ModuleType) -> None:
    mutant = mutation.Mutant(path="a.py", old="b", new="c", note="", tests=("d.py",))
    assert mutant.apply("abc") == "acc"
    with pytest.raises(LookupError) as caught:
        mutant.apply("abb")
    assert str(caught.value) == (
        "a.py must hold 'b' once, not 2 times; correct the deliberate fault"
    )


SMALL = """
def double(x):
    while x > 99:
        x -= 1
    return 2 * x
"""
TEST = """
from thing import double

def test_double():
    assert double(100) == 198
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Give a repository with one function and one test."""
    for folder in ("sw", "hw", "sim", "tests", "results"):
        (tmp_path / "whole" / folder).mkdir(parents=True)
    (tmp_path / "whole" / "sw" / "thing.py").write_text(SMALL)
    (tmp_path / "whole" / "tests" / "test_thing.py").write_text(TEST)
    return tmp_path / "whole"


def judged(
    mutation: ModuleType, small: Path, old: str, new: str, *, known: bool = False
) -> tuple[str, bool] | None:
    run = importlib.import_module("mutation_run")
    mutant = mutation.Mutant(
        path="sw/thing.py", old=old, new=new, note="", tests=("tests/test_thing.py",)
    )
    copy = run.copied(small, small.parent / "copy", lazily=known)
    verdict = run.judge(mutant, copy, small / "results", known=known)
    assert known or (small.parent / "copy" / "sw" / "thing.py").read_text() == SMALL
    return None if verdict is None else (verdict.by, verdict.timeout)


def test_a_mutant_is_killed_hangs_or_survives(
    mutation: ModuleType, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mutation_run.SECONDS", 1)
    assert judged(mutation, small, "2 * x", "3 * x") == (
        "tests/test_thing.py::test_double",
        False,
    )
    assert judged(mutation, small, "x -= 1", "x -= 0") == ("tests/test_thing.py", True)
    assert judged(mutation, small, "2 * x", "x * 2") == ("", False)


def test_a_verdict_is_kept_while_nothing_changes(mutation: ModuleType, small: Path) -> None:
    case = ("2 * x", "3 * x")
    assert judged(mutation, small, *case, known=True) is None
    killed = judged(mutation, small, *case)
    assert judged(mutation, small, *case, known=True) == killed
    (small / "tests" / "test_thing.py").write_text(TEST + "\n")
    assert judged(mutation, small, *case, known=True) is None
    (small / "tests" / "test_thing.py").write_text(TEST)
    (small / "sw" / "thing.py").write_text(SMALL + "\n")
    assert judged(mutation, small, *case, known=True) is None


RESTS = {
    "pyproject.toml": 'late = "secateur.late:run"',
    "sw/secateur/deep.py": "",
    "sw/secateur/late.py": "",
    "sw/secateur/other.py": "from secateur.late import run",
    "sw/secateur/stage.py": "from importlib.metadata import entry_points",
    "hw/secateur/part.py": "from secateur import (\n    deep,\n)",
    "hw/secateur/unnamed.py": "import secateur.stage",
    "sim/secateur/bench/__init__.py": "",
    "sim/secateur/bench/tb_a.py": "def run():\n    from secateur.bench import fast",
    "sim/secateur/bench/fast.py": "",
    "sim/secateur/bench/fast.cpp": "",
    "tests/conftest.py": "import secateur.stage",
    "tests/one/test_a.py": 'from secateur.part import x\nBENCH = "secateur.bench.tb_a"',
    "tests/two/conftest.py": "import secateur.other",
}


def test_what_a_test_rests_on(mutation: ModuleType, tmp_path: Path) -> None:
    causes = importlib.import_module("mutation_causes").Causes
    for name, text in RESTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    test = "tests/one/test_a.py"
    found = [path.relative_to(tmp_path).as_posix() for path in causes(tmp_path).files(test)]
    not_its_own = {"sw/secateur/other.py", "hw/secateur/unnamed.py", "tests/two/conftest.py"}
    assert found == sorted(RESTS.keys() - not_its_own)
    before = causes(tmp_path).digest(test)
    for name in RESTS:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole + b"\n")
        assert (causes(tmp_path).digest(test) == before) == (name in not_its_own), name
        (tmp_path / name).write_bytes(whole)


def test_a_suite_that_fails_judges_nothing(mutation: ModuleType, small: Path) -> None:
    (small / "tests" / "test_thing.py").write_text(TEST.replace("198", "199"))
    with pytest.raises(CheckFailedError) as caught:
        judged(mutation, small, "2 * x", "3 * x")
    assert str(caught.value) == (
        "tests/test_thing.py::test_double fails without any bug; correct that first"
    )
