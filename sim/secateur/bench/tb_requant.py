"""cocotb test bench for :class:`secateur.gateware.requant.Requantizer`."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from secateur.fixed import NumberFormat, Requant
from secateur.gateware.requant import Requantizer

#: Values that are requantised, and cycles from a value to its result.
COUNT, LATENCY = 2000, Requantizer.LATENCY


@cocotb.test()
async def bit_exact(dut: Any) -> None:
    """Every result equals the reference, ``LATENCY`` enabled cycles after its value."""
    width, output_width = len(dut.acc), len(dut.o)
    rng = random.Random(random.random())  # cocotb seeds the module
    limit = 1 << (width - 1)
    expected: list[int] = []

    dut.rst.value = 1
    dut.enable.value = 0
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0

    got: list[int] = []
    while len(got) < COUNT:
        enable = rng.random() < 0.7
        total = rng.choice((-1, 1)) * rng.getrandbits(rng.randrange(width))
        bias = rng.randrange(max(-limit, total - limit + 1), min(limit - 1, total + limit) + 1)
        output = NumberFormat(width=output_width, signed=rng.random() < 0.5)
        requant = Requant(
            shift=rng.randrange(min(width, 48)), output=output, relu=rng.random() < 0.5
        )
        dut.enable.value = int(enable)
        dut.acc.value = (total - bias) & (2 * limit - 1)
        dut.bias.value = bias & (2 * limit - 1)
        dut.shift.value = requant.shift
        dut.output_signed.value = int(output.signed)
        dut.relu.value = int(requant.relu)
        if enable:
            want = int(requant.compute(np.array([total]))[0]) & ((1 << output_width) - 1)
            expected.append(want)
        await FallingEdge(dut.clk)
        if enable and len(expected) >= LATENCY:
            assert dut.o.value.is_resolvable, f"o is {dut.o.value} after {len(got)} results"
            got.append(dut.o.value.to_unsigned())
    assert len(expected) == COUNT + LATENCY - 1
    for index, (g, w) in enumerate(zip(got, expected, strict=False)):
        assert g == w, f"value {index} becomes {g}, not {w}"
