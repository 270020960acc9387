"""Run a program on the Verilog of its engine without a test bench in Python between the cycles.

Verilator and a main program of its own, `fast.cpp`, instead of cocotb: ten times as fast, and so
for networks whose loading alone takes millions of cycles. No stalls; :mod:`secateur.simulate` is
the one that tries them.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from amaranth.back import verilog

from secateur.bench.cosim import build_simulation
from secateur.digest import digest_file
from secateur.errors import CheckFailedError
from secateur.gateware.engine import status_layout
from secateur.progress import silent
from secateur.simulator import Verilator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.instrument import InstrumentedEngine
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["FastRun", "build_fast", "run_fast"]

#: Cycles without a word on any stream after which an engine is stuck, not slow.
PATIENCE = 1_000_000


class _Fast(Verilator):
    """Verilator with `fast.cpp`."""

    RUNTIME: ClassVar = ("verilated.o", "verilated_threads.o")

    def version(self) -> str:
        with as_file(files("secateur.bench") / "fast.cpp") as source:
            return f"{super().version()} {digest_file(source)}"

    def _driver(self, toplevel: str, folder: Path) -> list[str | Path]:
        main = folder / "main.cpp"
        main.write_text((files("secateur.bench") / "fast.cpp").read_text("utf-8"), "utf-8")
        # In files of this size two compilers are at work at once, and none needs much memory.
        return ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--output-split", "20000", main]


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
    design: InstrumentedEngine, *, folder: Path, cache: Path, sources: Sequence[Path] = ()
) -> Path:
    """Make the program that :func:`run_fast` starts, unless it is there.

    Parameters
    ----------
    design : InstrumentedEngine
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
    source.write_text(verilog.convert(design, name="dut", emit_src=False), encoding="utf-8")
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
    spec = program.spec
    status = status_layout(spec)
    lanes, words = spec.lanes, program.output_words
    x_bytes = -(-lanes * spec.activation_width // 8)
    y_bits = lanes * spec.activation_width + 1
    y_bytes, counters_bytes = -(-y_bits // 8), -(-design.counters.shape().size // 8)
    head = [len(program.image), len(bursts), program.input_words, x_bytes, words, y_bytes]
    head += [PATIENCE, counters_bytes]
    head += [status[name].offset for name in ("loaded", "committing", "busy", "error")]
    job, result = folder / "job.bin", folder / "result.bin"
    with job.open("wb") as file:
        file.write(np.array([*head, *bursts], dtype="<i8").tobytes())
        file.write(program.image)
        file.write(_packed(program.arrange(x), spec.activation_width).tobytes())
    result.unlink(missing_ok=True)
    _play([str(executable), str(job), str(result)], len(program.image), program, len(x), progress)

    content = result.read_bytes()
    counts = [8 * len(x) * program.input_words, 8 * len(x) * words, len(x) * words * y_bytes]
    ends = np.cumsum([*counts, *[counters_bytes] * (len(bursts) + 1)])
    if len(content) != ends[-1]:
        raise CheckFailedError(f"{result} holds {len(content)} bytes instead of {ends[-1]}")
    parts = [
        content[end - size : end] for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)
    ]
    taken, given = (np.frombuffer(part, dtype="<i8").reshape(len(x), -1) for part in parts[:2])
    payloads = np.frombuffer(parts[2], dtype=np.uint8).reshape(len(x), words, y_bytes)
    bits = np.unpackbits(payloads, axis=2, count=y_bits, bitorder="little").astype(np.int64)
    last = np.zeros(words, dtype=np.int64)
    last[-1] = 1
    if (bits[:, :, -1] != last).any():
        raise CheckFailedError("y.last is wrong")
    values = bits[:, :, :-1].reshape(len(x), words, lanes, -1) @ (
        1 << np.arange(spec.activation_width)
    )
    return FastRun(
        y=program.restore(values),
        starts=taken[:, 0],
        ends=given[:, -1],
        counters=tuple(int.from_bytes(part, "little") for part in parts[3:]),
    )


def _packed(words: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Pack int64[..., lanes] into the bytes of each word."""
    bits = words[..., None] >> np.arange(width) & 1
    return np.packbits(
        bits.astype(np.uint8).reshape(*words.shape[:-1], -1), axis=-1, bitorder="little"
    )


def _play(command: list[str], size: int, program: Program, inputs: int, progress: Progress) -> None:
    """Run the simulation and pass on what it says."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            loaded, taken, cycles = map(int, line.split())
            if loaded < size:
                progress(loaded, size, f"bytes of the program, cycle {cycles}")
            else:
                progress(taken // program.input_words, inputs, f"inputs, cycle {cycles}")
        said = process.stderr.read().strip()
    if process.returncode:
        raise CheckFailedError(f"the simulation ended with code {process.returncode}: {said}")
