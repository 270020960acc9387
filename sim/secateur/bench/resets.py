"""Reset in any cycle of loads and inferences, on the Verilog of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.fast_bursts import Burst, run_bursts
from secateur.bench.random_programs import random_case
from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.coverage.covered import CoveredEngine

__all__ = ["run_resets"]

#: Inputs that are cut off, and those behind them.
BEFORE, AFTER = 4, 2


def run_resets(
    executable: Path, design: CoveredEngine, *, count: int, seed: int, folder: Path
) -> int:
    """Reset an engine ``count`` times, in the middle of something, and see that it works on.

    Two programs of the same shape are loaded in turn while inputs come, all streams pausing. What
    `docs/engine.md` promises then: the program in use is the one before or, if its image was
    complete, the other one; with one bank it may be none, and is loaded. It answers the next
    inputs.

    Returns
    -------
    int
        Bits of the design's counters at the end.

    Raises
    ------
    CheckFailedError
        If the engine forgets its program, hangs, or an output differs from the network's.
    """
    rng = np.random.default_rng(seed)
    cases = [random_case(design.spec, "weights", seed + at, count=1) for at in range(2)]
    programs = {case.program.id: case for case in cases}
    first = cases[0].program
    # Patterns that mean the same in both programs, signed or not.
    highest = (1 << (design.spec.activation_width - 1)) - 1
    x = rng.integers(0, highest + 1, (count, BEFORE + AFTER, first.inputs))
    x[rng.random(x.shape) < 0.5] = 0
    bursts = [Burst(program=first, x=x[0, :0], image=first.image)]
    for at in range(count):
        image = cases[rng.integers(2)].program.image if rng.random() < 0.6 else b""
        pauses = (*rng.choice((0, 0.3), 2).tolist(), float(rng.choice((0, 0.5, 0.97))))
        # The image is sent beside x where there are two banks, behind it where there is one.
        until = len(image) + int(rng.integers(1, 500))
        bursts.append(
            Burst(
                program=first,
                x=x[at, :BEFORE],
                image=image,
                pauses=pauses,
                reset=int(rng.integers(until)),
            )
        )
        bursts.append(Burst(program=first, x=x[at, BEFORE:], image=first.image, spare=True))
    runs = run_bursts(executable, design, bursts, folder=folder, seed=seed)
    for at, (burst, before, cut, after) in enumerate(
        zip(bursts[1::2], runs[:-1:2], runs[1::2], runs[2::2], strict=True)
    ):
        may_be = {before.program}
        if burst.image:
            may_be |= {int.from_bytes(burst.image[-4:], "little")}
            may_be |= {0} if design.spec.banks == 1 else set()
        if cut.program not in may_be:
            raise CheckFailedError(
                f"reset {at} in cycle {burst.reset}: the program in use is {cut.program:#x}"
            )
        if after.program not in programs:
            raise CheckFailedError(
                f"reset {at} in cycle {burst.reset}: the program behind it is {after.program:#x}"
            )
        case = programs[after.program]
        if not np.array_equal(
            case.program.restore(after.words), case.network.compute(x[at, BEFORE:])
        ):
            raise CheckFailedError(
                f"reset {at} in cycle {burst.reset}: an output behind it is wrong"
            )
    return runs[-1].counters
