"""From the accumulators of all PEs to requantised rows: what both kinds of drain have alike."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.accumulate import Accumulator, drained_layout, slot_layout
from secateur.gateware.layout import struct
from secateur.gateware.pe import ProcessingElement, hold_layout
from secateur.gateware.requant import Requantizer
from secateur.technology import OWN, portable

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["RowReader", "drain_latencies", "drain_room", "drain_rounds"]


def drain_rounds(spec: EngineSpec) -> int:
    """Cycles that the rows of one slot take."""
    return spec.groups // spec.drain_lanes


def drain_latencies(spec: EngineSpec) -> dict[str, int]:
    """Cycles from the decision to read a row until it reaches each stage of the drain."""
    hold = 1
    slot = hold + ProcessingElement.held(spec)
    capture = slot + Accumulator.DRAINED
    chosen = capture + 1 + (drain_rounds(spec) > 1)
    added = chosen + (spec.lanes - 1).bit_length()
    return {
        "hold": hold,
        "slot": slot,
        "capture": capture,
        "clear": slot + Accumulator.LATENCY,
        "chosen": chosen,
        "bias": added - portable.Memory.LATENCY,
        "added": added,
        "o": added + Requantizer.LATENCY,
    }


def drain_room(spec: EngineSpec) -> int:
    """Rows that wait at the drain's output: enough that they never wait to be read."""
    return max(16, 1 << (drain_latencies(spec)["o"] + 2).bit_length()) + 1


class RowReader(wiring.Component):
    """Add the lanes' sums of each row, requantise ``drain_lanes`` rows a cycle, clear them.

    The row at position i is accumulator ``i // groups`` of the PEs ``i % groups * lanes`` and
    following, one in each lane. Nothing in it stands still.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    members : dict
        Those of the drain, beside these:

    Members
    -------
    layer : In(layer table word)
        Held while there is anything in it.
    clear, clear_address : In(1), In(slot_layout(spec))
        Clear the accumulators of this number in all memories, told to the PEs two cycles later.
        Only while nothing is drained.
    hold : Out(hold_layout(spec))
        To every PE.
    drained : Out(data.ArrayLayout(drained_layout(spec), spec.pes))
        To each PE; the same for all.
    sums : In(data.ArrayLayout(signed(spec.accumulator_width), spec.pes))
        From every PE: the slot captured last.
    bias_address, biases : Out, In
        Read port of the bias memory.
    """

    layer: data.View
    clear: Signal
    clear_address: data.View
    hold: data.View
    drained: data.View
    sums: data.View
    bias_address: Signal
    biases: data.View

    def __init__(self, spec: EngineSpec, members: dict[str, Any]) -> None:
        self.spec = spec
        kinds = memories(spec)
        super().__init__({
            **members,
            "layer": In(struct(kinds[Section.LAYERS].record)),
            "clear": In(1),
            "clear_address": In(slot_layout(spec)),
            "hold": Out(hold_layout(spec)),
            "drained": Out(data.ArrayLayout(drained_layout(spec), spec.pes)),
            "sums": In(data.ArrayLayout(signed(spec.accumulator_width), spec.pes)),
            "bias_address": Out(range(spec.bias_depth)),
            "biases": In(struct(kinds[Section.BIASES].record)),
        })

    def _read_rows(
        self, m: Module, *, read: Value, round_: Signal, slot: data.View, bias_next: Value
    ) -> tuple[list[Signal], data.View]:
        """Follow the rows that are read in this cycle.

        Parameters
        ----------
        m : Module
        read : Signal
            Strobe: read rows.
        round_ : Signal
            Which of those of the slot.
        slot : data.View
            The slot.
        bias_next : Value
            Address of the biases after those at ``bias_address``.

        Returns
        -------
        rows : list of Signal
            ``read``, so many cycles later.
        outputs : data.View
            The rows of ``rows[drain_latencies(spec)["o"]]``.
        """
        spec, layer = self.spec, self.layer
        lanes, width = spec.drain_lanes, spec.activation_width
        at, rounds = drain_latencies(spec), drain_rounds(spec)

        # What follows is fixed: stage k does what was decided k cycles before.
        rows = [read, *(Signal(name=f"rows_{cycle}") for cycle in range(1, at["o"] + 1))]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(rows)]
        slots = [
            Signal(name="slot_0"),
            *(Signal(name=f"slot_{n}") for n in range(1, at["clear"] - 1)),
        ]
        numbers = [
            slot,
            *(Signal.like(slot, name=f"number_{n}") for n in range(1, at["clear"])),
        ]
        m.d.comb += slots[0].eq(read & (round_ == 0))
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(slots)]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(numbers)]
        memory_bits = (spec.accumulator_memories - 1).bit_length()

        def memory_of(stage: int) -> Value:
            return numbers[stage].tag[:memory_bits]

        # What is cleared in the next cycle, a row that was read or, for a program, in all memories.
        clears = Signal(spec.accumulator_memories)
        m.d.sync += clears.eq(slots[at["clear"] - 2] << memory_of(at["clear"] - 2))
        with m.If(self.clear):
            m.d.sync += [clears.eq(~0), numbers[at["clear"] - 1].eq(self.clear_address)]

        # What all PEs get comes straight from registers: it has a long way to go. `drained` meets
        # other logic in a PE, and so has a register near each.
        m.d.sync += [
            self.hold.valid.eq(slots[at["hold"] - 1]),
            self.hold.memory.eq(memory_of(at["hold"] - 1)),
        ]
        for pe in range(spec.pes):
            drained = Signal(drained_layout(spec), name=f"drained_{pe}", attrs={OWN: 1})
            m.d.comb += self.drained[pe].eq(drained)
            m.d.sync += [
                drained.slot.eq(numbers[at["slot"] - 1]),
                drained.capture.eq(slots[at["capture"] - 1]),
                drained.memory.eq(memory_of(at["capture"] - 1)),
                drained.clear.eq(clears),
                drained.cleared.eq(numbers[at["clear"] - 1]),
            ]

        # The rows of this round, then the sums of their lanes.
        shape = signed(spec.accumulator_width)
        counted = [
            round_,
            *(Signal.like(round_, name=f"round_{n}") for n in range(1, at["chosen"])),
        ]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(counted)]
        with m.If(rows[at["bias"]]):
            m.d.sync += self.bias_address.eq(bias_next)
        outputs = Signal(data.ArrayLayout(width, lanes))
        for lane in range(lanes):
            summands: list[Value] = []
            for column in range(spec.lanes):
                candidates = [
                    self.sums[(n * lanes + lane) * spec.lanes + column] for n in range(rounds)
                ]
                if rounds > 1:
                    chosen = Signal(shape, name=f"chosen_{lane}_{column}")
                    m.d.sync += chosen.eq(Array(candidates)[counted[at["chosen"] - 1]])
                    candidates = [chosen]
                summands.append(candidates[0])
            while len(summands) > 1:
                pairs = list(zip(summands[::2], summands[1::2], strict=True))
                summands = []
                for one, other in pairs:
                    # No sum of some of a row's products leaves the accumulator's width.
                    both = Signal(shape, name=f"sum_{lane}_{len(pairs)}_{len(summands)}")
                    m.d.sync += both.eq(one + other)
                    summands.append(both)
            m.submodules[f"requant_{lane}"] = requant = Requantizer(
                accumulator_width=spec.accumulator_width, activation_width=width
            )
            m.d.comb += [
                requant.acc.eq(summands[0]),
                requant.bias.eq(self.biases[f"bias{lane}"]),
                requant.shift.eq(layer.shift),
                requant.output_signed.eq(layer.output_signed),
                requant.relu.eq(layer.relu),
                requant.enable.eq(1),
                outputs[lane].eq(requant.o),
            ]
        return rows, outputs
