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
    checkpoint.save(module or build(6, (5, 4), 3, generator), path)
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
    assert [(layer.name, layer.relu) for layer in dense_layers(found.module)] == [
        ("body/1", True),
        ("head", False),
    ]
    assert dense_layers(found.module)[1].bias is None
    assert dense_layers(found.module)[1].weight.count_nonzero() == 8
    x = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    assert np.array_equal(outputs(found.module, x), outputs(module, x))
    again = tmp_path / "again.safetensors"
    checkpoint.save(found.module, again)
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


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (torch.bfloat16, "data type 'bfloat16' not understood"),
        (torch.float8_e4m3fn, "module 'numpy' has no attribute 'float8_e4m3fn'"),
    ],
)
def test_numbers_that_numpy_lacks(tmp_path: Path, kind: torch.dtype, reason: str) -> None:
    path = tmp_path / "other"
    save_file({"a": torch.zeros(2).to(kind)}, path)
    # The file says that it is no model before its tensors are looked at.
    assert sentence(path) == (
        f"{path} is not a model; give the file that `secateur train` or `secateur prune` writes"
    )
    save_file({"a": torch.zeros(2).to(kind)}, path, {"secateur.model": '{"version": 1}'})
    assert sentence(path) == f"{path} is not a readable model ({reason}); {AGAIN}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[" * 100_000,
            (
                "RecursionError('maximum recursion depth exceeded while decoding a JSON array from "
                "a unicode string')"
            ),
        ),
        ('{"version": ' + "1" * 5000 + "}", "ValueError('Exceeds the limit (4300 digits)"),
    ],
    ids=["nesting", "digits"],
)
def test_json_that_python_refuses(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "other"
    save_file({"a": torch.zeros(1)}, path, {"secateur.model": text})
    assert sentence(path).startswith(f"{path} is damaged ({reason}")
    assert sentence(path).endswith(f"); {AGAIN}")


NAN = "layer 'a': bias holds NaN or infinity; train the model again"
ONE = {"name": "a", "bias": True, "relu": False}
WEIGHT, BIAS = np.ones((2, 3), np.float32), np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("layers", "changes", "reason"),
    [
        ([ONE | {"name": 5}], {}, "layers: 0: name: Input should be a valid string"),
        ([ONE | {"relu": 1}], {}, "layers: 0: relu: Input should be a valid boolean"),
        ({}, {}, "layers: Input should be a valid array"),
        ([ONE | {"name": "b"}], {}, "KeyError('b.weight')"),
        (
            [],
            {},
            (
                "the model has no Linear layer; use Linear, ReLU, Flatten and Dropout, one after "
                "the other"
            ),
        ),
        ([ONE, ONE], {"a.weight": np.ones((2, 2), np.float32)}, "layers must have different names"),
        ([ONE], {"a.bias": BIAS * np.inf}, NAN),
        *(
            (
                [ONE],
                {name: array},
                (
                    "layer 'a': weights must be [rows, columns], at least one of each, with one "
                    f"bias a row, not {said}"
                ),
            )
            for name, array, said in (
                ("a.weight", WEIGHT[0], "(3,) and (2,)"),
                ("a.bias", BIAS[:1], "(2, 3) and (1,)"),
                ("a.weight", WEIGHT[:0], "(0, 3) and (2,)"),
                ("a.weight", WEIGHT[:, :0], "(2, 0) and (2,)"),
            )
        ),
        (
            [ONE],
            {"a.weight": WEIGHT.astype(np.float64)},
            "layer 'a': weights and biases must be float32, not float64 and float32",
        ),
    ],
)
def test_contents_that_make_no_model(
    tmp_path: Path, layers: Any, changes: dict, reason: str
) -> None:
    """Files with their digest, as another program would write them."""
    path = tmp_path / "other"
    checkpoint.FILE.write(path, {"layers": layers}, {"a.weight": WEIGHT, "a.bias": BIAS} | changes)
    assert sentence(path) == f"{path} is damaged ({reason}); {AGAIN}"
