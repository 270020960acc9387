"""Queue against a list of words."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.gateware.queue import Queue


@pytest.mark.parametrize("depth", [2, 3, 17, 20])
@pytest.mark.parametrize(("writes", "reads"), [(0.9, 0.3), (0.3, 0.9), (0.6, 0.6), (1, 1)])
def test_words_come_in_order(depth: int, writes: float, reads: float) -> None:
    """Every output in every cycle, with the queue full, empty and in between."""
    dut = Queue(width=12, depth=depth)
    rng = random.Random(depth)
    levels = set()

    async def bench(ctx: Any) -> None:
        waiting: deque[int] = deque()  # in the memory
        oldest: int | None = None
        for cycle in range(600):
            assert ctx.get(dut.r_rdy) == (oldest is not None), f"cycle {cycle}"
            if oldest is not None:
                assert ctx.get(dut.r_data) == oldest, f"cycle {cycle}"
            levels.add(len(waiting) + (oldest is not None))
            word, take = rng.getrandbits(12), rng.random() < reads
            write = len(waiting) < depth - 1 and rng.random() < writes
            ctx.set(dut.w_en, write)
            ctx.set(dut.w_data, word)
            ctx.set(dut.r_en, take)
            await ctx.tick()
            if oldest is None or take:
                oldest = waiting.popleft() if waiting else None
            if write:
                waiting.append(word)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    if writes > reads:
        assert max(levels) == depth
    if writes < 1:
        assert 0 in levels
