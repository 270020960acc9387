"""Model files: what is saved is what is loaded, and every way in which a file can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from secateur import checkpoint
from secateur.errors import BadInputError
from secateur.model import build, dense_layers, outputs

AGAIN = "make it again with `secateur train` or `secateur prune`"


def saved(path: Path, module: nn.Module | None = None) -> Path:
    generator = torch.Generator().manual_seed(3)
    checkpoint.save(module or build(6, (5, 4), 3, generator), path, {"seed": 3})
    return path


def rewritten(path: Path, **changes: Any) -> Path:
    """Save a model, then change keys of its description, as a later version would write them."""
    saved(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    description = json.loads(metadata["secateur.model"]) | changes
    save_file(tensors, path, {"secateur.model": json.dumps(description)})
    return path


def test_round_trip(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Dropout())
            self.head = nn.Linear(5, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x))

    module = Named().eval()
    prune.l1_unstructured(module.head, "weight", 7)
    path = saved(tmp_path / "model.safetensors", module)
    found = checkpoint.load(path)
    assert found.facts == {"seed": 3}
    assert [(layer.name, layer.relu) for layer in dense_layers(found.module)] == [
        ("body/1", True),
        ("head", False),
    ]
    assert dense_layers(found.module)[1].bias is None
    assert dense_layers(found.module)[1].weight.count_nonzero() == 8
    x = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    assert np.array_equal(outputs(found.module, x), outputs(module, x))
    again = tmp_path / "again.safetensors"
    checkpoint.save(found.module, again, found.facts)
    assert np.array_equal(outputs(checkpoint.load(again).module, x), outputs(module, x))


def test_saved_alike_is_the_same_file(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(BadInputError):
        checkpoint.save(nn.Sequential(nn.Sigmoid()), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, reason in (
        (folder, "Is a directory"),
        (tmp_path / "no" / "model", "No such file or directory"),
    ):
        with pytest.raises(BadInputError) as caught:
            saved(path)
        assert str(caught.value) == f"{path} cannot be written ({reason}); give another path"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "model"]


def sentence(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        checkpoint.load(path)
    return str(caught.value)


def test_missing(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert (
        sentence(path)
        == f"{path} does not exist; make it with `secateur train` or `secateur prune`"
    )


def test_truncated_anywhere(tmp_path: Path) -> None:
    path = saved(tmp_path / "model")
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        text = sentence(path)
        assert text.startswith(f"{path} is not a readable model (")
        assert text.endswith(f"); {AGAIN}")


def test_altered(tmp_path: Path) -> None:
    path = saved(tmp_path / "model")
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1  # in a bias
    path.write_bytes(whole)
    assert sentence(path) == f"{path} was altered after it was written; {AGAIN}"
    rewritten(path, layers=[])
    assert sentence(path) == f"{path} was altered after it was written; {AGAIN}"


def test_future_version(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "model", version=2, layers=None)
    assert sentence(path) == (
        f"{path} has version 2 and this Secateur reads 1; update Secateur or make the file again"
    )


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "other"
    save_file({"a": torch.zeros(1)}, path)
    assert sentence(path) == (
        f"{path} is not a model; give the file that `secateur train` or `secateur prune` writes"
    )
    save_file({"a": torch.zeros(1)}, path, {"secateur.model": "{"})
    assert sentence(path) == (
        f"{path} is damaged (JSONDecodeError('Expecting property name enclosed in double quotes: "
        f"line 1 column 2 (char 1)')); {AGAIN}"
    )
    save_file({"a": torch.zeros(1)}, path, {"secateur.model": "{}"})
    assert sentence(path) == f"{path} is damaged (KeyError('version')); {AGAIN}"
    path.write_text("hello, this is text and no model")
    assert sentence(path).startswith(f"{path} is not a readable model (")
    assert sentence(tmp_path).startswith(f"{tmp_path} is not a readable model (")
