"""Networks and models from elsewhere: refused in one sentence, or sound."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save as serialize

from secateur import checkpoint, npz, resume
from secateur.architectures import perceptron
from secateur.artefact import digest
from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.damage import altered, damaged
from secateur.bench.networks import random_inputs, random_network
from secateur.errors import BadInputError
from secateur.model import outputs
from secateur.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from numpy.typing import NDArray

NETWORK = random_network(2, [9, 7, 4], density=0.6, codebook=True)
CONVOLUTIONS = random_convolutional_network(2, (2, 6, 7), convolutions=2, lengths=(3,))
MODEL = perceptron(6, (5,), 3, torch.Generator().manual_seed(1))


def write_network(path: Path) -> None:
    NETWORK.save(path)


def write_convolutions(path: Path) -> None:
    CONVOLUTIONS.save(path)


def write_model(path: Path) -> None:
    checkpoint.save(MODEL, path)


def write_state(path: Path) -> None:
    kept = resume.Resume(path.parent)
    kept.description["epoch"] = [1, 2]
    kept.keep({"epoch": torch.tensor(1), "mask a": torch.ones(3, 2, dtype=torch.bool)})


def read_network(path: Path) -> None:
    found = Network.load(path)
    x = random_inputs(1, found, 2)
    y = found.compute(x)
    assert y.shape == (2, found.outputs)
    assert 0 < found.accumulator_width < 64
    found.save(path)
    assert Network.load(path).digest == found.digest


def read_model(path: Path) -> None:
    found = checkpoint.load(path).module
    first = next(part for part in found if isinstance(part, torch.nn.Linear))
    y = outputs(found, np.zeros((2, first.in_features), dtype=np.float32))
    assert len(y) == 2
    checkpoint.save(found, path)


def read_state(path: Path) -> None:
    tensors = resume.Resume(path.parent).take()
    assert tensors is not None


Kind = tuple[str, "Callable[[Path], None]", "Callable[[Path], None]"]
KINDS: dict[str, Kind] = {
    "network": ("network", write_network, read_network),
    "convolutions": ("network", write_convolutions, read_network),
    "model": ("model", write_model, read_model),
    "state": ("state", write_state, read_state),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.safetensors"


def refused(read: Callable[[Path], None], path: Path) -> bool:
    """Read, and check the sentence of a refusal."""
    try:
        read(path)
    except BadInputError as error:
        said = str(error)
        assert str(path.parent) in said
        assert said[-1] != "."
        return True
    return False


def taken_apart(path: Path, key: str) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Give a file's description, without its digest, and its arrays."""
    with safe_open(path, framework="numpy") as file:
        text = json.loads(file.metadata()[f"secateur.{key}"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del text["digest"]
    return text, arrays


def put_together(path: Path, key: str, text: Any, arrays: dict[str, NDArray]) -> None:
    """Write a file whose digest is right whatever it holds."""
    if isinstance(text, dict):
        short = {name: value for name, value in text.items() if name != "version"}
        text = {**text, "digest": digest(short, arrays)}
    path.write_bytes(serialize(arrays, {f"secateur.{key}": json.dumps(text, sort_keys=True)}))


def test_damaged(fuzz: Callable[..., None], kind: Kind, path: Path) -> None:
    key, write, read = kind
    write(path)
    whole = path.read_bytes()
    text, arrays = taken_apart(path, key)

    def case(rng: Random) -> None:
        raw = damaged(rng, whole)
        path.write_bytes(raw)
        if not refused(read, path):
            # Something that means nothing was changed, or nothing at all.
            path.write_bytes(raw)
            got_text, got_arrays = taken_apart(path, key)
            assert got_text == text
            assert {n: a.tobytes() for n, a in got_arrays.items()} == {
                n: a.tobytes() for n, a in arrays.items()
            }

    fuzz(case, 1.5)


def test_a_damaged_header(fuzz: Callable[..., None], kind: Kind, path: Path) -> None:
    """The JSON of safetensors: offsets and shapes that lie, with a length that is right."""
    _, write, read = kind
    write(path)
    whole = path.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]

    def case(rng: Random) -> None:
        text = json.dumps(altered(rng, header)).encode()
        if rng.random() < 0.2:
            text = text.replace(b"[", b"[" * rng.choice((2, 300, 50_000)), 1)
        path.write_bytes(struct.pack("<Q", len(text)) + text + body)
        refused(read, path)

    fuzz(case, 1.5)


def test_an_altered_description(fuzz: Callable[..., None], kind: Kind, path: Path) -> None:
    key, write, read = kind
    write(path)
    text, arrays = taken_apart(path, key)

    def case(rng: Random) -> None:
        put_together(path, key, altered(rng, text), arrays)
        refused(read, path)

    fuzz(case, 1.5)


def test_altered_arrays(fuzz: Callable[..., None], kind: Kind, path: Path) -> None:
    key, write, read = kind
    write(path)
    text, whole = taken_apart(path, key)

    def case(rng: Random) -> None:
        arrays = dict(whole)
        name = rng.choice([*arrays])
        array = arrays[name]
        dtypes = ("bool", "u1", "i1", "i4", "i8", "u8", "f2", "f4", "f8")
        match rng.randrange(7):
            case 0:
                del arrays[name]
            case 1:
                arrays[name] = array.astype(rng.choice(dtypes))
            case 2:
                arrays[name] = array.reshape(-1)[: rng.randrange(1 + array.size)].copy()
            case 3:
                arrays[name] = array.reshape(array.shape[::-1])
            case 4:
                arrays[name] = arrays[rng.choice([*arrays])]
            case 5:
                arrays[rng.choice(("", "0.weights", name + "s"))] = array
            case _ if array.size:
                raw = bytearray(array.tobytes())
                start = rng.randrange(len(raw))
                raw[start : start + 8] = rng.randbytes(len(raw[start : start + 8]))
                arrays[name] = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
        put_together(path, key, text, arrays)
        refused(read, path)

    fuzz(case, 1.5)


def test_damaged_examples(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.random((6, 3)) if name.endswith("x") else rng.integers(2, size=6)
        for name in npz.ARRAYS
    }
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    whole = path.read_bytes()

    def case(rng: Random) -> None:
        path.write_bytes(damaged(rng, whole))
        if not refused(lambda path: npz.load(path) and None, path):
            assert npz.load(path).train.x.shape[1:] == (3,)

    fuzz(case, 2)
