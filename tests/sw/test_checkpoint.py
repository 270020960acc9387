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
from secateur.architectures import perceptron
from secateur.chain import SUPPORTED
from secateur.errors import BadInputError
from secateur.model import outputs, weighted
from secateur.trace import plain

AGAIN = "make it again with `secateur train` or `secateur prune`"


def saved(path: Path, module: nn.Module | None = None) -> Path:
    generator = torch.Generator().manual_seed(3)
    checkpoint.save(module or perceptron(6, (5, 4), 3, generator), path)
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


class Named(nn.Module):
    """Every kind of layer, a mask and a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=1, groups=2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=1, padding=1),
            nn.AvgPool2d((1, 2), count_include_pad=False),
            nn.AdaptiveAvgPool2d((2, 1)),
            nn.Flatten(),
            nn.Linear(8, 5),
            nn.ReLU(),
            nn.Dropout(0.25),
        )
        self.head = nn.Linear(5, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def test_round_trip(tmp_path: Path) -> None:
    module = Named().eval()
    prune.l1_unstructured(module.head, "weight", 7)
    path = saved(tmp_path / "model.safetensors", module)
    found = checkpoint.load(path).module
    assert str(found) == str(plain(module))
    assert found.training
    assert [*weighted(found)] == ["body/0", "body/7", "head"]
    assert weighted(found)["head"].weight.count_nonzero() == 8
    x = np.random.default_rng(1).normal(size=(9, 2, 8, 7)).astype(np.float32)
    assert np.array_equal(outputs(found, x), outputs(plain(module), x))
    again = tmp_path / "again.safetensors"
    checkpoint.save(found, again)
    assert again.read_bytes() == path.read_bytes()


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
        (tmp_path / "model" / "model", "Not a directory"),
        (tmp_path / ("m" * 255), "File name too long"),
        (Path(), "Device or resource busy"),
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


def test_other_versions(tmp_path: Path) -> None:
    for version in (1, 3):
        path = rewritten(tmp_path / "model", version=version, layers=None)
        assert sentence(path) == (
            f"{path} has version {version} and this Secateur reads 2; update Secateur or make the "
            "file again"
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
        (torch.bfloat16, "numpy has no BF16"),
        (torch.float8_e4m3fn, "numpy has no F8_E4M3"),
    ],
)
def test_numbers_that_numpy_lacks(tmp_path: Path, kind: torch.dtype, reason: str) -> None:
    path = tmp_path / "other"
    save_file({"a": torch.zeros(2).to(kind)}, path)
    # The file says that it is no model before its tensors are looked at.
    assert sentence(path) == (
        f"{path} is not a model; give the file that `secateur train` or `secateur prune` writes"
    )
    save_file({"a": torch.zeros(2).to(kind)}, path, {"secateur.model": '{"version": 2}'})
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
LINEAR = {"kind": "Linear", "in_features": 3, "out_features": 2, "bias": True}
CONV = {
    "kind": "Conv2d",
    "in_channels": 3,
    "out_channels": 2,
    "kernel_size": [1, 1],
    "stride": [1, 1],
    "padding": [0, 0],
    "groups": 1,
    "bias": False,
}
WEIGHT, BIAS = np.ones((2, 3), np.float32), np.ones(2, np.float32)


def one(layer: Any = None, /, name: Any = "a", **changes: Any) -> list[dict]:
    """Describe a single layer."""
    return [{"name": name, "layer": (layer or LINEAR) | changes}]


@pytest.mark.parametrize(
    ("layers", "changes", "reason"),
    [
        (one(name=5), {}, "layers: 0: name: Input should be a valid string"),
        (one(bias=1), {}, "layers: 0: layer: Linear: bias: Input should be a valid boolean"),
        (
            one(in_features=0),
            {},
            ("layers: 0: layer: Linear: in_features: Input should be greater than or equal to 1"),
        ),
        (
            one(stride=[1, 1]),
            {},
            "layers: 0: layer: Linear: stride: Extra inputs are not permitted",
        ),
        (
            one(kind="Sigmoid"),
            {},
            (
                "layers: 0: layer: Input tag 'Sigmoid' found using 'kind' does not match any of "
                "the expected tags: 'Linear', 'Conv2d', 'ReLU', 'MaxPool2d', 'AvgPool2d', "
                "'AdaptiveAvgPool2d', 'Flatten', 'Dropout'"
            ),
        ),
        ({}, {}, "layers: Input should be a valid array"),
        (one(name="b"), {}, "KeyError('b.weight')"),
        (
            one(name="a.b"),
            {"a.b.weight": WEIGHT, "a.b.bias": BIAS},
            """KeyError('module name can\\'t contain ".", got: a.b')""",
        ),
        ([], {}, f"the model has no Linear or Conv2d layer; {SUPPORTED}"),
        (one() * 2, {}, "layers must have different names"),
        (one(), {"a.bias": BIAS * np.inf}, NAN),
        *(
            (
                one(),
                {name: array},
                (
                    "layer 'a': parameters must have the shapes {'weight': (2, 3), 'bias': (2,)}, "
                    f"not {said}"
                ),
            )
            for name, array, said in (
                ("a.weight", WEIGHT[0], "{'weight': (3,), 'bias': (2,)}"),
                ("a.bias", BIAS[:1], "{'weight': (2, 3), 'bias': (1,)}"),
                ("a.weight", WEIGHT[:0], "{'weight': (0, 3), 'bias': (2,)}"),
            )
        ),
        (
            one(),
            {"a.weight": WEIGHT.astype(np.float64)},
            "layer 'a': weight must be float32, not float64",
        ),
        (one(CONV, groups=2), {}, "layer 'a': in_channels must be divisible by groups"),
        (
            one(CONV),
            {},
            (
                "layer 'a': parameters must have the shapes {'weight': (2, 3, 1, 1)}, "
                "not {'weight': (2, 3)}"
            ),
        ),
        (
            one(in_features=2**31 - 1, out_features=2**31 - 1),
            {},
            ("layer 'a': Storage size calculation overflowed with sizes=[2147483647, 2147483647]"),
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
