"""The adapters of all layers, on a small project: what decides their results, what they refuse."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from secateur.errors import BadInputError
from secateur.execute import run_alone
from secateur.network import Network
from secateur.project import Project
from secateur.stage import Stage, find_stages

STAGES = find_stages()


class Recording(Project):
    """A project that notes which of its top-level keys are read."""

    read: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in Project.model_fields:
            Recording.read.add(name)
        return super().__getattribute__(name)

    def settings(self, *sections: str) -> dict[str, Any]:
        Recording.read.update(sections)
        return super().settings(*sections)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Path]]:
    """A project of two small layers, and what the software stages make of it."""
    folder = tmp_path_factory.mktemp("stages")
    rng = np.random.default_rng(1)
    examples = {}
    for part, count in (("train", 40), ("validation", 10), ("test", 10)):
        examples[f"{part}_x"] = rng.normal(size=(count, 12))
        examples[f"{part}_labels"] = np.arange(count) % 3
    np.savez(folder / "mine.npz", **examples)
    (folder / "mine.toml").write_text(
        'data.file = "mine.npz"\nnetwork.hidden = [6]\ntrain.epochs = 1\nprune.density = 0.5\n'
        "prune.rounds = 1\nprune.epochs = 1\nengine.pes = 2\n"
    )
    project = Recording.load(folder / "mine.toml")
    files: dict[str, Path] = {}
    for name in ("train", "prune", "quantize", "encode"):
        stage = STAGES[name]
        run_alone(stage, project, files, folder / stage.outputs[0])
        files |= {artefact: folder / artefact for artefact in stage.outputs}
    return project, files


class Enough(Exception):
    """The stage has read its settings."""


def _stop(*_: object, **__: object) -> None:
    raise Enough


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_the_settings_that_decide_a_result_are_named(
    stage: Stage,
    made: tuple[Project, dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a build would keep a result that another setting changes."""
    for module in ("simulate", "synthesize", "verify"):  # what takes long comes after the settings
        monkeypatch.setattr(f"secateur.{module}.{module}", _stop)
    project, files = made
    inputs = {name: path for name, path in files.items() if name in stage.inputs + stage.optional}
    # The places are checked before, for which any project will do.
    monkeypatch.setattr("secateur.execute._check_places", lambda *_: Recording.read.clear())
    try:
        run_alone(stage, project, inputs, tmp_path / "output")
    except Enough:
        assert stage.name in {"simulate", "synthesize", "verify"}
    assert Recording.read == {*stage.settings}


@pytest.mark.parametrize("name", ["simulate", "verify"])
def test_a_program_of_another_network(
    name: str, made: tuple[Project, dict[str, Path]], tmp_path: Path
) -> None:
    project, files = made
    network = Network.load(files["network.safetensors"])
    other = tmp_path / "network.safetensors"
    Network(name="another", layers=network.layers).save(other)
    program = shutil.copy(files["program.sct"], tmp_path / "program.sct")
    inputs = {"program.sct": program, "network.safetensors": other}
    with pytest.raises(BadInputError) as caught:
        run_alone(STAGES[name], project, inputs, tmp_path / "result.json")
    assert str(caught.value) == (
        f"{program} was not encoded from {other}; make it again with `secateur encode`"
    )


@pytest.mark.parametrize(("missing", "known"), [([], {"icarus": "12"}), (["iverilog"], {})])
def test_the_simulator_decides_the_simulation(
    missing: list[str], known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.model_validate({"name": "small", "simulate": {"simulator": "icarus"}})
    monkeypatch.setattr("secateur.simulator.Icarus.version", lambda _: "12")
    monkeypatch.setattr("secateur.simulator.Icarus.missing", lambda _: missing)
    assert STAGES["simulate"].programs(project) == known
    versions = STAGES["verify"].programs(project)
    assert {name: version for name, version in versions.items() if name == "icarus"} == known
