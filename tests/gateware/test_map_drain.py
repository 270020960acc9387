"""MapDrain against Requant.compute, pooling and tables of accumulators and addresses."""

from __future__ import annotations

import itertools
import random

import pytest

from secateur.bench.map_drain import draw_map_layer, run_map_drain
from secateur.engine import EngineSpec

#: PEs, lanes, positions, memories. Of every kind: rows of a slot in one cycle or in several, words
#: of one cycle or of several, sets of positions that take turns by pairs.
SIZES = [
    *((1, 1, 1, 1), (3, 1, 4, 2), (4, 4, 2, 2), (8, 4, 4, 1)),
    *((12, 4, 8, 2), (16, 4, 8, 4), (8, 2, 16, 1)),
]


def engine(pes: int, lanes: int, positions: int, memories: int) -> EngineSpec:
    return EngineSpec(
        **{"pes": pes, "lanes": lanes, "positions": positions, "accumulator_memories": memories},
        **{"jobs": 1, "row_depth": 4 * positions, "accumulator_width": 26, "bias_depth": 64},
    )


@pytest.mark.parametrize(
    ("source", "sink"), [(1, 1), (0.1, 1), (1, 0.2), (0.3, 0.6)], ids=["none", "PEs", "y", "both"]
)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_maps_and_y(size: tuple[int, int, int, int], source: float, sink: float) -> None:
    """Layers of any loops; every word at its address, every accumulator read and cleared once."""
    spec = engine(*size)
    rng = random.Random(spec.pes)
    layers = [draw_map_layer(spec, rng, most=18, last=number % 3 == 2) for number in range(12)]
    cycles = run_map_drain(spec, layers, source=source, sink=sink)
    windows = [layer.windows.lengths for layer in layers]
    assert [len(each) for each in cycles] == [
        layer.rows.rows_words * turns * columns * rows
        for layer, (turns, _, _, columns, rows) in zip(layers, windows, strict=True)
    ]


def test_no_gap() -> None:
    """Rows of all positions that are there follow each other, `drain_lanes` of them in a cycle."""
    spec = engine(8, 4, 16, 1)
    rng = random.Random(2)
    layers = []
    while len(layers) < 4:
        layer = draw_map_layer(spec, rng, most=16, last=bool(len(layers) % 2))
        if layer.windows.lengths[1:3] == (1, 1) and layer.windows.count > 8:
            layers.append(layer)
    for layer, mine in zip(layers, run_map_drain(spec, layers), strict=True):
        assert len(mine) == layer.windows.count * layer.rows.rows_words
        assert {b - a for a, b in itertools.pairwise(mine)} == {2}
