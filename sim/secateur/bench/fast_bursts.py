"""Bursts of inputs, and images that are loaded meanwhile, for :mod:`secateur.bench.fast`.

Writes the job that `fast.cpp` plays, and reads its result.
"""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import CheckFailedError
from secateur.format import IMAGE_HEADER
from secateur.gateware.engine import status_layout
from secateur.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.coverage.covered import CoveredEngine
    from secateur.instrument import InstrumentedEngine
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["Burst", "BurstRun", "run_bursts"]

#: Cycles without a word on any stream after which an engine is stuck, not slow.
PATIENCE = 1_000_000
#: What chances are counted in.
STEPS = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Burst:
    """Inputs that follow each other without a pause.

    Parameters
    ----------
    program : Program
        The program in use.
    x : int64[inputs, program.inputs]
    image : bytes
        What the load stream gets meanwhile, a byte whenever the engine takes one; the last of them
        after the last word of ``x``, because an engine that is about to change its program takes
        no more x for the old one; with one bank, all behind the header. If no program is in use,
        all come at once, and x is for this program. The burst ends with this program in use.
    spare : bool
        Send the image only to an engine that has no program.
    rush : bool
        Let the image be complete as soon as the last of ``x`` has begun, and end the burst then:
        the next one's x is offered while the program may still have to wait for outputs.
    pauses : (float, float, float)
        Chance of a pause at i_load, i_x and o_y in each cycle, in steps of 1/256.
    reset : int, optional
        Cycle of the burst from which the engine is reset, for one cycle. Nothing that came in the
        burst is kept, and it ends when the engine takes x again or has no program.
    """

    program: Program
    x: NDArray[np.int64]
    image: bytes = b""
    spare: bool = False
    rush: bool = False
    pauses: tuple[float, float, float] = (0, 0, 0)
    reset: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class BurstRun:
    """What came out of an engine in a burst.

    Parameters
    ----------
    words : int64[inputs, output_words, lanes]
        Bit patterns of y; none if it was reset.
    y : int64[inputs, outputs]
        The outputs of the burst's program that they are.
    starts, ends : int64[inputs]
        Cycle of the first word of x, and of the last of y.
    counters : int
        Bits of the design's counters after it.
    sending : int
        Cycles in which a byte of the image was offered.
    waiting : int
        Those of them in which the engine had nothing to do, all outputs having come.
    end : int
        Cycle after the last one, in which the next burst begins.
    program : int
        CRC-32 of the program in use then, 0 if there is none.
    """

    words: NDArray[np.int64]
    y: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    counters: int
    sending: int
    waiting: int
    end: int
    program: int


def run_bursts(
    executable: Path,
    design: InstrumentedEngine | CoveredEngine,
    bursts: Sequence[Burst],
    *,
    folder: Path,
    seed: int = 0,
    progress: Progress = silent,
) -> list[BurstRun]:
    """Play bursts one after the other, each with a program that one before has loaded.

    Parameters
    ----------
    executable : Path
        From :func:`secateur.bench.fast.build_fast`.
    design : InstrumentedEngine or CoveredEngine
        What it was made of.
    bursts : sequence of Burst
        The engine has no program at first.
    folder : Path
        Gets the job and the result.
    seed : int
        Of the pauses.
    progress : callable
        Told of the bytes and words that the engine has taken.

    Raises
    ------
    CheckFailedError
        If the engine refuses a program, hangs, gives words at the wrong places or takes one back.
    """
    spec = design.spec
    status = status_layout(spec)
    x_bytes = -(-spec.lanes * spec.activation_width // 8)
    y_bytes = -(-(spec.lanes * spec.activation_width + 1) // 8)
    counters_bytes = -(-design.counters.shape().size // 8)
    head = [len(bursts), x_bytes, y_bytes, PATIENCE, counters_bytes, seed]
    fields = ("loaded", "loading", "committing", "busy", "error", "program")
    head += [status[name].offset for name in fields]
    for burst in bursts:
        program = burst.program
        head += [len(burst.x), program.input_words, program.output_words, len(burst.image)]
        behind = len(burst.image) if spec.banks == 2 else IMAGE_HEADER.size
        head += [behind - 1, burst.spare, burst.rush]
        head += [round(STEPS * pause) for pause in burst.pauses]
        head += [-1 if burst.reset is None else burst.reset]
    job, result = folder / "job.bin", folder / "result.bin"
    with job.open("wb") as file:
        file.write(np.array(head, dtype="<i8").tobytes())
        file.writelines(burst.image for burst in bursts)
        for burst in bursts:
            words = burst.program.arrange(burst.x)
            file.write(_packed(words, spec.activation_width).tobytes())
    result.unlink(missing_ok=True)
    total = sum(len(each.image) + len(each.x) * each.program.input_words for each in bursts)
    _play([str(executable), str(job), str(result)], total, progress)

    content = result.read_bytes()
    came = [0 if burst.reset is not None else len(burst.x) for burst in bursts]
    x_words = [count * burst.program.input_words for count, burst in zip(came, bursts, strict=True)]
    y_words = [
        count * burst.program.output_words for count, burst in zip(came, bursts, strict=True)
    ]
    sizes = [8 * words for words in (*x_words, *y_words)] + [words * y_bytes for words in y_words]
    sizes += [counters_bytes] * len(bursts) + [32] * len(bursts)
    if len(content) != sum(sizes):
        raise CheckFailedError(f"{result} holds {len(content)} bytes instead of {sum(sizes)}")
    rest = io.BytesIO(content)
    parts = [rest.read(size) for size in sizes]
    return [
        _came(burst, *parts[index :: len(bursts)], y_bytes=y_bytes)
        for index, burst in enumerate(bursts)
    ]


def _came(
    burst: Burst,
    starts: bytes,
    ends: bytes,
    payloads: bytes,
    counters: bytes,
    times: bytes,
    *,
    y_bytes: int,
) -> BurstRun:
    """Read what the simulation wrote down of a burst."""
    program = burst.program
    inputs = 0 if burst.reset is not None else len(burst.x)
    spec, words = program.spec, program.output_words
    y_bits = spec.lanes * spec.activation_width + 1
    given = np.frombuffer(payloads, dtype=np.uint8).reshape(inputs, words, y_bytes)
    bits = np.unpackbits(given, axis=2, count=y_bits, bitorder="little").astype(np.int64)
    last = np.zeros(words, dtype=np.int64)
    last[-1] = 1
    if (bits[:, :, -1] != last).any():
        raise CheckFailedError("y.last is wrong")
    values = bits[:, :, :-1].reshape(inputs, words, spec.lanes, spec.activation_width)
    values = values @ (1 << np.arange(spec.activation_width))
    sending, waiting, end, in_use = np.frombuffer(times, dtype="<i8").tolist()
    return BurstRun(
        words=values,
        y=program.restore(values),
        starts=np.frombuffer(starts, dtype="<i8").reshape(inputs, program.input_words)[:, 0],
        ends=np.frombuffer(ends, dtype="<i8").reshape(inputs, words)[:, -1],
        counters=int.from_bytes(counters, "little"),
        sending=sending,
        waiting=waiting,
        end=end,
        program=in_use,
    )


def _packed(words: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Pack int64[..., lanes] into the bytes of each word."""
    bits = (words[..., None] >> np.arange(width) & 1).astype(np.uint8)
    bits = bits.reshape(*words.shape[:-1], words.shape[-1] * width)
    return np.packbits(bits, axis=-1, bitorder="little")


def _play(command: list[str], total: int, progress: Progress) -> None:
    """Run the simulation and pass on what it says."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            taken, cycles = map(int, line.split())
            progress(taken, total, f"bytes of programs and words of x, cycle {cycles}")
        said = process.stderr.read().strip()
    if process.returncode:
        raise CheckFailedError(f"the simulation ended with code {process.returncode}: {said}")
