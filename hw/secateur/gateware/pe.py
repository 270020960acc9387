"""The processing element: a slice of every column, one multiplication a cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.column import ColumnLookup
from secateur.gateware.layout import struct
from secateur.gateware.memory import BankedMemory
from secateur.gateware.scan import column_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from secateur.engine import EngineSpec

__all__ = ["ProcessingElement"]


class ProcessingElement(wiring.Component):
    """Multiply the broadcast activations with this PE's entries and add them up by row.

    One entry a cycle, columns without a gap between them; a column in which the PE has no entry
    costs it nothing (Han et al., EIE, ISCA 2016, section IV).

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    init : mapping of Section to sequence of int
        Initial words of bank 0 of the weight and column memories.

    Members
    -------
    i, i_valid, room : In(column_layout(spec)), In(1), Out(1)
        The broadcast, as in :class:`secateur.gateware.column.ColumnLookup`.
    bank : In(1)
        The bank that holds the program in use.
    write_bank, write_address, write_word, write_columns, write_weights : In
        The loader's words for this PE.
    code, code_value, code_write : In
        One value of the codebook; absent without codebooks.
    drain_address, drain_enable, drain_sum, clear, clear_address
        As in :class:`secateur.gateware.accumulate.Accumulator`.
    idle : Out(1)
        Nothing is under way.
    multiply : Out(1)
        A weight other than zero is multiplied in this cycle; for measurements.
    """

    i: data.View
    i_valid: Signal
    room: Signal
    bank: Signal
    write_bank: Signal
    write_address: Signal
    write_word: Signal
    write_columns: Signal
    write_weights: Signal
    code: Signal
    code_value: Signal
    code_write: Signal
    drain_address: Signal
    drain_enable: Signal
    drain_sum: Signal
    clear: Signal
    clear_address: Signal
    idle: Signal
    multiply: Signal

    def __init__(
        self, spec: EngineSpec, *, init: Mapping[Section, Sequence[int]] | None = None
    ) -> None:
        self.spec = spec
        self.init = init or {}
        kinds = [memories(spec)[kind] for kind in (Section.COLUMNS, Section.WEIGHTS)]
        codebook = {
            "code": In(spec.code_width),
            "code_value": In(signed(spec.weight_width)),
            "code_write": In(1),
        }
        super().__init__({
            "i": In(column_layout(spec)),
            "i_valid": In(1),
            "room": Out(1),
            "bank": In(1),
            "write_bank": In(1),
            "write_address": In(range(max(kind.depth for kind in kinds))),
            "write_word": In(max(kind.record.width for kind in kinds)),
            "write_columns": In(1),
            "write_weights": In(1),
            **(codebook if spec.codebook_bits else {}),
            "drain_address": In(range(spec.row_depth)),
            "drain_enable": In(1),
            "drain_sum": Out(signed(spec.accumulator_width)),
            "clear": In(1),
            "clear_address": In(range(spec.row_depth)),
            "idle": Out(1),
            "multiply": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.columns = columns = self._memory(Section.COLUMNS)
        m.submodules.weights = weights = self._memory(Section.WEIGHTS)
        m.submodules.lookup = lookup = ColumnLookup(spec)
        m.submodules.accumulator = accumulator = Accumulator(spec)
        for ram, strobe in ((columns, self.write_columns), (weights, self.write_weights)):
            m.d.comb += [
                ram.read_bank.eq(self.bank),
                ram.write_bank.eq(self.write_bank),
                ram.write_address.eq(self.write_address),
                ram.write_word.eq(self.write_word),
                ram.write_enable.eq(strobe),
            ]
        m.d.comb += [
            columns.read_address.eq(self.i.column),
            columns.read_enable.eq(1),
            lookup.i.eq(self.i),
            lookup.i_valid.eq(self.i_valid),
            lookup.word.eq(columns.read_word),
            self.room.eq(lookup.room),
        ]

        # Cycle 0: the address of an entry. The next column begins the cycle after the last entry.
        queued = lookup.o.payload
        active = Signal()
        address = Signal(range(spec.weight_depth))
        left = Signal.like(queued.count)
        value_0 = Signal.like(queued.value)
        first_0 = Signal()
        m.d.comb += lookup.o.ready.eq(~active | (left == 1))
        with m.If(lookup.o.ready):
            m.d.sync += [
                active.eq(lookup.o.valid),
                address.eq(queued.start),
                left.eq(queued.count),
                value_0.eq(queued.value),
                first_0.eq(1),
            ]
        with m.Else():
            m.d.sync += [address.eq(address + 1), left.eq(left - 1), first_0.eq(0)]
        m.d.comb += [weights.read_address.eq(address), weights.read_enable.eq(1)]

        # Cycle 1: the entry. Its row is relative to the one before; its code becomes a weight.
        entry = weights.read_word
        valid_1 = Signal()
        value_1 = Signal.like(value_0)
        first_1 = Signal()
        m.d.sync += [valid_1.eq(active), value_1.eq(value_0), first_1.eq(first_0)]
        next_row = Signal(range(spec.row_depth))
        weight_1 = Signal(signed(spec.weight_width))
        m.d.comb += weight_1.eq(self._value_of(m, entry.code))

        # Cycle 2 on: multiply and accumulate.
        valid_2 = Signal()
        value_2 = Signal.like(value_0)
        weight_2 = Signal.like(weight_1)
        row_2 = Signal.like(next_row)
        m.d.comb += next_row.eq(Mux(first_1, 0, row_2 + 1) + entry.zeros)
        m.d.sync += [
            valid_2.eq(valid_1),
            value_2.eq(value_1),
            weight_2.eq(weight_1),
            row_2.eq(next_row),  # a column has no gaps, and its first entry begins anew
        ]
        m.d.comb += [
            accumulator.valid.eq(valid_2),
            accumulator.row.eq(row_2),
            accumulator.weight.eq(weight_2),
            accumulator.value.eq(value_2),
            accumulator.drain_address.eq(self.drain_address),
            accumulator.drain_enable.eq(self.drain_enable),
            accumulator.clear.eq(self.clear),
            accumulator.clear_address.eq(self.clear_address),
            self.drain_sum.eq(accumulator.drain_sum),
            self.multiply.eq(valid_2 & (weight_2 != 0)),
            self.idle.eq(lookup.idle & ~active & ~valid_1 & accumulator.idle),
        ]
        return m

    def _memory(self, kind: Section) -> BankedMemory:
        described = memories(self.spec)[kind]
        return BankedMemory(
            struct(described.record),
            depth=described.depth,
            banks=self.spec.banks,
            init=self.init.get(kind, ()),
        )

    def _value_of(self, m: Module, code: Value) -> Value:
        """Turn a code into the weight that it stands for."""
        if not self.spec.codebook_bits:
            return code
        shape = signed(self.spec.weight_width)
        m.submodules.codebook = codebook = memory.Memory(
            shape=shape,
            depth=1 << self.spec.codebook_bits,
            init=[],
            attrs={"ram_style": "distributed"},
        )
        read, write = codebook.read_port(domain="comb"), codebook.write_port()
        m.d.comb += [
            read.addr.eq(code),
            write.addr.eq(self.code),
            write.data.eq(self.code_value),
            write.en.eq(self.code_write),
        ]
        return read.data
