"""Multiply and accumulate, one product a cycle, whatever the rows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.technology import Technology

__all__ = ["Accumulator", "drained_layout", "first_slot", "memory_of", "slot_layout"]


def slot_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out the number of an accumulator: its row within the PE, and the job's set.

    The sets of positions lie in the rows of one job, those of odd ones in the second memory.
    """
    if spec.positions:
        memories = spec.accumulator_memories
        rows = spec.row_depth // memories
        return data.StructLayout({"row": range(rows), "tag": range(memories)})
    return data.StructLayout({"row": range(spec.row_depth), "tag": range(spec.jobs)})


def first_slot(spec: EngineSpec, tag: Value) -> Value:
    """Say which accumulator is the first of a position's set."""
    row_bits = (spec.set_depth - 1).bit_length()
    memory = memory_of(spec, tag)
    if not len(memory):
        return Cat(C(0, row_bits), tag)
    if len(memory) == 1 and spec.positions > 2:
        return Cat(C(0, row_bits), tag[0], tag[2:], memory)
    return Cat(C(0, row_bits), tag[len(memory) :], memory)


def memory_of(spec: EngineSpec, tag: Value) -> Value:
    """Say in which memory a tag's accumulators lie.

    Jobs take turns. So do pairs of positions, of which a PE multiplies the second next one while
    one is drained: that takes about as long as two of the shortest.
    """
    bits = (spec.accumulator_memories - 1).bit_length()
    return tag[1:2] if bits == 1 and spec.positions > 2 else tag[:bits]


def drained_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out what reads the accumulators of all PEs at once, one slot after the other."""
    memories = spec.accumulator_memories
    return data.StructLayout({
        "slot": slot_layout(spec),  # to read
        "capture": 1,  # the slot of `Accumulator.DRAINED` cycles before is at the memory's output
        "memory": range(memories),  # of those, which one
        "clear": memories,  # set `cleared` to zero, in each of the memories
        "cleared": slot_layout(spec),
    })


class Accumulator(wiring.Component):
    """Add ``weight * value`` to the accumulator ``slot``.

    Takes one product a cycle; the sum is stored ``LATENCY`` cycles later. Products for the same
    slot may follow each other at any distance: a sum that is not in the memory yet is forwarded.

    Job n's accumulators lie in memory ``n % accumulator_memories``. That memory is drained in
    cycles without a product for it; products for the other are not disturbed.

    The accumulators are not cleared by reset: clear each before use.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    technology : Technology
        Its cells.

    Members
    -------
    valid, slot, weight, value : In
        A product to add.
    drained : In(drained_layout(spec))
        What to read and clear.
    sum : Out(signed(spec.accumulator_width))
        The sum captured last.
    """

    #: Cycles from a product until its sum is being stored: a register, multiplier, adder.
    LATENCY = 4
    #: Cycles from a slot's number until its sum can be captured: the memory.
    DRAINED = 2

    valid: Signal
    slot: data.View
    weight: Signal
    value: Signal
    drained: data.View
    sum: Signal

    def __init__(self, spec: EngineSpec, *, technology: Technology = PORTABLE) -> None:
        self.spec, self.technology = spec, technology
        super().__init__({
            "valid": In(1),
            "slot": In(slot_layout(spec)),
            "weight": In(signed(spec.weight_width)),
            "value": In(signed(spec.activation_width + 1)),
            "drained": In(drained_layout(spec)),
            "sum": Out(signed(spec.accumulator_width)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        shape = signed(spec.accumulator_width)
        count = spec.accumulator_memories
        memories = [
            self.technology.memory(shape, depth=spec.row_depth * spec.jobs // count)
            for _ in range(count)
        ]

        def address(slot: data.View) -> Value:
            """Job n is set `n // count` of memory `n % count`."""
            return Cat(slot.row, slot.tag[(count - 1).bit_length() :])

        def memory_of(slot: data.View) -> Value:
            return slot.tag[: (count - 1).bit_length()]

        # Cycle 0: read the accumulator. The operands wait for a cycle, since it takes longer.
        m.submodules.multiplier = multiplier = self.technology.multiplier(
            spec.weight_width, spec.activation_width + 1
        )
        m.d.sync += [multiplier.a.eq(self.weight), multiplier.b.eq(self.value)]
        cycles = range(1, self.LATENCY + 1)
        valid = [self.valid, *(Signal(name=f"valid_{cycle}") for cycle in cycles)]
        slot = [self.slot, *(Signal.like(self.slot, name=f"slot_{cycle}") for cycle in cycles)]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(valid)]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(slot)]
        # What the memory reads now misses the sums of the four products before this one.
        hits = [None, *(Signal(name=f"hit_{ahead}") for ahead in cycles)]
        m.d.sync += [
            hits[ahead].eq(valid[ahead] & (Value.cast(slot[ahead]) == Value.cast(self.slot)))
            for ahead in cycles
        ]

        # Cycle 1: which of the sums of two to four products before is the latest of the slot, if
        # any, and whether the one just before is.
        latest = Signal(range(4))
        late_hit = Signal()
        m.d.sync += [
            latest.eq(Mux(hits[2], 1, Mux(hits[3], 2, Mux(hits[4], 3, 0)))),
            late_hit.eq(hits[1]),
        ]

        # Cycle 2: that sum, or what the memory has read.
        total = Signal(shape, reset_less=True)  # in cycle 4 of each product
        before = [Signal.like(total, name=f"total_{cycle}") for cycle in (5, 6)]
        stored = Array(ram.read_word for ram in memories)[memory_of(slot[2])]
        known = Signal(shape, reset_less=True)
        newest = Signal()
        m.d.sync += [
            *(late.eq(early) for early, late in itertools.pairwise([total, *before])),
            known.eq(Array([stored, total, *before])[latest]),
            newest.eq(late_hit),
        ]

        # Cycle 3: add. The width holds every partial sum of the program: nothing wraps.
        m.submodules.adder = adder = self.technology.adder(len(total))
        m.d.comb += [
            adder.select.eq(newest),
            adder.a.eq(total),
            adder.b.eq(known),
            adder.c.eq(multiplier.product),
        ]
        m.d.sync += total.eq(adder.sum)
        if count == 1:
            with m.If(~valid[3]):
                m.d.sync += total.eq(0)

        # Cycle 4: store. In a cycle without a product, a slot may be cleared.
        captured = []
        for index, ram in enumerate(memories):
            m.submodules[f"sums_{index}"] = ram
            mine = Signal(2, name=f"mine_{index}")  # reads, writes
            m.d.comb += [
                mine[0].eq(valid[0] & (memory_of(slot[0]) == index)),
                mine[1].eq(valid[4] & (memory_of(slot[4]) == index)),
                ram.read_address.eq(Mux(mine[0], address(slot[0]), address(self.drained.slot))),
                ram.write_address.eq(Mux(mine[1], address(slot[4]), address(self.drained.cleared))),
                ram.write_word.eq(total if count == 1 else Mux(mine[1], total, 0)),
                ram.write_enable.eq(mine[1] | self.drained.clear[index]),
            ]
            captured.append(ram.read_word)
        with m.If(self.drained.capture):
            m.d.sync += self.sum.eq(
                Array(captured)[self.drained.memory] if count > 1 else captured[0]
            )
        return m
