"""What others made: no file runs code, and no project writes outside `build/`."""

from __future__ import annotations

import ast
import pickle
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from secateur import checkpoint, npz
from secateur.architectures import perceptron
from secateur.build import build
from secateur.errors import BadInputError
from secateur.network import Network
from secateur.program import Program
from secateur.project import Project
from secateur.resume import Resume
from secateur.settings import Settings
from secateur.stage import find_stages

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
#: Modules whose files run whatever their makers wrote.
UNSAFE = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


def torch_file(bomb: Bomb, path: Path) -> None:
    torch.save({"0.weight": torch.ones(2, 3), "0.bias": bomb}, path)


def old_torch_file(bomb: Bomb, path: Path) -> None:
    torch.save(bomb, path, _use_new_zipfile_serialization=False)


def pickle_file(bomb: Bomb, path: Path) -> None:
    path.write_bytes(pickle.dumps(bomb))


def numpy_file(bomb: Bomb, path: Path) -> None:
    arrays = {name: np.array([bomb, bomb], dtype=object) for name in npz.ARRAYS}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("write", [torch_file, old_torch_file, pickle_file, numpy_file])
@pytest.mark.parametrize(
    "read", [checkpoint.load, Network.load, Program.load, npz.load, lambda p: Resume(p.parent)]
)
def test_no_file_runs_code(
    tmp_path: Path, write: Callable[[Bomb, Path], None], read: Callable[[Path], object]
) -> None:
    made = tmp_path / "made"
    path = tmp_path / "state.safetensors"
    write(Bomb(made), path)
    with pytest.raises(BadInputError):
        read(path)
    assert not made.exists()


@pytest.mark.parametrize("write", [torch_file, old_torch_file])
def test_the_bomb_is_one(tmp_path: Path, write: Callable[[Bomb, Path], None]) -> None:
    """What the test above would see."""
    write(Bomb(tmp_path / "made"), tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "made").is_dir()


def sources() -> list[Path]:
    folders = ("sw", "hw", "sim", "benchmarks", "examples")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(found) > 100
    return found


def unsafe(tree: ast.AST) -> list[str]:
    """List what unpickles."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in UNSAFE]
        elif isinstance(node, ast.ImportFrom) and node.module in UNSAFE:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name == "torch.load" and given.get("weights_only") != "True":
                found.append(name)
            if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
                found.append(name)
    return found


def test_nothing_unpickles() -> None:
    assert [path for path in sources() if unsafe(ast.parse(path.read_text()))] == []
    for text in ("import pickle", "torch.load(p)", "np.load(p)", "torch.load(p, weights_only=x)"):
        assert unsafe(ast.parse(text)), text


def text_settings() -> list[str]:
    """Name every setting whose value is, or may be, any text."""
    hints: list[tuple[str, Any]] = [("name", str)]
    for section, field in Project.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            hints += [(f"{section}.{key}", f.annotation) for key, f in kind.model_fields.items()]
    return [name for name, kind in hints if kind is str or str in typing.get_args(kind)]


def test_settings_that_are_text() -> None:
    """A new one belongs into the test below."""
    assert text_settings() == [
        "name",
        "data.file",
        "network.checkpoint",
        "prune.fit",
        "synthesize.device",
    ]


@pytest.mark.parametrize("key", text_settings())
@pytest.mark.parametrize(
    "value", ["../out", "/etc/passwd", "~/x", "a/../../out", "..", ".", "link", "link/x", "a\\n"]
)
def test_no_setting_is_a_path_elsewhere(tmp_path: Path, key: str, value: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "out").write_bytes(b"")
    (folder / "link").symlink_to(tmp_path)
    path = folder / "net.toml"
    path.write_text(f'{key} = "{value}"\n')
    if key in ("prune.fit", "synthesize.device", "name") and value == "link":
        return  # a word like any other
    with pytest.raises(BadInputError) as caught:
        Project.load(path)
    assert str(caught.value).startswith(f"{path}: {key} ")


def test_a_build_writes_into_its_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("project", "here", "home"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "project" / "small.toml"
    path.write_text(
        'network.checkpoint = "mine.safetensors"\ntrain.epochs = 1\nprune.epochs = 1\n'
        "prune.rounds = 1\nprune.density = 0.2\nengine.pes = 2\n"
    )
    module = perceptron(64, (8,), 10, torch.Generator().manual_seed(1))
    checkpoint.save(module, tmp_path / "project" / "mine.safetensors")

    def elsewhere() -> list[tuple[Path, int]]:
        found = sorted(path for path in tmp_path.rglob("*") if "build" not in path.parts)
        return [(path, path.stat().st_mtime_ns) for path in found]

    before = elsewhere()
    stages = find_stages()
    chosen = {name: stages[name] for name in ("train", "prune", "quantize", "encode")}
    made = build(Project.load(path), tmp_path / "build", stages=chosen)
    assert made.parent == tmp_path / "build"
    assert (made / "program.sct").exists()
    assert elsewhere() == before
