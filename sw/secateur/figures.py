"""The figures of Han et al. 2015, drawn from results: files that stand alone."""

from __future__ import annotations

import io
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from secateur.artefact import write_whole
from secateur.plots import STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = [
    "bands_figure",
    "distribution_figure",
    "save",
    "sensitivity_figure",
    "tradeoff_figure",
]

INK, GRID = "#1d2327", "#dcdfdc"
#: Of lines: as many as there are, over and over, with another marker for each turn.
COLORS = ("#1f6f5c", "#c9742b", "#5b74a8", "#a33b52", "#7a7a2a", "#6d4f94", "#2a8fa0", "#555b60")
MARKERS = "os^Dv"

_STYLE: dict[Any, Any] = {
    **STYLE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa5ab",
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.markersize": 3.5,
    "lines.linewidth": 1.3,
}
#: Inches.
WIDTH = 7.0


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in this module's style, which a figure takes on when its parts are made."""

    @wraps(draw)
    def styled(*arguments: Any) -> Figure:
        with rc_context(_STYLE):
            return draw(*arguments)

    return styled


@_styled
def sensitivity_figure(scan: Mapping[str, Any]) -> Figure:
    """Draw what each layer, pruned alone, costs, against what is left of it (figure 6).

    The axis of changes ends at 25 points: what loses more is of no use.

    Parameters
    ----------
    scan : mapping
        What :func:`secateur.sensitivity.sensitivity` returned; without layers, the figure says
        that nothing was measured.
    """
    figure = Figure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    for layer, style in zip(scan["layers"], _styles(len(scan["layers"])), strict=True):
        lost = [100 * (accuracy - scan["accuracy"]) for accuracy in layer["accuracies"]]
        axes.plot([100 * d for d in layer["densities"]], lost, label=layer["name"], **style)
    if scan["layers"]:
        axes.legend()
        axes.set_ylim(bottom=max(-25.0, axes.get_ylim()[0]))
        _density_axis(axes, "weights left of the layer, the others whole")
        axes.set_ylabel("accuracy, change in points")
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "there were no examples to measure with", ha="center")
    return figure


@_styled
def tradeoff_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], least: float = -3.0
) -> Figure:
    """Draw accuracy against the weights that are left, by several ways of pruning (figure 5).

    Parameters
    ----------
    curves : mapping of str to (densities, changes)
        By name: parts of the weights that are left, 0 to 1, and changes of the accuracy, in points.
    least : float
        Where the axis of changes ends.
    """
    figure = Figure(figsize=(WIDTH, 3.8))
    axes = figure.subplots()
    for (name, (densities, changes)), style in zip(
        curves.items(), _styles(len(curves)), strict=True
    ):
        axes.plot([100 * density for density in densities], changes, label=name, **style)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_ylim(least, max(0.5, *(max(changes) for _, changes in curves.values())))
    axes.legend()
    _density_axis(axes, "weights left")
    axes.set_ylabel("accuracy, change in points")
    return figure


@_styled
def distribution_figure(
    before: Mapping[str, NDArray[np.floating]], after: Mapping[str, NDArray[np.floating]]
) -> Figure:
    """Draw histograms of each layer's weights, before pruning and after retraining (figure 8).

    Zeros are left out. Both histograms of a layer have the same axis of values.

    Parameters
    ----------
    before, after : mapping of str to float[...]
        Weights by layer.
    """
    figure = Figure(figsize=(WIDTH, 4.0))
    grid = figure.subplots(2, len(before), squeeze=False, sharex="col")
    for column, (name, dense) in zip(grid.T, before.items(), strict=True):
        reach = max(np.abs(dense).max(), np.abs(after[name]).max())
        edges = np.linspace(-reach, reach, 61)
        kinds = (("before", dense), ("pruned and retrained", after[name]))
        for axes, (label, weights), color in zip(column, kinds, COLORS, strict=False):
            counts, _ = np.histogram(weights[weights != 0], edges)
            axes.stairs(counts, edges, fill=True, color=color)
            axes.set_title(f"{name}, {label}" if axes is column[0] else label)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.tick_params(labelsize=7)
    figure.supylabel("weights", fontsize=9)
    return figure


@_styled
def bands_figure(weight: NDArray[np.floating], side: int) -> Figure:
    """Draw which connections a first layer keeps, and how many of them each pixel (figure 4).

    Parameters
    ----------
    weight : float[neurons, side * side]
        Pixels in rows of the image: the middle of each is what connections are left of, so that
        there is a band for each row.
    side : int
        Pixels in a row of the image.
    """
    left = weight != 0
    figure = Figure(figsize=(WIDTH, 3.2))
    rows, image = figure.subplots(1, 2, width_ratios=(2.4, 1))
    rows.grid(visible=False)
    rows.imshow(left, cmap="Greys", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    rows.xaxis.set_major_locator(FixedLocator([*range(0, left.shape[1], 4 * side)]))
    rows.set_xlabel(f"input, in rows of {side} pixels")
    rows.set_ylabel("neuron")
    image.grid(visible=False)
    shown = image.imshow(left.sum(axis=0).reshape(-1, side), cmap="Greys", vmin=0)
    image.set_title("connections of each pixel")
    image.xaxis.set_major_locator(NullLocator())
    image.yaxis.set_major_locator(NullLocator())
    figure.colorbar(shown, ax=image, shrink=0.7)
    return figure


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure, in the format that each file's name ends with; whole or not at all.

    The same figure gives the same bytes.

    Raises
    ------
    BadInputError
        If a file cannot be written.
    """
    for path in paths:
        buffer = io.BytesIO()
        kind = path.suffix.removeprefix(".")
        # What matplotlib would write of itself and of the time.
        unsaid = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
        with rc_context(_STYLE):
            figure.savefig(buffer, format=kind, dpi=150, facecolor="white", metadata=unsaid[kind])
        write_whole(path, buffer.getvalue())


def _styles(count: int) -> list[dict[str, Any]]:
    return [
        {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index // len(COLORS) % 5]}
        for index in range(count)
    ]


def _density_axis(axes: Axes, label: str) -> None:
    """Show densities, in per cent, on a logarithmic axis that begins with everything."""
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks = [100, 50, 20, 10, 5, 2, 1, 0.5]
    low = min(axes.get_xlim())
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick >= low]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.set_xlabel(label)
