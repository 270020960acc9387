"""One layer after the other, and when programs change: the control of an engine with maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.pe import split_layout
from secateur.gateware.programs import ProgramControl

if TYPE_CHECKING:
    from amaranth.lib import data

    from secateur.engine import EngineSpec

__all__ = ["MapControl"]


class MapControl(ProgramControl):
    """Take an x, and run a program's layers on it, each when the one before has been written.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    loaded : bool
        Whether bank 0 holds a program from the start.
    checked : bool
        Whether the weights can be checked.

    Members
    -------
    begin, begun, and so on
        As in :class:`ProgramControl`.
    splits
        As in :class:`secateur.gateware.control.Control`.
    x_complete : In(1)
        As in :class:`secateur.gateware.maps.store.MapStore`.
    start, current : Out(1), Out(layer table word)
        Strobe: the layer to walk and to drain; held until the next.
    done : In(1)
        Its output was written, or delivered; asserted until the next ``start``.
    number : Out(range(spec.layer_depth))
        Which layer it is.
    """

    splits: data.View
    x_complete: Signal
    start: Signal
    current: data.View
    done: Signal
    number: Signal

    def __init__(self, spec: EngineSpec, *, loaded: bool, checked: bool = False) -> None:
        words = range(spec.activation_depth + 1)
        layer = struct(memories(spec)[Section.LAYERS].record)
        super().__init__(
            spec,
            loaded=loaded,
            checked=checked,
            clears=max(spec.row_depth, spec.activation_depth),
            input_words=words,
            output_words=words,
            members={
                "splits": Out(split_layout(spec)),
                "x_complete": In(1),
                "start": Out(1),
                "current": Out(layer),
                "done": In(1),
                "number": Out(range(spec.layer_depth)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, layer = self.spec, self.layer
        loaded = Signal(init=self._loaded, reset_less=True)
        bank = Signal(reset_less=True)
        quiet = Signal()
        takes = Signal(init=1)  # no layer is under way
        self._wait_for_quiet(
            m, loaded=loaded, bank=bank, quiet=quiet, idle=takes, running=~takes, takes=takes
        )
        # There is a word of everything, and a table without a last layer ends where it ends, so
        # that no program hangs the engine.
        input_words = layer.target_base | (layer.target_base == 0)
        output_words = layer.output_words | (layer.output_words == 0)
        is_last = Signal()

        with m.FSM(name="layers"):
            with m.State("take x"):
                with m.If(self.x_complete):
                    m.d.sync += takes.eq(0)
                    m.next = "read layer"
            with m.State("read layer"):
                m.next = "wait layer"
            with m.State("wait layer"):
                m.next = "keep layer"
            with m.State("keep layer"):
                m.d.sync += [
                    self.current.eq(layer),
                    is_last.eq(layer.last | (self.number == spec.layer_depth - 1)),
                ]
                if len(spec.code_widths) > 1:
                    m.d.sync += self.splits[0].eq(layer.code_extra)
                m.next = "start"
            with m.State("start"):
                m.d.comb += self.start.eq(1)
                m.d.sync += self.current.last.eq(is_last)
                m.next = "run"
            with m.State("run"):
                with m.If(self.done):
                    m.d.sync += self.number.eq(self.number + 1)
                    m.next = "read layer"
                    with m.If(is_last):
                        m.d.sync += [self.number.eq(0), takes.eq(1)]
                        m.next = "take x"

        shape_layer = Signal(range(spec.layer_depth))
        shaping = Signal()
        m.d.comb += self.layer_address.eq(Mux(shaping, shape_layer, self.number))
        self._change_programs(
            m,
            loaded=loaded,
            bank=bank,
            quiet=quiet,
            shaping=shaping,
            shape_layer=shape_layer,
            input_words=input_words,
            output_words=output_words,
        )
        return m
