"""The way of a small convolutional network on the digits, as far as it goes today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from secateur import data
from secateur.cli import command
from secateur.independent import integer_layer
from secateur.network import Network
from secateur.program import Program
from secateur.project import Project
from secateur.reference import Reference

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits-cnn.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, with a few epochs."""
    folder = tmp_path_factory.mktemp("cnn")
    text = (
        EXAMPLE
        .read_text()
        .replace("epochs = 40", "epochs = 6")
        .replace("epochs = 20", "epochs = 3")
    )
    text += "epochs = 1\n"  # of the last table, quantize
    (folder / "digits-cnn.toml").write_text(text)
    return folder


def run(folder: Path, *words: str) -> tuple[int, str]:
    project, *rest = [str(folder / word) for word in words[1:]]
    result = CliRunner().invoke(command(), [words[0], project, *rest[:-1], "-o", rest[-1]])
    return result.exit_code, result.stderr


def test_the_way_to_integers(folder: Path) -> None:
    toml = "digits-cnn.toml"
    assert run(folder, "train", toml, "model.safetensors")[0] == 0
    assert run(folder, "prune", toml, "model.safetensors", "pruned.safetensors")[0] == 0
    assert run(folder, "quantize", toml, "pruned.safetensors", "network.safetensors")[0] == 0
    network = Network.load(folder / "network.safetensors")
    counts = [int((layer.weights != 0).sum()) for layer in network.layers]
    assert counts == [58, 346, 192]
    found = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("train", "prune", "quantize")
    }
    assert found["train"]["accuracy"] > 0.9
    assert found["quantize"]["accuracy"] > found["prune"]["accuracy"] - 0.02

    dataset = data.require(Project.load(folder / toml).data)
    x = network.quantize_input(dataset.test.flat)
    y = x
    for layer in network.layers:
        y = integer_layer(layer, y)
    assert (network.compute(x) == y).all()
    assert dataset.test.accuracy(y) == found["quantize"]["accuracy"]

    assert run(folder, "encode", toml, "network.safetensors", "program.sct")[0] == 0
    program = Program.load(folder / "program.sct")
    assert [layer.convolution is None for layer in program.layers] == [False, False, True]
    reference = Reference(program.spec)
    reference.load(program.image)
    y = program.restore(reference.infer(program.arrange(x)))
    assert (y == network.compute(x)).all()

    assert run(folder, "generate", toml, "program.sct", "engine.v")[0] == 0
    assert "module" in (folder / "engine.v").read_text()
