"""Lookup: every PE finds the value of its code, whichever memory it shares with others."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator

from secateur.bench.hostile import HOSTILE
from secateur.engine import EngineSpec
from secateur.gateware.lookup import Lookup, number_shape
from secateur.technology import PORTABLE, Codebooks, Technology
from secateur.technology.ecp5 import ECP5


def spec_of(pes: int, lanes: int) -> EngineSpec:
    return EngineSpec(pes=pes, lanes=lanes, layer_depth=4, codebook_bits=3, entry_width=7)


@pytest.mark.parametrize("technology", [PORTABLE, HOSTILE], ids=["portable", "hostile"])
@pytest.mark.parametrize(("pes", "lanes"), [(1, 1), (3, 1), (4, 4), (6, 2), (10, 2)])
def test_codes_of_all_layers(pes: int, lanes: int, technology: Technology) -> None:
    """Codebooks are written twice over; a code a cycle from every PE while none is."""
    spec = spec_of(pes, lanes)
    dut = Lookup(spec, technology=technology)
    rng = random.Random(pes)
    codes = len(number_shape(spec))
    assert codes == 4 << 3

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            values = [rng.randrange(-128, 128) for _ in range(codes)]
            for code in rng.sample(range(codes), codes):
                ctx.set(dut.codebook, {"write": 1, "number": code, "value": values[code]})
                await ctx.tick()
            ctx.set(dut.codebook, {"write": 0, "number": rng.randrange(codes), "value": 99})
            await ctx.tick()  # the last one is written
            asked: list[list[int]] = []
            for _ in range(100):
                asked.append([rng.randrange(codes) for _ in range(pes)])
                for pe, code in enumerate(asked[-1]):
                    ctx.set(dut.numbers[pe], code)
                await ctx.tick()
                if len(asked) >= Codebooks.LATENCY:
                    found = [ctx.get(dut.weights[pe]) for pe in range(pes)]
                    assert found == [values[code] for code in asked[-Codebooks.LATENCY]]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(
    ("pes", "lanes", "memories"), [(1, 1, 1), (4, 4, 2), (9, 1, 5), (10, 2, 5)]
)
def test_memories_are_shared(pes: int, lanes: int, memories: int) -> None:
    """By two PEs where a block RAM has two ports to read; else each has its own."""
    for technology, count in ((ECP5, memories), (PORTABLE, pes)):
        made = Fragment.get(Lookup(spec_of(pes, lanes), technology=technology), None)
        assert len(made.subfragments) == count
