"""Portable memory, codebooks, multiplier and adder against lists and Python's integers."""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from amaranth.hdl import ResetInserter, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.sim import Simulator

from secateur.bench.hostile import HOSTILE
from secateur.technology import Adder, Codebooks, Memory, Multiplier
from secateur.technology.ice40 import FLIP_FLOP_WORDS, Ice40Memory
from secateur.technology.portable import DISTRIBUTED_WORDS

if TYPE_CHECKING:
    from amaranth.hdl import Elaboratable, ShapeLike

PAIR = data.StructLayout({"low": unsigned(3), "high": signed(6)})


def simulate(dut: Elaboratable, bench: Any) -> None:
    """Run one test bench."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def as_bits(word: Any, width: int) -> int:
    """Bits of what the simulator returned: a number, or a structure."""
    return (word if isinstance(word, int) else word.as_bits()) & ((1 << width) - 1)


@pytest.mark.parametrize(
    ("make", "depth"),
    [
        (make, depth)
        for make in (Memory, HOSTILE.memory)
        for depth in (2, DISTRIBUTED_WORDS, 2 * DISTRIBUTED_WORDS)
    ]
    + [(Ice40Memory, FLIP_FLOP_WORDS // 2)],
)
@pytest.mark.parametrize("banks", [1, 2])
@pytest.mark.parametrize(("shape", "width"), [(unsigned(5), 5), (signed(9), 9), (PAIR, 9)])
def test_random(shape: ShapeLike, width: int, banks: int, depth: int, make: type[Memory]) -> None:
    """Reads and writes at random, close together, on both sides of the step to block RAM."""
    rng = random.Random(depth)
    # Flip-flops have none.
    filled = 0 if make is Ice40Memory else depth - depth // 4
    init = [rng.getrandbits(width) for _ in range(filled)]
    dut = make(shape, depth=depth, banks=banks, init=init)
    undefined = [0]

    async def bench(ctx: Any) -> None:
        # A single bank is the same, whatever the bank inputs say.
        words = {
            (bank, address): init[address] if bank == 0 and address < len(init) else 0
            for bank in range(banks)
            for address in range(depth)
        }
        due: deque[int | None] = deque([None] * Memory.LATENCY)
        taken = (0, 0)  # the last place that was read
        for cycle in range(banks * depth + 800):
            # The first cycles read everything that is initial.
            sweep = cycle < banks * depth
            bank = cycle // depth if sweep and banks == 2 else rng.randrange(2)
            address = (
                cycle % depth if sweep else rng.choice((0, 1, depth - 1, rng.randrange(depth)))
            )
            write = not sweep and rng.random() < 0.6
            write_bank, word = rng.randrange(2), rng.getrandbits(width)
            write_address = rng.choice((address, rng.randrange(depth)))
            goes_on = sweep or rng.random() < 0.7
            ctx.set(dut.read_bank, bank)
            ctx.set(dut.read_address, address)
            ctx.set(dut.read_enable, goes_on)
            ctx.set(dut.write_bank, write_bank)
            ctx.set(dut.write_address, write_address)
            ctx.set(dut.write_enable, write)
            ctx.set(dut.write_word, word)
            written = (write_bank % banks, write_address)
            if goes_on:
                taken = (bank % banks, address)
                due.popleft()
                due.append(words[taken])
            if write and written == taken:
                due[-1] = None
                undefined[0] += 1
            if write:
                words[written] = word
            await ctx.tick()
            want = due[0]
            got = as_bits(ctx.get(dut.read_word), width)
            assert want in (None, got), f"cycle {cycle}: {got}, not {want}"

    simulate(dut, bench)
    assert undefined[0] > 50


@pytest.mark.parametrize("depth", [4, 2 * DISTRIBUTED_WORDS])
def test_hostile(depth: int) -> None:
    """A word that is written while it is read is neither the old one nor the new one."""
    dut = HOSTILE.memory(unsigned(4), depth=depth, init=[3])

    async def bench(ctx: Any) -> None:
        for write, want in ((0, {3}), (1, set(range(16)) - {3, 5}), (0, {5})):
            ctx.set(dut.write_enable, write)
            ctx.set(dut.write_word, 5)
            await ctx.tick()
            ctx.set(dut.write_enable, 0)
            await ctx.tick().repeat(Memory.LATENCY - 1)
            assert ctx.get(dut.read_word) in want

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [2, 2 * DISTRIBUTED_WORDS])
def test_word_has_the_shape(depth: int) -> None:
    """Numbers come back with their sign, structures by field."""
    number = Memory(signed(4), depth=depth, init=[0b1001])
    pair = Memory(PAIR, depth=depth, init=[0b111110_101])

    def bench(dut: Memory, want: Any) -> Any:
        async def read(ctx: Any) -> None:
            await ctx.tick().repeat(Memory.LATENCY)
            got = ctx.get(dut.read_word)
            assert (got if isinstance(got, int) else (got.low, got.high)) == want

        return read

    simulate(number, bench(number, -7))
    simulate(pair, bench(pair, (5, -2)))


@pytest.mark.parametrize("depth", [4, 2 * DISTRIBUTED_WORDS])
def test_reset_keeps_words(depth: int) -> None:
    """And the word that is being read."""
    dut = Memory(unsigned(8), depth=depth, init=[1, 2, 3, 4])
    reset = Signal()

    async def bench(ctx: Any) -> None:
        due: deque[int | None] = deque([None] * (Memory.LATENCY - 1))
        for cycle in range(40):
            ctx.set(reset, cycle % 3 == 0)
            ctx.set(dut.read_address, cycle % 4)
            due.append(cycle % 4 + 1)
            await ctx.tick()
            want = due.popleft()
            assert want in (None, ctx.get(dut.read_word)), f"cycle {cycle}: not {want}"

    simulate(ResetInserter(reset)(dut), bench)


@pytest.mark.parametrize("make", [Codebooks, HOSTILE.codebooks])
@pytest.mark.parametrize(("depth", "readers"), [(2, 1), (64, 2), (256, 3)])
def test_codebooks(depth: int, readers: int, make: type[Codebooks]) -> None:
    """Values that were written at random, looked up in cycles in which none is."""
    rng = random.Random(depth)
    dut = make(signed(5), depth=depth, readers=readers)
    compared = 0

    async def bench(ctx: Any) -> None:
        nonlocal compared
        values: dict[int, int] = {}
        due: deque[list[int | None]] = deque()
        for cycle in range(depth + 1000):
            write, value = rng.randrange(depth), rng.randrange(-16, 16)
            enable = cycle < depth or rng.random() < 0.3
            if cycle < depth:
                write = cycle
            reads = [rng.randrange(depth) for _ in range(readers)]
            for reader, read in enumerate(reads):
                ctx.set(dut.read_address[reader], read)
            ctx.set(dut.write_address, write)
            ctx.set(dut.write_value, value)
            ctx.set(dut.write_enable, enable)
            due.append([None if enable else values[read] for read in reads])
            if enable:
                values[write] = value
            await ctx.tick()
            if len(due) < make.LATENCY:
                continue
            for reader, want in enumerate(due.popleft()):
                got = ctx.get(dut.read_value[reader])
                assert want in (None, got), f"cycle {cycle}: {got}, not {want}"
                compared += want is not None

    simulate(dut, bench)
    assert compared > 500 * readers


def test_hostile_codebooks() -> None:
    """They give another value than the one that is there while any is written."""
    dut = HOSTILE.codebooks(unsigned(4), depth=4, readers=2)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.write_enable, 1)
        ctx.set(dut.write_value, 5)
        ctx.set(dut.write_address, 2)
        ctx.set(dut.read_address[1], 2)
        await ctx.tick()
        ctx.set(dut.write_address, 3)
        await ctx.tick()
        ctx.set(dut.write_enable, 0)
        await ctx.tick()
        assert ctx.get(dut.read_value[1]) == 5 ^ 15
        await ctx.tick()
        assert ctx.get(dut.read_value[1]) == 5

    simulate(dut, bench)


@pytest.mark.parametrize(("a_width", "b_width"), [(2, 5), (8, 9), (12, 17), (16, 17)])
def test_multiplier(a_width: int, b_width: int) -> None:
    """A product a cycle; every pair of numbers of few bits, the extremes and others of many."""
    dut = Multiplier(a_width, b_width)
    rng = random.Random(a_width)

    def numbers(width: int) -> list[int]:
        half = 1 << (width - 1)
        if width <= 5:
            return [*range(-half, half)]
        return [-half, half - 1, -1, 0, 1, *(rng.randrange(-half, half) for _ in range(15))]

    pairs = [(a, b) for a in numbers(a_width) for b in numbers(b_width)]
    rng.shuffle(pairs)

    async def bench(ctx: Any) -> None:
        due: deque[int | None] = deque([None] * (Multiplier.LATENCY - 1))
        for a, b in pairs + [(0, 0)] * Multiplier.LATENCY:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            due.append(a * b)
            await ctx.tick()
            want = due.popleft()
            assert want in (None, ctx.get(dut.product)), f"before {a} * {b}: not {want}"

    simulate(dut, bench)


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_adder(width: int, carry: bool) -> None:
    """Every sum of few bits, modulo their number."""
    dut = Adder(width, carry=carry)

    async def bench(ctx: Any) -> None:
        for a, b, c, select in itertools.product(*3 * [range(1 << width)], range(2)):
            for name, value in (("a", a), ("b", b), ("c", c), ("select", select)):
                ctx.set(getattr(dut, name), value)
            await ctx.delay(1e-9)
            want = (c + carry + (a if select else b)) % (1 << width)
            assert ctx.get(dut.sum) == want, f"{a if select else b} + {c}: not {want}"

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
