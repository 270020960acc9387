"""MapStore against a list of activations, cycle by cycle."""

from __future__ import annotations

import pytest

from secateur.bench.map_store import Shares, run_map_store
from secateur.engine import EngineSpec


def engine(lanes: int, depth: int, width: int = 8) -> EngineSpec:
    return EngineSpec(
        **{"pes": lanes, "lanes": lanes, "activation_width": width, "activation_depth": depth},
        **{"jobs": 1, "positions": 2},
    )


@pytest.mark.parametrize(
    "shares",
    [
        Shares(),
        Shares(x=0.4, write=0.5),
        Shares(open=0.2, write=1),
        Shares(x=0.6, open=0.5, write=0.7),
    ],
    ids=["none", "source", "open", "both"],
)
@pytest.mark.parametrize(
    ("lanes", "depth", "width"), [(1, 4, 8), (2, 16, 4), (4, 64, 8), (4, 128, 6), (8, 16, 16)]
)
def test_any_patch_is_read(lanes: int, depth: int, width: int, shares: Shares) -> None:
    """Of x and of what is written, anywhere, while both come; of small memories and large ones."""
    inputs = [1, depth - 1, 1, 1, 3, depth // 2, 2, depth - 1] * 3
    passed = run_map_store(engine(lanes, depth, width), inputs, shares=shares)
    assert passed.x == sum(inputs)
    assert passed.read > passed.x * lanes // 2
    assert (passed.written > 0) == (shares.write > 0)


@pytest.mark.parametrize("words", [1, 2, 7])
def test_throughput(words: int) -> None:
    """A word of x in every cycle, and three cycles between an x and the next."""
    passed = run_map_store(engine(2, 8), [words] * 10)
    # The first begins in the cycle after `open`.
    assert passed.cycles == 1 + 10 * words + 9 * 3
    assert passed.x == 10 * words


@pytest.mark.parametrize("again", [1, 2])
def test_reset(again: int) -> None:
    """It breaks an x off; the next one begins at address 0, and what was written stays."""
    resets = {cycle + more for cycle in range(9, 2000, 17) for more in range(again)}
    shares = Shares(x=0.8, open=0.7, write=0.3)
    passed = run_map_store(engine(4, 16), [5, 1, 12, 2] * 12, shares=shares, resets=resets)
    assert passed.x > sum([5, 1, 12, 2] * 12)
    assert passed.read > 1000
