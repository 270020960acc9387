"""Queue against a list of words."""

from __future__ import annotations

import pytest

from secateur.bench.queue import run_queue


@pytest.mark.parametrize("depth", [2, 3, 17, 20])
@pytest.mark.parametrize(("writes", "reads"), [(0.9, 0.3), (0.3, 0.9), (0.6, 0.6), (1, 1)])
def test_words_come_in_order(depth: int, writes: float, reads: float) -> None:
    """Every output in every cycle, with the queue full, empty and in between."""
    read, levels = run_queue(width=12, depth=depth, writes=writes, reads=reads, cycles=600)
    assert read > 100
    if writes > reads:
        assert max(levels) == depth
    if writes < 1:
        assert 0 in levels
