"""The stage mechanism and the cached build, with small stages of their own."""

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from secateur.build import build
from secateur.digest import digest_file, digest_sources, versions
from secateur.errors import BadInputError, CheckFailedError
from secateur.execute import execute, run_alone
from secateur.progress import Display, Progress
from secateur.project import Project
from secateur.stage import Context, Stage, find_stages, order

PROJECT = Project(name="small")


def stage(name: str, run: Callable[[Context], None], **fields) -> Stage:
    defaults = {"outputs": (f"{name}.txt",), "layer": "sw", "settings": ("seed",)}
    texts = {"summary": name, "description": name, "example": f"secateur {name} a.toml"}
    return Stage(name=name, run=run, **{**defaults, **texts, **fields})


class Chain:
    """Two stages that write numbers, and how often each ran."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.stages = order([
            stage("double", self._double, inputs=("count.txt",), outputs=("double.txt", "log.txt")),
            stage("count", self._count),
        ])

    def _count(self, context: Context) -> None:
        self.runs.append("count")
        context.outputs["count.txt"].write_text(str(context.project.seed % 10))

    def _double(self, context: Context) -> None:
        self.runs.append("double")
        (context.work / "tool.log").write_text("doubling")
        number = int(context.inputs["count.txt"].read_text())
        context.outputs["double.txt"].write_text(str(2 * number))
        context.outputs["log.txt"].write_text("done")

    def build(self, folder: Path, seed: int = 3) -> list[str]:
        """Build, and tell which stages ran."""
        self.runs.clear()
        build(Project(name="small", seed=seed), folder, stages=self.stages)
        return self.runs


def output(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_order_follows_artefacts() -> None:
    assert [*Chain().stages] == ["count", "double"]


def test_order_refuses_two_writers() -> None:
    with pytest.raises(ValueError, match=r"^x is written by a and b$"):
        order([stage("a", print, outputs=("x",)), stage("b", print, outputs=("x",))])


def test_order_refuses_an_artefact_that_nobody_writes() -> None:
    with pytest.raises(ValueError, match=r"^a reads \['x'\], which no stage writes$"):
        order([stage("a", print, inputs=("x",))])


def test_optional_artefacts_come_first_where_somebody_writes_them() -> None:
    stages = order([stage("b", print, optional=("a.txt", "nobody.txt")), stage("a", print)])
    assert [*stages] == ["a", "b"]


def test_build_gathers_every_artefact(tmp_path: Path) -> None:
    folder = build(PROJECT, tmp_path, stages=Chain().stages)
    assert contents(folder) == {"count.txt", "double.txt", "log.txt", "manifest.json"}
    assert (folder / "double.txt").read_text() == "2"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["digest"].startswith(folder.name)
    assert manifest["seed"] == 1
    assert manifest["tools"]["python"] == versions([])["python"]
    record = manifest["stages"]["double"]
    assert record["inputs"] == {"count.txt": digest_file(folder / "count.txt")}
    assert record["outputs"]["double.txt"] == digest_file(folder / "double.txt")
    assert record["sources"] == digest_sources("sw")


def test_nothing_runs_twice(tmp_path: Path) -> None:
    chain = Chain()
    assert chain.build(tmp_path) == ["count", "double"]
    assert chain.build(tmp_path) == []
    assert chain.build(tmp_path, seed=4) == ["count", "double"]
    assert chain.build(tmp_path, seed=3) == []


def test_a_stage_runs_only_if_its_own_causes_change(tmp_path: Path) -> None:
    """Another seed, but the same count: `double` depends on the count only."""
    chain = Chain()
    double = chain.stages["double"]
    chain.stages["double"] = stage(
        "double", double.run, inputs=double.inputs, outputs=double.outputs, settings=()
    )
    assert chain.build(tmp_path, seed=3) == ["count", "double"]
    assert chain.build(tmp_path, seed=13) == ["count"]


@pytest.mark.parametrize("cause", ["digest_sources", "versions"])
def test_other_sources_or_tools_are_causes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    chain = Chain()
    chain.build(tmp_path)
    monkeypatch.setattr(f"secateur.build.{cause}", lambda _: {"another": "1"})
    assert chain.build(tmp_path) == ["count", "double"]


def test_another_program_of_the_systems_is_a_cause(tmp_path: Path) -> None:
    chain = Chain()
    count = chain.stages["count"]
    for version, runs in (("1", ["count", "double"]), ("2", ["count"]), ("1", [])):
        chain.stages["count"] = dataclasses.replace(
            count, programs=lambda project, version=version: {project.name: version}
        )
        assert chain.build(tmp_path) == runs


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("7")])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    chain = Chain()
    chain.build(tmp_path)
    (file,) = tmp_path.glob("cache/count-*/count.txt")
    damage(file)
    assert chain.build(tmp_path) == ["count"]
    assert file.read_text() == "3"


def test_editing_a_result_does_not_change_the_cache(tmp_path: Path) -> None:
    chain = Chain()
    folder = build(PROJECT, tmp_path, stages=chain.stages)
    (folder / "double.txt").write_text("wrong")
    assert chain.build(tmp_path, seed=1) == []
    assert (folder / "double.txt").read_text() == "2"


def test_sources_of_a_layer_are_its_own_and_those_below() -> None:
    assert len({digest_sources(layer) for layer in ("sw", "hw", "sim")}) == 3


def _fail(error: BaseException) -> Callable[[Context], None]:
    def run(context: Context) -> None:
        context.outputs["bad.txt"].write_text("half")
        (context.work / "tool.log").write_text("why")
        raise error

    return run


def test_an_internal_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_alone(stage("bad", _fail(ZeroDivisionError())), PROJECT, {}, tmp_path / "bad.txt")
    assert contents(tmp_path) == set()


def test_a_failed_check_leaves_only_the_logs(tmp_path: Path) -> None:
    """Those of the last failure, in one place, which the error names; none after a good run."""

    def run(context: Context) -> None:
        context.outputs["bad.txt"].write_text("half")
        log = context.work / "deep" / f"{context.project.seed}.log"
        log.parent.mkdir()
        log.write_text("why")
        if context.project.seed:
            raise CheckFailedError(f"no; see {log.resolve()} or {log}")

    logs = tmp_path / ".bad.txt.logs"
    for seed in (1, 2):
        with pytest.raises(CheckFailedError) as caught:
            run_alone(stage("bad", run), Project(name="a", seed=seed), {}, tmp_path / "bad.txt")
        log = logs / "deep" / f"{seed}.log"
        assert contents(tmp_path) == {
            *(logs.name, f"{logs.name}/deep", f"{logs.name}/deep/{seed}.log")
        }
        assert str(caught.value) == f"no; see {log} or {log}"
        assert caught.value.__notes__ == [f"The logs are in {logs}"]
    with pytest.raises(ZeroDivisionError):
        run_alone(stage("bad", _fail(ZeroDivisionError())), PROJECT, {}, tmp_path / "bad.txt")
    assert log.read_text() == "why"
    run_alone(stage("bad", run), Project(name="a", seed=0), {}, tmp_path / "bad.txt")
    assert contents(tmp_path) == {"bad.txt"}


def test_a_failed_check_is_told_where_its_logs_cannot_go(tmp_path: Path) -> None:
    """Something else has their name: they stay where they were written, which the error names."""
    mine = tmp_path / ".bad.txt.logs"
    mine.write_text("precious")

    def run(context: Context) -> None:
        (context.work / "tool.log").write_text("why")
        raise CheckFailedError(f"no; see {context.work / 'tool.log'}")

    with pytest.raises(CheckFailedError) as caught:
        run_alone(stage("bad", run), PROJECT, {}, tmp_path / "bad.txt")
    (log,) = tmp_path.rglob("tool.log")
    assert log.parent.name == "logs"
    assert str(caught.value) == f"no; see {log}"
    assert caught.value.__notes__ == [f"The logs are in {log.parent}"]
    assert mine.read_text() == "precious"


def test_alone_nothing_else_is_touched(tmp_path: Path) -> None:
    """Not a folder of the user's, nor what another command writes to the same place."""
    mine = tmp_path / "count.txt.work" / "mine"
    mine.parent.mkdir()
    mine.write_text("precious")
    count = Chain().stages["count"]

    def run(context: Context) -> None:
        run_alone(count, Project(name="small", seed=4), {}, tmp_path / "count.txt")
        context.outputs["count.txt"].write_text("last")

    run_alone(stage("count", run), PROJECT, {}, tmp_path / "count.txt")
    assert contents(tmp_path) == {"count.txt", "count.txt.work", "count.txt.work/mine"}
    assert (tmp_path / "count.txt").read_text() == "last"


@pytest.mark.parametrize("name", ["log.txt", "three", "link", "data.npz", "mine.toml"])
def test_no_result_replaces_what_is_needed(tmp_path: Path, name: str) -> None:
    """Another result, an input, the same by another name, examples, the project file."""
    np.savez(tmp_path / "data.npz")
    (tmp_path / "mine.toml").write_text('data.file = "data.npz"')
    (tmp_path / "three").write_text("3")
    (tmp_path / "link").symlink_to("three")
    before = contents(tmp_path)
    chain = Chain()
    with pytest.raises(BadInputError) as caught:
        run_alone(
            chain.stages["double"],
            Project.load(tmp_path / "mine.toml"),
            {"count.txt": tmp_path / "three"},
            tmp_path / name,
            project_file=tmp_path / "mine.toml",
        )
    assert str(caught.value) == (
        f"{tmp_path / name} is a file that `secateur double` reads, or two of its results at once; "
        "give another path for the output"
    )
    assert (chain.runs, contents(tmp_path)) == ([], before)


@pytest.mark.parametrize("folder", ["six", "log.txt"])
def test_every_place_is_checked_before_anything_runs(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / "three").write_text("3")
    chain = Chain()
    inputs = {"count.txt": tmp_path / "three"}
    with pytest.raises(BadInputError) as caught:
        run_alone(chain.stages["double"], PROJECT, inputs, tmp_path / "six")
    assert str(caught.value) == (
        f"{tmp_path / folder} exists and is no file; give another path for the output"
    )
    assert (chain.runs, contents(tmp_path)) == ([], {folder, "three"})


def test_a_place_that_becomes_a_folder(tmp_path: Path) -> None:
    def run(context: Context) -> None:
        context.outputs["count.txt"].write_text("1")
        (tmp_path / "count.txt").mkdir()

    with pytest.raises(BadInputError) as caught:
        run_alone(stage("count", run), PROJECT, {}, tmp_path / "count.txt")
    assert str(caught.value) == f"{tmp_path} cannot be written: Is a directory"


def test_a_stage_must_write_what_it_promises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^stage lazy ended without writing \['lazy\.txt'\]$"):
        run_alone(stage("lazy", lambda context: None), PROJECT, {}, tmp_path / "lazy.txt")
    assert contents(tmp_path) == set()


def test_torch_is_asked_for_in_a_sentence(tmp_path: Path) -> None:
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    with pytest.raises(BadInputError) as caught:
        run_alone(stage("bad", _fail(error)), PROJECT, {}, tmp_path / "bad.txt")
    assert str(caught.value) == (
        "`secateur bad` needs torch, which is not installed; run `pip install secateur[train]`"
    )


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError) as caught:
        run_alone(Chain().stages["count"], PROJECT, {}, tmp_path / "file" / "count.txt")
    assert str(caught.value) == f"{tmp_path / 'file'} cannot be written: Not a directory"
    with pytest.raises(BadInputError) as caught:
        run_alone(Chain().stages["count"], PROJECT, {}, tmp_path / ("n" * 256))
    assert str(caught.value) == f"{tmp_path} cannot be written: File name too long"
    assert contents(tmp_path) == {"file"}
    with pytest.raises(BadInputError) as caught:
        build(PROJECT, tmp_path / "file", stages=Chain().stages)
    assert str(caught.value) == f"{tmp_path / 'file' / 'cache'} cannot be written: Not a directory"


def test_alone_the_first_output_is_named_and_the_rest_beside(tmp_path: Path) -> None:
    count = tmp_path / "three"
    count.write_text("3")
    double = Chain().stages["double"]
    written = run_alone(double, PROJECT, {"count.txt": count}, tmp_path / "six")
    assert written == [tmp_path / "six", tmp_path / "log.txt"]
    assert contents(tmp_path) == {"three", "six", "log.txt"}
    assert (tmp_path / "six").read_text() == "6"


def test_inside_execute_the_outputs_are_not_in_place_yet(tmp_path: Path) -> None:
    with execute(Chain().stages["count"], PROJECT, {}, tmp_path / "work") as made:
        assert (made / "count.txt").read_text() == "1"
        assert not (tmp_path / "count.txt").exists()


KILLED = """
import sys, time
from pathlib import Path
from secateur.build import build
from secateur.project import Project
from secateur.stage import Stage

def run(context):
    context.outputs["count.txt"].write_text("half")
    print("running", flush=True)
    time.sleep({seconds})

stage = Stage(name="count", summary="", description="", example="", layer="sw", run=run,
              outputs=("count.txt",), settings=("seed",))
build(Project(name="small"), Path(sys.argv[1]), stages={{"count": stage}})
"""


def _spawn(folder: Path, seconds: int) -> subprocess.Popen[str]:
    code = KILLED.format(seconds=seconds)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Nothing passes for a result, and the next build clears up and does the work."""
    with _spawn(tmp_path, 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        os.kill(process.pid, signal.SIGKILL)
    finished = [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".work"]
    assert [path.name for path in finished] == ["lock"]
    assert len([*tmp_path.iterdir()]) == 1  # no build/<digest>

    chain = Chain()
    assert chain.build(tmp_path, seed=3) == ["count", "double"]
    assert not [*tmp_path.rglob("*.work")]


def test_two_builds_in_one_folder_take_turns(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with _spawn(tmp_path, 2) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        count = Chain().stages["count"]
        build(PROJECT, tmp_path, stages={"count": count}, display=Display(console))
    assert process.returncode == 0
    assert output(console) == [
        "waiting     for another build in the same folder",
        "count       unchanged",
    ]


def test_lines_say_how_far_a_long_stage_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal: a line now and then, not one for each step, and nothing to erase."""
    monkeypatch.setattr("secateur.progress.QUIET", 0.0)
    console = Console(file=io.StringIO())
    with Display(console).step("train") as progress:
        progress(1, 4, "loss 0.5 [/]")
        progress(0, 0, "thinking")
    lines = output(console)
    assert lines[:2] == ["train       1 of 4, loss 0.5 [/]", "train       thinking"]
    assert re.fullmatch(r"train {7}\d+\.\d s", lines[2])


def test_a_terminal_gets_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Display(console).step("train") as progress:
        progress(1, 4, "loss 0.5")
    assert "loss 0.5" in "".join(output(console))


def _checked(name: str, runs: list[str], **fields) -> Stage:
    """Make a stage whose result says that something is wrong."""

    def run(context: Context) -> None:
        runs.append(name)
        (context.work / "tool.log").write_text("what happened")
        context.note("as fast as it can be")
        context.outputs[f"{name}.txt"].write_text("wrong")

    def check(files) -> None:
        assert files[f"{name}.txt"].read_text() == "wrong"
        raise CheckFailedError("it is wrong")

    return stage(name, run, check=check, **fields)


def test_stages_on_request(tmp_path: Path) -> None:
    """Left out by a build unless it is told otherwise; what reads their results does without."""
    runs: list[str] = []

    def write(context: Context) -> None:
        context.outputs["b.txt"].write_text(str([*context.inputs]))

    stages = order([
        _checked("slow", runs, on_request=True),
        stage("b", write, optional=("slow.txt",)),
    ])
    folder = build(PROJECT, tmp_path, stages=stages)
    assert (contents(folder), runs) == ({"b.txt", "manifest.json"}, [])
    folder = build(PROJECT, tmp_path, stages=stages, everything=True)
    assert contents(folder) == {"b.txt", "slow.txt", "manifest.json"}
    assert (folder / "b.txt").read_text() == "['slow.txt']"
    assert runs == ["slow"]


def test_a_result_that_says_what_is_wrong_is_kept_with_the_logs(tmp_path: Path) -> None:
    notes: list[str] = []
    runs: list[str] = []
    logs = tmp_path / ".a.txt.logs"
    for _ in range(2):
        written = run_alone(_checked("a", runs), PROJECT, {}, tmp_path / "a.txt", note=notes.append)
        assert [path.read_text() for path in written] == ["wrong"]
        assert contents(tmp_path) == {"a.txt", logs.name, f"{logs.name}/tool.log"}
    assert notes == 2 * ["as fast as it can be", f"the logs are in {logs}"]


def test_a_build_keeps_the_logs_of_what_is_wrong(tmp_path: Path) -> None:
    """Beside the cached result, which another build takes as it is."""
    runs: list[str] = []
    console = Console(file=io.StringIO())
    for _ in range(2):
        build(PROJECT, tmp_path, stages=order([_checked("a", runs)]), display=Display(console))
    (logs,) = (tmp_path / "cache").glob("a-*.logs")
    assert contents(logs) == {"tool.log"}
    assert runs == ["a"]
    assert not [*tmp_path.rglob("*.work")]
    assert [line[12:] for line in output(console) if str(logs) in line] == [
        f"the logs are in {logs}",
        f"unchanged, logs in {logs}",
    ]


def test_the_installed_stages() -> None:
    assert [*find_stages()] == [
        "train",
        "sensitivity",
        "prune",
        "quantize",
        "encode",
        "generate",
        "simulate",
        "synthesize",
        "verify",
        "report",
    ]


@pytest.mark.parametrize("name", ["train", "sensitivity", "prune", "quantize"])
def test_a_download_of_examples_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(validation: int, progress: Progress) -> None:
        progress(1, 4, "downloading")
        raise BadInputError("offline")

    monkeypatch.setattr("secateur.mnist.load", download)
    told = []
    project = Project.model_validate({"name": "small", "data": {"name": "mnist"}})
    with pytest.raises(BadInputError, match="offline"):
        run_alone(find_stages()[name], project, {}, tmp_path / "a", lambda *news: told.append(news))
    assert told == [(1, 4, "downloading")]
