"""Queue against a list of words, cycle by cycle, in Amaranth's simulator."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.gateware.queue import Queue

__all__ = ["run_queue"]


def run_queue(
    *, width: int, depth: int, writes: float, reads: float, cycles: int
) -> tuple[int, set[int]]:
    """Write and read in these shares of the cycles; compare every output in every cycle.

    Returns how many words were read, and how many stood in the queue at one time or another.

    Raises
    ------
    CheckFailedError
        On the first difference.
    """
    dut = Queue(width=width, depth=depth)
    rng = random.Random(depth)
    levels: set[int] = set()
    read = 0

    async def bench(ctx: Any) -> None:
        nonlocal read
        waiting: deque[int] = deque()  # in the memory
        oldest: int | None = None
        for cycle in range(cycles):
            expect(bool(ctx.get(dut.r_rdy)), oldest is not None, f"cycle {cycle}: r_rdy")
            if oldest is not None:
                expect(ctx.get(dut.r_data), oldest, f"cycle {cycle}: r_data")
            levels.add(len(waiting) + (oldest is not None))
            word, take = rng.getrandbits(width), rng.random() < reads
            write = len(waiting) < depth - 1 and rng.random() < writes
            ctx.set(dut.w_en, write)
            ctx.set(dut.w_data, word)
            ctx.set(dut.r_en, take)
            await ctx.tick()
            read += oldest is not None and take
            if oldest is None or take:
                oldest = waiting.popleft() if waiting else None
            if write:
                waiting.append(word)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return read, levels
