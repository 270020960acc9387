"""What nextpnr makes of a netlist that was handed over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from amaranth import *
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.device import find_device
from secateur.handover import hand_over
from secateur.synthesize import cells_of
from secateur.technology import Adder, Memory
from secateur.toolchain import run_tool, run_yosys

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = find_device("ecp5-25k")
WIDTH = 8


class Design(wiring.Component):
    """A sum, of which nobody reads the carry, and a memory of distributed RAM."""

    address: Signal
    word: Signal
    sum: Signal
    read: Signal

    def __init__(self) -> None:
        super().__init__({
            "address": In(4),
            "word": In(WIDTH),
            "sum": Out(WIDTH),
            "read": Out(4),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        add: Adder = DEVICE.technology.adder(WIDTH)
        ram: Memory = DEVICE.technology.memory(4, depth=16)
        m.submodules += [add, ram]
        m.d.comb += [
            *(add.a.eq(self.word), add.b.eq(self.address), add.c.eq(self.word)),
            *(add.select.eq(self.address[0]), self.sum.eq(add.sum)),
            *(ram.read_address.eq(self.address), ram.write_address.eq(self.address)),
            *(ram.write_word.eq(self.word), ram.write_enable.eq(1), self.read.eq(ram.read_word)),
        ]
        return m


def luts(folder: Path) -> int:
    """Count the sites of LUTs that are in use after packing."""
    run_tool(
        DEVICE.family.place_and_route,
        [*DEVICE.arguments, "--json", "top.json", "--pack-only", "--report", "report.json"],
        folder=folder,
        log="nextpnr.log",
        makes=["report.json"],
    )
    report = json.loads((folder / "report.json").read_text())
    return cells_of(DEVICE, report["utilization"], folder / "top.json")[0]["lut"]


def test_a_carry_that_nobody_reads_does_not_lead_out(tmp_path: Path) -> None:
    """That saves two LUTs, and then all are known.

    Two for each cell of the chain and for what leads into it; four for the distributed RAM, and two
    that its write port blocks; nextpnr's two constants.
    """
    (tmp_path / "top.il").write_text(rtlil.convert(Design(), name="top", emit_src=False))
    run_yosys("top", family=DEVICE.family, makes="top.json", folder=tmp_path)
    before = luts(tmp_path)
    hand_over(tmp_path / "top.json", DEVICE, lanes=1)
    assert luts(tmp_path) == before - 2 == 2 * (WIDTH // 2 + 1) + (4 + 2) + 2


@pytest.mark.parametrize(
    ("port", "direction", "left"),
    [("CIN", "input", [9]), ("A", "input", [9]), ("Z", "output", ["x"]), ("", "output", [9])],
)
def test_carries_that_are_read_stay(
    tmp_path: Path, port: str, direction: str, left: list[int | str]
) -> None:
    """By another cell of the chain, by anything else, by a port; nothing else changes."""
    cells = {
        "carry": {
            "type": "CCU2C",
            "attributes": {},
            "port_directions": {"CIN": "input", "COUT": "output"},
            "connections": {"CIN": ["0"], "COUT": [9]},
        },
        "other": {
            "type": "LUT4",
            "attributes": {},
            "port_directions": {port: direction} if port else {},
            "connections": {port: [9]} if port else {},
        },
    }
    netlist = tmp_path / "top.json"
    ports = {"z": {"direction": "output", "bits": [9]}} if not port else {}
    netlist.write_text(json.dumps({"modules": {"top": {"ports": ports, "cells": cells}}}))
    hand_over(netlist, DEVICE, lanes=1)
    cells["carry"]["connections"]["COUT"] = left  # pyright: ignore[reportArgumentType]
    assert json.loads(netlist.read_text()) == {"modules": {"top": {"ports": ports, "cells": cells}}}
