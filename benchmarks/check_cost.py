"""What the check of the weights costs: cells of a board's top with and without it, by Yosys.

`python benchmarks/check_cost.py` takes the engine 25k-16 of `synthesis.toml`, `--case` another one.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from synthesis import TABLE, cases

from secateur.gateware.top import Top
from secateur.toolchain import run_yosys

if TYPE_CHECKING:
    from synthesis import Case

BUILD = Path("build/check-cost")
CLOCK, BAUD = 100_000_000, 1_000_000


def cells(case: Case, *, checked: bool) -> Counter[str]:
    """Synthesise a top without a program, and count its cells by their kinds."""
    folder = BUILD / f"{case.name}-{'checked' if checked else 'plain'}"
    folder.mkdir(parents=True, exist_ok=True)
    top = Top(case.spec, clock=CLOCK, baud=BAUD, technology=case.device.technology, checked=checked)
    (folder / "top.il").write_text(rtlil.convert(top, name="top", emit_src=False))
    run_yosys("top", family=case.device.family, makes="top.json", folder=folder)
    netlist = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"]
    return Counter(cell["type"] for cell in netlist.values() if cell["type"][0] != "$")


def main() -> None:
    """Print every kind of cell whose number changes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="25k-16")
    case = cases(TABLE.read_text())[parser.parse_args().case]
    plain, checked = (cells(case, checked=checked) for checked in (False, True))
    for kind in sorted({*plain, *checked}):
        if plain[kind] != checked[kind]:
            print(f"{kind}: {plain[kind]} without, {checked[kind]} with the check")


if __name__ == "__main__":
    main()
