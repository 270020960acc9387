"""The netlist of a component after synthesis, as Verilog that a simulator runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub

from secateur.toolchain import run_yosys

if TYPE_CHECKING:
    from pathlib import Path

    from amaranth.lib import wiring

    from secateur.device import Device

__all__ = ["count_cells", "write_netlist"]

#: The kinds of the hard cells, by the names that Yosys gives them in any family.
KINDS = {
    "MULT18X18D": "dsp",
    "SB_MAC16": "dsp",
    "DP16KD": "bram",
    "SB_RAM40_4K": "bram",
    "SB_SPRAM256KA": "spram",
}


def write_netlist(component: wiring.Component, *, device: Device, folder: Path) -> Path:
    """Synthesise a component for ``device`` and write what simulates it.

    Parameters
    ----------
    component : Component
        What to synthesise.
    device : Device
        Its cells are modelled.
    folder : Path
        Gets the files.

    Returns
    -------
    Path
        Verilog: the module ``dut`` with the ports of the component, and the models of its cells.

    Raises
    ------
    CheckFailedError
        If Yosys is missing or fails, or its log shows a defect.
    """
    (folder / "dut.il").write_text(rtlil.convert(component, name="dut", emit_src=False))
    run_yosys("dut", family=device.family, makes="dut.v", folder=folder)
    netlist = folder / "dut.v"
    netlist.write_text(device.family.models() + netlist.read_text())
    return netlist


def count_cells(netlist: Path) -> dict[str, int]:
    """Count ``bram``, ``dsp`` and ``spram`` in a file of :func:`write_netlist`."""
    # Behind the models of the cells, which are modules of these names.
    text = netlist.read_text().partition("module dut(")[2]
    found = dict.fromkeys(KINDS.values(), 0)
    for name in re.findall(rf"^  ({'|'.join(KINDS)}) ", text, re.MULTILINE):
        found[KINDS[name]] += 1
    return found
