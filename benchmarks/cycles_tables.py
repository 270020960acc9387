"""The tables of `cycles.py`, for a terminal and for `docs/cycles.md`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cycles_networks import EIE
from rich.table import Table

from secateur import markdown
from secateur.engine import EngineSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

__all__ = ["page", "show", "summary"]

Figures = dict[str, dict[str, Any]]

#: NNgen 1.3.4, int8, on the dense LeNet-300-100, simulated by itself with its own check passing:
#: its name here, multipliers, and cycles an image. Measured once, not here.
NNGEN = (
    ("16 multipliers, 128-bit bus", 16, 25_625),
    ("16 multipliers, 32-bit bus", 16, 92_161),
    ("1 multiplier", 1, 269_945),
)
#: Cycles of EIE's in a microsecond.
EIE_MHZ = 800

#: What a PE's cycle was for, by the name in the figures.
SHARES = {
    "useful": "useful",
    "padding": "padding",
    "walking": "queue empty",
    "blocked": "another's queue full",
    "waiting": "no activation",
    "standing": "no layer",
}
#: What holds for all networks, and its headings.
MEASURED = (
    *("ideal", "alone", "use", "following", "use", "over ideal", "model off"),
    "dense, 100 %",
)
NOTE = (
    "Mean cycles an input. alone: from the first word of x to the last of y, the engine idle "
    "before. following: from the last of a y to the last of the next one, when inputs follow each "
    "other. ideal: multiplications of a weight by an activation, neither zero, over PEs. use: "
    "ideal over cycles, which is useful multiplications per PE and cycle. model off: the largest "
    "difference between measured cycles and the cycle model's, of any input in either way and of "
    "any layer. dense, 100 %: the multiplications of all weights over PEs, which is what a dense "
    "engine of as many multipliers would take that is never idle. The figures of NNgen 1.3.4 "
    "(int8, its own simulation) were measured before, not by this command."
)


@dataclass(frozen=True)
class Shown:
    """A table: its first column is text, the others are numbers."""

    title: str
    headings: Sequence[str]
    rows: Iterable[Sequence[str]]

    def rich(self) -> Table:
        """Lay it out for a terminal."""
        made = Table(title=self.title, title_justify="left")
        for index, heading in enumerate(self.headings):
            made.add_column(heading, justify="right" if index else "left", overflow="fold")
        for row in self.rows:
            made.add_row(*row)
        return made

    def markdown(self) -> str:
        """Lay it out for a page."""
        return f"## {self.title}\n\n{markdown.table(self.headings, *self.rows)}"


def count(value: float) -> str:
    """Show a number of cycles."""
    return f"{value:,.0f}"


def percent(part: float, digits: int = 1) -> str:
    """Show a part."""
    return f"{100 * part:.{digits}f} %"


def off(found: dict[str, Any]) -> float:
    """Give the largest part by which the cycle model is off."""
    alone, following = found["alone"], found["following"]
    return max(part["off"] for part in (alone, following, *alone["layers"]))


def measured(found: dict[str, Any]) -> list[str]:
    """Give the cells under ``MEASURED``."""
    alone, following = found["alone"], found["following"]
    return [
        *(count(alone["ideal"]), count(alone["cycles"]), f"{alone['use']:.2f}"),
        *(count(following["cycles"]), f"{following['use']:.2f}"),
        percent(1 / following["use"] - 1),
        percent(off(found), 2),
        count(found["dense"] / found["spec"]["pes"]),
    ]


def of_kind(found: Figures, kind: str) -> Figures:
    """Choose networks."""
    return {name: each for name, each in found.items() if each["kind"] == kind}


def tables(found: Figures) -> list[Shown]:
    """Make all tables for which there are figures."""
    shown = []
    if lenets := of_kind(found, "lenet"):
        shown.append(
            Shown(
                "LeNet-300-100 on MNIST, 200 test images",
                ("pruned, error", "engine", *MEASURED),
                [*lenet_rows(lenets), *nngen_rows(next(iter(lenets.values()))["dense"])],
            )
        )
    if convolutional := of_kind(found, "lenet5"):
        inputs = next(iter(convolutional.values()))["inputs"]
        shown.append(
            Shown(
                f"LeNet-5 on MNIST, {inputs} test images, an engine with positions",
                ("pruned, error", "weights", "engine", *MEASURED),
                [
                    [
                        f"{each['rate']}x, {percent(each['error'], 2)}",
                        *(count(each["nonzeros"]), f"{each['spec']['pes']} PEs"),
                        *measured(each),
                    ]
                    for each in convolutional.values()
                ],
            )
        )
    if eies := of_kind(found, "eie"):
        spec = next(iter(eies.values()))["spec"]
        shown.append(
            Shown(
                f"EIE's layers at {spec['pes']} PEs, {spec['lanes']} lanes, "
                f"queues of {spec['queue_depth']}",
                ("layer", *MEASURED, "EIE's theory", "EIE", "EIE's use"),
                eie_rows(eies),
            )
        )
    for name, each in of_kind(found, "large").items():
        spec, made = each["spec"], each["generation"]
        shown.append(
            Shown(
                f"The largest engine: {spec['pes']} PEs, {spec['lanes']} lanes",
                ("layer", *MEASURED, "Verilog, MB", "generated in, s", "CPU, s"),
                [
                    [
                        *(name, *measured(each), f"{made['bytes'] / 1e6:.1f}"),
                        *(count(made["seconds"]), count(made["cpu"])),
                    ]
                ],
            )
        )
    for each in of_kind(found, "sizes").values():
        shown.append(
            Shown(
                "The same on other engines, by the cycle model",
                *(
                    (
                        "lanes",
                        "queue",
                        "alone: mean use",
                        "lowest",
                        "following: mean use",
                        "lowest",
                    ),
                    [size_row(size) for size in each["sizes"]],
                ),
            )
        )
    if others := of_kind(found, "ad01"):
        shown.append(
            Shown(
                "MLPerf Tiny's autoencoder, a tenth of its weights, not retrained: speed only",
                ("network", "PEs", *MEASURED),
                [
                    [name, str(each["spec"]["pes"]), *measured(each)]
                    for name, each in others.items()
                ],
            )
        )
    if networks := {name: each for name, each in found.items() if "alone" in each}:
        shown += [stalls(networks), layers(networks)]
    return shown


def lenet_rows(lenets: Figures) -> Iterable[list[str]]:
    """Show the pruned LeNets."""
    for each in lenets.values():
        spec = EngineSpec(**each["spec"])
        engine = f"{spec.pes} PEs"
        if spec.queue_depth != EngineSpec.queue_depth:
            engine += f", queues of {spec.queue_depth}"
        if spec.jobs != 4:  # as all others have it
            engine += f", {spec.jobs} jobs"
        if spec.accumulator_memories == 1:
            engine += ", 1 memory"
        yield [f"{each['rate']}x, {percent(each['error'], 2)}", engine, *measured(each)]


def nngen_rows(multiplications: int) -> Iterable[list[str]]:
    """Show what NNgen needs for the same network, dense."""
    for name, multipliers, cycles in NNGEN:
        dense = multiplications / multipliers
        cells = {"ideal": count(dense), "alone": count(cycles), "dense, 100 %": count(dense)}
        row = [cells.get(heading, "") for heading in MEASURED]
        row[MEASURED.index("alone") + 1] = f"{dense / cycles:.2f}"
        yield ["dense", f"NNgen, {name}", *row]


def eie_rows(eies: Figures) -> list[list[str]]:
    """Show EIE's layers, and the mean use where all are there."""
    rows = []
    for name, each in eies.items():
        paper = EIE[name]
        theirs = [count(EIE_MHZ * paper.theory), count(EIE_MHZ * paper.actual)]
        rows.append([name, *measured(each), *theirs, f"{paper.useful:.2f}"])
    if len(eies) == len(EIE):
        row = [""] * len(rows[0])
        row[0] = "mean"
        for at, way in zip((3, 5), ("alone", "following"), strict=True):
            row[at] = f"{mean(each[way]['use'] for each in eies.values()):.2f}"
        row[-1] = f"{mean(paper.useful for paper in EIE.values()):.2f}"
        rows.append(row)
    return rows


def size_row(size: dict[str, Any]) -> list[str]:
    """Show what all layers of EIE's reach on an engine."""
    uses = [[layer[way] for layer in size["layers"].values()] for way in ("alone", "following")]
    cells = [cell for use in uses for cell in (f"{mean(use):.2f}", f"{min(use):.2f}")]
    return [str(size["lanes"]), str(size["queue_depth"]), *cells]


def mean(values: Iterable[float]) -> float:
    """Give the mean."""
    values = [*values]
    return sum(values) / len(values)


def stalls(found: Figures) -> Shown:
    """Say what the cycles of all PEs were for."""
    rows = []
    for name, each in found.items():
        for way in ("alone", "following"):
            part = each[way]["shares"]
            rows.append([name, way, *(f"{100 * part[key]:.1f}" for key in SHARES)])
    title = "Cycles of all PEs, percent: multiplying, or idle because of"
    return Shown(title, ("network", "inputs", *SHARES.values()), rows)


def layers(found: Figures) -> Shown:
    """Show each layer."""
    rows = []
    for name, each in found.items():
        alone, following = each["alone"]["layers"], each["following"]["layers"]
        for layer, behind in zip(alone, following, strict=True):
            rows.append([
                *(name, layer["name"], count(layer["ideal"]), count(layer["cycles"])),
                *(f"{layer['ideal'] / layer['cycles']:.2f}", percent(layer["off"], 2)),
                *(count(layer[key]) for key in ("walking", "blocked", "waiting")),
                *(count(behind[key]) for key in ("cycles", "blocked", "waiting")),
            ])
    walk = ("queue full", "no word")
    return Shown(
        "Cycles of each layer, from the start of its walk to the end of its drain; layers overlap",
        (
            *("network", "layer", "ideal", "alone", "use", "model off", "passing words"),
            *(*walk, "following", *walk),
        ),
        rows,
    )


def show(console: Console, found: Figures) -> None:
    """Print everything."""
    console.print(NOTE, end="\n\n", highlight=False)
    for shown in tables(found):
        console.print(shown.rich(), "")


def page(found: Figures) -> str:
    """Write everything as a page."""
    intro = (
        "`python benchmarks/cycles.py --docs docs` writes this page. It measures the generated "
        "Verilog of the whole engine in Verilator, with a program loaded through its load stream, "
        "compares every output with what the network computes, and counts every multiplication."
    )
    parts = ["# Cycles", intro, NOTE, *(shown.markdown() for shown in tables(found))]
    return "\n\n".join(parts) + "\n"


def summary(found: Figures) -> dict[str, float]:
    """Give the figures over all networks."""
    networks = [each for each in found.values() if "alone" in each]
    made: dict[str, float] = {"compared": sum(each["compared"] for each in networks)}
    if networks:
        made["model_off"] = max(map(off, networks))
    if len(eies := of_kind(found, "eie")) == len(EIE):
        for way in ("alone", "following"):
            uses = [each[way]["use"] for each in eies.values()]
            made |= {f"eie_{way}_mean_use": mean(uses), f"eie_{way}_lowest_use": min(uses)}
    return made
