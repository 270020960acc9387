"""Random convolutional programs under random stalls, and what they must have met."""

from pathlib import Path

import pytest

from secateur.bench.map_cover import INPUTS, MAP_ENGINES, MORE, SHAPES, cover_maps
from secateur.coverage.map_points import MAP_POINTS

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.mark.cosim
def test_every_point_is_covered(tmp_path: Path) -> None:
    """Every output is the network's, and nothing was missed."""
    coverage = cover_maps(tmp_path, CACHE)
    assert coverage.missed == []
    assert [*coverage.cycles] == [*MAP_POINTS]
    programs = len(MAP_ENGINES) * (len(SHAPES) + len(MORE))
    assert (coverage.programs, coverage.inputs) == (programs, programs * INPUTS)
    assert coverage.outputs > 1_000
