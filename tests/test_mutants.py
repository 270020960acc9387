"""The lists of deliberate bugs still fit the sources that they change."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mutation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("mutation")


@pytest.mark.parametrize(("name", "least"), [("gateware", 60), ("software", 30)])
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
        assert all((ROOT / test).is_file() for test in mutant.tests), mutant


def test_every_file_of_the_gateware_has_some(mutation: ModuleType) -> None:
    changed = {mutant.path for mutant in mutation.read("gateware")}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "hw" / "secateur" / "gateware").glob("*.py")
    }
    assert there <= changed


def test_what_does_not_apply_is_told(mutation: ModuleType) -> None:
    mutant = mutation.Mutant(path="a.py", old="b", new="c", note="", tests=("d.py",))
    assert mutant.apply("abc") == "acc"
    with pytest.raises(BadInputError) as caught:
        mutant.apply("abb")
    assert str(caught.value) == (
        "a.py must hold 'b' once, not 2 times; correct the list of mutants"
    )
