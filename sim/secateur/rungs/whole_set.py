"""The whole test set through the engine's Verilog, driven from C++."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.fast import build_fast, run_fast
from secateur.errors import CheckFailedError
from secateur.instrument import InstrumentedEngine
from secateur.rungs.engine import require_simulator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.bench.fast import FastRun
    from secateur.rungs.rung import Subject

__all__ = ["whole_set"]


def whole_set(subject: Subject) -> dict[str, int]:
    """Infer every test input, one behind the other, and compare every output.

    Simulations of equal parts run side by side, each of which loads the program for itself. How
    fast they are is no result, and noted.
    """
    require_simulator("verilator")
    program, x = subject.program, subject.x
    folder = subject.room("whole_set")
    design = InstrumentedEngine(program.spec, layers=len(program.layers))
    subject.progress(0, 0, "building the simulation")
    executable = build_fast(design, folder=folder, cache=subject.cache)

    def run(number: int, part: NDArray[np.int64]) -> FastRun:
        own = folder / str(number)
        own.mkdir()
        told = subject.progress if number == 0 else lambda *_: None
        return run_fast(
            executable, design, program, part, bursts=[len(part)], folder=own, progress=told
        )

    start = time.monotonic()
    parts = np.array_split(x, min(subject.amounts.processes, len(x)))
    with ThreadPoolExecutor(len(parts)) as pool:
        runs = [*pool.map(run, range(len(parts)), parts)]
    seconds = time.monotonic() - start

    y = np.concatenate([run.y for run in runs])
    want = subject.network.compute(x)
    if (y != want).any():
        wrong = (y != want).any(axis=1)
        raise CheckFailedError(
            f"{int((y != want).sum())} of {y.size} outputs differ from the network's; the first "
            f"wrong input is {int(wrong.argmax())}"
        )
    cycles = sum(int(run.ends[-1]) + 1 for run in runs)
    subject.note(
        f"{len(x) / seconds:,.0f} inferences and {cycles / seconds:,.0f} engine cycles a second "
        f"in {len(parts)} simulations side by side"
    )
    return {"test inputs": len(x), "outputs": y.size, "engine cycles": cycles}
