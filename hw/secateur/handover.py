"""What nextpnr is given: Yosys's netlist, with sites, and without carries that nobody reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from secateur.artefact import write_whole
from secateur.floorplan import floorplan

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.device import Device

__all__ = ["hand_over"]

#: The cell of the ECP5's carry chains, and its output that leads to the next one.
CARRY, CARRY_OUT = "CCU2C", "COUT"


def hand_over(netlist: Path, device: Device, *, lanes: int) -> None:
    """Prepare Yosys's netlist of a flat ``top`` for nextpnr, in place.

    Hard cells get the sites of :func:`secateur.floorplan.floorplan`, where the device has a grid of
    them. The carry out of a chain's end is cut where it drives nothing: to nextpnr any net there is
    worth a cell, two LUTs, that leads it out of the chain.
    """
    design = json.loads(netlist.read_text())
    top = design["modules"]["top"]
    cells = top["cells"]
    if device.grid is not None:
        kinds = {name: cell["type"] for name, cell in cells.items()}
        for name, site in floorplan(kinds, device.grid, lanes=lanes).items():
            cells[name]["attributes"]["BEL"] = site
    read = {bit for port in top["ports"].values() for bit in port["bits"]}
    read |= {bit for cell in cells.values() for bit in _inputs(cell)}
    for cell in cells.values():
        if cell["type"] == CARRY and not read.intersection(cell["connections"][CARRY_OUT]):
            cell["connections"][CARRY_OUT] = ["x"]
    write_whole(netlist, json.dumps(design).encode())


def _inputs(cell: dict[str, Any]) -> list[int | str]:
    """List the nets that a cell reads, by number, and constants."""
    directions = cell["port_directions"]
    return [
        bit
        for port, bits in cell["connections"].items()
        if directions[port] != "output"
        for bit in bits
    ]
