"""What simulates vendors' cells, as Verilog.

Yosys ships models of all cells of the iCE40. Of the ECP5's block RAM and multiplier it has only the
ports. Those two are modelled here, as far as they are used: block RAM in every width, with its
output registers but without resets and chip selects (Lattice FPGA-TN-02204, "Output Register");
multiplier with the registers of its operands and its product, which CLK0 clocks (FPGA-TN-02205).
"""

from __future__ import annotations

import re

from secateur.toolchain import yosys_share

__all__ = ["ecp5_models", "ice40_models"]


def _read(name: str) -> str:
    """Read a file of Yosys's models, without the delays, which Verilator does not simulate."""
    text = (yosys_share() / name).read_text()
    return re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)


def _pins(name: str, count: int) -> str:
    """Name the pins of a bus, the highest first."""
    return ", ".join(name.format(index) for index in reversed(range(count)))


def _multiplier() -> str:
    return f"""
module MULT18X18D(
  input {_pins("A{}", 18)}, {_pins("B{}", 18)}, {_pins("C{}", 18)},
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output {_pins("P{}", 36)}
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE", RESETMODE = "SYNC", GSR = "ENABLED";
  initial if (REG_INPUTA_CLK != REG_INPUTB_CLK || REG_OUTPUT_CLK != REG_INPUTA_CLK
      || !(REG_OUTPUT_CLK == "NONE" || REG_OUTPUT_CLK == "CLK0") || REG_PIPELINE_CLK != "NONE")
    $fatal(1, "MULT18X18D is modelled without registers, or with those of operands and product");
  localparam REGISTERS = REG_OUTPUT_CLK != "NONE";

  wire signed [18:0] a = {{SIGNEDA & A17, {_pins("A{}", 18)}}};
  wire signed [18:0] b = {{SIGNEDB & B17, {_pins("B{}", 18)}}};
  reg signed [18:0] late_a = 0, late_b = 0;
  wire signed [37:0] product = REGISTERS ? late_a * late_b : a * b;
  reg [35:0] late_product = 0;
  always @(posedge CLK0) if (RST0) $fatal(1, "MULT18X18D is modelled without resets");
    else if (CE0) begin
      late_a <= a;
      late_b <= b;
      late_product <= product[35:0];
    end
  assign {{{_pins("P{}", 36)}}} = REGISTERS ? late_product : product[35:0];
endmodule
"""


def _port_pins(port: str) -> str:
    """Gather the pins of one port; for 36 bits it takes the data pins of the other one too."""
    return f"""
  wire [13:0] address_{port} = {{{_pins("AD" + port + "{}", 14)}}};
  wire [35:0] data_{port} = DATA_WIDTH_{port} == 36
    ? {{{_pins("DIB{}", 18)}, {_pins("DIA{}", 18)}}} : {{18'b0, {_pins("DI" + port + "{}", 18)}}};
  // Which bits of the word: its enables are the low address bits of a wide port.
  wire [3:0] enable_{port} = DATA_WIDTH_{port} == 36 ? address_{port}[3:0]
    : DATA_WIDTH_{port} == 18 ? {{2'b0, address_{port}[1:0]}} : 4'b1111;
  wire write_{port} = CE{port} && WE{port} && |enable_{port};
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
  initial if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
    $fatal(1, "DP16KD is modelled with rising edges only");
  always @(posedge CLKA)
    if (RSTA || RSTB || |{{{_pins("CSA{}", 3)}, {_pins("CSB{}", 3)}}})
      $fatal(1, "DP16KD is modelled without resets and chip selects only");

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
  wire [17:0] now_A = DATA_WIDTH_B == 36 ? read_B[17:0] : read_A[17:0];
  wire [17:0] now_B = DATA_WIDTH_B == 36 ? read_B[35:18] : read_B[17:0];
  reg [17:0] late_A = 0, late_B = 0;
  always @(posedge CLKA) if (OCEA) late_A <= now_A;
  always @(posedge CLKB) if (OCEB) late_B <= now_B;
  assign {{{_pins("DOA{}", 18)}}} = REGMODE_A == "OUTREG" ? late_A : now_A;
  assign {{{_pins("DOB{}", 18)}}} = REGMODE_B == "OUTREG" ? late_B : now_B;
endmodule
"""


def ecp5_models() -> str:
    """Return models of the cells of the ECP5 that a netlist of Yosys's has."""
    # Without the cells that the models include and Yosys never leaves in a netlist.
    logic = [_read(f"ecp5/{name}_sim.vh") for name in ("common", "ccu2c")]
    return "\n".join(["`define NO_INCLUDES", *logic, _multiplier(), _block_ram()])


def ice40_models() -> str:
    """Return models of the cells of the iCE40."""
    # Verilog has no default values of ports, which some simulators accept.
    return "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + _read("ice40/cells_sim.v")
