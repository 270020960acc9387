"""The accumulators with forwarding, against one that is added to at once."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from amaranth.hdl import Signal, Value

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.bench.hostile import HOSTILE
from secateur.gateware.accumulate import Accumulator
from secateur.proofs.sizes import SPEC

if TYPE_CHECKING:
    from amaranth.hdl import ValueLike

__all__ = ["CLAIMS"]

#: Four slots, of the narrowest sums there are.
NARROW = dataclasses.replace(SPEC, row_depth=2, jobs=2, accumulator_width=4, bias_width=4)


def build(memories: int) -> Harness:
    """Add in any order; drain and clear as the documentation allows.

    One slot is followed, which an input chooses. The weight is one: the multiplier is no subject
    of this proof.
    """
    spec = dataclasses.replace(NARROW, accumulator_memories=memories)
    dut = Accumulator(spec, technology=HOSTILE)
    h = Harness(dut)
    slot = h.constant("followed", len(Value.cast(dut.slot)))
    drained = dut.drained

    def memory_of(number: Value) -> Value:
        """Return the memory: that of the tag, which stands above the row."""
        return number[1] if memories == 2 else number[:0]

    def address(number: ValueLike) -> Value:
        """Return the address within the memory."""
        return Value.cast(number)[: 1 if memories == 2 else 2]

    h.assume("weight is one", dut.weight == 1)
    mine = Value.cast(dut.slot) == slot
    adds = dut.valid & mine
    same_memory = dut.valid & (memory_of(Value.cast(dut.slot)) == memory_of(slot))
    # What is drained and cleared is named by its address, the same in both memories.
    reads = address(drained.slot) == address(slot)
    clears = drained.clear.bit_select(memory_of(slot), 1) & (
        address(drained.cleared) == address(slot)
    )

    # In the last cycles, the latest first, something was added to the slot, to its memory.
    recent_adds, recent_memory = [adds], [same_memory]
    for _ in range(Accumulator.LATENCY):
        recent_adds.append(h.late(recent_adds[-1]))
        recent_memory.append(h.late(recent_memory[-1]))
    any_recent = Signal()
    h.m.d.comb += any_recent.eq(sum(recent_adds) != 0)
    h.assume("cleared in between", ~clears | ~(any_recent | recent_memory[-1]))

    total = Signal.like(dut.sum)
    with h.m.If(clears):
        h.m.d.sync += total.eq(0)
    with h.m.Elif(adds):
        h.m.d.sync += total.eq(total + dut.value)
    h.show("total", total)

    # A read counts if no product is under way to the slot, and none for its memory comes then, or
    # changes it before it is read.
    sound = reads & ~any_recent & ~same_memory & ~clears
    expected = h.late(total)
    sound_late = h.late(sound) & ~h.late(clears)
    for _ in range(Accumulator.DRAINED):
        expected, sound_late = h.late(expected), h.late(sound_late)
    captured = h.late(drained.capture & (drained.memory == memory_of(slot)))
    h.claim("sums as added", ~(sound_late & captured) | (dut.sum == expected))
    return h


FAULTS = (
    Fault(
        "accumulate", "Mux(hits[3], 2, Mux(hits[4], 3, 0))", "Mux(hits[4], 3, 0)", "sums as added"
    ),
    Fault(
        "accumulate",
        "Mux(hits[3], 2, Mux(hits[4], 3, 0))",
        "Mux(hits[4], 3, Mux(hits[3], 2, 0))",
        "sums as added",
    ),
    Fault("accumulate", "Mux(hits[2], 1, Mux(", "Mux(0, 1, Mux(", "sums as added"),
    Fault("accumulate", "newest.eq(late_hit)", "newest.eq(0)", "sums as added"),
    Fault("accumulate", "Mux(hits[4], 3, 0)", "0", "sums as added"),
)


def claim(memories: int) -> Claim:
    """Claim it of one memory or two."""
    return Claim(
        name=f"accumulator, {memories} memor{'y' if memories == 1 else 'ies'}",
        size=f"4 slots of {NARROW.accumulator_width} bits",
        make=partial(build, memories),
        cycles=14,
        faults=FAULTS,
    )


CLAIMS = (claim(1), claim(2))
