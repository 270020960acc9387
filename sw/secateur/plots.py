"""Plots for the report: SVG whose colours the page decides, in light and dark."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from secateur.summary import RESOURCES, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["cycles_plot", "density_plot", "resources_plot", "utilization_plot", "weights_plot"]

#: Colours that stand for the page's own, so that a plot follows its light and dark theme.
INK, GRID, FIRST, SECOND, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", GRID: "--grid", FIRST: "--first", SECOND: "--second", THIRD: "--third"}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "secateur",  # the same data gives the same bytes
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

#: Inches: the width of every plot, and the height of one bar.
WIDTH, BAR = 7.0, 0.34


def density_plot(layers: Sequence[Mapping[str, Any]]) -> str:
    """Bars of the part of each layer's weights that is left."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.6 + BAR * len(layers)))
        _parts(
            figure.subplots(),
            [layer["name"] for layer in layers],
            [(layer["nonzeros"], layer["weights"]) for layer in layers],
        )
        return _svg(figure)


def weights_plot(
    before: Mapping[str, NDArray[np.floating]], after: Mapping[str, NDArray[np.floating]]
) -> str:
    """Histograms of each layer's weights: all of them before, the ones that are left after."""
    across = min(3, len(before))
    down = -(-len(before) // across)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * down))
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(before) :]:
            axes.set_visible(False)
        for axes, (name, weights) in zip(grid.flat, before.items(), strict=False):
            left = after[name][after[name] != 0]
            reach = max(np.abs(weights).max(), np.abs(left).max(initial=0))
            edges = np.linspace(-reach, reach, 61).tolist()
            axes.hist(weights.ravel(), edges, color=SECOND, alpha=0.55, label="before")
            axes.hist(left, edges, color=FIRST, label="after, without zeros")
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.7)
            axes.set_title(name)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
        figure.supylabel("weights", fontsize=9)
        return _svg(figure)


def cycles_plot(layers: Sequence[Mapping[str, Any]]) -> str:
    """Bars of each layer's cycles: measured, modelled and ideal."""
    series = (
        ("measured", "cycles", FIRST),
        ("modelled", "model", SECOND),
        ("ideal", "ideal", THIRD),
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 2.2 * BAR * len(layers)))
        axes = figure.subplots()
        places = np.arange(len(layers))
        for index, (label, key, color) in enumerate(series):
            bars = axes.barh(
                places + 0.27 * (index - 1),
                [layer[key] for layer in layers],
                height=0.25,
                color=color,
                label=label,
            )
            axes.bar_label(bars, [number(float(layer[key])) for layer in layers], padding=4)
        axes.set_yticks(places, [layer["name"] for layer in layers])
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.set_xlabel("cycles an inference, mean")
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=3)
        return _svg(figure)


def utilization_plot(layers: Sequence[Mapping[str, Any]]) -> str:
    """Bars of the part of all cycles in which each PE does a useful multiplication."""
    busy = np.sum([layer["pe_busy"] for layer in layers], axis=0)
    part = 100 * busy / sum(layer["cycles"] for layer in layers)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4))
        axes = figure.subplots()
        axes.bar(np.arange(part.size), part, width=0.75, color=FIRST)
        axes.axhline(part.mean(), color=SECOND, linewidth=1.2, label=f"mean {part.mean():.1f} %")
        axes.set_xticks(np.arange(0, part.size, -(-part.size // 16)))
        axes.set_ylim(0, max(100.0, part.max()))
        axes.yaxis.set_major_formatter(PercentFormatter())
        axes.set_xlabel("PE")
        axes.set_ylabel("cycles with a product")
        axes.grid(axis="y")
        figure.legend(loc="outside upper left")
        return _svg(figure)


def resources_plot(synthesis: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars of what is used of each device."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, (0.9 + BAR * len(RESOURCES)) * len(synthesis)))
        grid = figure.subplots(len(synthesis), squeeze=False)
        for axes, (device, used) in zip(grid.flat, synthesis.items(), strict=True):
            _parts(
                axes,
                [*RESOURCES.values()],
                [(used[key], used[f"{key}_available"]) for key in RESOURCES],
            )
            axes.set_title(device, loc="left")
        return _svg(figure)


def _parts(axes: Axes, labels: Sequence[str], values: Sequence[tuple[int, int]]) -> None:
    """Draw bars of how much each first number is of the second, which is the whole width."""
    percent = [100 * part / (whole or 1) for part, whole in values]
    axes.barh(labels, [100.0] * len(values), height=0.65, color=GRID)
    bars = axes.barh(labels, percent, height=0.65, color=FIRST)
    for bar, (part, whole) in zip(bars, values, strict=True):
        middle = bar.get_y() + bar.get_height() / 2
        axes.text(102, middle, f"{number(part)} of {number(whole)}", va="center")
    axes.set_xlim(0, 130)  # room for the numbers
    axes.set_xticks(range(0, 101, 20))
    axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.invert_yaxis()


def _svg(figure: Figure) -> str:
    """Draw as an element of the page: no prologue, no metadata, the page's colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the same in every plot, and used by none
    text = re.sub(r'width="[^"]*pt" height="[^"]*pt"|height="[^"]*pt"|width="[^"]*pt"', "", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text
