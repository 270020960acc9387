"""A technology as bad as its contract allows: what is undefined is wrong."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value

from secateur.technology import Adder, Codebooks, Memory, Multiplier, Technology

__all__ = ["HOSTILE"]


class _Memory(Memory):
    """Inverts a word that was written where that makes it undefined."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = ram = Memory(
            self.shape, depth=self.depth, banks=self.banks, init=self.init
        )
        read = self.address(self.read_address, self.read_bank)
        written = self.address(self.write_address, self.write_bank)
        taken = Signal.like(read, reset_less=True)
        collided, late = Signal(), Signal()
        m.d.comb += [
            ram.read_bank.eq(self.read_bank),
            ram.read_address.eq(self.read_address),
            ram.read_enable.eq(self.read_enable),
            ram.write_bank.eq(self.write_bank),
            ram.write_address.eq(self.write_address),
            ram.write_word.eq(self.write_word),
            ram.write_enable.eq(self.write_enable),
            Value.cast(self.read_word).eq(Value.cast(ram.read_word) ^ late.replicate(self.width)),
        ]
        with m.If(self.read_enable):
            m.d.sync += [
                taken.eq(read),
                collided.eq(self.write_enable & (read == written)),
                late.eq(collided),
            ]
        with m.Elif(self.write_enable & (taken == written)):
            m.d.sync += collided.eq(1)
        return m


class _Codebooks(Codebooks):
    """Inverts a value that was written in the cycle in which it was looked up."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.codebooks = books = Codebooks(
            tables=self.tables, code_width=self.code_width, shape=self.shape
        )
        collided = Signal()
        read = Cat(self.read_code, self.read_table)
        m.d.comb += [
            books.read_table.eq(self.read_table),
            books.read_code.eq(self.read_code),
            books.write_table.eq(self.write_table),
            books.write_code.eq(self.write_code),
            books.write_enable.eq(self.write_enable),
            books.write_value.eq(self.write_value),
            self.read_value.eq(books.read_value ^ collided.replicate(len(self.read_value))),
        ]
        m.d.sync += collided.eq(
            self.write_enable & (read == Cat(self.write_code, self.write_table))
        )
        return m


#: For simulation: a component that works with it needs nothing that no contract promises.
HOSTILE = Technology(
    name="hostile",
    memory=_Memory,
    large_memory=_Memory,
    codebooks=_Codebooks,
    multiplier=Multiplier,
    adder=Adder,
)
