"""The components of engines with maps, with the engine's widths and depths, under stalls."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from secateur.bench.compare import expect
from secateur.bench.map_drain import draw_map_layer, run_map_drain
from secateur.bench.map_pool import run_map_pool
from secateur.bench.map_store import Shares, run_map_store
from secateur.bench.map_walker import draw_map_layers, run_map_walker
from secateur.convolution import Pool
from secateur.gateware.maps.pool import pool_depth
from secateur.rungs.flow import SINK, SLOW, SOURCE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["drained_maps", "pooled", "stored_maps", "walked_positions"]

#: Words of an x, and of the rows of a position, at most.
MOST_X, MOST_ROWS = 256, 40


def walked_positions(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count words that the walker passes, position by position."""
    layers = draw_map_layers(spec, max(12, cases // 40), seed=seed)
    for sink, freed in ((SINK, SOURCE), (1.0, SLOW)):
        took = run_map_walker(spec, layers, sink=sink, freed=freed, seed=seed, time_out=99 * cases)
        expect(len(took), len(layers), "layers that were walked")
    return 2 * sum(layer.positions.count * max(1, layer.words) for layer in layers)


def stored_maps(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count activations that are read of x and of maps, at any place, against a list."""
    most = min(spec.activation_depth - 1, MOST_X, cases // 4)
    inputs = [1, most, 2, min(7, most), most] * 2
    shares = Shares(x=SOURCE, open=SINK, write=SINK)
    passed = run_map_store(spec, inputs, shares=shares, seed=seed, time_out=99 * cases)
    expect(passed.x, sum(inputs), "words of x")
    return passed.read


def pooled(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count activations of windows, against :class:`secateur.convolution.Pool`."""
    depth = min(pool_depth(spec), max(1, cases // 100))
    sizes = (((1, 1), depth), ((2, 2), depth), ((4, 1), 1), ((16, 16), 1))
    kinds = [
        (Pool(kind=kind, size=size), signed, rows)
        for kind in ("max", "average")
        for size, rows in sizes
        for signed in (False, True)
    ]
    return run_map_pool(spec, kinds, windows=2, source=SOURCE, move=SINK, seed=seed)


def drained_maps(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count words that the drain makes of positions' sums, pooled, at their addresses."""
    rng = random.Random(seed)
    layers = [
        draw_map_layer(spec, rng, most=12, most_words=MOST_ROWS, last=number % 3 == 2)
        for number in range(max(8, cases // 100))
    ]
    cycles = run_map_drain(spec, layers, source=SINK, sink=SINK, seed=seed)
    return sum(map(len, cycles))
