"""A component by itself on a device, without a board."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Folded"]


class Folded(wiring.Component):
    """A component between registers, on so few pins that it fits any package.

    Its inputs come from a shift register. Its outputs, those that are there in one cycle, go into
    another one, each bit by an exclusive or, so that none can be left out.

    Parameters
    ----------
    component : Component
        In the domain ``sync``.

    Members
    -------
    clk : In(1)
        The clock of ``sync``.
    i : In(1)
        Shifted in.
    o : Out(1)
        Shifted out.
    """

    clk: Signal
    i: Signal
    o: Signal

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        super().__init__({"clk": In(1), "i": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # As on the boards of the ECP5; those of the iCE40 have a net for the reset.
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.component = self.component  # pyright: ignore[reportArgumentType] - no stub
        members = [
            (member.flow, Value.cast(value))
            for _, member, value in self.component.signature.flatten(self.component)
        ]
        inputs = Cat(value for flow, value in members if flow is In)
        outputs = Cat(value for flow, value in members if flow is Out)

        shift = Signal(len(inputs))
        out = Signal(len(outputs))
        m.d.comb += [
            ClockSignal().eq(self.clk),
            inputs.eq(shift),
            self.o.eq(out[-1]),
        ]
        m.d.sync += [shift.eq(Cat(self.i, shift)), out.eq(Cat(Const(0, 1), out) ^ outputs)]
        return m
