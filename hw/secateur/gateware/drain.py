"""From accumulators to activations: bias, requantisation, and on to the next layer or to y."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.requant import Requantizer

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Drain", "y_stream"]


def y_stream(spec: EngineSpec) -> stream.Signature:
    """Words of outputs; ``last`` marks the last word of an inference."""
    return stream.Signature(
        data.StructLayout({
            "data": data.ArrayLayout(spec.activation_width, spec.lanes),
            "last": 1,
        })
    )


class Drain(wiring.Component):
    """Read the accumulators row by row, requantise ``lanes`` of them a cycle, clear them.

    Row i is accumulator ``i // pes`` of PE ``i % pes``. The first word is out ``LATENCY`` cycles
    after ``start``, then one word a cycle, while ``o.ready`` is asserted or the layer is hidden.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    start : In(1)
        Strobe: begin with the descriptor below. Only while ``done``.
    layer : In(layer table word)
        Held from ``start`` until ``done``.
    last : In(1)
        The layer's output is y; held likewise.
    address, enable : Out
        Read the accumulators at ``address`` of every PE.
    sums : In(data.ArrayLayout(signed(spec.accumulator_width), spec.pes))
        One cycle later; held while ``enable`` is deasserted.
    bias_address, biases : Out, In
        Read port of the bias memory, enabled by ``enable`` too.
    clear, clear_address : Out
        Clear the accumulators at ``clear_address`` of every PE.
    write, write_address, write_word : Out
        A word of activations for the next layer.
    o : Out(y_stream(spec))
        Words of y.
    done : Out(1)
        Everything since ``start`` was delivered.
    """

    #: Cycles from ``start`` to the first word: address, memory, selection, requantisation.
    LATENCY = 3 + Requantizer.LATENCY

    start: Signal
    layer: data.View
    last: Signal
    address: Signal
    enable: Signal
    sums: data.View
    bias_address: Signal
    biases: data.View
    clear: Signal
    clear_address: Signal
    write: Signal
    write_address: Signal
    write_word: data.View
    o: stream.Interface
    done: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        kinds = memories(spec)
        words = data.ArrayLayout(spec.activation_width, spec.lanes)
        super().__init__({
            "start": In(1),
            "layer": In(struct(kinds[Section.LAYERS].record)),
            "last": In(1),
            "address": Out(range(spec.row_depth)),
            "enable": Out(1),
            "sums": In(data.ArrayLayout(signed(spec.accumulator_width), spec.pes)),
            "bias_address": Out(range(spec.bias_depth)),
            "biases": In(struct(kinds[Section.BIASES].record)),
            "clear": Out(1),
            "clear_address": Out(range(spec.row_depth)),
            "write": Out(1),
            "write_address": Out(range(spec.activation_depth)),
            "write_word": Out(words),
            "o": Out(y_stream(spec)),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, layer = self.spec, self.layer
        groups = spec.pes // spec.lanes  # words that one accumulator address gives

        # Nothing moves while a word of y waits: the whole pipeline is one elastic stage.
        enable = self.enable
        m.d.comb += enable.eq(~self.o.valid | self.o.ready)

        # Cycle 0: addresses.
        left = Signal.like(layer.rows_words)
        group = Signal(max(1, (groups - 1).bit_length()))
        reading = Signal()
        slot_ends = Signal()  # the last word of this accumulator address
        m.d.comb += [
            reading.eq(left != 0),
            slot_ends.eq((group == groups - 1) | (left == 1)),
        ]
        with m.If(enable & reading):
            m.d.sync += [
                left.eq(left - 1),
                group.eq(Mux(slot_ends, 0, group + 1)),
                self.address.eq(self.address + slot_ends),
                self.bias_address.eq(self.bias_address + 1),
            ]

        # Cycle 1: the sums of every PE. Reading them a second time is over, so they are cleared.
        valid = [Signal(name=f"valid_{cycle}") for cycle in range(1, self.LATENCY)]
        group_1 = Signal.like(group)
        slot_ends_1 = Signal()
        with m.If(enable):
            m.d.sync += [
                Cat(valid).eq(Cat(reading, *valid[:-1])),
                group_1.eq(group),
                slot_ends_1.eq(slot_ends),
                self.clear_address.eq(self.address),
            ]
        m.d.comb += self.clear.eq(valid[0] & slot_ends_1)

        # Cycle 2: the sums of one word. Cycle 2 + Requantizer.LATENCY: its activations.
        biases = Signal.like(self.biases)
        with m.If(enable):
            m.d.sync += biases.eq(self.biases)
        outputs = Signal(data.ArrayLayout(spec.activation_width, spec.lanes))
        for lane in range(spec.lanes):
            chosen = Signal(signed(spec.accumulator_width), name=f"sum_{lane}")
            candidates = Array(self.sums[g * spec.lanes + lane] for g in range(groups))
            with m.If(enable):
                m.d.sync += chosen.eq(candidates[group_1])
            m.submodules[f"requant_{lane}"] = requant = Requantizer(
                accumulator_width=spec.accumulator_width, activation_width=spec.activation_width
            )
            m.d.comb += [
                requant.acc.eq(chosen),
                requant.bias.eq(biases[f"bias{lane}"]),
                requant.shift.eq(layer.shift),
                requant.output_signed.eq(layer.output_signed),
                requant.relu.eq(layer.relu),
                requant.enable.eq(enable),
                outputs[lane].eq(requant.o),
            ]

        # Out. Words leave in order, so that counting them names the last and their addresses.
        remaining = Signal.like(layer.rows_words)
        out_valid = valid[-1]
        m.d.comb += [
            self.o.valid.eq(out_valid & self.last),
            self.o.payload.data.eq(outputs),
            self.o.payload.last.eq(remaining == 1),
            self.write.eq(out_valid & ~self.last),
            self.write_word.eq(outputs),
            self.done.eq(remaining == 0),
        ]
        with m.If(enable & out_valid):
            m.d.sync += [
                remaining.eq(remaining - 1),
                self.write_address.eq(self.write_address + 1),
            ]

        with m.If(self.start):
            m.d.sync += [
                left.eq(layer.rows_words),
                remaining.eq(layer.rows_words),
                self.address.eq(0),
                self.bias_address.eq(layer.bias_base),
                self.write_address.eq(layer.destination),
            ]
        return m
