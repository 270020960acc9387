"""Accumulator against a dictionary of sums."""

from __future__ import annotations

import random
from itertools import product
from typing import TypeVar

import pytest
from amaranth.hdl import ResetInserter, Signal

from secateur.bench.accumulator import AccumulatorBench, Slot, run_accumulator
from secateur.bench.hostile import HOSTILE
from secateur.engine import EngineSpec
from secateur.gateware.accumulate import Accumulator

T = TypeVar("T")
LATENCY, DRAINED = Accumulator.LATENCY, Accumulator.DRAINED


def accumulator(**fields: int) -> Accumulator:
    return Accumulator(EngineSpec(pes=1, lanes=1, **fields), technology=HOSTILE)


SHAPES = [
    pytest.param({"accumulator_memories": memories, "jobs": jobs}, id=f"{memories} of {jobs}")
    for memories, jobs in ((1, 1), (1, 4), (2, 2), (2, 4))
]
#: The rows of one job for several positions, in as many tags as memories.
POSITIONS = [
    pytest.param(
        {"accumulator_memories": memories, "jobs": 1, "positions": 2}, id=f"positions in {memories}"
    )
    for memories in (1, 2)
]


def every_pattern(symbols: list[T], length: int) -> list[T]:
    """Chain all patterns of a length, each once, overlapping: a de Bruijn sequence, and its start.

    Lyndon words whose length divides ``length`` follow each other (Fredricksen and Maiorana,
    "Necklaces of beads in k colors and k-ary de Bruijn sequences", 1978).
    """
    chain: list[int] = []
    word = [-1]
    while word:
        word[-1] += 1
        if length % len(word) == 0:
            chain += word
        word = [word[index % len(word)] for index in range(length)]
        while word and word[-1] == len(symbols) - 1:
            word.pop()
    return [symbols[index] for index in chain + chain[: length - 1]]


def test_every_pattern_is_there() -> None:
    chain = every_pattern([0, 1, 2], 4)
    found = [tuple(chain[start : start + 4]) for start in range(len(chain) - 3)]
    assert sorted(found) == [*product(range(3), repeat=4)]


@pytest.mark.parametrize("fields", SHAPES)
def test_every_distance(fields: dict[str, int]) -> None:
    """Every pattern of products and gaps, as long as one remembers another; a product a cycle."""
    dut = accumulator(row_depth=2, **fields)
    # Equal but for the row, or for the tag, in the same memory and in another one.
    slots = [None, *dict.fromkeys([Slot(0, 0), Slot(1, 0), Slot(0, dut.spec.jobs // 2)])]

    async def body(bench: AccumulatorBench) -> None:
        rng = random.Random(2)
        cycles = every_pattern(slots, LATENCY + 2)
        for start in range(0, len(cycles), 64):
            # What went before, once more: a pattern may lie across two parts.
            for slot in cycles[max(0, start - LATENCY - 1) : start + 64]:
                weight, value = rng.choice((3, -5, 7, 100)), rng.choice((1, 2, 11, -64))
                await bench.cycle(slot and (slot, weight, value))
            await bench.check()

    run_accumulator(dut, body)


@pytest.mark.parametrize("fields", [*SHAPES, *POSITIONS])
def test_drained_while_others_accumulate(fields: dict[str, int]) -> None:
    """Read and cleared at once, or left, as early as sums are stored; used as early as cleared."""
    early = {"read": 0, "used": 0}

    async def body(bench: AccumulatorBench) -> None:
        rng = random.Random(3)
        for _ in range(1500):
            draining = [slot for slot in bench.slots if bench.readable(slot)]
            read = rng.choice(draining) if draining and rng.random() < 0.4 else None
            if read:
                # Often the one that has been stored last.
                read = max(draining, key=bench.stored.__getitem__) if rng.random() < 0.5 else read
                early["read"] += 0 < bench.stored[read] == bench.now
            add = None
            usable = [
                slot
                for slot in bench.slots
                if bench.usable(slot) and (not read or bench.memory(slot) != bench.memory(read))
            ]
            if usable and rng.random() < 0.8:
                slot = rng.choice(usable)
                if rng.random() < 0.3:
                    slot = max(usable, key=bench.cleared.__getitem__)
                early["used"] += 0 < bench.cleared[slot] == bench.now
                add = (slot, rng.randint(-128, 127), rng.randint(-128, 255))
            await bench.cycle(add, read=read, clear=rng.random() < 0.5)

    run_accumulator(accumulator(row_depth=4, **fields), body)
    assert min(early.values()) > 30, "too few of the cases that this test is for"


@pytest.mark.parametrize("memories", [1, 2])
def test_latency(memories: int) -> None:
    """Stored after exactly ``LATENCY`` cycles: before, the old sum is read; after, the new one."""

    async def body(bench: AccumulatorBench) -> None:
        slot = Slot(1, 1)
        for after, added in ((LATENCY - 1, 0), (LATENCY + 1, 63)):
            want = bench.sums[slot] + added
            await bench.cycle((slot, 7, 9))
            await bench.idle(after - 1)
            await bench.cycle(read=slot, want=want)
            await bench.idle(LATENCY)

    run_accumulator(accumulator(row_depth=2, accumulator_memories=memories), body)


@pytest.mark.parametrize(
    ("width", "activation", "weight", "rows"),
    [(24, 8, 8, 16), (16, 4, 2, 4), (40, 16, 16, 32), (48, 12, 8, 2)],
)
def test_extremes(width: int, activation: int, weight: int, rows: int) -> None:
    """Runs of extreme products, signed and unsigned, up to the last sum that the width holds."""
    weights = (-(1 << (weight - 1)), (1 << (weight - 1)) - 1)
    values = (-(1 << (activation - 1)), (1 << activation) - 1, (1 << (activation - 1)) - 1)
    limit = 1 << (width - 1)

    async def body(bench: AccumulatorBench) -> None:
        rng = random.Random(width)
        for _ in range(500):
            slot = Slot(rng.choice((0, 0, 1, rows - 1, rng.randrange(rows))), rng.randrange(2))
            number = rng.choice((*weights, rng.randint(*weights)))
            value = rng.choice((*values, rng.randint(values[0], values[1])))
            fits = -limit <= bench.sums[slot] + number * value < limit
            await bench.cycle((slot, number, value) if fits and rng.random() < 0.7 else None)
        await bench.check()
        # Exactly to both ends, as fast as the steps allow.
        if width > 24:
            return
        for slot, end in ((Slot(0, 0), limit - 1), (Slot(1, 1), -limit)):
            while left := end - bench.sums[slot]:
                value = values[1]
                step = left // value if left > 0 else -(-left // value)
                step = max(weights[0], min(weights[1], step))
                if step == 0:
                    step, value = (1, left) if left > 0 else (-1, -left)
                await bench.cycle((slot, step, value))

    run_accumulator(
        accumulator(
            accumulator_width=width,
            bias_width=min(24, width),
            activation_width=activation,
            weight_width=weight,
            entry_width=weight + 4,
            row_depth=rows,
        ),
        body,
    )


def test_reset_keeps_sums() -> None:
    """Which is why the engine clears them; nothing of the pipeline survives."""
    dut = accumulator(row_depth=4)
    reset = Signal()

    async def body(bench: AccumulatorBench) -> None:
        await bench.cycle((Slot(2, 0), 5, 6))
        await bench.idle(LATENCY)
        # Products are forgotten before the cycle that stores them, whatever comes after reset.
        for age in range(LATENCY):
            for cycle in range(age + 1):
                bench.ctx.set(reset, cycle == age)
                bench.captured = None  # reset, too
                await bench.cycle(None if cycle else (Slot(3, 1), 5, 6))
            bench.sums[Slot(3, 1)] -= 30
            bench.ctx.set(reset, 0)
            await bench.cycle((Slot(3, 1), 7, -8))
            await bench.check()

    run_accumulator(dut, body, elaboratable=ResetInserter(reset)(dut))
