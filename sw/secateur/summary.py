"""What results are made of and how they are written, and tables of them for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

__all__ = [
    "ACCURACIES",
    "LAYER_COLUMNS",
    "RESOURCES",
    "SOURCES",
    "number",
    "percent",
    "show",
    "told",
    "verification_table",
]

#: What the report is made of, and the stage that makes each; all of them may be missing.
SOURCES = {
    "model.safetensors": "train",
    "train.json": "train",
    "pruned.safetensors": "prune",
    "prune.json": "prune",
    "quantize.json": "quantize",
    "program.sct": "encode",
    "simulation.json": "simulate",
    "synthesis.json": "synthesize",
    "verification.json": "verify",
}

#: How people call the keys of ``accuracy`` in a report, in the order of the way.
ACCURACIES = {
    "float": "float",
    "pruned_before_retraining": "pruned",
    "pruned": "retrained",
    "quantized": "quantised",
    "rtl": "RTL",
}

#: Likewise the resources of a device.
RESOURCES = {"lut": "LUTs", "ff": "flip-flops", "bram": "block RAMs", "dsp": "multipliers"}


def number(value: float | None) -> str:
    """Write a number for people, the way that tables align it.

    Examples
    --------
    >>> number(12345), number(123.456), number(None)
    ('12,345', '123.5', '-')
    """
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """Write a fraction as per cent.

    Examples
    --------
    >>> percent(0.98765), percent(None)
    ('98.77 %', '-')
    """
    return "-" if value is None else f"{value:.2%}".replace("%", " %")


#: Columns of the table of layers: the heading, the key in the report, how its value is written.
LAYER_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("weights", "weights", number),
    ("non-zeros", "nonzeros", number),
    ("index bits", "index_bits", number),
    ("stored bits", "stored_bits", number),
    ("cycles", "cycles", number),
    ("PE utilisation", "utilization", percent),
)


def told(rung: Mapping[str, Any]) -> str:
    """Say how much a rung of the ladder compared, or why it did not pass.

    Examples
    --------
    >>> told({"outcome": "passed", "amounts": {"test inputs": 20, "outputs": 1200}, "why": ""})
    '20 test inputs, 1,200 outputs'
    >>> told({"outcome": "not run", "amounts": {}, "why": "iverilog is not installed"})
    'iverilog is not installed'
    """
    amounts = (f"{number(count)} {unit}" for unit, count in rung["amounts"].items())
    return rung["why"] or ", ".join(amounts)


def verification_table(rungs: Sequence[Mapping[str, Any]]) -> Table:
    """Make a table of the ladder, as :mod:`secateur.verify` has it."""
    table = Table("rung", "", "compared", "how much, or why not")
    for rung in rungs:
        table.add_row(*map(Text, (rung["name"], rung["outcome"], rung["compared"], told(rung))))
    return table


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Print what :func:`secateur.report.collect` returned."""
    accuracy = Table("accuracy on the test split", title_justify="left")
    accuracy.add_column("", justify="right")
    for key, label in ACCURACIES.items():
        accuracy.add_row(label, percent(report["accuracy"][key]))
    console.print(accuracy)

    layers = Table("layer")
    for heading, _, _ in LAYER_COLUMNS:
        layers.add_column(heading, justify="right")
    for layer in report["layers"]:
        layers.add_row(layer["name"], *(form(layer[key]) for _, key, form in LAYER_COLUMNS))
    console.print(layers)

    cycles, exact = report["cycles"], report["bit_exact"]
    facts = Table("engine")
    facts.add_column("", justify="right")
    facts.add_row("outputs compared", number(exact["outputs"]))
    facts.add_row("of which wrong", number(exact["mismatches"]))
    facts.add_row("cycles an inference, measured", number(cycles["mean"]))
    facts.add_row("modelled", number(cycles["model"]))
    facts.add_row("ideal: every PE always multiplies", number(cycles["ideal"]))
    facts.add_row("cycles from one inference to the next", number(cycles["period"]))
    facts.add_row("stored bits a weight", number(report["storage"]["bits_per_weight"]))
    console.print(facts)

    for device, used in report["synthesis"].items():
        table = Table(device)
        table.add_column("used", justify="right")
        table.add_column("available", justify="right")
        for key, label in RESOURCES.items():
            table.add_row(label, number(used[key]), number(used[f"{key}_available"]))
        table.add_row("Fmax, MHz", number(used["fmax_mhz"]), "")
        table.add_row("clock, MHz", number(used["clock_mhz"]), "")
        console.print(table)
    if report["verification"]:
        console.print(verification_table(report["verification"]))
    if report["missing"]:
        stages = ", ".join(f"`secateur {name}`" for name in report["missing"])
        console.print(
            f"Not in these tables, because it was not run: {stages}", markup=False, soft_wrap=True
        )
