"""From accumulators to activations: bias, requantisation, and on to the next layer or to y."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.accumulate import Accumulator, drained_layout, slot_layout
from secateur.gateware.layout import struct
from secateur.gateware.pe import ProcessingElement, hold_layout
from secateur.gateware.queue import Queue
from secateur.gateware.requant import Requantizer
from secateur.gateware.store import x_stream
from secateur.technology import portable

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Drain", "drain_latencies", "drain_room", "drain_rounds", "y_stream"]


def y_stream(spec: EngineSpec) -> stream.Signature:
    """Words of outputs; ``last`` marks the last word of an inference."""
    return stream.Signature(
        data.StructLayout({
            "data": data.ArrayLayout(spec.activation_width, spec.lanes),
            "last": 1,
        })
    )


def drain_rounds(spec: EngineSpec) -> int:
    """Cycles that the rows of one slot take."""
    return spec.groups // spec.drain_lanes


def drain_latencies(spec: EngineSpec) -> dict[str, int]:
    """Cycles from the decision to read a row until it reaches each stage of the drain."""
    hold = 1
    slot = hold + ProcessingElement.HELD
    capture = slot + Accumulator.DRAINED
    chosen = capture + 1 + (drain_rounds(spec) > 1)
    added = chosen + (spec.lanes - 1).bit_length()
    return {
        "hold": hold,
        "slot": slot,
        "capture": capture,
        "clear": slot + Accumulator.LATENCY,
        "chosen": chosen,
        "added": added,
        "o": added + Requantizer.LATENCY,
    }


def drain_room(spec: EngineSpec) -> int:
    """Rows that wait at the drain's output: enough that they never wait to be read."""
    return max(16, 1 << (drain_latencies(spec)["o"] + 2).bit_length()) + 1


class Drain(wiring.Component):
    """Add the lanes' sums of each row, requantise ``drain_lanes`` rows a cycle, clear them.

    The row at position i is accumulator ``i // groups`` of the PEs ``i % groups * lanes`` and
    following, one in each lane. Whatever waits there, nothing before it stands still: rows are
    read when there is room for them.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    start : In(1)
        Strobe: begin with the job below. Only while ``done``.
    tag, layer : In(range(spec.jobs)), In(layer table word)
        Held from ``start`` until ``done``; ``rows_words`` is at least 1.
    clear, clear_address : In(1), In(slot_layout(spec))
        Clear the accumulators of this number in all memories. Only while ``done``.
    hold, drained : Out(hold_layout(spec)), Out(drained_layout(spec))
        To every PE.
    sums : In(data.ArrayLayout(signed(spec.accumulator_width), spec.pes))
        From every PE: the slot captured last.
    bias_address, biases : Out, In
        Read port of the bias memory.
    hidden : Out(x_stream(spec))
        Words for the next layer.
    o : Out(y_stream(spec))
        Words of y.
    done : Out(1)
        Everything since ``start`` was delivered.
    """

    start: Signal
    tag: Signal
    layer: data.View
    clear: Signal
    clear_address: data.View
    hold: data.View
    drained: data.View
    sums: data.View
    bias_address: Signal
    biases: data.View
    hidden: stream.Interface
    o: stream.Interface
    done: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        kinds = memories(spec)
        super().__init__({
            "start": In(1),
            "tag": In(range(spec.jobs)),
            "layer": In(struct(kinds[Section.LAYERS].record)),
            "clear": In(1),
            "clear_address": In(slot_layout(spec)),
            "hold": Out(hold_layout(spec)),
            "drained": Out(drained_layout(spec)),
            "sums": In(data.ArrayLayout(signed(spec.accumulator_width), spec.pes)),
            "bias_address": Out(range(spec.bias_depth)),
            "biases": In(struct(kinds[Section.BIASES].record)),
            "hidden": Out(x_stream(spec)),
            "o": Out(y_stream(spec)),
            "done": Out(1, init=1),  # pyright: ignore[reportCallIssue]
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, layer = self.spec, self.layer
        lanes, width = spec.drain_lanes, spec.activation_width
        parts = spec.lanes // lanes  # of a word
        at, rounds, room = drain_latencies(spec), drain_rounds(spec), drain_room(spec)

        # Cycle 0: read the next rows? `left` counts them, `free` the room for them.
        left = Signal(len(layer.rows_words) + parts.bit_length() - 1)
        under_way = Signal()  # left != 0
        free = Signal(range(room + 1), init=room)
        any_free = Signal(init=1)  # free != 0
        round_ = Signal(range(rounds))
        slot = Signal.like(self.drained.slot)
        read = Signal()
        popped = Signal()
        returned = Signal()  # popped, a cycle before
        m.d.comb += read.eq(under_way & any_free)
        m.d.sync += [returned.eq(popped), free.eq(free - read + returned)]
        with m.If(returned):
            m.d.sync += any_free.eq(1)
        with m.Elif(read):
            m.d.sync += any_free.eq(free != 1)
        with m.If(read):
            m.d.sync += [left.eq(left - 1), under_way.eq(left != 1)]
            with m.If(round_ == rounds - 1):
                m.d.sync += [round_.eq(0), slot.row.eq(slot.row + 1)]
            with m.Else():
                m.d.sync += round_.eq(round_ + 1)

        # What follows is fixed: stage k does what was decided k cycles before.
        rows = [read, *(Signal(name=f"rows_{cycle}") for cycle in range(1, at["o"] + 1))]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(rows)]
        slots = [
            Signal(name="slot_0"),
            *(Signal(name=f"slot_{n}") for n in range(1, at["clear"])),
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

        # What all PEs get comes straight from registers: it has a long way to go.
        m.d.sync += [
            self.hold.valid.eq(slots[at["hold"] - 1]),
            self.hold.memory.eq(memory_of(at["hold"] - 1)),
            self.drained.slot.eq(numbers[at["slot"] - 1]),
            self.drained.capture.eq(slots[at["capture"] - 1]),
            self.drained.memory.eq(memory_of(at["capture"] - 1)),
            self.drained.clear.eq(slots[at["clear"] - 1] << memory_of(at["clear"] - 1)),
            self.drained.cleared.eq(numbers[at["clear"] - 1]),
        ]
        with m.If(self.clear):
            m.d.sync += [self.drained.clear.eq(~0), self.drained.cleared.eq(self.clear_address)]

        # The rows of this round, then the sums of their lanes.
        shape = signed(spec.accumulator_width)
        counted = [
            round_,
            *(Signal.like(round_, name=f"round_{n}") for n in range(1, at["chosen"])),
        ]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(counted)]
        bias_stage = at["added"] - portable.Memory.LATENCY
        with m.If(rows[bias_stage]):
            m.d.sync += self.bias_address.eq(self.bias_address + 1)
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

        # Out: rows wait here until their word goes away.
        m.submodules.queue = queue = Queue(width=lanes * width, depth=room)
        word = Signal(spec.lanes * width)
        complete = Signal()  # the queue's rows are a word's last
        taken = Signal()
        words_left = Signal.like(layer.rows_words)
        last = Signal()  # words_left == 1
        m.d.comb += [
            queue.w_data.eq(outputs),
            queue.w_en.eq(rows[at["o"]]),
            popped.eq(queue.r_rdy & queue.r_en),
            self.o.payload.data.eq(word),
            self.o.payload.last.eq(last),
            self.o.valid.eq(queue.r_rdy & complete & layer.last),
            self.hidden.payload.eq(word),
            self.hidden.valid.eq(queue.r_rdy & complete & ~layer.last),
            taken.eq(queue.r_rdy & complete & Mux(layer.last, self.o.ready, self.hidden.ready)),
            queue.r_en.eq(~complete | Mux(layer.last, self.o.ready, self.hidden.ready)),
        ]
        if parts == 1:
            m.d.comb += [complete.eq(1), word.eq(queue.r_data)]
        else:
            part = Signal(range(parts))
            held = Signal((parts - 1) * lanes * width)
            m.d.comb += word.eq(Cat(held, queue.r_data))
            with m.If(popped):
                m.d.sync += [
                    part.eq(part + 1),
                    complete.eq(part == parts - 2),
                    held.eq(word >> (lanes * width)),
                ]
        with m.If(taken):
            m.d.sync += [
                words_left.eq(words_left - 1),
                last.eq(words_left == 2),
                self.done.eq(last),
            ]

        with m.If(self.start):
            m.d.sync += [
                left.eq(layer.rows_words * parts),
                under_way.eq(1),
                self.done.eq(0),
                words_left.eq(layer.rows_words),
                last.eq(layer.rows_words == 1),
                round_.eq(0),
                slot.row.eq(0),
                slot.tag.eq(self.tag),
                self.bias_address.eq(layer.bias_base),
            ]
        return m
