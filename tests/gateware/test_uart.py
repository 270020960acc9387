# amaranth: UnusedElaboratable=no
"""The UART against waveforms that are made here, bit by bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.errors import BadInputError
from secateur.gateware.uart import UartReceiver, UartTransmitter, divisor

PERIOD = 1e-6
BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *random.Random(1).randbytes(8)]

#: Levels and for how many bits' time each.
Wave = list[tuple[int, float]]


def wave(data: list[int], *, gap: float = 0) -> Wave:
    """Make the levels of bytes, with ``gap`` bits of idle line behind each."""
    levels: Wave = []
    for byte in data:
        levels += [(0, 1.0), *((byte >> place & 1, 1.0) for place in range(8)), (1, 1.0 + gap)]
    return levels


def receive(
    cycles: int, levels: Wave, *, error: float = 0, phase: float = 0.3, ready: bool = True
) -> list[tuple[int, int]]:
    """Play levels to a receiver, with a baud rate that is off; return data and error of each."""
    dut = UartReceiver(cycles)
    got: list[tuple[int, int]] = []

    async def play(ctx: Any) -> None:
        await ctx.delay((10 + phase) * PERIOD)
        for level, bits in levels:
            ctx.set(dut.rx, level)
            await ctx.delay(bits * cycles * PERIOD / (1 + error))
        ctx.set(dut.rx, 1)
        await ctx.delay(20 * cycles * PERIOD)
        ctx.set(dut.o.ready, 1)
        await ctx.delay(2 * PERIOD)

    async def collect(ctx: Any) -> None:
        held = None
        ctx.set(dut.o.ready, ready)
        while True:
            _, _, valid, taken, byte, wrong = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload.data, dut.o.payload.error
            )
            assert held is None or (valid and held == (byte, wrong)), "what was offered changed"
            held = (byte, wrong) if valid and not taken else None
            if valid and taken:
                got.append((byte, wrong))

    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(play)
    simulator.add_testbench(collect, background=True)
    simulator.run()
    return got


def good(data: list[int]) -> list[tuple[int, int]]:
    return [(byte, 0) for byte in data]


@pytest.mark.parametrize("phase", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("error", [-0.02, 0, 0.02])
@pytest.mark.parametrize("cycles", [4, 5, 8, 25, 87])
def test_baud_rates(cycles: int, error: float, phase: float) -> None:
    """Without a pause between the bytes, where an error cannot recover."""
    data = BYTES if cycles < 25 else BYTES[:6]
    assert receive(cycles, wave(data), error=error, phase=phase) == good(data)


@pytest.mark.parametrize("cycles", [8, 25])
def test_a_spike_is_noise(cycles: int) -> None:
    """Neither a start bit nor a bit is made of a level that lasts a cycle."""
    spike = 1 / cycles
    idle: Wave = [(0, spike), (1, 3.0)]
    # One in the middle of a zero and of a one: 0x0F with its first and last bit hit.
    hit: Wave = [(0, 1.0)]
    for bit in (1, 1, 1, 1, 0, 0, 0, 0):
        hit += [(bit, 0.5), (1 - bit, spike), (bit, 0.5 - spike)]
    assert receive(cycles, [*idle, *hit, (1, 1.0), *wave([0x42])]) == good([0x0F, 0x42])


@pytest.mark.parametrize("cycles", [16, 25])
def test_a_start_bit_reaches_its_middle(cycles: int) -> None:
    """A third of a bit is too long for a spike, and still no start bit."""
    assert receive(cycles, [(0, 0.33), (1, 12.0), *wave([0x42])]) == good([0x42])
    assert receive(cycles, [(0, 0.67), (1, 12.0), *wave([0x42])]) == good([0xFF, 0x42])


def test_no_stop_bit_is_an_error() -> None:
    broken: Wave = [(0, 1.0), *((1, 1.0),) * 8, (0, 1.0), (1, 2.0)]
    assert receive(8, [*broken, *wave([0x42])]) == [(0xFF, 1), (0x42, 0)]


def test_a_break_is_one_error() -> None:
    assert receive(8, [*wave([1]), (0, 40.0), (1, 1.0), *wave([2])]) == [(1, 0), (0, 1), (2, 0)]


def test_a_lost_byte_marks_the_next() -> None:
    """While the first byte waits, others come; the first after it was taken says so."""
    assert receive(8, wave([1, 2, 3]), ready=False) == good([1])
    dut = UartReceiver(8)
    got: list[tuple[int, int]] = []

    async def bench(ctx: Any) -> None:
        for part in ([1, 2], [3, 4]):
            for level, bits in wave(part, gap=1):
                ctx.set(dut.rx, level)
                for _ in range(round(bits * 8)):
                    _, _, valid, ready, byte, wrong = await ctx.tick().sample(
                        dut.o.valid, dut.o.ready, dut.o.payload.data, dut.o.payload.error
                    )
                    if valid and ready:
                        got.append((byte, wrong))
            ctx.set(dut.o.ready, 1)

    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(bench)
    simulator.run()
    assert got == [(1, 0), (3, 1), (4, 0)]


@pytest.mark.parametrize("pause", [0, 7, 10, 11, 13])
@pytest.mark.parametrize("cycles", [4, 7])
def test_transmitter(cycles: int, pause: int) -> None:
    """Every cycle of the line is what the format says; idle line only where nothing is offered.

    A pause of 10 bits or more leaves the transmitter without a byte.
    """
    dut = UartTransmitter(cycles)
    data = BYTES[:10]
    line: list[int] = []

    async def drive(ctx: Any) -> None:
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            taken = False
            while not taken:
                _, _, taken = await ctx.tick().sample(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            for _ in range(pause * cycles):
                await ctx.tick()

    async def watch(ctx: Any) -> None:
        for _ in range(len(data) * (12 + pause) * cycles):
            _, _, level = await ctx.tick().sample(dut.tx)
            line.append(level)

    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(drive, background=True)
    simulator.add_testbench(watch)
    simulator.run()
    idle = max(0, (pause - 10) * cycles + 1)
    want = []
    for byte in data:
        want += [level for level, bits in wave([byte]) for _ in range(round(bits) * cycles)]
        want += [1] * idle
    start = line.index(0)
    assert start <= 2
    assert line[start : start + len(want)] == want
    assert set(line[start + len(want) :]) == {1}


def test_rejected() -> None:
    with pytest.raises(BadInputError, match=r"^divisor must be at least 4, not 3$"):
        UartReceiver(3)
    with pytest.raises(BadInputError, match=r"^divisor must be at least 4, not 3$"):
        UartTransmitter(3)
    with pytest.raises(
        BadInputError, match=r"^baud must be at most clock / 4 \(25000000\), not 30000000$"
    ):
        divisor(100_000_000, 30_000_000)
    with pytest.raises(
        BadInputError, match=r"^baud must be within 1 % of clock / 7 \(14285714\), not 15000000$"
    ):
        divisor(100_000_000, 15_000_000)
