"""Loops against the indices of an array."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.format import LOOPS
from secateur.gateware.maps.loops import Loops

SPEC = EngineSpec(
    **{"pes": 1, "lanes": 1, "jobs": 1, "positions": 2, "activation_depth": 16},
)


def shapes() -> list[tuple[int, ...]]:
    """Every loop goes on or not, twice or once, or as often as there are activations."""
    most = 1 << SPEC.address_width
    long = [tuple(most if n == loop else 1 for n in range(LOOPS)) for loop in range(LOOPS)]
    return [*itertools.product((1, 3), repeat=LOOPS), (2,) * LOOPS, *long]


@pytest.mark.parametrize("share", [1, 0.6], ids=["always", "sometimes"])
def test_positions_come_in_order(share: float) -> None:
    """The first loop is the innermost; behind the last position comes the first."""
    dut = Loops(SPEC)
    rng = random.Random(3)
    passed = 0

    async def count(ctx: Any, shape: tuple[int, ...], *, whole: bool) -> None:
        nonlocal passed
        ctx.set(dut.counts, [length - 1 for length in shape])
        ctx.set(dut.start, 1)
        ctx.set(dut.advance, rng.random() < 0.5)
        await ctx.tick()
        ctx.set(dut.start, 0)
        # An array of the shape, the last axis of which is the innermost loop, twice.
        places = [*itertools.product(*map(range, reversed(shape)))] * 2
        if not whole:  # broken off by the next start
            places = places[: rng.randrange(len(places))]
        for place in places:
            ends = [at == length - 1 for at, length in zip(reversed(place), shape, strict=True)]
            want = sum(end << loop for loop, end in enumerate(ends))
            advance = False
            while not advance:
                assert ctx.get(dut.ends) == want, (shape, place)
                advance = rng.random() < share
                ctx.set(dut.advance, advance)
                await ctx.tick()
            passed += 1

    async def bench(ctx: Any) -> None:
        for shape in rng.sample(shapes(), len(shapes())):
            await count(ctx, shape, whole=True)
            await count(ctx, shape, whole=False)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert passed > 2 * sum(map(math.prod, shapes()))
