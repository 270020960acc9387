"""What `synthesis.py` synthesises of an engine: its PEs, itself, and the top of its board."""

from __future__ import annotations

import pkgutil
import threading
from functools import reduce
from operator import and_, or_, xor
from typing import TYPE_CHECKING, Any

from amaranth import *
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from synthesis_folded import Folded

from secateur.estimate import payload_bytes
from secateur.gateware.drain import y_stream
from secateur.gateware.engine import Engine, status_layout
from secateur.gateware.loader import load_stream
from secateur.gateware.lookup import Lookup, codebook_layout
from secateur.gateware.pe import ProcessingElement
from secateur.gateware.store import x_stream
from secateur.gateware.top import Top
from secateur.placed import starts_with

if TYPE_CHECKING:
    from amaranth.lib import stream

    from secateur.device import Device
    from secateur.engine import EngineSpec
    from secateur.program import Program
    from secateur.technology import Technology

__all__ = ["PARTS", "BareEngine", "PeArray", "sources", "wrapper"]

PARTS = ("array", "engine", "top")
BAUD = 1_000_000
#: MHz that nextpnr is told to reach: more than any design does, so that it never rests.
TARGET_MHZ = 400
#: Sums that are folded into one in a cycle: as many as a LUT has inputs.
FOLDED = 4
#: What each lane has of its own, and what each PE has.
OF_LANE = ("i",)
OF_PE = ("count", "write_enable", "drained")
#: What a PE gets from codebooks.
LOOKED_UP = "weight"

#: Amaranth numbers its objects, and not for two threads.
GENERATING = threading.Lock()


class PeArray(wiring.Component):
    """All PEs of an engine and their codebooks, connected as there, and nothing else of it.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    technology : Technology
        Its cells.

    Members
    -------
    i : In
        For each lane, what its PEs get.
    codebook : In
        As in :class:`secateur.gateware.lookup.Lookup`; absent without codebooks.
    count, write_enable, drained : In
        For each PE.
    room, all_ones, all_zeros : Out
        Of all PEs, a cycle later, as the engine's control wants them.
    sum : Out
        The exclusive or of the sums of all PEs, by a tree with registers.

    All other inputs of a PE are there once for all.
    """

    codebook: data.View
    room: Signal
    all_ones: Signal
    all_zeros: Signal
    sum: Signal

    def __init__(self, spec: EngineSpec, *, technology: Technology) -> None:
        self.spec, self.technology = spec, technology
        self.pes = [ProcessingElement(spec, technology=technology) for _ in range(spec.pes)]
        members = self.pes[0].signature.members
        inputs = {
            name: member
            for name, member in members.items()
            if member.flow is In and name != LOOKED_UP
        }
        super().__init__({
            **inputs,
            **{
                name: In(data.ArrayLayout(inputs[name].shape, copies))
                for names, copies in ((OF_LANE, spec.lanes), (OF_PE, spec.pes))
                for name in names
                if name in inputs
            },
            **({"codebook": In(codebook_layout(spec))} if spec.codebook_bits else {}),
            "room": Out(1),
            "all_ones": Out(spec.jobs),
            "all_zeros": Out(spec.jobs),
            "sum": Out(spec.accumulator_width),
        })
        self._inputs = [*inputs]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index, pe in enumerate(self.pes):
            m.submodules[f"pe_{index}"] = pe
            for name in self._inputs:
                value: Any = getattr(self, name)
                if name in OF_LANE:
                    value = value[index % self.spec.lanes]
                elif name in OF_PE:
                    value = value[index]
                m.d.comb += getattr(pe, name).eq(value)
        if self.spec.codebook_bits:
            m.submodules.lookup = lookup = Lookup(self.spec, technology=self.technology)
            m.d.comb += lookup.codebook.eq(self.codebook)
            lookup.serve(m, self.pes)
        m.d.sync += [
            self.room.eq(Cat(pe.room for pe in self.pes).all()),
            self.all_ones.eq(reduce(and_, (pe.ended for pe in self.pes))),
            self.all_zeros.eq(~reduce(or_, (pe.ended for pe in self.pes))),
        ]
        sums: list[Value] = [pe.sum for pe in self.pes]
        while len(sums) > 1:
            parts = [reduce(xor, sums[at : at + FOLDED]) for at in range(0, len(sums), FOLDED)]
            sums = [Signal(self.spec.accumulator_width, name=f"sum_{len(parts)}") for _ in parts]
            m.d.sync += [late.eq(part) for late, part in zip(sums, parts, strict=True)]
        m.d.comb += self.sum.eq(sums[0])
        return m


class BareEngine(wiring.Component):
    """An engine without what only simulations look at.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    technology : Technology
        Its cells.

    Members
    -------
    i_load, i_x, o_y, status
        As in :class:`secateur.gateware.engine.Engine`.
    """

    i_load: stream.Interface
    i_x: stream.Interface
    o_y: stream.Interface
    status: data.View

    def __init__(self, spec: EngineSpec, *, technology: Technology) -> None:
        self.spec, self.technology = spec, technology
        super().__init__({
            "i_load": In(load_stream()),
            "i_x": In(x_stream(spec)),
            "o_y": Out(y_stream(spec)),
            "status": Out(status_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = Engine(self.spec, technology=self.technology)
        wiring.connect(m, wiring.flipped(self.i_load), engine.i_load)
        wiring.connect(m, wiring.flipped(self.i_x), engine.i_x)
        wiring.connect(m, engine.o_y, wiring.flipped(self.o_y))
        m.d.comb += self.status.eq(engine.status)
        return m


def wrapper(component: PeArray | BareEngine) -> dict[str, int]:
    """Count the LUTs and flip-flops that are only there to fold a component onto few pins.

    A flip-flop for each bit of the inputs, one and a LUT for each bit of the outputs, one and a
    LUT for each bit of a sum's parts in the tree that folds those of the PEs.
    """
    bits = {In: 0, Out: 0}
    for _, member, value in component.signature.flatten(component):
        bits[member.flow] += len(Value.cast(value))
    tree, pes = 0, component.spec.pes if isinstance(component, PeArray) else 1
    while pes > 1:
        pes = -(-pes // FOLDED)
        tree += pes * component.spec.accumulator_width
    return {"lut4": bits[Out] + tree, "ff": bits[In] + bits[Out] + tree}


def sources(
    part: str, spec: EngineSpec, device: Device, *, clock_mhz: float, program: Program | None
) -> tuple[dict[str, bytes], tuple[str, ...], dict[str, int]]:
    """Generate a part of an engine.

    Parameters
    ----------
    part : str
        One of :data:`PARTS`.
    spec : EngineSpec
    device : Device
    clock_mhz : float
        Of the top.
    program : Program, optional
        What the top holds out of reset, where it can.

    Returns
    -------
    dict of str to bytes
        Files: ``top.il`` and that of the pins, if there is one.
    tuple of str
        Options of nextpnr.
    dict of str to int
        What folding it takes: ``lut4`` and ``ff``.
    """
    pins = device.family.constraints
    with GENERATING:
        if part == "top":
            words = max(program.input_words, program.output_words) if program else 1

            def top() -> Top:
                return Top(
                    spec,
                    program=program and starts_with(program, device.technology),
                    clock=round(clock_mhz * 1_000_000),
                    baud=BAUD,
                    max_payload=payload_bytes(spec, words),
                    technology=device.technology,
                )

            files = pkgutil.resolve_name(device.board)(top, clock_mhz)
            return files, (f"--{pins}", f"top.{pins}"), {"lut4": 0, "ff": 0}
        make = {"array": PeArray, "engine": BareEngine}[part]
        component = make(spec, technology=device.technology)
        cost = wrapper(component)
        design = rtlil.convert(Folded(component), name="top", emit_src=False)
    options = ("--freq", str(TARGET_MHZ), f"--{pins}-allow-unconstrained")
    return {"top.il": design.encode()}, options, cost
