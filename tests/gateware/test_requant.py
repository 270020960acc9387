"""Requantizer against Requant.compute, in the Amaranth simulator."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction
from itertools import product
from math import floor
from typing import Any, NamedTuple

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.fixed import NumberFormat, Requant
from secateur.gateware.requant import Requantizer


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


def reference(cases: list[Case], width: int) -> list[int]:
    """Return the low ``width`` bits of each result of :meth:`Requant.compute`."""
    totals = np.array([case.acc + case.bias for case in cases])
    groups: dict[Requant, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        groups[case.spec(width)].append(index)
    results = np.empty(len(cases), dtype=np.int64)
    for spec, indices in groups.items():
        results[indices] = spec.compute(totals[indices])
    return (results & ((1 << width) - 1)).tolist()


def run(dut: Requantizer, cases: list[Case], *, stall: float = 0) -> list[int]:
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
                assert ctx.get(dut.o) == before, "o moved without enable"
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


def check(cases: list[Case], accumulator: int, activation: int, *, stall: float = 0) -> None:
    """Compare circuit and reference, and name the first difference."""
    dut = Requantizer(accumulator_width=accumulator, activation_width=activation)
    got = run(dut, cases, stall=stall)
    for index, (g, w) in enumerate(zip(got, reference(cases, activation), strict=True)):
        assert g == w, f"{accumulator}->{activation}, case {index}: {cases[index]}: {g}, not {w}"


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


def test_reference_is_the_formula() -> None:
    """The reference itself, against exact rational arithmetic written a second way."""
    for case in random_cases(32, 500, seed=1):
        spec = case.spec(8)
        rounded = floor(Fraction(case.acc + case.bias, 1 << case.shift) + Fraction(1, 2))
        bounded = sorted((spec.output.lowest, rounded, spec.output.highest))[1]
        want = bounded if bounded > 0 or not case.relu else 0
        assert spec.compute(np.array([case.acc + case.bias])).tolist() == [want], case


def test_last_bit_shifted_out_rounds_half_up() -> None:
    """What the circuit does equals what the specification says, for every value of 10 bits."""
    x = np.arange(-512, 512)
    for shift in range(48):
        half = 1 << shift >> 1
        np.testing.assert_array_equal(
            (x >> shift) + ((x << 1 >> shift) & 1 if shift else 0), (x + half) >> shift
        )


@pytest.mark.parametrize(("accumulator", "activation"), [(4, 4), (4, 6), (7, 4), (8, 4)])
def test_exhaustive(accumulator: int, activation: int) -> None:
    """Every sum, shift up to beyond the accumulator's width, format and activation."""
    limit = 1 << (accumulator - 1)
    check(
        [
            Case(total - bias, bias, shift, signed, relu)
            for total, shift, signed, relu in product(
                range(-limit, limit), range(accumulator + 2), (False, True), (False, True)
            )
            for bias in [total >> 1]
        ],
        accumulator,
        activation,
    )


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(
    ("accumulator", "activation"), [(24, 8), (27, 5), (33, 12), (40, 16), (48, 8)]
)
def test_random(accumulator: int, activation: int, stall: float) -> None:
    """Formats, shifts and activations change from value to value, with and without stalls."""
    cases = random_cases(accumulator, 1500, seed=accumulator)
    check(cases, accumulator, activation, stall=stall)
