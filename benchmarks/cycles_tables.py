"""The tables of `cycles.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cycles_networks import EIE
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

__all__ = ["show"]

Figures = dict[str, dict[str, Any]]

#: NNgen 1.3.4, int8, on the dense LeNet-300-100, simulated by itself with its own check passing:
#: multipliers, and cycles an image with a memory bus of 128 bits. Measured once, not here.
NNGEN = ((16, 25_625), (1, 269_945))
#: Cycles of EIE's in a microsecond.
EIE_MHZ = 800

#: What a PE's cycle was for, by the name in the figures.
SHARES = {
    "useful": "useful",
    "padding": "padding",
    "walking": "idle, queue empty",
    "blocked": "idle, another's queue full",
    "waiting": "idle, no activation there",
    "standing": "idle, no layer to begin",
}


def table(title: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Make a table whose columns, but for the first, are numbers."""
    made = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="right" if index else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def count(value: float) -> str:
    """Show a number of cycles."""
    return f"{value:,.0f}"


def measured(found: dict[str, Any]) -> list[str]:
    """Show both ways of running, and how far the cycle model is off."""
    cells = [count(found["following"]["ideal"])]
    for way in ("alone", "following"):
        part = found[way]
        off = part["model"] / part["measured"] - 1
        cells += [count(part["cycles"]), f"{part['use']:.2f}", f"{100 * off:+.2f} %"]
    return [*cells, count(found["weights"] / found["spec"]["pes"])]


MEASURED = ("ideal", "alone", "use", "model", "following", "use", "model", "dense, 100 %")


def show(console: Console, found: Figures) -> None:
    """Print everything."""
    lenets = {name: each for name, each in found.items() if each["kind"] == "lenet"}
    if lenets:
        dense = next(iter(lenets.values()))["weights"]
        rows = [
            [
                f"{each['rate']}x, error {100 * each['error']:.2f} %",
                str(each["spec"]["pes"]),
                *measured(each),
            ]
            for each in lenets.values()
        ]
        for multipliers, cycles in NNGEN:
            empty = [""] * (len(MEASURED) - 3)
            rows.append([
                *("NNgen, dense", str(multipliers), count(dense / multipliers), count(cycles)),
                *(f"{dense / multipliers / cycles:.2f}", *empty[:-1], count(dense / multipliers)),
            ])
        heads = ("LeNet-300-100 on MNIST", "PEs", *MEASURED)
        console.print(table("Cycles an image, mean of 200", heads, rows))
    eies = {name: each for name, each in found.items() if each["kind"] == "eie"}
    if eies:
        rows = []
        for name, each in eies.items():
            paper = EIE[name]
            theirs = [count(EIE_MHZ * paper.theory), count(EIE_MHZ * paper.actual)]
            rows.append([name, *measured(each), *theirs, f"{paper.useful:.2f}"])
        heads = ("64 PEs", *MEASURED, "EIE's theory", "EIE", "use")
        console.print(table("Cycles of EIE's layers", heads, rows))
    others = {name: each for name, each in found.items() if each["kind"] == "ad01"}
    if others:
        rows = [[name, str(each["spec"]["pes"]), *measured(each)] for name, each in others.items()]
        heads = ("MLPerf Tiny's autoencoder", "PEs", *MEASURED)
        console.print(table("Cycles a window; a tenth of the weights, not retrained", heads, rows))
    console.print(
        "ideal: multiplications of a weight by an activation, neither zero, over PEs. alone: from "
        "the first word of x to the last of y. following: from y to y when inputs follow "
        "each other. use: ideal over cycles. model: how far the cycle model is off. dense, 100 %: "
        "all weights over PEs. NNgen's figures were measured before, with its own simulation.\n"
    )
    console.print(shares(found))
    console.print(layers(found))


def shares(found: Figures) -> Table:
    """Say what the cycles of all PEs were for."""
    rows = []
    for name, each in found.items():
        for way in ("alone", "following"):
            part = each[way]["shares"]
            cells = [f"{100 * part[key]:.1f}" for key in SHARES]
            rows.append([f"{name}, {way}", *cells])
    return table("Cycles of all PEs, %", ("", *SHARES.values()), rows)


def layers(found: Figures) -> Table:
    """Show the layers of networks that have several."""
    rows = [
        [
            f"{name} {layer['name']}",
            *(count(layer[key]) for key in ("ideal", "cycles", "walking", "blocked", "waiting")),
            f"{layer['ideal'] / layer['cycles']:.2f}",
            count(layer["model"]),
        ]
        for name, each in found.items()
        for layer in each["alone"]["layers"]
    ]
    heads = ("layer, alone", "ideal", "cycles", "passing words", "queue full", "no word", "use")
    title = "Cycles from the start of a layer's walk to the end of its drain; layers overlap"
    return table(title, (*heads, "model"), rows)
