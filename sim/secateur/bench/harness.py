"""What stands around a component in a proof: free inputs, what is assumed and what is claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # not in the stubs
from amaranth.hdl import Assert, Assume, ClockDomain, Module, Signal, Value
from amaranth.lib.wiring import Out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amaranth.hdl import ShapeLike, ValueLike

__all__ = ["STREAM", "Harness", "members"]

#: Members of a stream's signature.
STREAM = ("payload", "valid", "ready")


class Harness:
    """A module around one component whose inputs, where nothing else drives them, are free.

    Every register begins at its initial value, and reset is not asserted again.

    Parameters
    ----------
    component : Component
        Keep it narrow: memories become registers.

    Attributes
    ----------
    m : Module
        Holds the component, and what the proof adds to it.
    ports : dict of str to Value
        What is free or shown in a run that breaks a claim: the component's ports, ``a__b`` for
        ``b`` of ``a``, and what the proof adds.
    claims, assumptions : dict of str to Signal
        One in every cycle, as is to be proved or may be relied on.
    checks : list of str
        Commands for Yosys that must succeed on the flattened module.
    """

    def __init__(self, component: Any) -> None:
        self.component = component
        self.m = Module()
        self.m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        self.clock: Signal = domain.clk  # pyright: ignore[reportAttributeAccessIssue]
        self.m.submodules.dut = component
        self.ports: dict[str, Value] = {}
        self.claims: dict[str, Signal] = {}
        self.assumptions: dict[str, Signal] = {}
        self.checks: list[str] = []
        for path, is_stream, _, member in members(component.signature, component):
            if is_stream:
                for part in STREAM:
                    self.ports[f"{path}__{part}"] = Value.cast(getattr(member, part))
            else:
                self.ports[path] = Value.cast(member)

    def free(self, name: str, shape: ShapeLike = 1) -> Signal:
        """Return an input that may have any value in any cycle."""
        self.ports[name] = signal = Signal(shape, name=name)
        return signal

    def constant(self, name: str, shape: ShapeLike) -> Signal:
        """Return an input that may have any value, the same in all cycles."""
        signal = self.free(name, shape)
        self.assume(f"{name} stays", ~self.after_first() | (signal == self.late(signal)))
        return signal

    def show(self, name: str, value: ValueLike) -> None:
        """Show something else in a run."""
        shown = Signal.like(Value.cast(value), name=name)
        self.m.d.comb += shown.eq(value)
        self.ports[name] = shown

    def late(self, value: Value, cycles: int = 1, *, init: int = 0) -> Value:
        """Return the value of so many cycles before; in the first ones, ``init``."""
        for _ in range(cycles):
            register = Signal(value.shape(), init=init)
            self.m.d.sync += register.eq(value)
            value = register
        return value

    def after_first(self) -> Signal:
        """Return zero in the first cycle and one in the others."""
        register = Signal()
        self.m.d.sync += register.eq(1)
        return register

    def assume(self, name: str, condition: ValueLike) -> None:
        """Assume a condition in every cycle."""
        self._note(self.assumptions, name, condition)

    def claim(self, name: str, condition: ValueLike) -> None:
        """Claim a condition in every cycle."""
        self._note(self.claims, name, condition)

    def _note(self, notes: dict[str, Signal], name: str, condition: ValueLike) -> None:
        assert name not in notes, name
        notes[name] = signal = Signal(name=name.replace(" ", "_"))
        self.m.d.comb += signal.eq(Value.cast(condition).bool())

    def to_rtlil(self) -> str:
        """Convert to RTLIL with a module ``top`` that asserts the claims."""
        for name, signal in self.claims.items():
            self.m.d.comb += Assert(signal, name)
        for name, signal in self.assumptions.items():
            self.m.d.comb += Assume(signal, name)
        # The domain is the harness's own: without its clock among the ports it would stand still.
        ports = {name: (value, None) for name, value in self.ports.items()}
        ports["clk"] = (self.clock, None)
        text = rtlil.convert(self.m, name="top", ports=ports, emit_src=False)
        assert self.claims, "there is nothing to prove"
        return text


def members(
    signature: Any, interface: Any, path: str = ""
) -> Iterator[tuple[str, bool, bool, Any]]:
    """List streams and other ports: path, whether it is a stream, whether it is driven, which."""
    for name, member in signature.members.items():
        assert not member.dimensions, f"{path}{name}: arrays of ports are not covered"
        below = getattr(interface, name)
        is_stream = member.is_signature and set(member.signature.members) == set(STREAM)
        if is_stream or member.is_port:
            yield f"{path}{name}", is_stream, member.flow == Out, below
        else:  # the flows below are already those of this side
            yield from members(member.signature, below, f"{path}{name}__")
