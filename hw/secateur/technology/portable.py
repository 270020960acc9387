"""Memory, codebooks, multiplier and adder of any FPGA: what vendors' cells must match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amaranth.hdl import ShapeLike

__all__ = ["DISTRIBUTED_WORDS", "Adder", "Codebooks", "Memory", "Multiplier"]

#: Words up to which a memory is built of distributed RAM; the block RAMs are for the program.
DISTRIBUTED_WORDS = 64


class Memory(wiring.Component):
    """Simple dual-port memory; the bank is the highest address bit.

    A word a cycle is read, and one written, without end. A word written in cycle t is read from
    cycle t + 1 on. Reading stands still while ``read_enable`` is low.

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
    read_bank, read_address : In
        Where to read.
    read_enable : In(1), initially 1
        Go on: take an address, and give the next word.
    read_word : Out(shape)
        The word, ``LATENCY`` cycles of ``read_enable`` later; undefined where it was written in the
        cycle in which its address was taken, or while reading stood still in the next one.
    write_bank, write_address, write_enable, write_word : In
        What to write.
    """

    #: Cycles from the address to the word.
    LATENCY = 2

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
        self.words = depth * banks
        self.width = Shape.cast(shape).width
        super().__init__({
            "read_bank": In(1),
            "read_address": In(range(depth)),
            "read_enable": In(1, init=1),  # pyright: ignore[reportCallIssue]
            "read_word": Out(shape),
            "write_bank": In(1),
            "write_address": In(range(depth)),
            "write_enable": In(1),
            "write_word": In(self.width),
        })

    def address(self, low: Value, bank: Value) -> Value:
        """Join an address in a bank and the bank to an address below ``words``."""
        return Cat(low, bank) if self.banks == 2 else low

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the hard cells, by their kind, of a memory of words of ``width`` bits.

        ``filled`` says whether it has initial words. Here only Yosys knows.
        """
        return {}

    @staticmethod
    def flip_flop_bits(width: int, *, words: int, filled: bool) -> int:
        """Count the bits of a word that lie in flip-flops: none here."""
        return 0

    def elaborate(self, platform: object) -> Module:
        m = Module()
        small = self.words <= DISTRIBUTED_WORDS
        attrs = {"ram_style": "distributed" if small else "block"}
        if not small:
            # Where a word is read and written at once, Yosys would add registers and multiplexers
            # that give the old one; nobody looks at it.
            attrs["no_rw_check"] = "1"
        m.submodules.memory = ram = memory.Memory(
            shape=unsigned(self.width), depth=self.words, init=self.init, attrs=attrs
        )
        read, write = ram.read_port(), ram.write_port()
        m.d.comb += [
            write.addr.eq(self.address(self.write_address, self.write_bank)),
            write.en.eq(self.write_enable),
            write.data.eq(self.write_word),
            read.en.eq(self.read_enable),
        ]

        address = self.address(self.read_address, self.read_bank)
        if small:
            # Cycle 0: the address, which is narrower than the word. Cycle 1: the word, as it was
            # before a write in that cycle.
            early = Signal(len(address), reset_less=True)
            with m.If(self.read_enable):
                m.d.sync += early.eq(address)
            m.d.comb += [read.addr.eq(early), Value.cast(self.read_word).eq(read.data)]
        else:
            # Cycle 0: the array. Cycle 1: the output register, without which a block RAM is slow.
            late = Signal(self.width, reset_less=True)
            with m.If(self.read_enable):
                m.d.sync += late.eq(read.data)
            m.d.comb += [read.addr.eq(address), Value.cast(self.read_word).eq(late)]
        return m


class Codebooks(wiring.Component):
    """Values by address, for several readers. Without initial values.

    What is read in a cycle in which any value is written is undefined.

    Parameters
    ----------
    shape : ShapeLike
        Of a value.
    depth : int
        How many.
    readers : int
        Who look up one each in every cycle.

    Members
    -------
    read_address : In(data.ArrayLayout(range(depth), readers))
        What each of them looks up.
    read_value : Out(data.ArrayLayout(shape, readers))
        Its value, ``LATENCY`` cycles later.
    write_address, write_enable, write_value : In
        What to write.
    """

    #: Cycles from the address to the value.
    LATENCY = Memory.LATENCY
    #: How many readers are served for the cells of one, at best.
    READERS = 1
    #: What each reader has of its own.
    MEMORY = Memory

    read_address: data.View
    read_value: data.View
    write_address: Signal
    write_enable: Signal
    write_value: Signal

    def __init__(self, shape: ShapeLike, *, depth: int, readers: int) -> None:
        self.shape, self.depth, self.readers = shape, depth, readers
        super().__init__({
            "read_address": In(data.ArrayLayout(range(depth), readers)),
            "read_value": Out(data.ArrayLayout(shape, readers)),
            "write_address": In(range(depth)),
            "write_enable": In(1),
            "write_value": In(shape),
        })

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the hard cells, by their kind, of values of ``width`` bits for ``READERS``."""
        return cls.MEMORY.cells(width, depth=depth, banks=banks, filled=filled)

    @classmethod
    def flip_flop_bits(cls, width: int, *, words: int, filled: bool) -> int:
        """Count the bits of a value that lie in flip-flops."""
        return cls.MEMORY.flip_flop_bits(width, words=words, filled=filled)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for reader in range(self.readers):
            m.submodules[f"memory_{reader}"] = ram = self.MEMORY(self.shape, depth=self.depth)
            m.d.comb += [
                ram.read_address.eq(self.read_address[reader]),
                self.read_value[reader].eq(ram.read_word),
                ram.write_address.eq(self.write_address),
                ram.write_enable.eq(self.write_enable),
                ram.write_word.eq(self.write_value),
            ]
        return m


class Multiplier(wiring.Component):
    """Signed product of two numbers, a pair a cycle.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the operands.

    Members
    -------
    a, b : In(signed)
        The operands.
    product : Out(signed(a_width + b_width))
        Their product, ``LATENCY`` cycles later.
    """

    #: Cycles from the operands to the product.
    LATENCY = 2

    a: Signal
    b: Signal
    product: Signal

    def __init__(self, a_width: int, b_width: int) -> None:
        super().__init__({
            "a": In(signed(a_width)),
            "b": In(signed(b_width)),
            "product": Out(signed(a_width + b_width)),
        })

    @classmethod
    def cells(cls, a_width: int, b_width: int) -> dict[str, int]:
        """Count the hard cells, by their kind, of a multiplier of operands of so many bits."""
        return {}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Signal.like(self.a, reset_less=True)
        b = Signal.like(self.b, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += [
            *(a.eq(self.a), b.eq(self.b)),  # Cycle 0
            product.eq(a * b),  # Cycle 1
        ]
        m.d.comb += self.product.eq(product)
        return m


class Adder(wiring.Component):
    """Sum of a number and one of two others, in the same cycle, modulo ``2 ** width``.

    Parameters
    ----------
    width : int
        Bits of all numbers.
    carry : bool
        Whether 1 is added too.

    Members
    -------
    select : In(1)
        Add ``a``, not ``b``.
    a, b, c : In(width)
        The numbers.
    sum : Out(width)
        ``c + carry + (a if select else b)``.
    """

    select: Signal
    a: Signal
    b: Signal
    c: Signal
    sum: Signal

    def __init__(self, width: int, *, carry: bool = False) -> None:
        self.width, self.carry = width, carry
        super().__init__({
            "select": In(1),
            **{name: In(width) for name in ("a", "b", "c")},
            "sum": Out(width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chosen = Mux(self.select, self.a, self.b)
        # -~c is c + 1, without a second sum.
        m.d.comb += self.sum.eq(chosen - ~self.c if self.carry else chosen + self.c)
        return m
