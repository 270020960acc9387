"""Curves for TensorBoard, and what is said where it is missing."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from secateur.cli import command
from secateur.errors import BadInputError
from secateur.logs import tensorboard


def test_curves_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed; see the extra")
    with tensorboard(tmp_path / "curves") as log:
        log("loss", 0.5, 1)
        log("loss", 0.25, 2)
        log("density", 0.125, 1)
    # In a process of its own: what TensorBoard imports warns, and none of that is ours.
    script = (
        "import sys\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "events = EventAccumulator(sys.argv[1])\n"
        "events.Reload()\n"
        "print([(tag, point.step, point.value) for tag in sorted(events.Tags()['scalars'])\n"
        "       for point in events.Scalars(tag)])\n"
    )
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "curves")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.stdout.splitlines()[-1] == (
        "[('density', 1, 0.125), ('loss', 1, 0.5), ('loss', 2, 0.25)]"
    ), shown.stderr


def test_the_option_writes_the_curves_of_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = []

    class Writer:
        """What `torch.utils.tensorboard` gives, as far as it is used."""

        def __init__(self, folder: str) -> None:
            points.append(folder)

        def __enter__(self) -> "Writer":
            return self

        def __exit__(self, *_: object) -> None:
            points.append("closed")

        def add_scalar(self, name: str, value: float, epoch: int) -> None:
            points.append((name, epoch))

    module = ModuleType("torch.utils.tensorboard")
    module.__dict__["SummaryWriter"] = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    project = tmp_path / "small.toml"
    project.write_text("[network]\nhidden = [8]\n[train]\nepochs = 2\n")
    arguments = ["train", str(project), "-o", str(tmp_path / "m.safetensors")]
    result = CliRunner().invoke(command(), [*arguments, "--tensorboard", str(tmp_path / "curves")])
    assert result.exit_code == 0, result.output
    assert points == [
        str(tmp_path / "curves"),
        *[(name, epoch) for epoch in (1, 2) for name in ("loss", "accuracy")],
        "closed",
    ]


@pytest.mark.parametrize(
    ("name", "said", "extra"),
    [("tensorboard", "TensorBoard", "tensorboard"), ("torch", "torch", "train")],
)
def test_what_is_missing_is_said(
    name: str, said: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        """Finds what is not installed: nothing."""

        @staticmethod
        def find_spec(full: str, *_: object) -> None:
            if full == "torch.utils.tensorboard":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    with pytest.raises(BadInputError) as caught, tensorboard(tmp_path):
        pass
    assert str(caught.value) == (
        f"--tensorboard needs {said}, which is not installed; run `pip install secateur[{extra}]`"
    )


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed; see the extra")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError) as caught, tensorboard(tmp_path / "file" / "curves"):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'curves'} cannot be written: Not a directory; give another folder "
        "for --tensorboard"
    )
