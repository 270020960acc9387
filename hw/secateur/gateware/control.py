"""The sequence of an inference: layer after layer, input after input."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Control", "Phase"]


class Phase(enum.IntEnum):
    """What the engine is doing."""

    IDLE = 0  #: waits for an input or a program
    SETUP = 1  #: clears accumulators after reset, or reads the layer table and a codebook
    SCAN = 2  #: broadcasts and multiplies
    DRAIN = 3  #: requantises


class Control(wiring.Component):
    """Start scanning and draining in turn for every layer of every input; change programs between.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    loaded : bool
        Whether bank 0 holds a program from the start.

    Members
    -------
    begin, begun, commit, committed
        As in :class:`secateur.gateware.loader.Loader`, with directions reversed.
    bank, loaded : Out(1)
        Bank of the program in use, and whether there is one.
    ready : Out(1)
        Its shape, ``input_words`` and the rest, is known.
    write_bank : Out(1)
        Bank that the loader writes.
    layer : Out(range(layer_depth))
        Layer under way.
    layer_enable : Out(1)
        Read the layer table; its word follows one cycle later and holds.
    descriptor : In(layer table word)
        That word.
    last : Out(1)
        The layer under way is the network's last.
    code, code_write : Out
        Read value ``code`` of the layer's codebook; write the value read in the cycle before,
        that of ``code - 1``, to the PEs.
    input_source, input_words, output_words : Out
        Of the program in use: where and how long x is, and how long y, words.
    input_full, input_occupied, input_release
        As in :class:`secateur.gateware.input.InputBuffer`, with directions reversed.
    input_open : Out(1)
        A new x may begin.
    scan_start, drain_start : Out(1)
        Strobes.
    scan_done, drain_done : In(1)
        All products are added; all words are delivered.
    first : Out(1)
        The layer under way reads x.
    clear, clear_address : Out
        Clear the accumulators at ``clear_address``: after reset and before each program.
    running : Out(1)
        An inference is under way.
    phase : Out(Phase)
        What is going on.
    """

    begin: Signal
    begun: Signal
    commit: Signal
    committed: Signal
    bank: Signal
    loaded: Signal
    ready: Signal
    write_bank: Signal
    layer: Signal
    layer_enable: Signal
    descriptor: data.View
    last: Signal
    code: Signal
    code_write: Signal
    input_source: Signal
    input_words: Signal
    output_words: Signal
    input_full: Signal
    input_occupied: Signal
    input_release: Signal
    input_open: Signal
    scan_start: Signal
    scan_done: Signal
    drain_start: Signal
    drain_done: Signal
    first: Signal
    clear: Signal
    clear_address: Signal
    running: Signal
    phase: Signal

    def __init__(self, spec: EngineSpec, *, loaded: bool) -> None:
        self.spec = spec
        self._loaded = loaded
        descriptor = memories(spec)[Section.LAYERS].record
        fields = {f.name: f.width for f in descriptor.fields}
        super().__init__({
            "begin": In(1),
            "begun": Out(1),
            "commit": In(1),
            "committed": Out(1),
            "bank": Out(1),
            "loaded": Out(1),
            "ready": Out(1),
            "write_bank": Out(1),
            "layer": Out(range(spec.layer_depth)),
            "layer_enable": Out(1),
            "descriptor": In(struct(descriptor)),
            "last": Out(1),
            "code": Out(spec.codebook_bits + 1),
            "code_write": Out(1),
            "input_source": Out(fields["source"]),
            "input_words": Out(fields["source_words"]),
            "output_words": Out(fields["rows_words"]),
            "input_full": In(1),
            "input_occupied": In(1),
            "input_release": Out(1),
            "input_open": Out(1),
            "scan_start": Out(1),
            "scan_done": In(1),
            "drain_start": Out(1),
            "drain_done": In(1),
            "first": Out(1),
            "clear": Out(1),
            "clear_address": Out(range(spec.row_depth)),
            "running": Out(1),
            "phase": Out(Phase),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        quiet = Signal()  # no inference is under way and no x has begun
        # Reset does not change the memories, so what they hold outlives it.
        loaded = Signal(init=self._loaded, reset_less=True)
        bank = Signal(reset_less=True)
        m.d.comb += [
            quiet.eq(~self.input_occupied),
            self.loaded.eq(loaded),
            self.bank.eq(bank),
            # A table without a last layer ends where it ends, so that no program hangs the engine.
            self.last.eq(self.descriptor.last | (self.layer == spec.layer_depth - 1)),
            self.first.eq(self.layer == 0),
            self.write_bank.eq(~bank if spec.banks == 2 else 0),
            self.input_open.eq(self.ready & ~self.commit & ~(self.begin if spec.banks == 1 else 0)),
            self.phase.eq(Phase.SETUP),
            self.running.eq(1),
        ]
        if spec.banks == 2:
            m.d.comb += self.begun.eq(1)

        with m.FSM():
            with m.State("clear"):
                m.d.comb += self.running.eq(0)
                m.d.comb += self.clear.eq(1)
                m.d.sync += self.clear_address.eq(self.clear_address + 1)
                with m.If(self.clear_address == spec.row_depth - 1):
                    m.next = "idle"
                    with m.If(loaded):
                        m.next = "read shape"

            with m.State("idle"):
                m.d.comb += self.running.eq(0)
                m.d.comb += self.phase.eq(Phase.IDLE)
                m.d.sync += self.layer.eq(0)
                if spec.banks == 1:
                    m.d.comb += self.begun.eq(quiet)
                    with m.If(self.begin & quiet):
                        m.d.sync += [loaded.eq(0), self.ready.eq(0)]
                with m.If(self.input_full):
                    m.next = "read layer"
                with m.Elif(self.commit & quiet):
                    m.d.comb += self.committed.eq(1)
                    m.d.sync += [loaded.eq(1), self.ready.eq(0)]
                    # A program may have left sums that it did not drain.
                    if spec.banks == 2:
                        m.d.sync += bank.eq(~bank)
                    m.next = "clear"

            # The layer table says how long x and y are.
            with m.State("read shape"):
                m.d.comb += self.running.eq(0)
                m.d.comb += self.layer_enable.eq(1)
                m.next = "keep shape"
            with m.State("keep shape"):
                m.d.comb += self.running.eq(0)
                with m.If(self.first):
                    m.d.sync += [
                        self.input_source.eq(self.descriptor.source),
                        self.input_words.eq(self.descriptor.source_words),
                    ]
                with m.If(self.last):
                    m.d.sync += [
                        self.output_words.eq(self.descriptor.rows_words),
                        self.ready.eq(1),
                    ]
                    m.next = "idle"
                with m.Else():
                    m.d.sync += self.layer.eq(self.layer + 1)
                    m.next = "read shape"

            with m.State("read layer"):
                m.d.comb += self.layer_enable.eq(1)
                m.next = "codebook" if spec.codebook_bits else "scan"
            if spec.codebook_bits:
                with m.State("codebook"):
                    # Value k is read in cycle k and written to the PEs in cycle k + 1.
                    m.d.comb += self.code_write.eq(self.code != 0)
                    m.d.sync += self.code.eq(self.code + 1)
                    with m.If(self.code == 1 << spec.codebook_bits):
                        m.d.sync += self.code.eq(0)
                        m.next = "scan"
            with m.State("scan"):
                m.d.comb += [self.scan_start.eq(1), self.phase.eq(Phase.SCAN)]
                m.next = "scanning"
            with m.State("scanning"):
                m.d.comb += self.phase.eq(Phase.SCAN)
                with m.If(self.scan_done):
                    m.d.comb += [self.drain_start.eq(1), self.input_release.eq(self.first)]
                    m.next = "draining"
            with m.State("draining"):
                m.d.comb += self.phase.eq(Phase.DRAIN)
                with m.If(self.drain_done):
                    m.d.sync += self.layer.eq(self.layer + 1)
                    m.next = "read layer"
                    with m.If(self.last):
                        m.next = "idle"
        return m
