"""The processing element: a slice of its lane's columns, one multiplication a cycle."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.accumulate import Accumulator, drained_layout, first_slot, memory_of
from secateur.gateware.column import ColumnQueue
from secateur.gateware.lookup import number_shape
from secateur.gateware.walk import visit_layout
from secateur.technology import PORTABLE, Codebooks, portable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secateur.engine import EngineSpec
    from secateur.technology import Technology

__all__ = ["ProcessingElement", "hold_layout", "layers_layout", "split_layout"]


def split_layout(spec: EngineSpec) -> data.ArrayLayout:
    """Lay out how many bits more than the fewest the codes of each job have."""
    return data.ArrayLayout(range(len(spec.code_widths)), spec.jobs)


def layers_layout(spec: EngineSpec) -> data.ArrayLayout:
    """Lay out which layer each job is."""
    return data.ArrayLayout(range(spec.layer_depth), spec.jobs)


def hold_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out which memory of accumulators products must leave alone for a cycle."""
    return data.StructLayout({"valid": 1, "memory": range(spec.accumulator_memories)})


class ProcessingElement(wiring.Component):
    """Multiply the activations of its lane with this PE's entries and add them up by row.

    One entry a cycle, columns and layers without a gap between them; a column in which the PE has
    no entry costs it nothing.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    init : sequence of int
        Initial words of bank 0 of the weight memory.
    technology : Technology
        Its cells.
    checked : bool
        Whether the weights can be checked.

    Members
    -------
    visit, i, count, room
        As in :class:`secateur.gateware.column.ColumnQueue`.
    bank : In(1)
        The bank that holds the program in use.
    write_bank, write_address, write_word, write_enable : In
        The loader's words for this PE's weight memory.
    splits : In(split_layout(spec))
        Of the jobs under way; absent where there is but one way to split an entry.
    layers : In(layers_layout(spec))
        Of the jobs under way; absent without codebooks.
    number, weight : Out(number_shape(spec)), In(signed(spec.weight_width))
        To look up, and what is found, as in :class:`secateur.gateware.lookup.Lookup`; absent
        without codebooks.
    hold : In(hold_layout(spec))
        Begin nothing that uses this memory of accumulators.
    drained, sum
        As in :class:`secateur.gateware.accumulate.Accumulator`; ``drained.slot`` comes
        :meth:`held` cycles after its ``hold``.
    selected, entry, there : In(1), Out(spec.entry_width), Out(1)
        For a check of the weights: give the entry that was read, and else zero; strobe: this is
        one. Absent if they cannot be checked.
    ended : Out(spec.tags)
        The bit of a tag toggles when all products of its job or position are stored.
    occupied, multiply, working : Out(1), Out(1), Out(range(spec.tags))
        An entry is being multiplied; its weight is not zero; its tag. For measurements.
    """

    visit: Signal
    i: data.View
    count: Signal
    room: Signal
    bank: Signal
    write_bank: Signal
    write_address: Signal
    write_word: Signal
    write_enable: Signal
    splits: data.View
    layers: data.View
    number: Signal
    weight: Signal
    hold: data.View
    drained: data.View
    sum: Signal
    selected: Signal
    entry: Signal
    there: Signal
    ended: Signal
    occupied: Signal
    multiply: Signal
    working: Signal

    def __init__(
        self,
        spec: EngineSpec,
        *,
        init: Sequence[int] = (),
        technology: Technology = PORTABLE,
        checked: bool = False,
    ) -> None:
        self.spec, self.init, self.technology = spec, init, technology
        self.checked = checked
        entry = memories(spec)[Section.WEIGHTS]
        optional: dict[str, wiring.Member] = {}
        if len(spec.code_widths) > 1:
            optional["splits"] = In(split_layout(spec))
        if spec.codebook_bits:
            optional |= {
                "layers": In(layers_layout(spec)),
                "number": Out(number_shape(spec)),
                "weight": In(signed(spec.weight_width)),
            }
        if checked:
            optional |= {"selected": In(1), "entry": Out(spec.entry_width), "there": Out(1)}
        super().__init__({
            "visit": In(1),
            "i": In(visit_layout(spec)),
            "count": In(spec.count_width),
            "room": Out(1),
            "bank": In(1),
            "write_bank": In(1),
            "write_address": In(range(entry.depth)),
            "write_word": In(entry.record.width),
            "write_enable": In(1),
            **optional,
            "hold": In(hold_layout(spec)),
            "drained": In(drained_layout(spec)),
            "sum": Out(signed(spec.accumulator_width)),
            "ended": Out(spec.tags),
            "occupied": Out(1),
            "multiply": Out(1),
            "working": Out(range(spec.tags)),
        })

    @staticmethod
    def latency(spec: EngineSpec) -> int:
        """Cycles from an entry's address to its operands: the weight memory, and its decoding."""
        return portable.Memory.LATENCY + 1 + (Codebooks.LATENCY if spec.codebook_bits else 1)

    @classmethod
    def held(cls, spec: EngineSpec) -> int:
        """Cycles from ``hold`` to the one in which a slot may be read: a register, and those."""
        return 1 + cls.latency(spec)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        latency = self.latency(spec)
        m.submodules.queue = queue = ColumnQueue(spec)
        m.submodules.weights = weights = self.technology.large_memory(
            spec.entry_width, depth=spec.weight_depth, banks=spec.banks, init=self.init
        )
        m.submodules.accumulator = accumulator = Accumulator(spec, technology=self.technology)
        m.d.comb += [
            queue.visit.eq(self.visit),
            queue.i.eq(self.i),
            queue.count.eq(self.count),
            self.room.eq(queue.room),
            weights.read_bank.eq(self.bank),
            weights.write_bank.eq(self.write_bank),
            weights.write_address.eq(self.write_address),
            weights.write_word.eq(self.write_word),
            weights.write_enable.eq(self.write_enable),
        ]

        # Cycle 0: the address of an entry. The next column begins the cycle after the last entry.
        queued = queue.o.payload
        active = Signal()
        column = Signal.like(queued)  # with how many entries are left
        address = Signal.like(queued.start)
        held = Signal()
        holds = Signal(spec.accumulator_memories)
        final = Signal(init=1)  # nothing of the column is left after this cycle, or there is none
        # `hold` comes from afar and stops much. Where there is nothing to hold it does not count:
        # so no two PEs have the same register, and Yosys does not make one of them.
        some = active | queue.o.valid
        m.d.sync += [
            hold.eq(self.hold.valid & (self.hold.memory == index) & some)
            for index, hold in enumerate(holds)
        ]
        m.d.comb += [
            held.eq(active & holds.bit_select(memory_of(spec, column.tag), 1)),
            queue.o.ready.eq(final & ~held),
        ]
        first = Signal()
        with m.If(queue.o.ready):
            m.d.sync += [
                active.eq(queue.o.valid),
                column.eq(queued),
                first.eq(1),
                # One entry, or none but the job's end.
                final.eq(~queue.o.valid | (queued.count[1:] == 0)),
            ]
        with m.Elif(~held):
            m.d.sync += [
                column.count.eq(column.count - 1),
                first.eq(0),
                final.eq(column.count == 2),
            ]
        m.submodules.next_entry = next_entry = self.technology.adder(len(address))
        m.d.comb += [
            next_entry.select.eq(final),
            next_entry.a.eq(queued.start),
            next_entry.b.eq(address),
            next_entry.c.eq(~final),
            weights.read_address.eq(address),
        ]
        with m.If(~held):
            m.d.sync += address.eq(next_entry.sum)

        # Cycles 0 to 2: the weight memory.
        step = data.StructLayout({
            "valid": 1,
            "first": 1,
            "value": queued.value.shape(),
            "tag": queued.tag.shape(),
            "end": 1,
        })
        steps = [
            Signal(step, name=f"step_{cycle}") for cycle in range(latency + Accumulator.LATENCY + 1)
        ]
        m.d.comb += [
            steps[0].valid.eq(active & ~held & (column.count != 0)),
            steps[0].first.eq(first),
            steps[0].value.eq(column.value),
            steps[0].tag.eq(column.tag),
            steps[0].end.eq(active & ~held & final & column.end),
        ]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(steps)]

        # Cycle 2: the entry arrives from block RAMs that may lie far away, and is taken apart.
        code = Signal(spec.code_width, reset_less=True)
        zeros = Signal(spec.index_width, reset_less=True)
        self._split(m, weights.read_word, steps[1].tag, code, zeros)
        if self.checked:
            m.d.sync += [self.entry.eq(weights.read_word), self.there.eq(steps[2].valid)]
            with m.If(~self.selected):
                m.d.sync += self.entry.eq(0)

        # From cycle 3 on its code becomes a weight. In the last of these cycles its row is known,
        # which is relative to the one before.
        weight = self._weight_of(m, code, steps[2].tag)
        for _ in range(3, latency - 1):
            late_zeros = Signal.like(zeros)
            m.d.sync += late_zeros.eq(zeros)
            zeros = late_zeros
        placed, ready = steps[latency - 1 : latency + 1]
        row = Signal(range(spec.row_depth))
        m.submodules.next_row = next_row = self.technology.adder(len(row), carry=True)
        m.d.comb += [
            # -1 before a column's first entry, else the row before, and zeros, and 1.
            next_row.select.eq(placed.first),
            next_row.a.eq(-1),
            next_row.b.eq(row),
            next_row.c.eq(zeros),
        ]
        with m.If(placed.valid):
            m.d.sync += row.eq(next_row.sum)

        # Then: multiply and accumulate.
        m.d.comb += [
            accumulator.valid.eq(ready.valid),
            *self._slot_of(accumulator.slot, row, ready.tag),
            accumulator.weight.eq(weight),
            accumulator.value.eq(ready.value),
            accumulator.drained.eq(self.drained),
            self.sum.eq(accumulator.sum),
            self.occupied.eq(ready.valid),
            self.multiply.eq(ready.valid & (weight != 0)),
            self.working.eq(ready.tag),
        ]
        with m.If(steps[-1].end):
            m.d.sync += self.ended.eq(self.ended ^ (1 << steps[-1].tag))
        return m

    def _job_of(self, tag: Value) -> Value:
        """Give a tag's job: positions are all of one."""
        return tag[: (self.spec.jobs - 1).bit_length()]

    def _slot_of(self, slot: data.View, row: Value, tag: Value) -> list[Any]:
        """Say which accumulator is a row's for a tag."""
        if self.spec.positions:
            return [Value.cast(slot).eq(row | Value.cast(first_slot(self.spec, tag)))]
        return [slot.row.eq(row), slot.tag.eq(tag)]

    def _split(self, m: Module, entry: Value, tag: Value, code: Signal, zeros: Signal) -> None:
        """Take an entry apart, as the code width of the job ``tag``, a cycle before, says."""
        widths = self.spec.code_widths
        split = Signal(range(len(widths)))
        if len(widths) > 1:
            m.d.sync += split.eq(self.splits[self._job_of(tag)])
        for index, width in enumerate(widths):
            direct = entry[:width] if self.spec.codebook_bits else entry[:width].as_signed()
            with m.If(split == index) if len(widths) > 1 else nullcontext():
                m.d.sync += [code.eq(direct), zeros.eq(entry[width:])]

    def _weight_of(self, m: Module, code: Signal, tag: Value) -> Value:
        """Turn a code, of the job ``tag`` a cycle before, into the weight that it stands for."""
        if not self.spec.codebook_bits:
            weight = Signal(signed(self.spec.weight_width))
            m.d.sync += weight.eq(code.as_signed())
            return weight
        layer = Signal(range(self.spec.layer_depth), reset_less=True)
        m.d.sync += layer.eq(self.layers[self._job_of(tag)])
        m.d.comb += self.number.eq(Cat(code, layer))
        return self.weight
