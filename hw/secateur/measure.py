"""How fast and how large a component is by itself, on a device, without a board."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amaranth import *
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.synthesize import check_seeds, place_and_route
from secateur.toolchain import run_yosys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from secateur.device import Device
    from secateur.synthesize import Routed

__all__ = ["Folded", "Measurement", "measure"]

#: MHz that nextpnr is told to reach: more than any design does, so that it never rests.
TARGET_MHZ = 400


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
        m.domains.sync = ClockDomain()
        m.submodules.component = self.component  # pyright: ignore[reportArgumentType] - no stub
        members = [
            (member.flow, Value.cast(value))
            for _, member, value in self.component.signature.flatten(self.component)
        ]
        inputs = Cat(value for flow, value in members if flow is In)
        outputs = Cat(value for flow, value in members if flow is Out)

        # The lowest bit is the reset.
        shift = Signal(1 + len(inputs), reset_less=True)
        out = Signal(max(1, len(outputs)), reset_less=True)
        m.d.comb += [
            ClockSignal().eq(self.clk),
            ResetSignal().eq(shift[0]),
            inputs.eq(shift[1:]),
            self.o.eq(out[-1]),
        ]
        m.d.sync += [shift.eq(Cat(self.i, shift)), out.eq(Cat(Const(0, 1), out) ^ outputs)]
        return m


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A component on a device.

    Parameters
    ----------
    device : str
        Name of the device.
    seeds : dict of int to Routed
        By seed: the highest frequency, MHz, what limits it, the cells and the critical path. Among
        the cells are a flip-flop for each bit of the ports, and a LUT for each bit of the outputs.
    """

    device: str
    seeds: dict[int, Routed]

    @property
    def fmax_mhz(self) -> float:
        """Median over the seeds, MHz."""
        return statistics.median(routed.fmax_mhz for routed in self.seeds.values())


def measure(
    component: wiring.Component, device: Device, seeds: Sequence[int] = (1,), *, folder: Path
) -> Measurement:
    """Synthesise, place and route a component.

    Parameters
    ----------
    component : Component
        In the domain ``sync``.
    device : Device
        What on.
    seeds : sequence of int
        Of the placer.
    folder : Path
        Gets sources, logs and reports.

    Raises
    ------
    BadInputError
        If the seeds are none, negative or repeated.
    CheckFailedError
        If a tool is missing or fails, or Yosys's log shows a defect.
    """
    check_seeds(seeds)
    folder.mkdir(parents=True, exist_ok=True)
    design = rtlil.convert(Folded(component), name="top", emit_src=False)
    (folder / "top.il").write_text(design)
    run_yosys("top", family=device.family, makes="top.json", folder=folder)
    pins = f"--{device.family.constraints}-allow-unconstrained"
    routed = place_and_route(device, seeds, ("--freq", str(TARGET_MHZ), pins), folder=folder)
    return Measurement(device=device.name, seeds={seed: routed[seed] for seed in seeds})
