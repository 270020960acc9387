"""cocotb test bench: memories, codebooks, multipliers and adders of every technology, side by side.

The environment variable ``CASES`` names a file of the cases (``tests/netlist/test_technology.py``).
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

#: Cycles of random traffic, and cycles from operands or addresses to results.
CYCLES, LATENCY = 3000, 2


def cases(kind: str) -> list[dict[str, Any]]:
    """Read the cases of a kind of cells."""
    return json.loads(Path(os.environ["CASES"]).read_text())[kind]


@cocotb.test()
async def memories(dut: Any) -> None:
    """Every word that is defined equals the one in a list of words, from the initial ones on."""
    rng, mine = random.Random(1), cases("memories")
    Clock(dut.clk, 10, unit="ns").start()
    words = {
        case["name"]: case["init"] + [0] * (case["words"] - len(case["init"])) for case in mine
    }
    expected: list[dict[str, int | None]] = []
    read = 0
    taken = dict.fromkeys(words, 0)  # the address that was taken last
    for cycle in range(CYCLES):
        # The first cycles read what is initial at the ends and in between; then writes come close
        # to reads.
        recent = read
        read = rng.choice((0, -1, rng.getrandbits(20), recent, recent + 1)) & 0xFFFFF
        write = rng.choice((recent, read, read + 1, rng.getrandbits(20), 0, -1)) & 0xFFFFF
        enable = int(cycle > CYCLES // 4 and rng.random() < 0.6)
        data = rng.getrandbits(len(dut.write_word))
        dut.read_address.value, dut.write_address.value = read, write
        dut.write_enable.value, dut.write_word.value = enable, data
        goes_on = rng.random() < 0.7
        dut.read_enable.value = int(goes_on)
        if goes_on:
            expected.append({})
            taken = {case["name"]: read % case["words"] for case in mine}
        for case in mine:
            name, size = case["name"], case["words"]
            lost = enable and (case["single"] or write % size == taken[name])
            if lost:
                expected[-1][name] = None
            elif goes_on:
                expected[-1][name] = words[name][taken[name]]
            if enable:
                words[name][write % size] = data & ((1 << case["width"]) - 1)
        await FallingEdge(dut.clk)
        if len(expected) >= LATENCY:
            for name, word in expected[-LATENCY].items():
                if word is not None:
                    got = int(getattr(dut, name).value)  # of one bit it is another class
                    assert got == word, f"cycle {cycle}: {name} reads {got:#x}, not {word:#x}"


@cocotb.test()
async def codebooks(dut: Any) -> None:
    """Every value that is defined equals the one in a list, whoever looks it up."""
    rng, mine = random.Random(4), cases("codebooks")
    Clock(dut.clk, 10, unit="ns").start()
    values: dict[str, dict[int, int]] = {case["name"]: {} for case in mine}
    expected: list[dict[str, int | None]] = []
    compared = 0
    last = 0
    for cycle in range(CYCLES):
        # What was written of late is looked up, in some cycles without a write.
        write = rng.choice((last + 1, rng.getrandbits(20), 0, -1)) & 0xFFFFF
        reads = [rng.choice((last, last + 1, 0, -1)) & 0xFFFFF for _ in range(2)]
        enable, data = int(rng.random() < 0.5), rng.getrandbits(len(dut.write_word))
        dut.write_address.value, dut.write_enable.value = write, enable
        dut.write_word.value, dut.a.value, dut.b.value = data, *reads
        expected.append({
            case["name"]: None
            if enable
            else values[case["name"]].get(reads[case["reader"]] % case["words"])
            for case in mine
        })
        if enable:
            last = write
            for case in mine:
                value = data & ((1 << case["width"]) - 1)
                values[case["name"]][write % case["words"]] = value
        await FallingEdge(dut.clk)
        if cycle + 1 >= LATENCY:
            for name, value in expected[cycle + 1 - LATENCY].items():
                if value is not None:
                    got = int(getattr(dut, name).value)
                    assert got == value, f"cycle {cycle}: {name} reads {got:#x}, not {value:#x}"
                    compared += 1
    assert compared > CYCLES * len(mine) // 10


def operands(rng: random.Random, count: int) -> list[int]:
    """Draw operands of 20 bits: extremes, single bits, any."""
    if rng.random() < 0.3:
        return [rng.choice((1, -1)) << rng.randrange(20) & 0xFFFFF for _ in range(count)]
    return [rng.choice((0, -1, 1, rng.getrandbits(20))) & 0xFFFFF for _ in range(count)]


@cocotb.test()
async def multipliers(dut: Any) -> None:
    """Every product is that of Python, extremes among the operands."""
    rng, mine = random.Random(2), cases("multipliers")
    Clock(dut.clk, 10, unit="ns").start()
    expected: list[dict[str, int]] = []
    for cycle in range(CYCLES):
        a, b = operands(rng, 2)
        dut.a.value, dut.b.value = a, b
        want = {}
        for case in mine:
            factors = [
                ((value & (1 << width) - 1) ^ 1 << width - 1) - (1 << width - 1)
                for value, width in ((a, case["a"]), (b, case["b"]))
            ]
            want[case["name"]] = factors[0] * factors[1]
        expected.append(want)
        await FallingEdge(dut.clk)
        if cycle + 1 >= LATENCY:
            for name, product in expected[cycle + 1 - LATENCY].items():
                got = getattr(dut, name).value.to_signed()
                assert got == product, f"cycle {cycle}: {name} is {got}, not {product}"


@cocotb.test()
async def adders(dut: Any) -> None:
    """Every sum is that of Python, in the same cycle."""
    rng, mine = random.Random(3), cases("adders")
    Clock(dut.clk, 10, unit="ns").start()
    for cycle in range(CYCLES):
        a, b, c = operands(rng, 3)
        select = rng.getrandbits(1)
        dut.a.value, dut.b.value, dut.c.value, dut.select.value = a, b, c, select
        await FallingEdge(dut.clk)
        for case in mine:
            want = (c + case["carry"] + (a if select else b)) % (1 << case["width"])
            got = int(getattr(dut, case["name"]).value)
            assert got == want, f"cycle {cycle}: {case['name']} is {got:#x}, not {want:#x}"
