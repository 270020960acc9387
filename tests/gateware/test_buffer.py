"""StreamBuffer against a list of payloads."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.gateware.buffer import StreamBuffer


@pytest.mark.parametrize(("source", "sink"), [(0.9, 0.3), (0.3, 0.9), (0.6, 0.6), (1, 1)])
def test_payloads_come_in_order(source: float, sink: float) -> None:
    """Every output in every cycle: what is taken is given before another one is taken."""
    dut = StreamBuffer(12)
    rng = random.Random(4)
    levels = set()

    async def bench(ctx: Any) -> None:
        held: deque[int] = deque()
        offered: int | None = None
        for cycle in range(600):
            assert ctx.get(dut.i.ready) == (not held), f"cycle {cycle}"
            assert ctx.get(dut.o.valid) == bool(held), f"cycle {cycle}"
            if held:
                assert ctx.get(dut.o.payload) == held[0], f"cycle {cycle}"
            levels.add(len(held))
            if offered is None and rng.random() < source:
                offered = rng.getrandbits(12)
            take = rng.random() < sink
            ctx.set(dut.i.valid, offered is not None)
            ctx.set(dut.i.payload, rng.getrandbits(12) if offered is None else offered)
            ctx.set(dut.o.ready, take)
            await ctx.tick()
            room = not held
            if held and take:
                held.popleft()
            if offered is not None and room:
                held.append(offered)
                offered = None

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert levels == {0, 1}
