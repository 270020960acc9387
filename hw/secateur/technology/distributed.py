"""The distributed RAM of the ECP5, by its cells, whose initial contents can be found again.

What Yosys makes of a memory of its own has the same cells, of names that nobody knows.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Signal, Value

from secateur.technology.portable import Memory

__all__ = ["DistributedMemory"]

#: Words and bits of a cell.
WORDS, BITS = 16, 4


class DistributedMemory(Memory):
    """A memory of TRELLIS_DPR16X4, side by side and one above the other."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 0: the address, which is narrower than the word.
        address = self.address(self.read_address, self.read_bank)
        early = Signal(len(address), reset_less=True)
        with m.If(self.read_enable):
            m.d.sync += early.eq(address)

        # Cycle 1: the word, as it was before a write in that cycle.
        write = self.address(self.write_address, self.write_bank)
        low = (WORDS - 1).bit_length()
        rows = []
        for row in range(-(-self.words // WORDS)):
            enable = Signal(name=f"enable{row}")
            m.d.comb += enable.eq(self.write_enable & (write[low:] == row))
            words = self.init[row * WORDS : (row + 1) * WORDS]
            word = []
            for bit in range(0, self.width, BITS):
                out = Signal(BITS, name=f"out{row}_{bit}")
                m.submodules += Instance(
                    "TRELLIS_DPR16X4",
                    p_INITVAL=Const(
                        sum((each >> bit & 0xF) << BITS * at for at, each in enumerate(words)),
                        WORDS * BITS,
                    ),
                    i_RAD=Cat(early[:low], Const(0, low))[:low],
                    o_DO=out,
                    i_WCK=ClockSignal(),
                    i_WRE=enable,
                    i_WAD=Cat(write[:low], Const(0, low))[:low],
                    i_DI=Cat(self.write_word[bit : bit + BITS], Const(0, BITS))[:BITS],
                )
                word.append(out)
            rows.append(Cat(word))
        late = Signal(self.width, reset_less=True)
        with m.If(self.read_enable):
            m.d.sync += late.eq(Array(rows)[early[low:]] if len(rows) > 1 else rows[0])
        m.d.comb += Value.cast(self.read_word).eq(late)
        return m
