"""BankedMemory against a list of words."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.sim import Simulator

from secateur.gateware.memory import BankedMemory

PAIR = data.StructLayout({"low": unsigned(3), "high": signed(6)})


def simulate(dut: BankedMemory, bench: Any) -> None:
    """Run one test bench."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def as_bits(word: Any, width: int) -> int:
    """Bits of what the simulator returned: a number, or a structure."""
    return (word if isinstance(word, int) else word.as_bits()) & ((1 << width) - 1)


@pytest.mark.parametrize("depth", [2, 8, 128])
@pytest.mark.parametrize("banks", [1, 2])
@pytest.mark.parametrize("shape", [unsigned(5), signed(9), PAIR])
def test_random(shape: Any, banks: int, depth: int) -> None:
    """Reads and writes at random, close together; what is read is held without enable."""
    width = 5 if isinstance(shape, type(unsigned(5))) and not shape.signed else 9
    rng = random.Random(depth)
    init = [rng.getrandbits(width) for _ in range(depth - depth // 4)]
    dut = BankedMemory(shape, depth=depth, banks=banks, init=init)

    async def bench(ctx: Any) -> None:
        # A single bank is the same, whatever the bank inputs say.
        memory = {
            (bank, address): init[address] if bank == 0 and address < len(init) else 0
            for bank in range(banks)
            for address in range(depth)
        }
        want = None
        for cycle in range(800):
            # The first cycles read everything that is initial.
            sweep = cycle < banks * depth
            bank = cycle // depth if sweep else rng.randrange(2)
            address = (
                cycle % depth if sweep else rng.choice((0, 1, depth - 1, rng.randrange(depth)))
            )
            enable = sweep or rng.random() < 0.7
            write = not sweep and rng.random() < 0.6
            write_bank, word = rng.randrange(2), rng.getrandbits(width)
            write_address = rng.choice((address, rng.randrange(depth)))
            ctx.set(dut.read_bank, bank)
            ctx.set(dut.read_address, address)
            ctx.set(dut.read_enable, enable)
            ctx.set(dut.write_bank, write_bank)
            ctx.set(dut.write_address, write_address)
            ctx.set(dut.write_enable, write)
            ctx.set(dut.write_word, word)
            await ctx.tick()
            written = write_bank % banks, write_address
            if enable:
                place = bank % banks, address
                want = None if write and written == place else memory[place]  # undefined
            if write:
                memory[written] = word
            got = as_bits(ctx.get(dut.read_word), width)
            assert want in (None, got), f"cycle {cycle}: {address} of {bank}: {got}, not {want}"

    assert dut.LATENCY == 1
    simulate(dut, bench)


def test_word_has_the_shape() -> None:
    """Numbers come back with their sign, structures by field."""
    number = BankedMemory(signed(4), depth=2, init=[0b1001])
    pair = BankedMemory(PAIR, depth=2, init=[0b111110_101])

    def bench(dut: BankedMemory, want: Any) -> Any:
        async def read(ctx: Any) -> None:
            ctx.set(dut.read_enable, 1)
            await ctx.tick()
            got = ctx.get(dut.read_word)
            assert got == want if isinstance(got, int) else (got.low, got.high) == want

        return read

    simulate(number, bench(number, -7))
    simulate(pair, bench(pair, (5, -2)))
