"""Run programs on the Verilog of their engine without a test bench in Python between the cycles.

Verilator and a main program of its own, `fast.cpp`, instead of cocotb: ten times as fast, and so
for networks whose loading alone takes millions of cycles. Streams pause where a burst says so
(:mod:`secateur.bench.fast_bursts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from secateur.bench.cosim import build_simulation
from secateur.bench.fast_bursts import Burst, run_bursts
from secateur.digest import digest_file
from secateur.progress import silent
from secateur.simulator import Verilator
from secateur.verilog import to_verilog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.coverage.covered import CoveredEngine
    from secateur.instrument import InstrumentedEngine
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["FastRun", "build_fast", "run_fast"]


class _Fast(Verilator):
    """Verilator with `fast.cpp`."""

    RUNTIME: ClassVar = ("verilated.o", "verilated_threads.o")

    def version(self) -> str:
        with as_file(files("secateur.bench") / "fast.cpp") as source:
            return f"{super().version()} {digest_file(source)}"

    def _driver(self, toplevel: str, folder: Path) -> list[str | Path]:
        main = folder / "main.cpp"
        main.write_text((files("secateur.bench") / "fast.cpp").read_text("utf-8"), "utf-8")
        return ["-O3", "--x-assign", "fast", "--x-initial", "fast", main]


@dataclass(frozen=True, kw_only=True, eq=False)
class FastRun:
    """What came out of an engine.

    Parameters
    ----------
    y : int64[inputs, outputs]
        Outputs.
    starts, ends : int64[inputs]
        Cycle of the first word of x, and of the last of y.
    counters : tuple of int
        Bits of the design's counters when the program was loaded, and after each burst.
    """

    y: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    counters: tuple[int, ...]


def build_fast(
    design: InstrumentedEngine | CoveredEngine,
    *,
    folder: Path,
    cache: Path,
    sources: Sequence[Path] = (),
) -> Path:
    """Make the program that :func:`run_fast` starts, unless it is there.

    Parameters
    ----------
    design : InstrumentedEngine or CoveredEngine
    folder : Path
        Gets ``dut.v`` and ``build.log``; made if missing.
    cache : Path
        Holds the builds, under the digest of all that decides them.
    sources : sequence of Path
        Verilog of what the design instantiates.

    Raises
    ------
    CheckFailedError
        If a tool is missing or fails.
    """
    tool = _Fast()
    tool.require()
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "dut.v"
    source.write_text(to_verilog(design, "dut"), encoding="utf-8")
    built = build_simulation(
        tool, [source, *sources], "dut", ("-Wno-ASCRANGE",), cache, folder / "build.log"
    )
    return built / tool.executable("dut")


def run_fast(
    executable: Path,
    design: InstrumentedEngine,
    program: Program,
    x: NDArray[np.int64],
    *,
    bursts: Sequence[int],
    folder: Path,
    progress: Progress = silent,
) -> FastRun:
    """Load a program and infer in bursts: the engine is idle before each.

    Parameters
    ----------
    executable : Path
        From :func:`build_fast`.
    design : InstrumentedEngine
        What it was made of.
    program : Program
        For that engine.
    x : int64[inputs, program.inputs]
    bursts : sequence of int
        Inputs of each burst, which follow each other without a pause; all of ``x`` together.
    folder : Path
        Gets the job and the result.
    progress : callable
        Told of the words that the engine has taken.

    Raises
    ------
    CheckFailedError
        If the engine refuses the program, hangs, or gives words at the wrong places.
    """
    parts = np.split(x, np.cumsum(bursts)[:-1])
    loading = Burst(program=program, x=x[:0], image=program.image)
    played = [loading, *(Burst(program=program, x=part) for part in parts)]
    runs = run_bursts(executable, design, played, folder=folder, progress=progress)
    return FastRun(
        y=np.concatenate([run.y for run in runs]),
        starts=np.concatenate([run.starts for run in runs]),
        ends=np.concatenate([run.ends for run in runs]),
        counters=tuple(run.counters for run in runs),
    )
