"""The netlist of a component after synthesis, as Verilog that a simulator runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub

from secateur.toolchain import run_yosys

if TYPE_CHECKING:
    from pathlib import Path

    from amaranth.lib import wiring

    from secateur.device import Device

__all__ = ["write_netlist"]


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
