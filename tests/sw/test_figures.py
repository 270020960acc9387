"""The paper's figures: what they show, and that the same data gives the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from secateur.errors import BadInputError
from secateur.figures import (
    bands_figure,
    distribution_figure,
    save,
    sensitivity_figure,
    tradeoff_figure,
)

SCAN = {
    "accuracy": 0.9,
    "layers": [
        {"name": "conv1", "densities": [1.0, 0.1, 0.01], "accuracies": [0.9, 0.7, 0.1]},
        {"name": "fc1", "densities": [1.0, 0.1], "accuracies": [0.9, 0.91]},
    ],
}
CURVES = {"L2, retrained": ([0.5, 0.1], [0.1, -0.2]), "L1, not": ([0.5, 0.1], [0.0, -9.0])}
WEIGHTS = {"fc1": np.array([[0.0, 0.5], [-1.0, 0.25]]), "fc2": np.array([[1.0, -1.0]])}


def figures() -> dict[str, Figure]:
    return {
        "sensitivity": sensitivity_figure(SCAN),
        "tradeoff": tradeoff_figure(CURVES),
        "distribution": distribution_figure(WEIGHTS, WEIGHTS),
        "bands": bands_figure(np.eye(4, 9), 3),
    }


def lines(figure: Figure) -> dict[object, list[tuple[float, float]]]:
    """Give the points of each line by its name."""
    return {
        line.get_label(): [(x, y) for x, y in np.round(np.asarray(line.get_xydata()), 9).tolist()]
        for line in figure.axes[0].get_lines()
    }


def test_sensitivity_is_a_change_in_points() -> None:
    figure = sensitivity_figure(SCAN)
    assert lines(figure) == {
        "conv1": [(100.0, 0.0), (10.0, -20.0), (1.0, -80.0)],
        "fc1": [(100.0, 0.0), (10.0, 1.0)],
    }
    low, _ = figure.axes[0].get_ylim()
    assert low == -25.0  # what loses more is of no use
    left, right = figure.axes[0].get_xlim()
    assert left > 100 > 1 > right
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["100 %", "50 %", "20 %", "10 %", "5 %", "2 %", "1 %"]


def test_tradeoff_shows_every_curve_down_to_its_limit() -> None:
    figure = tradeoff_figure(CURVES)
    got = lines(figure)
    assert got["L2, retrained"] == [(50.0, 0.1), (10.0, -0.2)]
    assert got["L1, not"] == [(50.0, 0.0), (10.0, -9.0)]
    assert figure.axes[0].get_ylim() == (-3.0, 0.5)


def test_distribution_leaves_zeros_out() -> None:
    figure = distribution_figure(WEIGHTS, {"fc1": np.zeros((1, 2)), "fc2": np.ones((1, 2))})
    drawn = [axes.patches[0] for axes in figure.axes]
    assert all(isinstance(patch, StepPatch) for patch in drawn)
    counts = [np.sum(patch.get_data()[0]) for patch in drawn if isinstance(patch, StepPatch)]
    assert counts == [3, 2, 0, 2]
    assert [axes.get_title() for axes in figure.axes] == [
        "fc1, before", "fc2, before", "pruned and retrained", "pruned and retrained",
    ]  # fmt: skip


def test_bands_are_the_connections_and_their_sums_by_pixel() -> None:
    weight = np.array([[0.0, 0.5, 0.0, -1.0], [0.0, 2.0, 0.0, 0.0]])
    rows, image, _ = bands_figure(weight, 2).axes
    assert np.array_equal(np.asarray(rows.images[0].get_array()), weight != 0)
    assert np.array_equal(np.asarray(image.images[0].get_array()), [[0, 2], [0, 1]])


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_data_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name, figure in figures().items():
        save(figure, tmp_path / f"{name}.{kind}")
    for name, figure in figures().items():
        save(figure, tmp_path / f"again.{kind}")
        got = (tmp_path / f"{name}.{kind}").read_bytes()
        assert got == (tmp_path / f"again.{kind}").read_bytes(), name
        assert b"matplotlib.org" not in got[-2000:]
        assert got.startswith(b"\x89PNG" if kind == "png" else b"<?xml")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "a.svg"
    with pytest.raises(BadInputError) as caught:
        save(sensitivity_figure(SCAN), file)
    assert str(caught.value) == (
        f"{file} cannot be written (No such file or directory); give another path"
    )
