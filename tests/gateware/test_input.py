"""InputBuffer against two regions, cycle by cycle."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.input import InputBuffer

LANES = 2
SPEC = EngineSpec(pes=LANES, lanes=LANES, activation_depth=32)


def run(
    *,
    words: int,
    inputs: int,
    base: int = 3,
    source: float = 1,
    pause: float = 0,
    open_: float = 1,
    busy: int = 0,
    cycles: int = 3000,
) -> int:
    """Take ``inputs`` of ``words`` words; give each back ``busy`` cycles after it is full or later.

    Returns the number of cycles, with every output compared in each of them.
    """
    rng = random.Random(words)
    dut = InputBuffer(SPEC)
    sent = [[rng.getrandbits(8) for _ in range(LANES)] for _ in range(words * inputs)]
    took = [0]

    async def bench(ctx: Any) -> None:
        memory: dict[int, list[int]] = {}
        position = taken = given_back = 0  # words of an input begun; whole inputs
        offering = False
        waited = 0
        ctx.set(dut.source, base)
        ctx.set(dut.words, words)
        for cycle in range(cycles):
            # An offered word stays until it is taken.
            index = taken * words + position
            offering = index < len(sent) and (offering or rng.random() < source)
            full = taken > given_back
            waited = waited + 1 if full else 0
            release = full and waited > busy
            pausing, opened = rng.random() < pause, rng.random() < open_
            ctx.set(dut.i.valid, offering)
            word = sent[index] if offering else [rng.getrandbits(8) for _ in range(LANES)]
            ctx.set(dut.i.payload, word)
            ctx.set(dut.pause, pausing)
            ctx.set(dut.open, opened)
            ctx.set(dut.release, release)

            want = taken - given_back < 2 and not pausing and (opened or position > 0)
            assert ctx.get(dut.i.ready) == want, f"cycle {cycle}: ready"
            assert ctx.get(dut.write) == (want and offering), f"cycle {cycle}: write"
            assert ctx.get(dut.full) == full, f"cycle {cycle}: full"
            assert ctx.get(dut.occupied) == (full or position > 0), f"cycle {cycle}: occupied"
            if full:
                region = base + given_back % 2 * words
                assert ctx.get(dut.full_source) == region, f"cycle {cycle}: full_source"
                held = [memory[region + n] for n in range(words)]
                assert held == sent[given_back * words :][:words], f"input {given_back}"
            elif given_back == inputs:
                took[0] = cycle
                return
            if ctx.get(dut.write):
                got = ctx.get(dut.write_word)
                memory[ctx.get(dut.write_address)] = [got[lane] for lane in range(LANES)]
            await ctx.tick()
            if want and offering:
                offering = False
                position = (position + 1) % words
                taken += position == 0
            if release:
                given_back += 1
                waited = 0
        raise AssertionError(f"{given_back} of {inputs} inputs after {cycles} cycles")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return took[0]


@pytest.mark.parametrize("words", [1, 2, 7, 14])
@pytest.mark.parametrize(
    "stalls",
    [
        {},
        {"source": 0.3},
        {"pause": 0.5},
        {"open_": 0.1},
        {"busy": 25},
        {"source": 0.6, "pause": 0.3, "open_": 0.5, "busy": 9},
    ],
    ids=["none", "source", "pause", "open", "busy", "all"],
)
def test_inputs_are_kept_until_released(words: int, stalls: dict[str, float]) -> None:
    run(words=words, inputs=9, **stalls)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("words", [2, 5, 16])
def test_throughput(words: int) -> None:
    """A word a cycle while a region is free: the second input is taken in while one is computed."""
    assert run(words=words, inputs=8, base=0) == 8 * words + 1
    # Each is computed for as long as it takes to take one in.
    assert run(words=words, inputs=8, base=0, busy=words - 1) == 9 * words


def test_both_regions_full() -> None:
    """The third input waits for the first one's region."""
    assert run(words=3, inputs=3, busy=100) == 3 + 3 * 101


def test_whole_memory() -> None:
    """Two regions that end with the memory."""
    run(words=16, inputs=4, base=0, busy=20)


def test_no_words_are_taken_as_one() -> None:
    """A program that says so is a bad one, but must not take x for ever."""
    dut = InputBuffer(SPEC)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.words, 0)
        ctx.set(dut.open, 1)
        ctx.set(dut.i.valid, 1)
        assert not ctx.get(dut.full)
        await ctx.tick()
        assert ctx.get(dut.full)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.release, 1)
        await ctx.tick()
        assert not ctx.get(dut.occupied)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
