"""Where the multipliers and block RAMs of PEs lie: nextpnr is told before it places the rest.

Its placer begins with all cells in one spot, and gives hard cells their sites once all cells are
spread: in a large device those of a PE come to lie far from each other. With sites chosen here the
nets of 64 PEs in an ECP5-85F are half as long, and routed in a tenth of the time (docs/engine.md).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.artefact import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from secateur.device import Device

__all__ = ["Ecp5Grid", "Place", "assign", "floorplan"]

#: A PE, in the name of a cell of a flat netlist.
PE = re.compile(r"\bpe_(\d+)\.")
#: Kinds of cells that get a site: multipliers and block RAMs.
KINDS = _, BLOCK_RAM = "MULT18X18D", "DP16KD"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Sites beside each other, for the hard cells of a PE.

    Parameters
    ----------
    x, y : float
        Where, in tiles.
    multiplier : str
        A site, as nextpnr calls it.
    block_rams : tuple of str
        Likewise.
    """

    x: float
    y: float
    multiplier: str
    block_rams: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ecp5Grid:
    """Rows of hard cells, in tiles, as Project Trellis numbers them.

    Parameters
    ----------
    groups : tuple of int
        First column of each group of nine tiles, which has four multipliers in a row of
        multipliers and four block RAMs in a row of block RAMs.
    bands : tuple of tuple of int
        Row of multipliers and the row of block RAMs that belongs to it.
    """

    groups: tuple[int, ...]
    bands: tuple[tuple[int, int], ...]

    def places(self, block_rams: int) -> list[Place]:
        """Divide the sites among PEs with so many block RAMs each, by row and column."""
        found = []
        for upper, lower in self.bands:
            multipliers = [
                (x + at, f"X{x + at}/Y{upper}/MULT18_{at}")
                for x in self.groups
                for at in (0, 1, 4, 5)
            ]
            rams = [f"X{x + 2 * at}/Y{lower}/EBR{at}" for x in self.groups for at in range(4)]
            count = min(len(multipliers), len(rams) // max(block_rams, 1))
            for index in range(count):
                x, multiplier = multipliers[index * len(multipliers) // count]
                own = rams[index * block_rams :][:block_rams]
                found.append(
                    Place(x=x, y=(upper + lower) / 2, multiplier=multiplier, block_rams=(*own,))
                )
        return found


def floorplan(cells: Mapping[str, str], grid: Ecp5Grid, *, lanes: int) -> dict[str, str]:
    """Choose sites for the hard cells of PEs.

    The places in the middle are left to the block RAMs of everything else; the PEs lie around
    them, those of a lane together, since what they get comes from one register.

    Parameters
    ----------
    cells : dict of str to str
        Kind of each cell of a flat netlist, by name.
    grid : Ecp5Grid
        The sites.
    lanes : int
        Of the engine: PE ``i`` belongs to lane ``i % lanes``.

    Returns
    -------
    dict of str to str
        Sites, by name of the cell. None where there are more PEs than places: then all is left to
        nextpnr.
    """
    pes: dict[int, list[list[str]]] = {}
    others = 0
    for name, cell in sorted(cells.items()):
        if cell in KINDS:
            if found := PE.search(name):
                pes.setdefault(int(found[1]), [[], []])[KINDS.index(cell)].append(name)
            else:
                others += cell == BLOCK_RAM
    each = max((len(block_rams) for _, block_rams in pes.values()), default=0)
    places = grid.places(each)
    if len(pes) > len(places):
        return {}
    middle = [
        sum(axis) / len(places) for axis in zip(*((at.x, at.y) for at in places), strict=True)
    ]
    places.sort(key=lambda place: math.dist((place.x, place.y), middle))
    free = min(-(-others // max(each, 1)), len(places) - len(pes))
    chosen = sorted(places[free : free + len(pes)], key=lambda place: (place.x, place.y))
    sites = {}
    for pe, place in zip(sorted(pes, key=lambda pe: (pe % lanes, pe)), chosen, strict=True):
        multipliers, block_rams = pes[pe]
        sites |= dict(zip(multipliers, [place.multiplier], strict=True))
        sites |= dict(zip(block_rams, place.block_rams, strict=False))  # another PE may have more
    return sites


def assign(netlist: Path, device: Device, *, lanes: int) -> None:
    """Write the sites that :func:`floorplan` chooses into Yosys's netlist of a flat ``top``.

    Where the device has no grid, nothing is done.
    """
    if device.grid is None:
        return
    design = json.loads(netlist.read_text())
    cells = design["modules"]["top"]["cells"]
    sites = floorplan(
        {name: cell["type"] for name, cell in cells.items()}, device.grid, lanes=lanes
    )
    for name, site in sites.items():
        cells[name]["attributes"]["BEL"] = site
    write_whole(netlist, json.dumps(design).encode())
