"""Where multipliers and block RAMs lie: nextpnr is told before it places the rest.

Its placer begins with all cells close together, and moves hard cells to sites that are free: in a
large device those of a PE come to lie far from each other. With sites chosen here the nets of 64
PEs in an ECP5-85F are half as long, and routed in a tenth of the time (docs/engine.md).
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Ecp5Grid", "Place", "floorplan"]

#: A PE, in the name of a cell of a flat netlist.
PE = re.compile(r"\bpe_(\d+)\.")
#: What PEs share.
SHARED = re.compile(r"\blookup\.")
#: The kinds of cells that get a site.
MULTIPLIER, BLOCK_RAM = "MULT18X18D", "DP16KD"


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
    multiplier_rows : tuple of int
        Rows of multipliers.
    block_ram_rows : tuple of int
        The row of block RAMs that belongs to each of them; empty to leave block RAMs to nextpnr.
    """

    groups: tuple[int, ...]
    multiplier_rows: tuple[int, ...]
    block_ram_rows: tuple[int, ...] = ()

    def places(self, block_rams: int) -> list[Place]:
        """Divide the sites among PEs with so many block RAMs each, by row and column.

        Without rows of block RAMs they have none.
        """
        found = []
        for upper, lower in zip_longest(self.multiplier_rows, self.block_ram_rows):
            multipliers = [
                (x + at, f"X{x + at}/Y{upper}/MULT18_{at}")
                for x in self.groups
                for at in (0, 1, 4, 5)
            ]
            y, rams = float(upper), []
            if lower is not None:
                y = (upper + lower) / 2
                rams = [f"X{x + 2 * at}/Y{lower}/EBR{at}" for x in self.groups for at in range(4)]
            step = max(block_rams, 1)
            for first in range(0, len(multipliers) - step + 1, step):
                x, multiplier = multipliers[first + (step - 1) // 2]
                own = (*rams[first : first + block_rams],)
                found.append(Place(x=x, y=y, multiplier=multiplier, block_rams=own))
        return found


def floorplan(cells: Mapping[str, str], grid: Ecp5Grid, *, lanes: int) -> dict[str, str]:
    """Choose sites for the hard cells of PEs, and for the block RAMs of everything else.

    Those that PEs share have none: nextpnr lays them between these. The others lie in the middle,
    and the PEs around them. The PEs of a lane lie together, since what they get comes from one
    register. Without rows of block RAMs only multipliers get sites.

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
        Sites, by name of the cell. Empty where there are more PEs than places, and without the
        block RAMs of everything else where they would drive the PEs apart: that is left to nextpnr.
    """
    multipliers: dict[int, list[str]] = defaultdict(list)
    block_rams: dict[int, list[str]] = defaultdict(list)
    others = []
    for name, kind in sorted(cells.items()):
        pe = PE.search(name)
        if pe and kind == MULTIPLIER:
            multipliers[int(pe[1])].append(name)
        elif kind == BLOCK_RAM and grid.block_ram_rows and not SHARED.search(name):
            if pe:
                block_rams[int(pe[1])].append(name)
            else:
                others.append(name)
    most = max(map(len, block_rams.values()), default=0)
    places = grid.places(most)
    pes = sorted(multipliers, key=lambda pe: (pe % lanes, pe))
    if len(pes) > len(places):
        return {}
    middle = [statistics.fmean(axis) for axis in zip(*((p.x, p.y) for p in places), strict=True)]
    places.sort(key=lambda place: math.dist((place.x, place.y), middle))
    # Not so many that the PEs lie at both ends.
    free = min(math.ceil(len(others) / most) if most else 0, len(pes) // 2, len(places) - len(pes))
    chosen = sorted(places[free : free + len(pes)], key=lambda place: (place.x, place.y))
    middle_rams = [ram for place in places[:free] for ram in place.block_rams]
    sites = dict(zip(others, middle_rams, strict=False)) if len(others) <= len(middle_rams) else {}
    for pe, place in zip(pes, chosen, strict=True):
        # A PE may have fewer block RAMs than another.
        sites |= zip(multipliers[pe], [place.multiplier], strict=False)
        sites |= zip(block_rams[pe], place.block_rams, strict=False)
    return sites
