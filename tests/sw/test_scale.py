"""The benchmark of large networks, on a small one."""

import importlib
import json
import resource
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from secateur.execute import run_alone
from secateur.project import Project
from secateur.stage import find_stages

ROOT = Path(__file__).parents[2]
PROJECT = """
name = "lenet"
[data]
name = "none"
[network]
architecture = "lenet5"
[train]
epochs = 0
[prune]
density = [0.66, 0.12, 0.08, 0.19]
rounds = 1
epochs = 0
[quantize]
codebook_bits = 5
[engine]
pes = 64
lanes = 4
"""


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, whose steps run in this process: importing torch for each takes long."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("scale")
    steps = importlib.import_module("scale_steps")

    def measured(command: list[str]) -> dict[str, float]:
        if command[1] == "-m":
            _, _, _, stage, file, model, _, output = command
            inputs = {"model.safetensors": Path(model)}
            project = Project.load(Path(file))
            run_alone(find_stages()[stage], project, inputs, Path(output))
        else:
            _, program, step, file, folder = command
            assert Path(program) == ROOT / "benchmarks" / "scale_steps.py"
            steps.run(step, Path(file), Path(folder))
        return {"s": 1.0, "cpu_s": 2.0, "peak_mib": 3}

    monkeypatch.setattr(module, "measured", measured)
    return module


def run(scale: ModuleType, folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    file = folder / "lenet.toml"
    file.write_text(text)
    monkeypatch.setattr(sys, "argv", ["scale.py", str(file), "-o", str(folder / "out")])
    scale.main()
    assert [path.name for path in (folder / "out").iterdir()] == ["lenet.json"]
    return json.loads((folder / "out" / "lenet.json").read_text())


def test_from_weights_to_programs(
    scale: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = run(scale, tmp_path, PROJECT, monkeypatch)

    layers = {layer["layer"]: layer for layer in found["layers"]}
    assert [layer["left"] for layer in layers.values()] == [330, 3000, 32000, 950]
    assert [layer["density"] for layer in layers.values()] == [66, 12, 8, 19]
    # Drawn as unused: output 0 of conv1, 0 and 32 of conv2, 16 of fc1, which fc2 does not read all.
    dead = [layer["dead"] for layer in layers.values()]
    assert dead[:2] == [1, 2]
    assert dead[2] >= 16
    assert dead[3] == 0
    conv1, total = layers["conv1"], found["total"]
    channels = 20 - conv1["dead"]
    # 6 bits a code, 8 an index and no padding; 32 a bias and a value of the codebook.
    assert conv1["stream"]["entries"] == 330
    values = conv1["stream"]["codes"] - 330 * 14 - 32 * channels
    assert values % 32 == 0
    assert 32 < values // 32 <= 64
    assert conv1["stream"]["codes_as_paper"] - conv1["stream"]["codes"] == 330 * 2
    assert conv1["stream"]["huffman"] < conv1["stream"]["codes"]
    # Engine: 64 PEs, 16 groups of at most two rows, so that an index has 1 bit; the count of each
    # column of the PE's lane, one of 4, has 2: 25 columns in 7 words.
    assert conv1["program"]["codes"] == 330 * 6
    assert conv1["program"]["indices"] == 330 * 1
    assert (conv1["program"]["padding"], conv1["program"]["gaps"]) == (0, 0)
    assert conv1["program"]["counts"] == 64 * 7 * 2
    left = [20 - dead[0], 50 - dead[1], 500 - dead[2], 10]
    sizes = [25, 25 * left[0], 16 * left[1], left[2]]
    assert total["compared"] == int(np.dot(left, sizes))
    assert total["difference"] < 1e-5
    assert (total["weights"], total["left"]) == (430_500, 36_280)
    assert total["s"] == 6.0
    assert total["peak_mib"] == 3
    text = " ".join(capsys.readouterr().out.split())
    assert "36,280 of 430,500 weights are left" in text
    assert "Accuracy: not measured, for there is no ImageNet and the weights are drawn." in text


def test_other_densities_than_the_papers_are_an_error(
    scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError) as caught:
        run(scale, tmp_path, PROJECT.replace("0.08", "0.086"), monkeypatch)
    assert str(caught.value) == "fc1 keeps 8.60 % of its weights, and 8 % in the paper"


def test_a_wrong_program_is_an_error(
    scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = importlib.import_module("scale_steps")
    unpack = steps.STEPS["unpack"]

    def change(project: Project, folder: Path) -> dict[str, Any]:
        file = folder / "integers.safetensors"
        arrays = load_file(file)
        weight = arrays["conv2.weights"].reshape(-1)
        weight[np.flatnonzero(weight)[7]] += 1
        save_file(arrays, file)
        return unpack(project, folder)

    monkeypatch.setitem(steps.STEPS, "unpack", change)
    with pytest.raises(
        AssertionError, match=r"^layer conv2: what was decoded is not what was encoded$"
    ):
        run(scale, tmp_path, PROJECT, monkeypatch)


def test_memory_and_time_are_those_of_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    measured = importlib.import_module("scale").measured
    # Linux gives a child at least what its parent had.
    size = 200 + (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    figures = measured([sys.executable, "-c", f"bytearray({size} << 20).count(1)"])
    assert size <= figures["peak_mib"] <= size + 50
    assert figures["cpu_s"] > 0
    assert figures["s"] > 0
    with pytest.raises(SystemExit) as caught:
        measured([sys.executable, "-c", "exit(3)"])
    assert str(caught.value) == f"{sys.executable} -c exit(3) failed"


def test_the_examples_have_the_papers_densities(scale: ModuleType) -> None:
    for name in ("alexnet", "vgg16"):
        project = Project.load(ROOT / "examples" / f"{name}.toml")
        density = project.prune.density
        assert isinstance(density, tuple)
        assert [100 * part for part in density] == pytest.approx([*scale.KEPT[name].values()])
        assert project.network.architecture == name
        assert project.engine.pes == 64


def test_huffmans_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    coded_bits = importlib.import_module("huffman").coded_bits
    assert coded_bits(np.repeat([7, 1, 3], [5, 2, 1])) == 5 * 1 + 3 * 2
    assert coded_bits(np.tile(np.arange(16), 9)) == 4 * 16 * 9
    assert coded_bits(np.zeros(5, dtype=np.int64)) == 0
