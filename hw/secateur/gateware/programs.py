"""How an engine changes from one program to the next: what both kinds of control have alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.lookup import number_shape

if TYPE_CHECKING:
    from amaranth.hdl import ShapeLike
    from amaranth.lib import data

    from secateur.engine import EngineSpec

__all__ = ["ProgramControl"]


class ProgramControl(wiring.Component):
    """Change programs, and make checks of the weights, while no inference is under way.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    loaded : bool
        Whether bank 0 holds a program from the start.
    checked : bool
        Whether the weights can be checked.
    clears : int
        How many addresses are cleared before each program, a power of two; more are passed where
        there are more values of codebooks.
    members : dict
        Those of the control, beside these:

    Members
    -------
    begin, begun, commit, committed
        As in :class:`secateur.gateware.loader.Loader`, with directions reversed.
    check, checking, checked : In(1), Out(1), In(1)
        As in :class:`secateur.gateware.check.Checker`: ``wanted``, ``granted`` and ``done``, with
        directions reversed. A check waits as an image does that is complete; absent if there is
        none.
    bank, loaded : Out(1)
        Bank of the program in use, and whether there is one.
    ready : Out(1)
        Its shape, ``input_words`` and the rest, is known.
    write_bank : Out(1)
        Bank that the loader writes.
    layer_address, layer : Out, In(layer table word)
        Read port of the layer table, two cycles of latency.
    input_words, output_words : Out
        Of the program in use: how long x and y are, words.
    x_open : Out(1)
        A new x may begin from the next cycle on.
    x_begun : In(1)
        An x is incomplete, or waits.
    clear, clear_address : Out
        Clear what is at ``clear_address``, as far as there is that, and copy the value of the
        codebooks there: after reset and before each program.
    running : Out(1)
        An inference is under way.
    """

    begin: Signal
    begun: Signal
    commit: Signal
    committed: Signal
    check: Signal
    checking: Signal
    checked: Signal
    bank: Signal
    loaded: Signal
    ready: Signal
    write_bank: Signal
    layer_address: Signal
    layer: data.View
    input_words: Signal
    output_words: Signal
    x_open: Signal
    x_begun: Signal
    clear: Signal
    clear_address: Signal
    running: Signal

    def __init__(
        self,
        spec: EngineSpec,
        *,
        loaded: bool,
        checked: bool,
        clears: int,
        input_words: ShapeLike,
        output_words: ShapeLike,
        members: dict[str, Any],
    ) -> None:
        self.spec = spec
        self._loaded, self._checked = loaded, checked
        self._clears = max(clears, len(number_shape(spec)) if spec.codebook_bits else 0)
        super().__init__({
            "begin": In(1),
            "begun": Out(1),
            "commit": In(1),
            "committed": Out(1),
            **({"check": In(1), "checking": Out(1), "checked": In(1)} if checked else {}),
            "bank": Out(1),
            "loaded": Out(1),
            "ready": Out(1),
            "write_bank": Out(1),
            "layer_address": Out(range(spec.layer_depth)),
            "layer": In(struct(memories(spec)[Section.LAYERS].record)),
            "input_words": Out(input_words),
            "output_words": Out(output_words),
            "x_open": Out(1),
            "x_begun": In(1),
            **members,
            "clear": Out(1),
            "clear_address": Out(range(self._clears)),
            "running": Out(1),
        })

    def _wait_for_quiet(
        self,
        m: Module,
        *,
        loaded: Signal,
        bank: Signal,
        quiet: Signal,
        idle: Value,
        running: Value,
        takes: Value | None = None,
    ) -> None:
        """Let no x begin once programs are to change, and only while the engine ``takes`` any.

        ``quiet`` is told late, which shortens the way to x: programs change once no x can begin
        any more.
        """
        spec = self.spec
        closed = Signal()
        shut = Signal()
        closing = self.commit | (self.begin if spec.banks == 1 else 0)
        m.d.sync += [
            closed.eq(closing | self.check if self._checked else closing),
            shut.eq(closed),
            quiet.eq(idle & ~self.x_begun & closed & shut),
        ]
        x_open = self.ready & ~closed
        m.d.comb += [
            self.x_open.eq(x_open if takes is None else x_open & takes),
            self.running.eq(running),
            self.loaded.eq(loaded),
            self.bank.eq(bank),
            self.write_bank.eq(~bank if spec.banks == 2 else 0),
        ]
        if spec.banks == 2:
            m.d.comb += self.begun.eq(1)

    def _change_programs(
        self,
        m: Module,
        *,
        loaded: Signal,
        bank: Signal,
        quiet: Signal,
        shaping: Signal,
        shape_layer: Signal,
        input_words: Value,
        output_words: Value,
    ) -> None:
        """Clear, exchange banks, allow a check, and read the shape of x and y.

        While ``shaping``, ``layer_address`` must be ``shape_layer``; ``input_words`` and
        ``output_words`` are those of the layer that is read.
        """
        spec = self.spec
        exchange = Signal()  # a cycle late, which shortens the way from the loader
        m.d.sync += exchange.eq(self.commit & quiet)
        with m.FSM(name="programs"):
            with m.State("clear"):
                m.d.comb += self.clear.eq(1)
                m.d.sync += self.clear_address.eq(self.clear_address + 1)
                with m.If(self.clear_address == self._clears - 1):
                    m.next = "run"
                    with m.If(loaded):
                        m.next = "read shape"
            with m.State("run"):
                m.d.sync += shape_layer.eq(0)
                if spec.banks == 1:
                    m.d.comb += self.begun.eq(quiet)
                    with m.If(self.begin & quiet):
                        m.d.sync += [loaded.eq(0), self.ready.eq(0)]
                with m.If(exchange):
                    m.d.comb += self.committed.eq(1)
                    m.d.sync += [loaded.eq(1), self.ready.eq(0)]
                    if spec.banks == 2:
                        m.d.sync += bank.eq(~bank)
                    # A program may have left sums that it did not drain, and codebooks.
                    m.next = "clear"
                if self._checked:
                    waits = self.commit | (self.begin if spec.banks == 1 else 0)
                    with m.Elif(self.check & quiet & self.ready & ~waits):
                        m.next = "check"
            if self._checked:
                with m.State("check"):
                    m.d.comb += self.checking.eq(1)
                    with m.If(self.checked):
                        m.next = "checked"
                # `exchange` is three cycles late: what comes next must not take the quiet of the
                # check for its own while an x begins.
                with m.State("checked"):
                    m.next = "open"
                with m.State("open"):
                    m.next = "opened"
                with m.State("opened"):
                    m.next = "run"

            # The layer table says how long x and y are.
            with m.State("read shape"):
                m.d.comb += shaping.eq(1)
                m.next = "wait shape"
            with m.State("wait shape"):
                m.next = "keep shape"
            with m.State("keep shape"):
                with m.If(shape_layer == 0):
                    m.d.sync += self.input_words.eq(input_words)
                with m.If(self.layer.last | (shape_layer == spec.layer_depth - 1)):
                    m.d.sync += self.output_words.eq(output_words)
                    m.next = "shape known"
                with m.Else():
                    m.d.sync += shape_layer.eq(shape_layer + 1)
                    m.next = "read shape"
            # A cycle more, which shortens the way from the memory.
            with m.State("shape known"):
                m.d.sync += self.ready.eq(1)
                m.next = "run"
