"""What a placed and routed design keeps in its memories: found, compared and replaced in its text.

nextpnr writes a configuration as text that names no cell: a block RAM's contents stand under its
number (ECP5) or its place (iCE40), distributed RAM's under tile and look-up table. Which cell is
where, the routed netlist tells.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Contents", "Places", "RoutedConfig", "locate"]

#: Initial contents of a cell: its parameters, bit by bit, the lowest first.
Contents: TypeAlias = "dict[str, str]"
#: Where contents stand, by the cells' names: one place, or one for each bit of a word.
Places: TypeAlias = "dict[str, list[str]]"

#: Bits of a word of distributed RAM.
DISTRIBUTED_BITS = 4
#: A look-up table that a configuration does not name: what an erased one holds.
ERASED = "1" * 16


def locate(netlist: str) -> Places:
    """Find where the contents of every memory cell stand.

    Parameters
    ----------
    netlist : str
        What nextpnr's option ``--write`` writes, for an ECP5 or an iCE40.

    Returns
    -------
    dict of str to list of str
        By the names that the cells have after synthesis.
    """
    found: Places = {}
    cells = json.loads(netlist, object_hook=_without_nets)["modules"]["top"]["cells"]
    for name, cell in sorted(cells.items()):
        attributes = cell["attributes"]
        bel = attributes.get("NEXTPNR_BEL", "")
        if cell["type"] == "DP16KD":
            found[name] = [f".bram_init {int(attributes['WID'], 2)}"]
        elif block := re.fullmatch(r"X(\d+)/Y(\d+)/ram", bel):
            found[name.removesuffix("_RAM")] = [f".ram_data {block[1]} {block[2]}"]
        # One look-up table for each bit of a word; they are sorted by the bit.
        elif split := re.fullmatch(r"(.+)\$DPRAM_COMB\d", name):
            lut = re.fullmatch(r"X(\d+)/Y(\d+)/(SLICE\w\.K\d)", bel)
            assert lut, bel
            found.setdefault(split[1], []).append(f".tile R{lut[2]}C{lut[1]}:PLC2 {lut[3]}.INIT")
    return found


def _without_nets(part: dict[str, Any]) -> dict[str, Any]:
    """Drop, while it is read, what makes the netlist of a large design take gigabytes."""
    return {
        name: value
        for name, value in part.items()
        if name not in ("netnames", "connections", "port_directions", "parameters")
    }


class RoutedConfig:
    """A configuration in text, by nextpnr or by the tool that unpacks bitstreams.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        # Numbers of the lines in which the contents of a place begin.
        self._starts: dict[str, int] = {}
        tile = ""
        for number, line in enumerate(self._lines):
            if line.startswith(".tile "):
                tile = line
            elif line.startswith("."):
                self._starts[line] = number + 1
                tile = ""
            elif tile and line.startswith("word: "):
                self._starts[f"{tile} {line.split(' ')[1]}"] = number

    def __str__(self) -> str:
        return "\n".join(self._lines)

    def holds(self, places: list[str], contents: Contents) -> bool:
        """Tell whether ``contents`` stand at ``places``."""
        return all(
            self._line(place, below) == line for place, below, line in _printed(places, contents)
        )

    def put(self, places: list[str], contents: Contents) -> None:
        """Replace what stands at ``places``, all of which are there."""
        for place, below, line in _printed(places, contents):
            self._lines[self._starts[place] + below] = line

    def _line(self, place: str, below: int) -> str:
        """Return the line that stands so many lines below the first of a place."""
        if place in self._starts:
            at = self._starts[place] + below
            return self._lines[at] if at < len(self._lines) else ""
        return f"word: {place.split(' ')[-1]} {ERASED}"


def _printed(places: list[str], contents: Contents) -> Iterator[tuple[str, int, str]]:
    """Print ``contents``, each line with its place and its number there."""
    for bit, place in enumerate(places):
        kind, *_, name = place.split(" ")
        if kind == ".tile":
            lines = [f"word: {name} {_lut(contents['INITVAL'][bit::DISTRIBUTED_BITS])}"]
        else:
            rows = [contents[name] for name in sorted(contents)]
            lines = _ecp5_block(rows) if kind == ".bram_init" else _ice40_block(rows)
        for below, line in enumerate(lines):
            yield place, below, line


def _lut(bits: str) -> str:
    """Print a look-up table, whose pins A, B, C and D are the address bits 3, 1, 2 and 0."""
    address = [sum(bit for pin, bit in enumerate((8, 2, 4, 1)) if i >> pin & 1) for i in range(16)]
    return "".join(bits[each] for each in reversed(address))


def _ecp5_block(rows: list[str]) -> list[str]:
    """Print a block: of every 20 bits twice nine, eight such numbers in a line."""
    numbers = [
        f"{int(row[start : start + 9][::-1], 2):03x}"
        for row in rows
        for word in range(0, len(row), 20)
        for start in (word, word + 9)
    ]
    return [" ".join(numbers[at : at + 8]) for at in range(0, len(numbers), 8)]


def _ice40_block(rows: list[str]) -> list[str]:
    """Print a block: one number in a line."""
    return [f"{int(row[::-1], 2):0{len(row) // 4}x}" for row in rows]
