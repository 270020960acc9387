"""Accumulator against a dictionary of sums."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.accumulate import Accumulator

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Cycles from a product to its sum in the memory.
LATENCY = 2


class Bench:
    """Drives an accumulator and keeps the sums that it must hold."""

    def __init__(self, ctx: Any, dut: Accumulator) -> None:
        self.ctx, self.dut = ctx, dut
        self.sums = [0] * dut.spec.row_depth

    async def clear(self, rows: Sequence[int] | None = None) -> None:
        for row in range(len(self.sums)) if rows is None else rows:
            self.ctx.set(self.dut.clear, 1)
            self.ctx.set(self.dut.clear_address, row)
            await self.ctx.tick()
            self.sums[row] = 0
        self.ctx.set(self.dut.clear, 0)

    async def add(self, row: int, weight: int, value: int) -> None:
        for name, number in (("valid", 1), ("row", row), ("weight", weight), ("value", value)):
            self.ctx.set(getattr(self.dut, name), number)
        assert not self.ctx.get(self.dut.idle)
        await self.ctx.tick()
        self.sums[row] += weight * value
        self.ctx.set(self.dut.valid, 0)

    async def gap(self, rng: random.Random) -> None:
        """Pass a cycle in which everything but `valid` moves."""
        self.ctx.set(self.dut.row, rng.randrange(len(self.sums)))
        self.ctx.set(self.dut.weight, rng.choice((-1, 1)))
        self.ctx.set(self.dut.value, rng.choice((-1, 1)))
        self.ctx.set(self.dut.clear_address, rng.randrange(len(self.sums)))
        self.ctx.set(self.dut.drain_address, rng.randrange(len(self.sums)))
        await self.ctx.tick()

    async def settle(self, after: int) -> None:
        """Wait until sums are stored, ``after`` cycles since the last product; see `idle`."""
        while after < LATENCY:
            assert not self.ctx.get(self.dut.idle), f"idle {after} cycles after a product"
            await self.ctx.tick()
            after += 1
        assert self.ctx.get(self.dut.idle), f"not idle {after} cycles after a product"

    async def check(self, what: object = None) -> None:
        """Drain every row and compare."""
        self.ctx.set(self.dut.drain_enable, 1)
        got = []
        for row in range(len(self.sums)):
            self.ctx.set(self.dut.drain_address, row)
            await self.ctx.tick()
            got.append(self.ctx.get(self.dut.drain_sum))
        self.ctx.set(self.dut.drain_enable, 0)
        assert got == self.sums, f"{what}: {got}, not {self.sums}"


def run(dut: Accumulator, body: Any, elaboratable: Any = None) -> None:
    """Run ``body(bench)`` on cleared accumulators."""

    async def testbench(ctx: Any) -> None:
        bench = Bench(ctx, dut)
        await bench.clear()
        await body(bench)

    simulator = Simulator(dut if elaboratable is None else elaboratable)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def spec(**fields: int) -> EngineSpec:
    return EngineSpec(pes=1, lanes=1, **fields)


def test_every_distance() -> None:
    """All sequences of seven cycles over two rows and a gap: any distance, any row between."""

    async def body(bench: Bench) -> None:
        rng = random.Random(1)
        for sequence in product((None, 0, 1), repeat=7):
            after = LATENCY
            for row in sequence:
                if row is None:
                    await bench.gap(rng)
                    after = min(after + 1, LATENCY)
                else:
                    await bench.add(row, rng.choice((3, -5, 7)), rng.choice((1, 2, 11, -4)))
                    after = 1
            await bench.settle(after)
            await bench.check(sequence)

    run(Accumulator(spec(row_depth=2)), body)


@pytest.mark.parametrize(
    ("accumulator", "activation", "weight", "rows"),
    [(24, 8, 8, 16), (16, 4, 2, 4), (40, 16, 16, 32), (48, 12, 8, 2)],
)
def test_extremes(accumulator: int, activation: int, weight: int, rows: int) -> None:
    """Runs of extreme products, signed and unsigned, up to the last sum that the width holds."""
    weights = (-(1 << (weight - 1)), (1 << (weight - 1)) - 1)
    values = (-(1 << (activation - 1)), (1 << activation) - 1, (1 << (activation - 1)) - 1)
    limit = 1 << (accumulator - 1)
    reached = set()

    async def body(bench: Bench) -> None:
        rng = random.Random(accumulator)
        for _ in range(40):
            after = LATENCY
            for _ in range(rng.randrange(30)):
                if rng.random() < 0.3:
                    await bench.gap(rng)
                    after = min(after + 1, LATENCY)
                    continue
                row = rng.choice((0, 0, 1, rows - 1, rng.randrange(rows)))
                number = rng.choice((*weights, rng.randint(*weights)))
                value = rng.choice((*values, rng.randint(values[0], values[1])))
                if not -limit <= bench.sums[row] + number * value < limit:
                    continue
                await bench.add(row, number, value)
                after = 1
            await bench.settle(after)
            await bench.check()
        # Exactly to both ends, as fast as the steps allow.
        if accumulator > 24:
            return
        for row, end in ((0, limit - 1), (1, -limit)):
            while bench.sums[row] != end:
                left = end - bench.sums[row]
                value = values[1]
                step = max(
                    weights[0], min(weights[1], left // value if left > 0 else -(-left // value))
                )
                if step == 0:
                    step, value = (1, left) if left > 0 else (-1, -left)
                await bench.add(row, step, value)
            reached.add(end)
        await bench.settle(1)
        await bench.check()

    run(
        Accumulator(
            spec(
                accumulator_width=accumulator,
                activation_width=activation,
                weight_width=weight,
                row_depth=rows,
            )
        ),
        body,
    )
    assert reached == ({limit - 1, -limit} if accumulator <= 24 else set())


def test_clear_and_drain_together() -> None:
    """While idle, one row is read and one cleared in a cycle, each at random; reading holds."""
    rows = 8

    async def body(bench: Bench) -> None:
        rng = random.Random(5)
        ctx, dut = bench.ctx, bench.dut
        for _ in range(60):
            after = LATENCY
            for _ in range(rng.randrange(6)):
                await bench.add(rng.randrange(rows), rng.randint(-8, 7), rng.randint(-8, 15))
                after = 1
            await bench.settle(after)
            want = None
            for _ in range(10):
                address, enable = rng.randrange(rows), rng.random() < 0.6
                cleared = rng.choice((address, rng.randrange(rows))) if rng.random() < 0.4 else None
                ctx.set(dut.drain_address, address)
                ctx.set(dut.drain_enable, enable)
                ctx.set(dut.clear, cleared is not None)
                ctx.set(dut.clear_address, cleared or 0)
                await ctx.tick()
                if enable:  # what is cleared at once is undefined
                    want = None if cleared == address else bench.sums[address]
                if cleared is not None:
                    bench.sums[cleared] = 0
                if want is not None:
                    assert ctx.get(dut.drain_sum) == want
            ctx.set(dut.clear, 0)
            await bench.check()

    run(Accumulator(spec(row_depth=rows)), body)


def test_first_product_after_clear_and_drain() -> None:
    """What was forwarded or read before a clear is not added to what comes after it."""

    async def body(bench: Bench) -> None:
        for pause in range(4):
            await bench.add(1, 7, 9)
            await bench.settle(1)
            await bench.check()
            await bench.clear([1])
            for _ in range(pause):
                await bench.ctx.tick()
            await bench.add(1, 3, 5)
            await bench.settle(1)
            await bench.check(pause)
            assert bench.sums[1] == 15
            await bench.clear()

    run(Accumulator(spec(row_depth=2)), body)


def test_reset_keeps_sums() -> None:
    """Which is why the engine clears them; nothing of the pipeline survives."""
    dut = Accumulator(spec(row_depth=4))
    reset = Signal()

    async def body(bench: Bench) -> None:
        await bench.add(2, 5, 6)
        await bench.settle(1)
        bench.ctx.set(reset, 1)
        await bench.ctx.tick()
        bench.ctx.set(reset, 0)
        assert bench.ctx.get(dut.idle)
        await bench.check()
        # A product in its first cycle is forgotten.
        bench.ctx.set(reset, 1)
        await bench.add(3, 5, 6)
        bench.ctx.set(reset, 0)
        bench.sums[3] = 0
        await bench.settle(LATENCY)
        await bench.check()

    run(dut, body, ResetInserter(reset)(dut))
