"""Memories for :mod:`secateur.bench.fast`, of which Yosys does not write down every zero."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

from amaranth.hdl import ClockSignal, Instance, Module, Value

from secateur.technology import PORTABLE
from secateur.technology.portable import DISTRIBUTED_WORDS, Memory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BARE", "BareMemory", "bare_sources"]


class BareMemory(Memory):
    """A portable memory without initial contents, as a module of Verilog's.

    Amaranth and Yosys take a line for each word of a memory's initial contents, even where all are
    zero: minutes and gigabytes for the millions of words of a large engine.
    """

    def elaborate(self, platform: object) -> Module:
        if self.words <= DISTRIBUTED_WORDS:
            return super().elaborate(platform)
        assert not any(self.init), "the program comes through the load stream"
        m = Module()
        m.submodules.memory = Instance(
            "bare_memory",
            p_WIDTH=self.width,
            p_WORDS=self.words,
            i_clk=ClockSignal(),
            i_read_enable=self.read_enable,
            i_read_address=self.address(self.read_address, self.read_bank),
            o_read_word=Value.cast(self.read_word),
            i_write_address=self.address(self.write_address, self.write_bank),
            i_write_word=self.write_word,
            i_write_enable=self.write_enable,
        )
        return m


#: The portable cells with these memories.
BARE = replace(PORTABLE, name="bare", memory=BareMemory, large_memory=BareMemory)


def bare_sources(folder: Path) -> list[Path]:
    """Write the module that the memories are made of to ``folder``."""
    path = folder / "bare_memory.v"
    path.write_text((files("secateur.bench") / "bare_memory.v").read_text("utf-8"), "utf-8")
    return [path]
