"""Multiply and accumulate, one product a cycle, whatever the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.memory import BankedMemory

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Accumulator"]


class Accumulator(wiring.Component):
    """Add ``weight * value`` to the accumulator of ``row``.

    Takes one product a cycle; the sum of a product is stored 2 cycles later. Products for the same
    row may follow each other at any distance: a sum that is not in the memory yet is forwarded.

    The accumulators are not cleared by reset: ``clear`` each before use.

    Parameters
    ----------
    spec : EngineSpec
        The engine.

    Members
    -------
    valid, row, weight, value : In
        A product to add.
    drain_address, drain_enable : In
        Read an accumulator. Only while ``idle``.
    drain_sum : Out(signed(spec.accumulator_width))
        One cycle later; holds while ``drain_enable`` is deasserted.
    clear, clear_address : In
        Set an accumulator to zero. Only while ``idle``.
    idle : Out(1)
        All sums are stored.
    """

    valid: Signal
    row: Signal
    weight: Signal
    value: Signal
    drain_address: Signal
    drain_enable: Signal
    drain_sum: Signal
    clear: Signal
    clear_address: Signal
    idle: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        rows = range(spec.row_depth)
        super().__init__({
            "valid": In(1),
            "row": In(rows),
            "weight": In(signed(spec.weight_width)),
            "value": In(signed(spec.activation_width + 1)),
            "drain_address": In(rows),
            "drain_enable": In(1),
            "drain_sum": Out(signed(spec.accumulator_width)),
            "clear": In(1),
            "clear_address": In(rows),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = signed(self.spec.accumulator_width)
        m.submodules.sums = sums = BankedMemory(shape, depth=self.spec.row_depth)

        # Cycle 0: multiply, and read the accumulator.
        product = Signal(signed(self.spec.weight_width + self.spec.activation_width + 1))
        multiplied = Signal()
        row = Signal.like(self.row)
        forward = Signal()
        m.d.sync += [
            product.eq(self.weight * self.value),
            multiplied.eq(self.valid),
            row.eq(self.row),
            forward.eq(multiplied & (row == self.row)),
        ]
        m.d.comb += [
            sums.read_address.eq(Mux(self.valid, self.row, self.drain_address)),
            sums.read_enable.eq(self.valid | self.drain_enable),
            self.drain_sum.eq(sums.read_word),
        ]

        # Cycle 1: add. What the memory read misses the sum stored at the same edge. The width
        # holds every partial sum of the program, so that wrapping never happens.
        before = Signal(shape)
        total = Signal(shape)
        stored = Signal(shape)
        m.d.comb += [
            before.eq(Mux(forward, stored, sums.read_word)),
            total.eq(before + product),
            sums.write_address.eq(Mux(multiplied, row, self.clear_address)),
            sums.write_word.eq(Mux(multiplied, total, 0)),
            sums.write_enable.eq(multiplied | self.clear),
            self.idle.eq(~self.valid & ~multiplied),
        ]
        m.d.sync += stored.eq(total)
        return m
