"""A technology as bad as its contract allows: what is undefined is wrong."""

from __future__ import annotations

import itertools

from amaranth.hdl import Module, Signal, Value

from secateur.technology import Memory, Multiplier, Technology

__all__ = ["HOSTILE"]


class _Memory(Memory):
    """Inverts a word that was written in the cycle in which its address was there."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = ram = Memory(
            self.shape, depth=self.depth, banks=self.banks, init=self.init
        )
        read = self.address(self.read_address, self.read_bank)
        written = self.address(self.write_address, self.write_bank)
        collided = [Signal(name=f"collided_{cycle}") for cycle in range(self.LATENCY + 1)]
        m.d.comb += [
            ram.read_bank.eq(self.read_bank),
            ram.read_address.eq(self.read_address),
            ram.write_bank.eq(self.write_bank),
            ram.write_address.eq(self.write_address),
            ram.write_word.eq(self.write_word),
            ram.write_enable.eq(self.write_enable),
            collided[0].eq(self.write_enable & (read == written)),
            Value.cast(self.read_word).eq(
                Value.cast(ram.read_word) ^ collided[-1].replicate(self.width)
            ),
        ]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(collided)]
        return m


#: For simulation: a component that works with it needs nothing that no contract promises.
HOSTILE = Technology(name="hostile", memory=_Memory, large_memory=_Memory, multiplier=Multiplier)
