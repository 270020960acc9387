"""The hard cells of the iCE40, with the registers that make them fast.

Cells and parameters as in Lattice's "iCE Technology Library" (SBT 2016.08), FPGA-TN-02002 (memory),
FPGA-TN-02022 (SPRAM) and FPGA-TN-02007 (DSP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import (
    Array,
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    Signal,
    Value,
    signed,
)

from secateur.technology import Technology
from secateur.technology.blocks import BlockRam, Tile, TiledMemory
from secateur.technology.portable import Adder, Codebooks, Multiplier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amaranth.hdl import ShapeLike


__all__ = [
    "EBR",
    "FLIP_FLOP_WORDS",
    "ICE40",
    "ICE40UP",
    "SPRAM",
    "SPRAM_WORDS",
    "Ice40Codebooks",
    "Ice40Memory",
    "Ice40UpMemory",
    "Ice40UpMultiplier",
]

#: 4 kbit, simple dual port.
EBR = BlockRam(shapes=((2048, 2), (1024, 4), (512, 8), (256, 16)))
#: Its bits side by side.
ROW = 16

#: 256 kbit, single port, without initial contents.
SPRAM = BlockRam(shapes=((16384, 16),))

#: Words up to which a memory that the bitstream need not fill is made of flip-flops. They and the
#: multiplexers behind them cost a share of the UP5K's logic as large as that of its block RAMs,
#: which are 16 bits wide, at about as many.
FLIP_FLOP_WORDS = 4
#: Of so many words, where both cost the same, a block RAM for each such number of bits gets half.
SHARED_BITS = 32

#: Words from which on the weights of a PE lie in SPRAM. The UP5K has four, and not the block RAMs
#: for more PEs of so many weights.
SPRAM_WORDS = 1024


def registered(m: Module, value: Value, enable: Value) -> Value:
    """Delay by a cycle, in a register of the fabric: the memories have none at their output."""
    late = Signal(len(value), reset_less=True)
    with m.If(enable):
        m.d.sync += late.eq(value)
    return late


class Ice40Memory(TiledMemory):
    """Block RAM, for small memories too: this family has no distributed RAM.

    A memory of at most ``FLIP_FLOP_WORDS`` words is made of flip-flops if it has no initial words:
    in a bitstream, only those of block RAM can be replaced. Of ``FLIP_FLOP_WORDS`` wide words, the
    low bits lie in a block RAM for every ``SHARED_BITS``.
    """

    BLOCK = EBR

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the block RAMs."""
        if (bits := cls.flip_flop_bits(width, words=depth * banks, filled=filled)) == 0:
            return super().cells(width, depth=depth, banks=banks, filled=filled)
        blocks = (width - bits) // ROW
        return {"bram": blocks} if blocks else {}

    @staticmethod
    def flip_flop_bits(width: int, *, words: int, filled: bool) -> int:
        """Count the bits of a word that lie in flip-flops."""
        if words > FLIP_FLOP_WORDS or filled:
            return 0
        return width - (width // SHARED_BITS * ROW if words == FLIP_FLOP_WORDS else 0)

    def elaborate(self, platform: object) -> Module:
        bits = self.flip_flop_bits(self.width, words=self.words, filled=bool(self.init))
        if not bits:
            return super().elaborate(platform)
        m = Module()
        read = self.address(self.read_address, self.read_bank)
        write = self.address(self.write_address, self.write_bank)
        parts = [
            self.block(
                m,
                Tile(words=256, bits=ROW, rows=1, columns=1),
                (),
                read=read,
                write=write,
                enable=self.write_enable,
                data=self.write_word[start : start + ROW],
            )
            for start in range(0, self.width - bits, ROW)
        ]
        words = Array(Signal(bits, name=f"word_{n}", reset_less=True) for n in range(self.words))
        early = registered(m, read, self.read_enable)
        late = registered(m, words[early], self.read_enable)
        m.d.comb += Value.cast(self.read_word).eq(Cat(*parts, late))
        with m.If(self.write_enable):
            m.d.sync += words[write].eq(self.write_word[-bits:])
        return m

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
        # A row has 16 bits. In a narrower configuration, the high address bits say which of `step`
        # neighbouring bits belong to the word; its pins are spread.
        step = 16 // tile.bits
        spread = [step * bit + max(0, step // 2 - 1) for bit in range(tile.bits)]
        rows = [0] * 256
        for address, word in enumerate(init):
            for bit in range(tile.bits):
                place = step * bit + address // 256
                rows[address % 256] |= (word >> bit & 1) << place
        into, out = Signal(16), Signal(16)
        m.d.comb += [into[pin].eq(bit) for pin, bit in zip(spread, Cat(data), strict=False)]
        m.submodules += Instance(
            "SB_RAM40_4K",
            **{
                f"p_INIT_{index:X}": Const(
                    sum(row << 16 * n for n, row in enumerate(rows[16 * index : 16 * index + 16])),
                    256,
                )
                for index in range(16)
            },
            p_READ_MODE=step.bit_length() - 1,
            p_WRITE_MODE=step.bit_length() - 1,
            i_RCLK=ClockSignal(),
            i_RCLKE=Const(1),
            i_RE=self.read_enable,
            i_RADDR=Cat(read, Const(0, 11))[:11],
            o_RDATA=out,
            i_WCLK=ClockSignal(),
            i_WCLKE=enable,
            i_WE=Const(1),
            i_WADDR=Cat(write, Const(0, 11))[:11],
            i_WDATA=into,
            i_MASK=Const(0, 16),
        )
        return registered(m, Cat(out[pin] for pin in spread), self.read_enable)


class Ice40UpMemory(Ice40Memory):
    """SPRAM for many words that need no initial contents and no second bank, else block RAM.

    In SPRAM, a word that is read in a cycle in which another one is written is undefined, and so is
    one that waits for ``read_enable`` meanwhile.
    """

    def __init__(
        self, shape: ShapeLike, *, depth: int, banks: int = 1, init: Sequence[int] = ()
    ) -> None:
        super().__init__(shape, depth=depth, banks=banks, init=init)
        self.single = self._single(depth, banks, bool(init))
        if self.single:
            self.BLOCK = SPRAM

    @staticmethod
    def _single(depth: int, banks: int, filled: bool) -> bool:
        return banks == 1 and not filled and depth >= SPRAM_WORDS

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the block RAMs or the SPRAMs."""
        if cls._single(depth, banks, filled):
            return {"spram": SPRAM.needed(depth, width)}
        return super().cells(width, depth=depth, banks=banks, filled=filled)

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
        if not self.single:
            return super().block(m, tile, init, read=read, write=write, enable=enable, data=data)
        out = Signal(16)
        m.submodules += Instance(
            "SB_SPRAM256KA",
            i_CLOCK=ClockSignal(),
            i_ADDRESS=Cat(Mux(self.write_enable, write, read), Const(0, 14))[:14],
            i_DATAIN=Cat(data, Const(0, 16))[:16],
            i_MASKWREN=Const(0b1111, 4),
            i_WREN=enable,
            i_CHIPSELECT=self.read_enable | enable,
            i_STANDBY=Const(0),
            i_SLEEP=Const(0),
            i_POWEROFF=Const(1),  # it is off when this is low
            o_DATAOUT=out,
        )
        return registered(m, out, self.read_enable)


class Ice40Codebooks(Codebooks):
    """A block RAM for each reader."""

    MEMORY = Ice40Memory


class Ice40UpMultiplier(Multiplier):
    """SB_MAC16 for operands of at most 16 bits, with both registers inside the multiplier.

    Those at its operands stay unused, so that its logic is cut in two. Yosys must not be left to
    infer it (``synth_ice40 -dsp``): it deletes a multiplier whose product passes two registers.
    """

    WIDTH = 16

    @classmethod
    def cells(cls, a_width: int, b_width: int) -> dict[str, int]:
        """Count the hard multipliers: one, or none if an operand is too wide."""
        return {"dsp": 1} if max(a_width, b_width) <= cls.WIDTH else {}

    def elaborate(self, platform: object) -> Module:
        if not self.cells(len(self.a), len(self.b)):
            return super().elaborate(platform)
        m = Module()
        a, b = Signal(signed(16)), Signal(signed(16))
        product = Signal(32)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(product)]
        unused = {
            name: Const(0)
            for name in (
                *("i_AHOLD", "i_BHOLD", "i_CHOLD", "i_DHOLD", "i_OHOLDTOP", "i_OHOLDBOT"),
                *("i_IRSTTOP", "i_IRSTBOT", "i_ORSTTOP", "i_ORSTBOT", "i_OLOADTOP", "i_OLOADBOT"),
                *("i_ADDSUBTOP", "i_ADDSUBBOT", "i_CI", "i_ACCUMCI", "i_SIGNEXTIN"),
            )
        }
        m.submodules.multiplier = Instance(
            "SB_MAC16",
            p_A_SIGNED=Const(1),
            p_B_SIGNED=Const(1),
            # Cycle 0: the products of the halves, in four registers.
            p_TOP_8x8_MULT_REG=Const(1),
            p_BOT_8x8_MULT_REG=Const(1),
            p_PIPELINE_16x16_MULT_REG1=Const(1),
            # Cycle 1: their sum.
            p_PIPELINE_16x16_MULT_REG2=Const(1),
            p_TOPOUTPUT_SELECT=Const(3, 2),
            p_BOTOUTPUT_SELECT=Const(3, 2),
            i_CLK=ClockSignal(),
            i_CE=Const(1),
            i_A=a,
            i_B=b,
            i_C=Const(0, 16),
            i_D=Const(0, 16),
            o_O=product,
            **unused,
        )
        return m


#: LP and HX, which have neither multipliers nor SPRAM.
ICE40 = Technology(
    name="ice40",
    memory=Ice40Memory,
    large_memory=Ice40Memory,
    codebooks=Ice40Codebooks,
    multiplier=Multiplier,
    adder=Adder,
)
#: UltraPlus.
ICE40UP = Technology(
    name="ice40up",
    memory=Ice40Memory,
    large_memory=Ice40UpMemory,
    codebooks=Ice40Codebooks,
    multiplier=Ice40UpMultiplier,
    adder=Adder,
)
