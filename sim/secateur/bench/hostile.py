"""A technology as bad as its contract allows: what is undefined is wrong."""

from __future__ import annotations

import itertools

from amaranth.hdl import Module, Signal, Value

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
    """Inverts what is looked up in a cycle in which any value is written."""

    READERS = 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.codebooks = books = Codebooks(
            self.shape, depth=self.depth, readers=self.readers
        )
        written = [self.write_enable]
        for _ in range(self.LATENCY):
            written.append(Signal(name=f"written_{len(written)}"))
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(written)]
        m.d.comb += [
            books.read_address.eq(self.read_address),
            books.write_address.eq(self.write_address),
            books.write_enable.eq(self.write_enable),
            books.write_value.eq(self.write_value),
            Value.cast(self.read_value).eq(
                Value.cast(books.read_value)
                ^ written[-1].replicate(len(self.read_value.as_value()))
            ),
        ]
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
