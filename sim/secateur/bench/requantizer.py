"""A requantiser against its specification, in Amaranth's simulator."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from amaranth.sim import Simulator

from secateur.errors import CheckFailedError
from secateur.fixed import NumberFormat, Requant
from secateur.gateware.requant import Requantizer

__all__ = ["Case", "check_requantizer", "random_cases"]


class Case(NamedTuple):
    """What the inputs of a requantiser are in one cycle."""

    acc: int
    bias: int
    shift: int
    output_signed: bool
    relu: bool

    def spec(self, width: int) -> Requant:
        """Return the reference of this case."""
        output = NumberFormat(width=width, signed=self.output_signed)
        return Requant(shift=self.shift, output=output, relu=self.relu)


def _reference(cases: list[Case], width: int) -> list[int]:
    """Return the low ``width`` bits of each result of :meth:`Requant.compute`."""
    totals = np.array([case.acc + case.bias for case in cases])
    groups: dict[Requant, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        groups[case.spec(width)].append(index)
    results = np.empty(len(cases), dtype=np.int64)
    for spec, indices in groups.items():
        results[indices] = spec.compute(totals[indices])
    return (results & ((1 << width) - 1)).tolist()


def _run(dut: Requantizer, cases: list[Case], *, stall: float = 0) -> list[int]:
    """Offer a case in each enabled cycle; return ``o`` as it stands ``LATENCY`` of them later."""
    results: list[int] = []
    rng = random.Random(3)

    async def bench(ctx: Any) -> None:
        flush = [Case(0, 0, 0, False, False)] * (dut.LATENCY - 1)
        for number, case in enumerate(cases + flush):
            while rng.random() < stall:
                before = ctx.get(dut.o)
                ctx.set(dut.acc, rng.getrandbits(dut.accumulator_width))
                ctx.set(dut.shift, rng.getrandbits(6))
                ctx.set(dut.enable, 0)
                await ctx.tick()
                if ctx.get(dut.o) != before:
                    raise CheckFailedError(f"case {number}: o moved without enable")
            for name, value in case._asdict().items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.enable, 1)
            await ctx.tick()
            if number >= dut.LATENCY - 1:
                results.append(ctx.get(dut.o))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def check_requantizer(
    cases: list[Case], accumulator: int, activation: int, *, stall: float = 0
) -> None:
    """Compare circuit and reference.

    Raises
    ------
    CheckFailedError
        On the first difference, with its case.
    """
    dut = Requantizer(accumulator_width=accumulator, activation_width=activation)
    got = _run(dut, cases, stall=stall)
    for index, (g, w) in enumerate(zip(got, _reference(cases, activation), strict=True)):
        if g != w:
            raise CheckFailedError(
                f"{accumulator}->{activation}, case {index}: {cases[index]}: {g}, not {w}"
            )


def random_cases(accumulator: int, count: int, *, seed: int) -> list[Case]:
    """Draw sums of every magnitude, the bounds above all, that fit in the accumulator."""
    rng = random.Random(seed)
    limit = 1 << (accumulator - 1)
    cases = []
    for _ in range(count):
        total = rng.choice((-1, 1)) * rng.getrandbits(rng.randrange(accumulator))
        if rng.random() < 0.1:
            total = rng.choice((-limit, limit - 1, 0, -1))
        bias = rng.randrange(max(-limit, total - limit + 1), min(limit - 1, total + limit) + 1)
        shift = rng.randrange(48 if rng.random() < 0.1 else min(accumulator + 2, 48))
        cases.append(Case(total - bias, bias, shift, rng.random() < 0.5, rng.random() < 0.5))
    return cases
