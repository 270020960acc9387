"""MapWalker against lists of positions, cycle by cycle."""

from __future__ import annotations

import pytest

from secateur.bench.map_layers import Positions
from secateur.bench.map_walker import Layer, draw_map_layers, run_map_walker
from secateur.engine import EngineSpec
from secateur.format import LOOPS


def engine(lanes: int, **more: int) -> EngineSpec:
    return EngineSpec(**{"pes": lanes, "lanes": lanes, "jobs": 1, "positions": 4, **more})


ENGINES = {
    "one": engine(1, positions=1),
    "two": engine(2, positions=8, activation_width=12, activation_depth=16),
    "four": engine(4, column_depth=16, weight_depth=4),
}


@pytest.mark.parametrize("checked", [False, True], ids=["", "checked"])
@pytest.mark.parametrize(
    ("sink", "freed"),
    [(1, 1), (0.5, 1), (1, 0.1), (0.6, 0.3)],
    ids=["none", "room", "sets", "both"],
)
@pytest.mark.parametrize("spec", ENGINES.values(), ids=ENGINES)
def test_positions(spec: EngineSpec, sink: float, freed: float, checked: bool) -> None:
    """Of layers of every length, words of one lane or several; exactly these, in their order."""
    layers = draw_map_layers(spec, 25)
    took = run_map_walker(spec, layers, sink=sink, freed=freed, checked=checked)
    assert len(took) == len(layers)


@pytest.mark.parametrize("words", [0, 1, 2, 3, 4, 8])
def test_no_gap(words: int) -> None:
    """A word in every cycle while sets are free, but for positions of one or two."""
    spec = engine(2, positions=16, row_depth=32)
    positions = Positions(lengths=(3, 1, 2, 2, 1)[:LOOPS], moves=(1,) * LOOPS, base=0)
    layer = Layer(positions, words, 0, 0, False)
    least = max(1, words)
    assert positions.count == 12
    # The first one two cycles after the start.
    assert run_map_walker(spec, [layer] * 2) == [1 + 11 * max(3, least) + least] * 2


@pytest.mark.parametrize("again", [1, 2])
def test_reset(again: int) -> None:
    """It breaks a layer off; none of its words is passed any more, and all sets are free."""
    resets = {cycle + more for cycle in range(9, 5000, 29) for more in range(again)}
    layers = draw_map_layers(ENGINES["two"], 120)
    took = run_map_walker(ENGINES["two"], layers, sink=0.8, freed=0.5, resets=resets)
    assert 20 < len(took) < 120
