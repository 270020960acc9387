"""The figures and tables of `synthesis.py`, for a terminal and for `docs/synthesis.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from secateur import markdown
from secateur.checks import clamp, clock_fmax
from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from secateur.device import Family
    from secateur.synthesize import Routed

__all__ = ["figures", "median", "page", "show", "verdicts"]

NOTE = (
    "Figures are those of the seed with the median Fmax, after routing of what "
    "`secateur.handover` makes of Yosys's netlist. LUT4: all sites of LUTs after packing "
    "(nextpnr's TRELLIS_COMB, ICESTORM_LC), those of distributed RAM, of carry chains and, on the "
    "iCE40, of flip-flops alone included, and the two that each write port of distributed RAM "
    "keeps from being used. The parts array and engine have no reset, as on the boards of the "
    "ECP5, and include what folds them onto few pins: see `wrapper`. Fmax is cut to what the data "
    "sheet allows cells that nextpnr cannot time; nextpnr: before that. seeds: the slowest and "
    "the fastest of those that were routed, and how many of how many these are; for the median "
    "the others count as slower."
)
HEADINGS = (
    *("case", "part", "LUT4", "FF", "RAM", "DSP", "SPRAM", "LUT4/PE"),
    *("wrapper", "Fmax", "seeds", "nextpnr", "must", "aim"),
)
PATHS = ("case", "part", "ns", "logic", "routing", "from", "to")
#: Whether more is better.
MORE = {"fmax_mhz": True, "lut4_per_pe": False}
UNITS = {"fmax_mhz": "MHz", "lut4_per_pe": "LUT4/PE"}

Figures = dict[str, dict[str, Any]]


def figures(report: dict[str, Any], routed: Routed, family: Family) -> dict[str, Any]:
    """Take the figures of a seed from nextpnr's report and what the project reads in it."""
    reported = clock_fmax(report)
    fmax, clamped_by = clamp(reported, report["utilization"], family.limits_mhz)
    return {
        "fmax_mhz": round(fmax, 2),
        "clamped_by": clamped_by,
        "nextpnr_mhz": round(reported, 2),
        "lut4": routed.used["lut"],
        **{kind: routed.used[kind] for kind in ("ff", "bram", "dsp", "spram")},
        "critical_path": routed.critical_path,
    }


def median(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give the figures of the seed with the median Fmax, of an even number the slower one.

    One without figures counts as slower than all others.

    Raises
    ------
    CheckFailedError
        If the seed with the median has none.

    Examples
    --------
    >>> median([{"seed": seed, "fmax_mhz": mhz} for seed, mhz in ((1, 90), (2, 70), (3, 80))])
    {'seed': 3, 'fmax_mhz': 80}
    """
    found = sorted(seeds, key=lambda each: each.get("fmax_mhz", 0))[(len(seeds) - 1) // 2]
    if "error" in found:
        raise CheckFailedError(f"seed {found['seed']}: {found['error']}")
    return dict(found)


def verdicts(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Compare a part's figures with its case's ``must`` and ``aim``; without figures none is met.

    Examples
    --------
    >>> verdicts({"median": {"fmax_mhz": 160}, "must": {"fmax_mhz": 150}, "aim": {}})
    {'must': {'fmax_mhz': {'bound': 150, 'met': True}}, 'aim': {}}
    """

    def met(name: str, bound: float) -> bool:
        if "median" not in found:
            return False
        value = found["median"][name]
        return value >= bound if MORE[name] else value <= bound

    return {
        kind: {name: {"bound": bound, "met": met(name, bound)} for name, bound in bounds.items()}
        for kind, bounds in ((kind, found[kind]) for kind in ("must", "aim"))
    }


def judged(found: Mapping[str, Any], kind: str) -> str:
    """Say whether the bounds of a kind are met."""
    return ", ".join(
        f"{'>=' if MORE[name] else '<='} {each['bound']} {UNITS[name]}: "
        + ("yes" if each["met"] else "NO")
        for name, each in verdicts(found)[kind].items()
    )


def row(found: Mapping[str, Any]) -> list[str]:
    """Show a part of a case."""
    start, end = [found["case"], found["part"]], [judged(found, "must"), judged(found, "aim")]
    if "median" not in found:
        return [*start, "failed", *[""] * (len(HEADINGS) - 5), *end]
    middle = found["median"]
    mhz = [each["fmax_mhz"] for each in found["seeds"] if "error" not in each]
    clamped = middle["clamped_by"] is not None
    return [
        *start,
        *(f"{middle[kind]:,}" for kind in ("lut4", "ff", "bram", "dsp", "spram")),
        f"{middle['lut4_per_pe']:.0f}",
        f"{found['wrapper']['lut4']:,}",
        f"{middle['fmax_mhz']:.1f}",
        f"{min(mhz):.1f} to {max(mhz):.1f}, {len(mhz)} of {len(found['seeds'])}",
        f"{middle['nextpnr_mhz']:.1f}" if clamped else "",
        *end,
    ]


def path(found: Mapping[str, Any]) -> list[str]:
    """Show the critical path of a part."""
    slow = found["median"]["critical_path"]
    delays = (slow["logic_ns"] + slow["routing_ns"], slow["logic_ns"], slow["routing_ns"])
    return [
        *(found["case"], found["part"]),
        *(f"{ns:.2f}" for ns in delays),
        *(slow["from"], slow["to"]),
    ]


def tables(found: Figures) -> dict[str, list[Sequence[str]]]:
    """Make all tables, headings first, by title."""
    routed = [each for each in found.values() if each.get("median", {}).get("critical_path")]
    return {
        "Synthesis": [HEADINGS, *(row(each) for each in found.values())],
        "Critical paths of the median seeds": [PATHS, *(path(each) for each in routed)],
    }


def flows(found: Figures) -> list[str]:
    """Say how each device was synthesised and routed, and why some parts or seeds were not."""
    lines = {
        f"{each['device']}: Yosys `{each['synthesis']}`, nextpnr `{' '.join(each['options'])}`"
        f"{', sites by secateur.floorplan' if 'floorplan' in each else ''} "
        f"({', '.join(f'{name} {version}' for name, version in each['tools'].items())})"
        for each in found.values()
        if "median" in each
    }
    return [
        *sorted(lines),
        *(f"{name} failed: {each['error']}" for name, each in found.items() if "error" in each),
        *(
            f"{name}, seed {seed['seed']}: {seed['error']}"
            for name, each in found.items()
            for seed in each.get("seeds", ())
            if "error" in seed
        ),
    ]


def show(console: Console, found: Figures) -> None:
    """Print the tables."""
    for title, (headings, *rows) in tables(found).items():
        table = Table(title=title, title_justify="left")
        for heading in headings:
            text = heading in ("case", "part", "must", "aim", "from", "to")
            table.add_column(heading, justify="left" if text else "right", overflow="fold")
        for cells in rows:
            table.add_row(*cells)
        console.print(table)
    for line in [NOTE, *flows(found)]:
        console.print(line, highlight=False, markup=False)


def page(found: Figures) -> str:
    """Write `docs/synthesis.md`."""
    parts = [
        "# Synthesis",
        "`python benchmarks/synthesis.py --docs docs` writes this page.",
        NOTE,
        *(f"## {title}\n\n{markdown.table(*rows)}" for title, rows in tables(found).items()),
        "\n".join(f"- {line}" for line in flows(found)),
    ]
    return "\n\n".join(parts) + "\n"
