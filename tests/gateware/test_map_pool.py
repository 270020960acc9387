"""Pool against secateur.convolution.Pool."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from secateur.bench.map_pool import run_map_pool
from secateur.convolution import Pool
from secateur.engine import EngineSpec
from secateur.gateware.maps.pool import pool_depth

if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["max", "average"]


def engine(groups: int, lanes: int, width: int = 8) -> EngineSpec:
    return EngineSpec(
        **{"pes": groups * lanes, "lanes": lanes, "activation_width": width, "row_depth": 8},
        **{"jobs": 1, "positions": 2},
    )


SIZES: dict[Kind, list[tuple[int, int]]] = {
    "max": [(1, 1), (1, 2), (3, 1), (2, 2), (3, 5)],
    "average": [(1, 1), (2, 1), (1, 4), (2, 2)],
}
KINDS = pytest.mark.parametrize("kind", SIZES)


@KINDS
@pytest.mark.parametrize(
    ("source", "move"),
    [(1, 1), (0.5, 1), (1, 0.4), (0.6, 0.7)],
    ids=["none", "source", "sink", "both"],
)
@pytest.mark.parametrize(
    ("groups", "lanes", "width"), [(1, 1, 8), (3, 1, 4), (2, 2, 16), (4, 4, 8)]
)
def test_windows(
    groups: int, lanes: int, width: int, kind: Kind, source: float, move: float
) -> None:
    """Signed and unsigned, of every kind of window, of one row of a position, two and most."""
    spec = engine(groups, lanes, width)
    cases = [
        (Pool(kind=kind, size=size), signed, rows)
        for size, signed in itertools.product(SIZES[kind], (False, True))
        for rows in (1, 2, pool_depth(spec))
    ]
    compared = run_map_pool(spec, cases, windows=4, source=source, move=move)
    assert compared == 4 * spec.drain_lanes * sum(rows for *_, rows in cases)


@KINDS
def test_largest_windows(kind: Kind) -> None:
    """Sums of as many of the lowest and of the highest activations as there may be."""
    cases = [(Pool(kind=kind, size=(16, 16)), signed, 1) for signed in (False, True)]
    assert run_map_pool(engine(2, 2), cases, windows=8, move=0.9) == 2 * 8 * 2
