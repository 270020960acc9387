"""A run that was broken off, at any moment and by anything, ends as if it had not been."""

import dataclasses
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.build import build
from secateur.dataset import Dataset, Split
from secateur.errors import BadInputError
from secateur.execute import run_alone
from secateur.project import Project
from secateur.prune import Pruning, prune
from secateur.resume import FILE, Resume
from secateur.stage import Context, Stage
from secateur.train import train

EPOCHS = 4


def dataset(seed: int = 3, count: int = 46) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    x = rng.normal(scale=0.3, size=(count, 1, 5, 5)).astype("f4")
    x[np.arange(count), 0, labels, labels] += 2
    split = Split(x, labels)
    return Dataset("images", split, split, split)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)
        )


#: Everything that a state must hold: momentum of both kinds, dropout's draws, masks, rounds.
KINDS: dict[str, dict[str, Any]] = {
    "rounds": {"density": 0.2, "rounds": 3, "epochs": EPOCHS, "freeze": True},
    "smooth": {"budget": 0.1, "schedule": "smooth", "epochs": 3 * EPOCHS},
    "regrow": {"budget": 0.1, "schedule": "smooth", "regrow": True, "epochs": 3 * EPOCHS},
    "adam": {"quality": 0.8, "rounds": 2, "epochs": EPOCHS},
}


def project(kind: str, **more: Any) -> Project:
    # Smoothly, 166 steps of a ramp with a choice every third, and 23 steps an epoch: a run goes on
    # between two choices, too.
    size = 2 if kind in ("smooth", "regrow") else 9
    learning = {"batch_size": size, "optimizer": "adam" if kind == "adam" else "sgd"}
    given = {"name": "a", "seed": 3, "train": learning, "prune": {"learning_rate": 0.05}}
    given["prune"] |= KINDS[kind]
    return Project.model_validate(given | more)


def everything(result: Pruning) -> dict[str, Any]:
    """All that a pruning gives, as bytes where it is numbers."""
    found = {name: value.numpy().tobytes() for name, value in result.module.state_dict().items()}
    return found | {"rounds": result.rounds}


class BrokenOffError(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_broken_off_after_any_epoch(kind: str, tmp_path: Path) -> None:
    want = everything(prune(network(), project(kind), dataset()))
    folder = tmp_path / "resume"
    told: list[int] = []

    def progress(done: int, total: int, note: str) -> None:
        told.append(done)
        # Every epoch is broken off once before its state is kept, some twice in a row.
        if told.count(done) <= 1 + done % 2:
            raise BrokenOffError

    for _ in range(100):
        try:
            got = prune(network(), project(kind), dataset(), progress, folder=folder)
        except BrokenOffError:
            continue
        break
    else:
        pytest.fail("the run does not get on")
    assert everything(got) == want
    epochs = KINDS[kind]["epochs"] * KINDS[kind].get("rounds", 1)
    assert told == sorted([*range(1, epochs + 1)] * 2 + [*range(1, epochs + 1, 2)])


#: A run that is killed with SIGKILL at the end of an epoch, or while it writes its state.
SCRIPT = """
import os, pathlib, signal, sys
sys.path.insert(0, {tests!r})
import secateur.resume
secateur.resume.digest_sources = lambda layer: "these"
from test_resume import dataset, network, project, prune

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

kind, moment, epoch, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
written = pathlib.Path.write_bytes
renamed = pathlib.Path.replace
count = 0

def write_bytes(path, content):
    global count
    count += 1
    if moment == "half" and count == epoch:
        written(path, content[: len(content) // 2])
        kill()
    return written(path, content)

def replace(path, target):
    if moment == "before" and count == epoch:
        kill()
    result = renamed(path, target)
    if moment == "after" and count == epoch:
        kill()
    return result

pathlib.Path.write_bytes, pathlib.Path.replace = write_bytes, replace
prune(network(), project(kind), dataset(), folder=pathlib.Path(folder))
"""


@pytest.mark.parametrize(
    ("kind", "moment", "epoch"),
    [
        ("rounds", "half", EPOCHS + 2),
        ("rounds", "after", EPOCHS),
        ("regrow", "before", 6),
    ],
)
def test_killed(
    kind: str, moment: str, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever works on the sources while this runs is not what is tested.
    monkeypatch.setattr("secateur.resume.digest_sources", lambda layer: "these")
    folder = tmp_path / "resume"
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    arguments = [sys.executable, "-c", script, kind, moment, str(epoch), str(folder)]
    child = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert child.returncode == -signal.SIGKILL, child.stderr
    told: list[int] = []
    got = prune(
        network(), project(kind), dataset(), lambda done, *_: told.append(done), folder=folder
    )
    assert everything(got) == everything(prune(network(), project(kind), dataset()))
    assert told[0] == epoch + (moment == "after")


def test_training_goes_on_too(tmp_path: Path) -> None:
    settings = project("rounds", train={"epochs": 5}, network={"hidden": [7]})
    want = train(settings, dataset())
    told: list[int] = []

    def progress(done: int, total: int, note: str) -> None:
        told.append(done)
        if told == [1, 2, 3]:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        train(settings, dataset(), progress, folder=tmp_path)
    got = train(settings, dataset(), progress, folder=tmp_path)
    assert told == [1, 2, 3, 3, 4, 5]
    for one, two in zip(got.parameters(), want.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a run of two epochs."""
    folder = tmp_path_factory.mktemp("broken") / "resume"

    def progress(done: int, total: int, note: str) -> None:
        if done == 3:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        prune(network(), project("rounds"), dataset(), progress, folder=folder)
    return folder


def refused(folder: Path, settings: Project, module: nn.Module, examples: Dataset) -> str:
    with pytest.raises(BadInputError) as caught:
        prune(module, settings, examples, folder=folder)
    start = f"{folder} holds a run that was broken off with "
    end = "; give the same again to go on, or delete that folder to begin again"
    text = str(caught.value)
    assert (text[: len(start)], text[-len(end) :]) == (start, end)
    return text[len(start) : -len(end)]


def test_what_changed_is_named(broken: Path) -> None:
    before = (broken / "state.safetensors").read_bytes()
    same = project("rounds")
    other = same.prune.model_copy(update={"density": 0.25})
    settings = same.model_copy(update={"prune": other})
    assert refused(broken, settings, network(), dataset()) == "prune.density = 0.2, not 0.25"
    settings = project("rounds", seed=4)
    assert refused(broken, settings, network(), dataset()) == "project.seed = 3, not 4"
    settings = project("rounds", train={"batch_size": 9, "momentum": 0.5})
    assert refused(broken, settings, network(), dataset()) == "train.momentum = 0.9, not 0.5"
    changed = network()
    nn.init.zeros_(changed.get_parameter("4.bias"))
    assert refused(broken, same, changed, dataset()) == "another model"
    assert refused(broken, same, network(), dataset(4)) == "another set of examples"
    assert (broken / "state.safetensors").read_bytes() == before


def test_another_program_is_named(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.resume.digest_sources", lambda layer: "0")
    assert refused(broken, project("rounds"), network(), dataset()) == "another version of Secateur"


def test_a_damaged_state_is_refused(broken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "resume"
    shutil.copytree(broken, folder)
    state = folder / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        prune(network(), project("rounds"), dataset(), folder=folder)
    assert str(caught.value) == (
        f"the state of a run that was broken off cannot be read ({state} was altered after it was "
        f"written; make it again with the command that was broken off); delete {folder} to begin "
        "again"
    )


@pytest.mark.parametrize("part", ["about", "causes"])
def test_a_state_of_another_kind_is_refused(tmp_path: Path, part: str) -> None:
    state = tmp_path / "state.safetensors"
    description = {"about": {}, "causes": {}} | {part: None}
    FILE.write(state, description, {})
    with pytest.raises(BadInputError) as caught:
        Resume(tmp_path)
    assert str(caught.value) == (
        f"the state of a run that was broken off cannot be read ({state} must tell its causes in "
        f"tables); delete {tmp_path} to begin again"
    )


def test_divergence_keeps_the_state_before_it(tmp_path: Path) -> None:
    """The first round is fine; the second one finds an example that is infinite."""
    examples = dataset()
    folder = tmp_path / "resume"

    def progress(done: int, total: int, note: str) -> None:
        if done == EPOCHS + 1:
            examples.train.x[0] = np.inf

    with pytest.raises(BadInputError) as caught:
        prune(network(), project("rounds"), examples, progress, folder=folder)
    text = str(caught.value)
    assert text.startswith("training diverged in epoch 2 at learning rate 0.0")
    assert text.endswith(
        "holds NaN or infinity); lower the learning rate and delete "
        f"{folder}, which keeps the state before that"
    )
    # With the right example it goes on from there.
    got = prune(network(), project("rounds"), dataset(), folder=folder)
    assert everything(got) == everything(prune(network(), project("rounds"), dataset()))


def stage(broken_off: bool) -> Stage:
    def run(context: Context) -> None:
        assert context.resume is not None
        context.resume.mkdir(exist_ok=True)
        (context.resume / "state.safetensors").touch()
        if broken_off:
            raise BrokenOffError
        context.outputs["thing"].touch()

    return Stage(
        name="make", summary="", description="", example="", layer="sw", run=run, outputs=("thing",)
    )


def test_a_stage_alone_keeps_its_state_beside_the_output(tmp_path: Path) -> None:
    place = tmp_path / ".result.resume"
    for _ in range(2):
        with pytest.raises(BrokenOffError):
            run_alone(stage(True), Project(name="a"), {}, tmp_path / "result")
        assert [path.name for path in tmp_path.iterdir()] == [place.name]
    run_alone(stage(False), Project(name="a"), {}, tmp_path / "result")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_build_keeps_it_in_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for seed in (1, 1, 2):
        with pytest.raises(BrokenOffError):
            build(Project(name="a", seed=seed), tmp_path, stages={"make": stage_of_seed(True)})
    kept = sorted(path.name for path in cache.glob("*.resume"))
    assert len(kept) == 2
    build(Project(name="a", seed=2), tmp_path, stages={"make": stage_of_seed(False)})
    # That of the other settings is hours of somebody's work, perhaps of another project.
    (left,) = cache.glob("*.resume")
    assert left.name in kept
    build(Project(name="a", seed=1), tmp_path, stages={"make": stage_of_seed(False)})
    assert not [*cache.glob("*.resume")]


def stage_of_seed(broken_off: bool) -> Stage:
    return dataclasses.replace(stage(broken_off), settings=("seed",))
