"""Several processes: what each learns from torchrun, and what only the first one writes."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from secateur import distributed
from secateur.cli import command
from secateur.errors import BadInputError
from secateur.execute import run_alone
from secateur.project import Project
from secateur.stage import Context, Stage

TORCHRUN = Path(sys.executable).parent / "torchrun"

SMALL = """
[network]
hidden = [8]
[train]
epochs = 1
"""


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [TORCHRUN, "--standalone", "--nproc-per-node", "2", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_torchrun() -> None:
    assert distributed.world() == (0, 1)
    assert distributed.is_primary()
    with distributed.together():
        pass


@pytest.mark.parametrize(
    ("rank", "size"), [("0", None), (None, "2"), ("2", "2"), ("-1", "2"), ("", "2"), ("a", "b")]
)
def test_an_environment_that_is_not_torchruns(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, size: str | None
) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", size)):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(BadInputError) as caught:
        distributed.world()
    assert str(caught.value) == (
        f"RANK and WORLD_SIZE must be a number from 0 and a larger one, not {rank or ''!r} and "
        f"{size or ''!r}; start the processes with torchrun, or unset both"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["build", "small.toml"],
            (
                "`secateur build` is for one process; run it without torchrun, or the stages that "
                "learn, `secateur train`, `secateur prune` and `secateur quantize`, with it"
            ),
        ),
        (
            ["encode", "small.toml", "small.toml"],
            "`secateur encode` is for one process; run it without torchrun",
        ),
    ],
)
def test_what_is_for_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(command(), arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"secateur: {sentence}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.parametrize(("rank", "left"), [("0", ["seed.txt"]), ("1", [])])
def test_whose_results_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, left: list[str]
) -> None:
    def run(context: Context) -> None:
        context.outputs["seed.txt"].write_text(str(context.project.seed))

    stage = Stage(
        name="make",
        summary="",
        description="",
        example="",
        layer="sw",
        run=run,
        outputs=("seed.txt",),
        shared=True,
    )
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "together", nullcontext)  # there is no other to connect to
    run_alone(stage, Project(name="small"), {}, tmp_path / "seed.txt")
    assert [path.name for path in tmp_path.iterdir()] == left


WORKER = """
import torch, torch.distributed as dist
from secateur import distributed
with distributed.together():
    rank, size = distributed.world()
    gpus = torch.cuda.device_count()
    assert dist.get_backend() == ("nccl" if gpus >= size else "gloo")
    assert not gpus or torch.cuda.current_device() == rank % gpus
    total = torch.tensor([10 ** rank], device="cuda" if gpus else "cpu")
    dist.all_reduce(total)
    assert total.item() == 11 and size == 2 and distributed.is_primary() == (rank == 0)
assert not dist.is_initialized()
open(f"done-{rank}", "x")
"""


def test_processes_find_each_other(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    result = torchrun(tmp_path, "worker.py")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.glob("done-*")) == ["done-0", "done-1"]


def test_the_first_process_writes(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    result = torchrun(tmp_path, "-m", "secateur", "train", "small.toml", "-o", "out/a.safetensors")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "out/a.safetensors\nout/train.json\n"
    assert len(re.findall(r"^train +[0-9.]+ s$", result.stderr, re.MULTILINE)) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.safetensors",
        "train.json",
    ]
