"""Curves for TensorBoard, and what is said where it is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(BadInputError) as caught, tensorboard(tmp_path):
        pass
    assert str(caught.value) == (
        "--tensorboard needs TensorBoard, which is not installed; "
        "run `pip install secateur[tensorboard]`"
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
