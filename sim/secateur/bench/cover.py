"""Random programs on engines of several kinds, until every point of coverage was seen.

The Verilog of each engine is built once; all programs are loaded through its load stream one after
the other, while it works on the one before, and every stream pauses at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.fast import build_fast
from secateur.bench.fast_bursts import Burst, run_bursts
from secateur.bench.random_lengths import THEMES
from secateur.bench.random_programs import random_case
from secateur.bench.resets import run_resets
from secateur.coverage.covered import CoveredEngine, coverage_layout
from secateur.coverage.points import POINTS
from secateur.engine import EngineSpec
from secateur.errors import CheckFailedError
from secateur.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from secateur.bench.random_programs import Case
    from secateur.progress import Progress

__all__ = ["ENGINES", "RESETS", "Coverage", "cover", "run_cases"]

#: One PE, a PE for each group, for each lane, grids of both; direct weights and codebooks; one and
#: two banks and memories of accumulators; one to eight jobs; short queues. Accumulators are so
#: narrow that some layer of each engine reaches their bounds.
ENGINES = {
    "1x1 direct": EngineSpec(
        **{"pes": 1, "lanes": 1, "index_width": 3, "entry_width": 9, "queue_depth": 4},
        **{"accumulator_width": 19, "bias_width": 18, "weight_depth": 128, "count_width": 4},
        **{"column_depth": 32, "row_depth": 16, "activation_depth": 16, "bias_depth": 16},
        **{"layer_depth": 4, "banks": 2, "jobs": 2, "accumulator_memories": 1},
    ),
    "3x1 direct": EngineSpec(
        **{"pes": 3, "lanes": 1, "index_width": 2, "entry_width": 5, "queue_depth": 5},
        **{"activation_width": 4, "weight_width": 4, "accumulator_width": 12, "bias_width": 12},
        **{"weight_depth": 64, "count_width": 3, "column_depth": 64, "row_depth": 8},
        **{"activation_depth": 16, "bias_depth": 32, "layer_depth": 4, "banks": 1, "jobs": 1},
    ),
    "2x2 codebook": EngineSpec(
        **{"pes": 4, "lanes": 2, "codebook_bits": 4, "index_width": 3, "entry_width": 6},
        **{"accumulator_width": 18, "bias_width": 16, "weight_depth": 64, "count_width": 4},
        **{"column_depth": 32, "row_depth": 16, "activation_depth": 16, "bias_depth": 16},
        **{"layer_depth": 8, "banks": 2, "jobs": 4, "accumulator_memories": 2},
    ),
    "1x4 codebook": EngineSpec(
        **{"pes": 4, "lanes": 4, "codebook_bits": 6, "index_width": 2, "entry_width": 7},
        **{"weight_width": 10, "accumulator_width": 20, "bias_width": 20, "queue_depth": 16},
        **{"weight_depth": 64, "count_width": 4, "column_depth": 16, "row_depth": 16},
        **{"activation_depth": 4, "bias_depth": 32, "layer_depth": 8, "banks": 2, "jobs": 2},
        **{"accumulator_memories": 2},
    ),
    "3x2 direct": EngineSpec(
        **{"pes": 6, "lanes": 2, "index_width": 4, "entry_width": 7, "weight_width": 5},
        **{"activation_width": 12, "accumulator_width": 20, "bias_width": 20, "queue_depth": 4},
        **{"weight_depth": 64, "count_width": 5, "column_depth": 32, "row_depth": 32},
        **{"activation_depth": 64, "bias_depth": 64, "layer_depth": 8, "banks": 1, "jobs": 8},
    ),
    "2x4 direct": EngineSpec(
        **{"pes": 8, "lanes": 4, "index_width": 1, "entry_width": 17, "weight_width": 16},
        **{"activation_width": 16, "accumulator_width": 34, "bias_width": 32, "queue_depth": 4},
        **{"weight_depth": 64, "count_width": 4, "column_depth": 16, "row_depth": 16},
        **{"activation_depth": 16, "bias_depth": 16, "layer_depth": 4, "banks": 2, "jobs": 4},
        **{"accumulator_memories": 2},
    ),
}
#: Programs of each theme for each engine and seed, and inputs of each.
PROGRAMS, MORE_PROGRAMS, INPUTS = 2, 12, 8
#: Resets of each engine for each seed.
RESETS = 84
#: Chances of a pause at a stream.
PAUSES = (0, 0.25, 0.97)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What random programs were compared, and what they met.

    Parameters
    ----------
    programs, inputs, outputs : int
        Programs run, inputs given and outputs compared, all engines together.
    resets : int
        Resets, each with outputs compared behind it.
    cycles : dict of str to dict of str to int
        By point, by engine: cycles in which it was seen.
    """

    programs: int = 0
    inputs: int = 0
    outputs: int = 0
    resets: int = 0
    cycles: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def missed(self) -> list[str]:
        """Points that no engine met."""
        return [name for name, seen in self.cycles.items() if not any(seen.values())]


def cover(
    folder: Path, cache: Path, seeds: Sequence[int] = (0,), progress: Progress = silent
) -> Coverage:
    """Run random programs on every one of :data:`ENGINES`, and reset each in the middle of them.

    Parameters
    ----------
    folder : Path
        Gets the Verilog, the jobs and the results, by engine; made if missing.
    cache : Path
        Holds the builds of the simulations.
    seeds : sequence of int
        Other programs, inputs and pauses for each. The same ones give the same counts.
    progress : callable
        Told of each engine and seed.

    Raises
    ------
    CheckFailedError
        If a tool is missing or fails, or at the first engine that hangs, refuses a program or gives
        an output that is not the network's. That points were missed is for the caller to say.
    """
    done, total = 0, len(ENGINES) * len(seeds)
    cycles = {name: dict.fromkeys(ENGINES, 0) for name in POINTS}
    cases: list[Case] = []
    for engine, spec in ENGINES.items():
        place = folder / engine.replace(" ", "-")
        design = CoveredEngine(spec)
        executable = build_fast(design, folder=place, cache=cache)
        for seed in seeds:
            progress(done, total, f"engine {engine}, seed {seed}")
            made = _cases(spec, seed)
            cases += made
            bits = [
                run_cases(executable, design, made, engine=engine, seed=seed, folder=place),
                run_resets(executable, design, count=RESETS, seed=seed, folder=place),
            ]
            for counters in map(coverage_layout(spec).from_bits, bits):
                for name in POINTS:
                    cycles[name][engine] += counters[name]
            done += 1
    progress(done, total, "all engines")
    return Coverage(
        programs=len(cases),
        inputs=sum(len(case.x) for case in cases),
        outputs=sum(len(case.x) * case.network.outputs for case in cases),
        resets=RESETS * total,
        cycles=cycles,
    )


def _cases(spec: EngineSpec, seed: int) -> list[Case]:
    """Draw the programs of an engine, in any order."""
    themes = [*THEMES] * PROGRAMS + ["any"] * MORE_PROGRAMS
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1 << 32, size=len(themes)).tolist()
    return [
        random_case(spec, themes[at], numbers[at], count=INPUTS)
        for at in rng.permutation(len(themes))
    ]


def run_cases(
    executable: Path,
    design: CoveredEngine,
    cases: Sequence[Case],
    *,
    engine: str,
    seed: int,
    folder: Path,
) -> int:
    """Run all programs, each loaded while the one before computes; return the counts' bits.

    The first inputs come before there is a program. Every other program's come as soon as its image
    is complete.

    Raises
    ------
    CheckFailedError
        At the first program of which an output is not the network's.
    """
    rng = np.random.default_rng(seed)
    bursts = [Burst(program=cases[0].program, x=cases[0].x[:1], image=cases[0].program.image)]
    for at, case in enumerate(cases):
        following = cases[at + 1 : at + 2]
        load, x, y = rng.choice(PAUSES, 3).tolist()
        bursts.append(
            Burst(
                program=case.program,
                x=case.x,
                image=following[0].program.image if following else b"",
                pauses=(min(load, 0.5), x, y),
                rush=bool(following) and at % 2 == 0,
            )
        )
    runs = run_bursts(executable, design, bursts, folder=folder, seed=seed)
    for case, run in zip((cases[0], *cases), runs, strict=True):
        expected = case.network.compute(case.x[: len(run.y)])
        if wrong := np.argwhere(run.y != expected).tolist():
            at, output = wrong[0]
            raise CheckFailedError(
                f"engine {engine}, seed {seed}, program {case.theme!r}: output {output} of input "
                f"{at} is {run.y[at, output]} instead of {expected[at, output]}, and "
                f"{len(wrong) - 1} more differ"
            )
    return runs[-1].counters
