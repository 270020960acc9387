"""A memory of many equal blocks: side by side for its width, one above the other for its depth."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amaranth.hdl import Array, Cat, Module, Signal, Value

from secateur.technology.portable import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BlockRam", "Tile", "TiledMemory"]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One configuration of a block, and how many of them make a memory.

    Parameters
    ----------
    words, bits : int
        Of one block.
    rows, columns : int
        Blocks one above the other, and side by side.
    """

    words: int
    bits: int
    rows: int
    columns: int


@dataclass(frozen=True, kw_only=True)
class BlockRam:
    """A kind of block RAM with one write and one read port.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Depth in words and width in bits of every configuration.
    """

    shapes: tuple[tuple[int, int], ...]

    def tile(self, depth: int, width: int) -> Tile:
        """Choose the configuration for a memory of ``depth`` words of ``width`` bits.

        It is that of the fewest blocks, then that of the fewest rows, which need a multiplexer.
        """
        tiles = [
            Tile(words=words, bits=bits, rows=-(-depth // words), columns=-(-width // bits))
            for words, bits in self.shapes
        ]
        return min(tiles, key=lambda tile: (tile.rows * tile.columns, tile.rows))

    def needed(self, depth: int, width: int) -> int:
        """Blocks that a memory of ``depth`` words of ``width`` bits takes.

        Examples
        --------
        >>> ebr = BlockRam(shapes=((2048, 9), (1024, 18), (512, 36)))
        >>> [ebr.needed(*shape) for shape in ((512, 36), (513, 36), (1024, 20), (4096, 9))]
        [1, 2, 2, 2]
        """
        tile = self.tile(depth, width)
        return tile.rows * tile.columns


class TiledMemory(Memory):
    """A :class:`secateur.technology.portable.Memory` of blocks.

    Attributes
    ----------
    BLOCK : BlockRam
        What it is built of.
    """

    BLOCK: BlockRam

    @classmethod
    def cells(
        cls, width: int, *, depth: int, banks: int = 1, filled: bool = False
    ) -> dict[str, int]:
        """Count the block RAMs."""
        return {"bram": cls.BLOCK.needed(depth * banks, width)}

    @abstractmethod
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
        """Add a block.

        Parameters
        ----------
        m : Module
            Gets it.
        tile : Tile
            Its configuration.
        init : sequence of int
            Its initial words, at most ``tile.words``, of at most ``tile.bits`` bits.
        read, write : Value
            Addresses, as wide as those of the configuration or narrower.
        enable, data : Value
            Whether to write, and what, at most ``tile.bits`` bits.

        Returns
        -------
        Value
            ``tile.bits`` bits: the word, ``LATENCY`` cycles of ``read_enable`` after its address.
        """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile = self.BLOCK.tile(self.words, self.width)
        low = (tile.words - 1).bit_length()
        read = self.address(self.read_address, self.read_bank)
        write = self.address(self.write_address, self.write_bank)

        rows = []
        for row in range(tile.rows):
            enable = Signal(name=f"enable{row}")
            m.d.comb += enable.eq(self.write_enable & (write[low:] == row))
            words = self.init[row * tile.words : (row + 1) * tile.words]
            rows.append(
                Cat(
                    self.block(
                        m,
                        tile,
                        [word >> bit & (1 << tile.bits) - 1 for word in words],
                        read=read[:low],
                        write=write[:low],
                        enable=enable,
                        data=self.write_word[bit : bit + tile.bits],
                    )
                    for bit in range(0, tile.bits * tile.columns, tile.bits)
                )
            )

        if tile.rows == 1:
            word = rows[0]
        else:
            # Cycles 0 and 1: the row of the word goes along.
            early = Signal(range(tile.rows), reset_less=True)
            late = Signal(range(tile.rows), reset_less=True)
            with m.If(self.read_enable):
                m.d.sync += [early.eq(read[low:]), late.eq(early)]
            word = Array(rows)[late]
        m.d.comb += Value.cast(self.read_word).eq(word)
        return m
