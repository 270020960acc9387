"""The hard cells of the ECP5, with the registers that Yosys does not infer.

Cells and parameters as in Lattice's FPGA-TN-02204 (memory) and FPGA-TN-02205 (sysDSP), and as in
Yosys's model of the carry chain (``ecp5/ccu2c_sim.vh``). At speed grade 6 nextpnr times a block RAM
at 361 MHz with its output register and at 141 MHz without, and a multiplier at 363 MHz with the
registers at its operands and its product and at 140 MHz without.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed

from secateur.technology import Technology
from secateur.technology.blocks import BlockRam, Tile, TiledMemory
from secateur.technology.distributed import DistributedMemory
from secateur.technology.portable import DISTRIBUTED_WORDS, Adder, Codebooks, Multiplier

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EBR", "ECP5", "Ecp5Adder", "Ecp5Codebooks", "Ecp5Memory", "Ecp5Multiplier"]

#: 18 kbit. Of 36 bits only with one port to read and one to write.
EBR = BlockRam(shapes=((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36)))
#: The most bits of a word where each of its ports reads.
PORT_BITS = 18

#: A LUT whose inputs A to D are c, a, select, b of an adder: the sum of two bits. Where it is 0 the
#: carry out is what the LUT gives without select and b, which is c.
SUM_OF_CHOSEN = Const(
    sum(
        (c ^ (a if select else b)) << (c | a << 1 | select << 2 | b << 3)
        for c, a, select, b in itertools.product(range(2), repeat=4)
    ),
    16,
)


def pins(direction: str, name: str, value: Value) -> dict[str, Value]:
    """Name each pin of a bus, as these cells do: ``i_A0``, ``i_A1`` ..."""
    return {f"{direction}_{name}{index}": value[index] for index in range(len(value))}


def initial(tile: Tile, words: Sequence[int]) -> dict[str, Const]:
    """Arrange initial words: a parameter holds sixteen times 18 bits, each of them in 20."""
    # Only words of whole bytes use the ninth bit of a byte.
    bits = 0
    for address, word in enumerate(words):
        place = address * tile.bits
        if tile.bits < 9:
            place = place // 8 * 9 + place % 8
        bits |= word << place
    return {
        f"p_INITVAL_{index:02X}": Const(
            sum((bits >> 18 * (16 * index + n) & 0x3FFFF) << 20 * n for n in range(16)), 320
        )
        for index in range(64)
    }


def bits_below(tile: Tile) -> int:
    """Count the bits of a port's address, of 14, that lie below a word's address."""
    return 14 - (tile.words - 1).bit_length()


def byte_enables(tile: Tile) -> Const:
    """Set the bits below a written word's address: which of its bytes, from 18 bits on."""
    return Const(0b11 if tile.bits == 18 else 0, bits_below(tile))


def block_ram(tile: Tile, init: Sequence[int], **others: Value | str) -> Instance:
    """Make a block RAM, with the output register of port B, of which only port A writes."""
    return Instance(
        "DP16KD",
        **initial(tile, init),
        p_DATA_WIDTH_A=tile.bits,
        p_DATA_WIDTH_B=tile.bits,
        p_REGMODE_B="OUTREG",
        p_RESETMODE="SYNC",
        p_GSR="DISABLED",
        **pins("i", "CSA", Const(0, 3)),
        **pins("i", "CSB", Const(0, 3)),
        i_CLKA=ClockSignal(),
        i_CLKB=ClockSignal(),
        i_CEA=Const(1),
        i_WEB=Const(0),
        i_RSTA=Const(0),
        i_RSTB=Const(0),
        **others,
    )


class Ecp5Memory(TiledMemory, DistributedMemory):
    """Block RAM, or distributed RAM where the memory is small.

    Port A writes and port B reads; both together make the words of 36 bits.
    """

    BLOCK = EBR

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the block RAMs."""
        if depth * banks <= DISTRIBUTED_WORDS:
            return {}
        return super().cells(width, depth=depth, banks=banks, filled=filled)

    def elaborate(self, platform: object) -> Module:
        if self.words <= DISTRIBUTED_WORDS:
            return super(TiledMemory, self).elaborate(platform)
        return super().elaborate(platform)

    def block(
        self,
        m: Module,
        tile: Tile,
        init: Sequence[int],
        *,
        read: Value,
        write: Value,
        enable: Value,
        data: Value,
    ) -> Value:
        both = tile.bits == 36
        below = bits_below(tile)
        enables = Cat(enable.replicate(4), Const(0, 1)) if both else byte_enables(tile)
        into, out = Signal(36), Signal(36)
        ada, adb = Signal(14), Signal(14)
        m.d.comb += [
            into.eq(data),
            ada.eq(Cat(enables, write)),
            adb.eq(Cat(Const(0, below), read)),
        ]
        m.submodules += block_ram(
            tile,
            init,
            # In words of 36 bits, port A's pins are the low half of what port B reads.
            p_REGMODE_A="OUTREG" if both else "NOREG",
            **pins("i", "ADA", ada),
            **pins("i", "ADB", adb),
            **pins("i", "DIA", into[:18]),
            **pins("i", "DIB", into[18:]),
            **pins("o", "DOA", out[:18] if both else Signal(18)),
            **pins("o", "DOB", out[18:] if both else out[:18]),
            i_CEB=self.read_enable,
            i_OCEA=self.read_enable,
            i_OCEB=self.read_enable,
            # Both ports together have no write enable but the bytes'.
            i_WEA=Const(1) if both else enable,
        )
        return out[: tile.bits]


class Ecp5Codebooks(Codebooks):
    """Block RAM, each of whose two ports serves a reader. Port A writes, too."""

    READERS = 2

    @staticmethod
    def _tile(width: int, depth: int) -> Tile:
        """Choose the widest words of which a block holds all: no port has more than 18 bits."""
        words, bits = next(
            (words, bits)
            for words, bits in reversed(EBR.shapes)
            if bits <= PORT_BITS and words >= depth
        )
        return Tile(words=words, bits=bits, rows=1, columns=-(-width // bits))

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the block RAMs."""
        return {"bram": cls._tile(width, depth * banks).columns}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile = self._tile(len(self.write_value), self.depth)
        below = bits_below(tile)
        first, second = [*self.read_address, Const(0)][: self.READERS]
        into = Cat(self.write_value, Const(0, tile.bits))
        ada, adb = Signal(14), Signal(14)
        m.d.comb += [
            ada.eq(
                Cat(
                    byte_enables(tile),
                    Mux(self.write_enable, self.write_address, first),
                )
            ),
            adb.eq(Cat(Const(0, below), second)),
        ]
        values: list[list[Value]] = [[], []]
        for at in range(0, tile.bits * tile.columns, tile.bits):
            a, b, data = Signal(18), Signal(18), Signal(18)
            m.d.comb += data.eq(into[at : at + tile.bits])
            for value, out in zip(values, (a, b), strict=True):
                value.append(out[: tile.bits])
            m.submodules += block_ram(
                tile,
                (),
                **pins("i", "ADA", ada),
                **pins("i", "ADB", adb),
                **pins("i", "DIA", data),
                **pins("i", "DIB", Const(0, 18)),
                **pins("o", "DOA", a),
                **pins("o", "DOB", b),
                p_REGMODE_A="OUTREG",
                i_CEB=Const(1),
                i_OCEA=Const(1),
                i_OCEB=Const(1),
                i_WEA=self.write_enable,
            )
        for reader in range(self.readers):
            m.d.comb += self.read_value[reader].eq(Cat(values[reader]))
        return m


class Ecp5Multiplier(Multiplier):
    """MULT18X18D for operands of at most 18 bits, with the registers of operands and product."""

    WIDTH = 18

    @classmethod
    def cells(cls, a_width: int, b_width: int) -> dict[str, int]:
        """Count the hard multipliers: one, or none if an operand is too wide."""
        return {"dsp": 1} if max(a_width, b_width) <= cls.WIDTH else {}

    def elaborate(self, platform: object) -> Module:
        if not self.cells(len(self.a), len(self.b)):
            return super().elaborate(platform)
        m = Module()
        a, b = Signal(signed(18)), Signal(signed(18))
        product = Signal(36)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(product)]
        m.submodules.multiplier = Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK="CLK0",
            p_REG_INPUTB_CLK="CLK0",
            p_REG_OUTPUT_CLK="CLK0",
            p_RESETMODE="SYNC",
            p_GSR="DISABLED",
            **pins("i", "A", a),
            **pins("i", "B", b),
            **pins("o", "P", product),
            i_SIGNEDA=Const(1),
            i_SIGNEDB=Const(1),
            i_SOURCEA=Const(0),
            i_SOURCEB=Const(0),
            i_CLK0=ClockSignal(),
            i_CE0=Const(1),
            i_RST0=Const(0),
        )
        return m


class Ecp5Adder(Adder):
    """Carry chain of CCU2C, two bits each, whose LUTs choose, too.

    Where the numbers come from registers this is one cell and one wire to the sum, whatever its
    width; Yosys puts LUTs before the chain.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, c, out = (Signal(self.width + self.width % 2) for _ in range(4))
        m.d.comb += [a.eq(self.a), b.eq(self.b), c.eq(self.c), self.sum.eq(out)]
        carry = Const(int(self.carry))
        for low in range(0, self.width, 2):
            into, carry = carry, Signal(name=f"carry_{low + 2}")
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C",
                **{f"p_INIT{bit}": SUM_OF_CHOSEN for bit in range(2)},
                **{f"p_INJECT1_{bit}": "NO" for bit in range(2)},
                **pins("i", "A", c[low : low + 2]),
                **pins("i", "B", a[low : low + 2]),
                **pins("i", "C", self.select.replicate(2)),
                **pins("i", "D", b[low : low + 2]),
                i_CIN=into,
                **pins("o", "S", out[low : low + 2]),
                o_COUT=carry,
            )
        return m


ECP5 = Technology(
    name="ecp5",
    memory=Ecp5Memory,
    large_memory=Ecp5Memory,
    codebooks=Ecp5Codebooks,
    multiplier=Ecp5Multiplier,
    adder=Ecp5Adder,
)
