"""The sensitivity scan: its accuracies, the densities that it chooses, its file and its table."""

import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from torch import nn

from secateur import checkpoint, sensitivity
from secateur.cli import command
from secateur.data import Dataset, Split
from secateur.digest import digest_file
from secateur.errors import BadInputError
from secateur.execute import run_alone
from secateur.figures import save, sensitivity_figure
from secateur.model import accuracy
from secateur.project import Project
from secateur.prune import prune
from secateur.sensitivity import choose, read, tabulate
from secateur.stage import find_stages

DENSITIES = (0.5, 0.25, 0.04)


def dataset(count: int = 40, seed: int = 3) -> Dataset:
    rng = np.random.default_rng(seed)
    parts = (
        Split(rng.random((count, 1, 6, 6), np.float32), np.arange(count) % 4) for _ in range(3)
    )
    return Dataset("noise", *parts)


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4),
    )  # fmt: skip


def test_each_layer_is_pruned_alone() -> None:
    """Against the whole network, computed anew for each density, its weights chosen by sorting."""
    examples, module = dataset(), network()
    before = copy.deepcopy(module.state_dict())
    scan = sensitivity.sensitivity(module, examples, densities=DENSITIES)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert (scan["split"], scan["examples"]) == ("validation", 40)
    assert scan["accuracy"] == accuracy(module, examples.validation)
    assert [layer["name"] for layer in scan["layers"]] == ["0", "5", "7"]
    assert [layer["weights"] for layer in scan["layers"]] == [27, 96, 32]
    for layer in scan["layers"]:
        assert layer["densities"] == [1.0, *DENSITIES]
        for density, got in zip(layer["densities"], layer["accuracies"], strict=True):
            pruned = copy.deepcopy(module)
            weight = pruned.get_parameter(f"{layer['name']}.weight").data
            magnitudes = weight.abs().flatten().sort(descending=True).values
            weight[weight.abs() < magnitudes[round(density * weight.numel()) - 1]] = 0
            assert got == accuracy(pruned, examples.validation), (layer["name"], density)


def test_what_a_layer_has_not_is_not_tried() -> None:
    module = network()
    with torch.no_grad():
        module.get_parameter("5.weight").flatten()[24:] = 0  # a quarter is left
        module.get_parameter("7.weight").zero_()
    scan = sensitivity.sensitivity(module, dataset(), densities=(0.1, 0.5, 0.01, 0.25))
    got = [layer["densities"] for layer in scan["layers"]]
    # 0.01 of 27 weights is none.
    assert got == [[1.0, 0.5, 0.25, 0.1], [0.25, 0.1, 0.01], [0.0]]


def test_progress_counts_every_accuracy() -> None:
    told = []
    sensitivity.sensitivity(
        network(), dataset(), lambda *news: told.append(news), densities=DENSITIES
    )
    assert [done for done, _, _ in told] == [*range(1, 10)]
    assert {total for _, total, _ in told} == {9}
    assert told[0][2].startswith("0 at 50.0%: ")


def test_without_a_validation_split_training_examples_are_watched() -> None:
    whole = dataset()
    nothing = Split(whole.validation.x[:0], whole.validation.labels[:0])
    scan = sensitivity.sensitivity(
        network(), Dataset("noise", whole.train, nothing, whole.test), densities=(0.5,)
    )
    assert scan["split"] == "train"
    assert scan["accuracy"] == accuracy(network(), whole.train)


def curve(**fields) -> dict:
    return {"name": "fc", "weights": 100, **fields}


def test_the_least_density_that_costs_no_more() -> None:
    layers = [
        curve(densities=[1.0, 0.1, 0.01], accuracies=[0.9, 0.8, 0.4]),
        curve(densities=[1.0, 0.1, 0.01], accuracies=[0.9, 0.95, 0.9]),
        # Only the first fall counts.
        curve(densities=[0.5, 0.1, 0.01], accuracies=[0.9, 0.3, 0.9]),
        curve(densities=[1.0], accuracies=[0.9]),
    ]
    scan = {"accuracy": 0.9, "layers": [layer | {"name": str(i)} for i, layer in enumerate(layers)]}
    got = choose(scan, 0.3)
    assert got["0"] == pytest.approx(0.1 * 10**-0.5)  # half the way from 0.8 to 0.4
    assert got["1"] == 0.01
    assert got["2"] == pytest.approx(0.5 * 0.2**0.5)
    assert got["3"] == 1.0
    assert choose(scan, 0.2)["0"] == pytest.approx(0.1 * 10**-0.25)
    # What costs just as much as it may is no fall.
    level = curve(densities=[1.0, 0.1, 0.01], accuracies=[0.75, 0.5, 0.5])
    assert choose({"accuracy": 0.75, "layers": [level]}, 0.25) == {"fc": 0.01}
    assert choose(scan, 0.05)["0"] == pytest.approx(10**-0.5)


def test_loss_decides_the_densities_of_pruning() -> None:
    examples, module = dataset(), network()
    scan = sensitivity.sensitivity(module, examples)
    project = Project.model_validate({
        "name": "noise", "prune": {"loss": 0.05, "rounds": 1, "epochs": 0}
    })  # fmt: skip
    got = prune(module, project, examples, scan=scan)
    want = choose(scan, 0.05)
    assert {layer.name: layer.non_zeros for layer in got.layers} == {
        layer["name"]: round(want[layer["name"]] * layer["weights"]) for layer in scan["layers"]
    }
    assert min(want.values()) < 1


def test_bad_scans(tmp_path: Path) -> None:
    project = Project.model_validate({"name": "noise", "prune": {"loss": 0.1, "epochs": 0}})
    with pytest.raises(BadInputError) as caught:
        prune(network(), project, dataset())
    assert str(caught.value) == (
        "prune.loss needs the layers' sensitivity.json; make it with `secateur sensitivity`, or "
        "name its folder with --from"
    )
    unmeasured = sensitivity.sensitivity(network(), None)
    with pytest.raises(BadInputError) as caught:
        choose(unmeasured, 0.1)
    assert str(caught.value) == (
        "prune.loss needs a sensitivity scan with examples, and this one had none; name a set of "
        "examples, or give prune.density"
    )
    with pytest.raises(BadInputError) as caught:
        choose({"accuracy": 0.9, "layers": [{"name": "fc1"}]}, 0.1, ["fc1", "fc2"])
    assert str(caught.value) == (
        "the sensitivity scan must be of the model's layers, ['fc1', 'fc2'], not ['fc1']; "
        "run `secateur sensitivity` again"
    )
    file = tmp_path / "sensitivity.json"
    file.write_text('{"accuracy": 2}')
    with pytest.raises(BadInputError) as caught:
        read(file)
    assert str(caught.value) == (
        f"{file} is damaged (digests: Field required); make it again with `secateur sensitivity`"
    )
    layer = curve(densities=[1.0, 0.5], accuracies=[0.9])
    scan = {"accuracy": 0.9, "split": "train", "examples": 1, "layers": [layer]}
    digests = {"model.safetensors": "ab"}
    file.write_text(json.dumps(scan | {"digests": digests}))
    with pytest.raises(BadInputError, match=r"accuracies must be one for each density"):
        read(file)
    layer["accuracies"].append(0.8)
    file.write_text(json.dumps(scan | {"digests": digests}))
    assert read(file, "ab")["layers"] == [layer]
    with pytest.raises(BadInputError) as caught:
        read(file, "cd")
    assert str(caught.value) == (
        f"{file} is of another model; make it again with `secateur sensitivity`"
    )


PROJECT = """
[network]
hidden = [8]
[train]
epochs = 2
[prune]
loss = 0.1
rounds = 1
epochs = 0
"""


def test_the_stage_and_its_table(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(PROJECT)
    folder = tmp_path / "build"
    project, stages = Project.load(file), find_stages()
    assert [*stages].index("sensitivity") < [*stages].index("prune")
    run_alone(stages["train"], project, {}, folder / "model.safetensors")
    runner = CliRunner(env={"COLUMNS": "100"})
    arguments = [str(file), "--from", str(folder), "-o", str(folder / "sensitivity.json")]
    got = runner.invoke(command(), ["sensitivity", *arguments], prog_name="secateur")
    assert got.exit_code == 0, got.output
    for said in ("weights left", "fc1", "fc2", "as they are", "74.99 %"):
        assert said in got.stdout
    assert got.stdout.endswith(f"{folder}/sensitivity.json\n{folder}/sensitivity.svg\n")
    scan = read(folder / "sensitivity.json", digest_file(folder / "model.safetensors"))
    assert scan["examples"] == 357
    svg = (folder / "sensitivity.svg").read_text()
    assert "fc2" in svg

    again = folder / "again.json"
    inputs = {"model.safetensors": folder / "model.safetensors"}
    run_alone(stages["sensitivity"], project, inputs, again)
    assert again.read_bytes() == (folder / "sensitivity.json").read_bytes()
    assert (folder / "sensitivity.svg").read_text() == svg

    inputs["sensitivity.json"] = again
    run_alone(stages["prune"], project, inputs, folder / "pruned.safetensors")
    layers = json.loads((folder / "prune.json").read_text())["layers"]
    want = choose(scan, 0.1)
    assert [layer["nonzeros"] for layer in layers] == [
        round(want[layer["name"]] * layer["weights"]) for layer in layers
    ]
    checkpoint.save(checkpoint.load(folder / "pruned.safetensors").module, folder / "model.st")
    inputs["model.safetensors"] = folder / "model.st"
    with pytest.raises(BadInputError, match=r"again\.json is of another model"):
        run_alone(stages["prune"], project, inputs, folder / "other.safetensors")


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    scan = sensitivity.sensitivity(network(), None)
    out = io.StringIO()
    Console(width=80, file=out).print(tabulate(scan))
    assert "no examples to measure with" in out.getvalue()
    save(sensitivity_figure(scan), tmp_path / "none.svg")
    assert "there were no examples to measure with" in (tmp_path / "none.svg").read_text()
