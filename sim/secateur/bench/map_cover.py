"""Random convolutional programs on two engines with maps, and the points that they met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.cover import Coverage, run_cases
from secateur.bench.fast import build_fast
from secateur.bench.networks import random_inputs
from secateur.bench.random_programs import Case
from secateur.convolution import Convolution, Pool
from secateur.coverage.covered import CoveredEngine, coverage_layout
from secateur.coverage.map_points import MAP_POINTS
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["INPUTS", "MAP_ENGINES", "MORE", "SHAPES", "cover_maps"]

#: What is given of the engines; the rest is as large as one of their programs needs.
MAP_ENGINES = {
    "3x2 codebook": {
        **{"pes": 6, "lanes": 2, "positions": 4, "accumulator_memories": 2, "queue_depth": 4},
    },
    "2x1 direct": {"pes": 2, "lanes": 1, "positions": 2, "banks": 1},
}
#: Channels, rows and columns of inputs, convolutions, and outputs of fully connected layers.
SHAPES = (
    *(((1, 8, 8), 2, (6,)), ((3, 7, 9), 3, (5, 4)), ((2, 10, 6), 1, ()), ((6, 5, 5), 2, ())),
    *(((1, 12, 12), 2, (9,)), ((2, 9, 9), 2, (3,)), ((1, 1, 1), 1, (2,)), ((4, 6, 8), 2, (7,))),
)
#: As many activations as may be averaged; windows that take turns; many positions of y.
AVERAGE = Convolution(
    **{"channels": 1, "height": 16, "width": 16, "kernel": (1, 1)},
    pool=Pool(kind="average", size=(16, 16)),
)
TURNS = Convolution(
    **{"channels": 1, "height": 16, "width": 16, "kernel": (3, 3), "padding": (1, 1)},
    pool=Pool(kind="max", size=(2, 2)),
)
OPEN = Convolution(channels=2, height=8, width=8, kernel=(3, 3))
MORE = (((AVERAGE, 3),), ((TURNS, 2), (None, 3)), *(((OPEN, 5),),) * 3)
#: Accumulators of each PE, so that sets have room for windows that take turns.
ROW_DEPTH = 32
#: Inputs of each program.
INPUTS = 6


def cover_maps(folder: Path, cache: Path, seed: int = 1) -> Coverage:
    """Run random programs on every one of :data:`MAP_ENGINES`.

    Parameters and errors are those of :func:`secateur.bench.cover.cover`, for one seed.
    """
    cycles = {name: dict.fromkeys(MAP_ENGINES, 0) for name in MAP_POINTS}
    done: list[Case] = []
    for engine, given in MAP_ENGINES.items():
        cases = _cases(given, seed, codebook="codebook" in engine)
        spec = cases[0].program.spec
        design = CoveredEngine(spec)
        place = folder / engine.replace(" ", "-")
        executable = build_fast(design, folder=place, cache=cache)
        bits = run_cases(executable, design, cases, engine=engine, seed=seed, folder=place)
        counters = coverage_layout(spec).from_bits(bits)
        for name in MAP_POINTS:
            cycles[name][engine] += counters[name]
        done += cases
    return Coverage(
        programs=len(done),
        inputs=sum(len(case.x) for case in done),
        outputs=sum(len(case.x) * case.network.outputs for case in done),
        cycles=cycles,
    )


def _cases(given: dict[str, int], seed: int, *, codebook: bool) -> list[Case]:
    """Draw networks, and make their programs for the smallest engine that runs all."""
    networks = [
        random_convolutional_network(
            100 * seed + at,
            planes,
            convolutions=convolutions,
            lengths=lengths,
            density=(0.2, 0.5, 0.9)[at % 3],
            codebook=codebook,
        )
        for at, (planes, convolutions, lengths) in enumerate(SHAPES)
    ]
    rng = np.random.default_rng(seed)
    networks += [_drawn(rng, shapes, codebook=codebook) for shapes in MORE]
    fields = [fit(network, **given).to_dict() for network in networks]
    largest = {name: max(each[name] for each in fields) for name in fields[0]}
    spec = EngineSpec(**largest | {"row_depth": ROW_DEPTH})
    return [
        Case(
            theme=f"shape {at}",
            network=network,
            program=encode(network, spec),
            x=random_inputs(seed + at, network, INPUTS),
        )
        for at, network in enumerate(networks)
    ]


def _drawn(
    rng: np.random.Generator, shapes: Sequence[tuple[Convolution | None, int]], *, codebook: bool
) -> Network:
    """Draw the weights of layers, each given by its convolution and its rows."""
    values = np.unique(np.append(rng.integers(-128, 128, 9), 0))
    kind = NumberFormat(width=8, signed=False)
    layers: list[Layer] = []
    for index, (convolution, rows) in enumerate(shapes):
        columns = layers[-1].outputs if convolution is None else convolution.columns
        layers.append(
            Layer(
                name=f"layer{index + 1}",
                weights=rng.choice(values, (rows, columns)),
                bias=rng.integers(-100, 100, rows),
                weight_width=8,
                input=kind,
                requant=Requant(shift=8, output=kind, relu=False),
                codebook=values if codebook else None,
                convolution=convolution,
            )
        )
    return Network(name="drawn", layers=tuple(layers))
