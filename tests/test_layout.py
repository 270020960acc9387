"""The rules of the layout that no tool enforces."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ("sw", "hw", "sim")
#: Who may not be imported where, beside what lies in a later root.
FORBIDDEN = {"sw": {"amaranth", "cocotb"}, "hw": {"torch", "sklearn", "cocotb"}, "sim": {"torch"}}
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules(root: str) -> list[Path]:
    """Every Python file below ``root``, without caches."""
    return sorted((ROOT / root / "secateur").rglob("*.py"))


@pytest.mark.parametrize("root", ROOTS)
def test_secateur_is_a_namespace(root: str) -> None:
    stray = ROOT / root / "secateur" / "__init__.py"
    assert not stray.exists(), f"{stray} hides the secateur of the other folders; delete it"


def test_no_name_in_two_roots() -> None:
    names = [
        p.stem for root in ROOTS for p in (ROOT / root / "secateur").iterdir() if p.stem[0] != "_"
    ]
    names = [name for name in names if name != "py"]  # py.typed
    twice = sorted({n for n in names if names.count(n) > 1})
    assert not twice, f"secateur.{twice} is in two folders; the first on sys.path hides the other"


def test_long_tests_are_where_verify_all_runs_them() -> None:
    long = {p.parent for p in (ROOT / "tests").rglob("*.py") if "pytest.mark.long" in p.read_text()}
    run = re.search(r"for part in (.+);", (ROOT / "Makefile").read_text())
    assert run is not None
    assert long - {ROOT / "tests"} == {ROOT / "tests" / part for part in run[1].split()}


@pytest.mark.parametrize("root", ROOTS)
def test_subpackages_are_typed(root: str) -> None:
    """A namespace has no one marker for all: each folder that a type checker sees has its own."""
    folder = ROOT / root / "secateur"
    packages = {p.parent for p in modules(root) if p.parent != folder}
    missing = sorted(str(p) for p in packages if not (p / "py.typed").exists())
    assert not missing, f"{missing} must have a py.typed"


@pytest.mark.parametrize("root", ROOTS)
def test_imports_go_one_way(root: str) -> None:
    later = ROOTS[ROOTS.index(root) + 1 :]
    ours = {
        f"secateur.{p.stem}"
        for r in later
        for p in (ROOT / r / "secateur").iterdir()
        if p.suffix == ".py" or p.is_dir()
    }
    wrong = []
    for path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            wrong += [
                f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
                for name in names
                if name.split(".")[0] in FORBIDDEN[root] or ".".join(name.split(".")[:2]) in ours
            ]
    assert not wrong, wrong


def test_configured_folders_exist() -> None:
    tools = CONFIGURATION["tool"]
    folders = {
        *tools["hatch"]["build"]["dev-mode-dirs"],
        *tools["hatch"]["build"]["targets"]["wheel"]["packages"],
        *tools["hatch"]["build"]["targets"]["sdist"]["include"],
        *tools["pyright"]["include"],
        *tools["pyright"]["extraPaths"],
        *tools["pytest"]["ini_options"]["testpaths"],
        *tools["ruff"]["src"],
        *tools["ruff"]["namespace-packages"],
    }
    missing = sorted(f for f in folders if not any(ROOT.glob(f)))
    assert not missing, f"pyproject.toml names {missing}, which do not exist"


def test_every_bound_has_its_reason() -> None:
    bare = [
        line
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith('  "') and (">=" in line or "==" in line) and '",  # ' not in line
    ]
    assert not bare, f"say why in a comment: {bare}"


def test_entry_points_are_the_installed_ones() -> None:
    """An editable install does not see new entry points until `make setup` runs again."""
    declared = CONFIGURATION["project"]["entry-points"]
    installed = {group: {e.name: e.value for e in entry_points(group=group)} for group in declared}
    assert installed == declared, "run `make setup`"
    assert [*declared] == ["secateur.stages", "secateur.capacity", "secateur.program"]


def test_software_starts_without_torch_and_amaranth() -> None:
    """`secateur --help` answers at once, and without the extra `train`."""
    code = (
        "import sys, secateur.cli as c; c.command(); "
        "print(sorted({'torch', 'amaranth', 'cocotb', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert result.stdout.strip() == "[]"
