"""Hard cells against what Yosys makes, where it chooses."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from amaranth import *
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.device import find_device
from secateur.engine import EngineSpec
from secateur.gateware.column import in_flight
from secateur.gateware.queue import Queue
from secateur.hard_cells import Memories, engine_memories, hard_cells, soft_multipliers
from secateur.toolchain import run_yosys

if TYPE_CHECKING:
    from pathlib import Path

#: Words and bits on both sides of where Yosys changes its mind.
QUEUES = {
    "ecp5-25k": [(48, 30), (48, 36), (69, 26), (69, 40)],
    "ice40-hx8k": [(9, 9), (16, 4), (9, 17)],
}
#: Values of codebooks, and their bits.
CODEBOOKS = {
    "ecp5-25k": [(64, 8), (2048, 10), (4096, 8)],
    "ice40-hx8k": [(4, 9), (64, 8), (256, 17)],
}
BLOCKS = {"ecp5-25k": "DP16KD", "ice40-hx8k": "SB_RAM40_4K"}


class Chosen(wiring.Component):
    """Queues and codebooks of a device side by side, with inputs in common and an output each."""

    def __init__(self, name: str) -> None:
        self.make = find_device(name).technology.codebooks
        self.queues, self.codebooks = QUEUES[name], CODEBOOKS[name]
        super().__init__({
            **{name: In(40) for name in ("word", "write", "read")},
            "enable": In(2),
            **{f"queue_{n}": Out(width) for n, (_, width) in enumerate(self.queues)},
            **{
                f"codebook_{n}": Out(width * self.make.READERS)
                for n, (_, width) in enumerate(self.codebooks)
            },
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, write, read, enable = self.word, self.write, self.read, self.enable  # pyright: ignore
        for n, (depth, width) in enumerate(self.queues):
            queue = Queue(width=width, depth=depth + 1)
            m.submodules[f"a_queue_{n}"] = queue
            m.d.comb += [
                *(queue.w_data.eq(word), queue.w_en.eq(enable[0]), queue.r_en.eq(enable[1])),
                getattr(self, f"queue_{n}").eq(queue.r_data),
            ]
        for n, (depth, width) in enumerate(self.codebooks):
            books = self.make(width, depth=depth, readers=self.make.READERS)
            m.submodules[f"a_codebook_{n}"] = books
            m.d.comb += [
                *(books.write_value.eq(word), books.write_enable.eq(enable[0])),
                books.write_address.eq(write),
                books.read_address.as_value().eq(read),
                getattr(self, f"codebook_{n}").eq(books.read_value),
            ]
        return m


@pytest.mark.parametrize("name", QUEUES)
def test_yosys_chooses_as_it_is_reckoned_to(name: str, tmp_path: Path) -> None:
    device = find_device(name)
    (tmp_path / "top.il").write_text(rtlil.convert(Chosen(name), name="top", emit_src=False))
    run_yosys("top", family=device.family, makes="top.json", folder=tmp_path)
    cells = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]["cells"]
    found = Counter(
        path.split(".")[0] for path, cell in cells.items() if cell["type"] == BLOCKS[name]
    )
    for kind, shapes, made_by in (
        ("queue", QUEUES[name], ""),
        ("codebook", CODEBOOKS[name], "codebooks"),
    ):
        for n, (depth, width) in enumerate(shapes):
            blocks = (
                Memories(depth=depth, width=width, made_by=made_by).cells(device).get("bram", 0)
            )
            assert blocks == found[f"a_{kind}_{n}"], (kind, depth, width)
    assert found


@pytest.mark.parametrize(
    ("depth", "width", "filled", "cells", "flip_flops"),
    [
        (2, 75, False, {}, 2 * 75),
        (4, 31, False, {}, 4 * 31),
        (4, 75, False, {"bram": 2}, 4 * 43),
        (4, 75, True, {"bram": 5}, 0),
        (8, 75, False, {"bram": 5}, 0),
    ],
)
def test_memories_of_few_words_take_flip_flops(
    depth: int, width: int, filled: bool, cells: dict[str, int], flip_flops: int
) -> None:
    """Of four words, block RAMs for half of the bits; where they start with words, for all."""
    device = find_device("ice40-up5k")
    made = Memories(depth=depth, width=width, filled=filled)
    assert (made.cells(device), made.flip_flops(device)) == (cells, flip_flops)
    assert made.flip_flops(find_device("ecp5-25k")) == 0


def test_every_memory_of_an_engine_is_known() -> None:
    """By bits: a PE's weights and sums, and what the PEs share; then what Yosys chooses."""
    spec = EngineSpec(pes=4, lanes=2, codebook_bits=4, entry_width=8, accumulator_memories=2)
    record = 2 * (8 + 7) + 2 + 10 + 16 + 6 + 4
    each = 2 * 1024 * 8 + 16 * 2 * 24 + (8 << 4) * 8
    shared = 2 * 8 * record + 2 * 256 * 4 * 5 + 2 * 128 * 2 * 24 + 2 * (8 << 4) * 8
    rest = 2 * 2 * 32 + 2 * 256 * 2 * 8
    every = [*engine_memories(spec)]
    assert sum(kind.bits for kind in every if kind.made_by) == 4 * each + shared + rest
    queued, results = (kind for kind in every if not kind.made_by)
    assert (queued.width, queued.count) == (10 + 5 + 9 + 1 + 1, 4)
    assert queued.depth == spec.queue_depth + in_flight(spec) - 1
    assert (results.width, results.count, results.depth.bit_count()) == (2 * 8, 1, 1)
    assert [kind.distributed for kind in (queued, results)] == [False, False]
    mapped = EngineSpec(pes=4, lanes=2, jobs=1, positions=4)
    assert [kind.distributed for kind in engine_memories(mapped) if not kind.made_by] == [
        *(True, False, False)
    ]


@pytest.mark.parametrize(
    ("name", "lanes", "blocks"),
    [("ecp5-25k", 8, 2), ("ecp5-25k", 64, 0), ("ice40-hx8k", 8, 4), ("ice40-hx8k", 64, 32)],
)
def test_buffers_of_payloads(name: str, lanes: int, blocks: int) -> None:
    """Two of 128 or 16 words, and the block that COBS holds back."""
    spec, device = EngineSpec(pes=64, lanes=lanes), find_device(name)
    engine = sum(kind.cells(device).get("bram", 0) * kind.count for kind in engine_memories(spec))
    assert hard_cells(spec, device, 1024)["bram"] == engine + 2 * blocks + 1


def test_multipliers_that_are_too_wide_are_soft() -> None:
    narrow = EngineSpec(pes=4, lanes=4)
    wide = EngineSpec(pes=4, lanes=4, activation_width=16)
    bits = {
        name: [soft_multipliers(spec, find_device(name)) for spec in (narrow, wide)]
        for name in ("ice40-up5k", "ice40-hx8k", "ecp5-25k")
    }
    product, wider = 4 * 8 * 9, 4 * 8 * 17
    assert bits == {
        "ice40-up5k": [0, wider],
        "ice40-hx8k": [product, wider],
        "ecp5-25k": [0, 0],
    }
