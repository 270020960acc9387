"""Scanner against the cycles that its docstring counts."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.gateware.scan import Scanner

#: Cycles from `start` to the first payload.
LATENCY = 3


class Bench:
    """A scanner and the memory that it reads."""

    def __init__(self, ctx: Any, dut: Scanner, memory: list[list[int]], seed: int) -> None:
        self.ctx, self.dut, self.memory = ctx, dut, memory
        self.rng = random.Random(seed)
        self.word = [self.rng.getrandbits(4)] * dut.spec.lanes

    async def tick(self) -> None:
        """Pass a cycle; the memory holds its word without enable."""
        if self.ctx.get(self.dut.enable):
            self.word = self.memory[self.ctx.get(self.dut.address)]
        await self.ctx.tick()
        self.ctx.set(self.dut.word, self.word)

    async def scan(self, source: int, words: int, base: int, signed: bool, sink: float) -> None:
        """Scan once; compare every output in every cycle."""
        ctx, dut, spec = self.ctx, self.dut, self.dut.spec
        slots = expected(spec, self.memory[source : source + words], base, signed)
        assert ctx.get(dut.done)
        for name, value in (("source", source), ("source_words", words)):
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.column_base, base)
        ctx.set(dut.input_signed, signed)
        ctx.set(dut.start, 1)
        ctx.set(dut.o.ready, 1)
        for cycle in range(1, LATENCY + 1):
            await self.tick()
            ctx.set(dut.start, 0)
            # The first word is looked at in the last of these cycles, see below.
            assert cycle == LATENCY or not (ctx.get(dut.done) or ctx.get(dut.o.valid))
        for index, slot in enumerate(slots):
            where = f"slot {index} of {len(slots)}"
            moved = False
            while not moved:
                ready = self.rng.random() < sink
                ctx.set(dut.o.ready, ready)
                assert ctx.get(dut.o.valid) == (slot is not None), where
                if slot is not None:
                    payload = ctx.get(dut.o.payload)
                    assert (payload.column, payload.value) == slot, where
                # All zeros: done as soon as the last word is looked at.
                last = index == len(slots) - 1
                assert ctx.get(dut.done) == (last and slot is None), where
                await self.tick()
                moved = ready or slot is None
        ctx.set(dut.o.ready, 1)
        for _ in range(4):
            assert ctx.get(dut.done)
            assert not ctx.get(dut.o.valid)
            await self.tick()


def expected(
    spec: EngineSpec, memory: list[list[int]], base: int, signed: bool
) -> list[tuple[int, int] | None]:
    """List what each cycle gives: a column and its value, or nothing for a word of zeros."""
    slots: list[tuple[int, int] | None] = []
    for word_index, word in enumerate(memory):
        found = False
        for lane, bits in enumerate(word):
            negative = signed and bits >= 1 << (spec.activation_width - 1)
            value = bits - (1 << spec.activation_width) * negative
            if bits:
                column = (base + word_index * spec.lanes + lane) % spec.column_depth
                slots.append((column, value))
                found = True
        if not found:
            slots.append(None)
    return slots


def run(
    spec: EngineSpec, memory: list[list[int]], scans: list[tuple[int, int, int, bool, float]]
) -> None:
    """Scan ``memory`` with each of ``scans``: source, words, base, signed, sink."""
    dut = Scanner(spec)

    async def testbench(ctx: Any) -> None:
        bench = Bench(ctx, dut, memory, 1)
        for scan in scans:
            await bench.scan(*scan)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("sink", [1, 0.5, 0.15], ids=["none", "sink", "long"])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_every_pattern(lanes: int, sink: float) -> None:
    """Two words with every set of non-zero lanes, alone and after each other."""
    spec = EngineSpec(pes=lanes, lanes=lanes, activation_width=4, activation_depth=512)
    rng = random.Random(lanes)
    memory = [
        [rng.randint(1, 15) if pattern >> lane & 1 else 0 for lane in range(lanes)]
        for both in range(1 << (2 * lanes))
        for pattern in (both & ((1 << lanes) - 1), both >> lanes)
    ]
    run(
        spec,
        memory,
        [(2 * both, 2, 0, bool(both & 1), sink) for both in range(1 << (2 * lanes))]
        + [(0, len(memory), 5, False, sink)],
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [4, 8])
def test_every_value(width: int, signed: bool) -> None:
    """Each activation, in two's complement and unsigned."""
    spec = EngineSpec(pes=2, lanes=2, activation_width=width, activation_depth=1 << (width - 1))
    values = [*range(1 << width)]
    memory = [values[index : index + 2] for index in range(0, len(values), 2)]
    run(spec, memory, [(0, len(memory), 0, signed, 1)])


@pytest.mark.parametrize("sink", [1, 0.4], ids=["none", "sink"])
@pytest.mark.parametrize("density", [0, 0.1, 0.5, 1])
def test_lengths(density: float, sink: float) -> None:
    """From one word to the whole memory, from anywhere to its end, one scan after the other."""
    spec = EngineSpec(pes=4, lanes=4, activation_depth=32, column_depth=128, activation_width=12)
    rng = random.Random(3)
    memory = [
        [rng.randrange(1, 1 << 12) * (rng.random() < density) for _ in range(4)] for _ in range(32)
    ]
    scans = [(32 - words, words, rng.randrange(0, 128 - 4 * words + 1)) for words in range(1, 33)]
    scans += [(0, words, 0) for words in (1, 32, 2)]
    run(spec, memory, [(*scan, rng.random() < 0.5, sink) for scan in scans])
