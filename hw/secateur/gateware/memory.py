"""A memory with one write port and one read port, in as many banks as the engine has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amaranth.hdl import ShapeLike

__all__ = ["DISTRIBUTED_WORDS", "BankedMemory"]

#: Words up to which a memory is built of distributed RAM; the block RAMs are for the program.
DISTRIBUTED_WORDS = 64


class BankedMemory(wiring.Component):
    """Simple dual-port memory; the bank is the highest address bit.

    Parameters
    ----------
    shape : ShapeLike
        Of a word.
    depth : int
        Words per bank; a power of two.
    banks : int
        1 or 2.
    init : sequence of int
        Initial words of bank 0 from address 0 on; the others are zero.

    Members
    -------
    read_bank, read_address, read_enable : In
        Where to read. The word follows one cycle later and holds while ``read_enable`` is
        deasserted. A word that is written in the same cycle is undefined.
    read_word : Out(shape)
        The word.
    write_bank, write_address, write_enable, write_word : In
        What to write.
    """

    LATENCY = 1

    read_bank: Signal
    read_address: Signal
    read_enable: Signal
    read_word: Any  # of `shape`: a signal, or a view of one
    write_bank: Signal
    write_address: Signal
    write_enable: Signal
    write_word: Signal

    def __init__(
        self, shape: ShapeLike, *, depth: int, banks: int = 1, init: Sequence[int] = ()
    ) -> None:
        self.shape, self.depth, self.banks = shape, depth, banks
        self.init = init
        width = Shape.cast(shape).width
        super().__init__({
            "read_bank": In(1),
            "read_address": In(range(depth)),
            "read_enable": In(1),
            "read_word": Out(shape),
            "write_bank": In(1),
            "write_address": In(range(depth)),
            "write_enable": In(1),
            "write_word": In(width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        small = self.depth * self.banks <= DISTRIBUTED_WORDS
        m.submodules.memory = ram = memory.Memory(
            shape=unsigned(Shape.cast(self.shape).width),
            depth=self.depth * self.banks,
            init=self.init,
            # Where a word is read and written at once, Yosys would add registers and multiplexers
            # that give the old one; nobody looks at it.
            attrs={"ram_style": "distributed" if small else "block", "no_rw_check": "1"},
        )
        read, write = ram.read_port(), ram.write_port()

        def address(low: Signal, bank: Signal) -> Value:
            return Cat(low, bank) if self.banks == 2 else low

        m.d.comb += [
            read.addr.eq(address(self.read_address, self.read_bank)),
            read.en.eq(self.read_enable),
            Value.cast(self.read_word).eq(read.data),
            write.addr.eq(address(self.write_address, self.write_bank)),
            write.en.eq(self.write_enable),
            write.data.eq(self.write_word),
        ]
        return m
