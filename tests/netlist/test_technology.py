"""The cells of every technology against the same lists of words, products and sums."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.cosim import cosimulate
from secateur.rungs.netlist import NETLIST_ARGUMENTS
from secateur.technology import PORTABLE
from secateur.technology.ecp5 import ECP5
from secateur.technology.ice40 import ICE40, ICE40UP
from secateur.technology.models import ecp5_models, ice40_models

if TYPE_CHECKING:
    from pathlib import Path

TECHNOLOGIES = (PORTABLE, ECP5, ICE40, ICE40UP)
#: Depth, banks, width, initial words: each width of a block of each family, narrower and wider
#: words, several blocks above each other, distributed RAM, and a block that is not full.
MEMORIES = [
    *((8, 1, 3, 8), (16, 2, 33, 20), (64, 1, 12, 0)),
    *((16384, 1, 1, 9000), (8192, 1, 2, 8192), (4096, 1, 4, 3000), (2048, 1, 9, 2048)),
    *((1024, 1, 18, 1000), (512, 1, 36, 512), (128, 1, 36, 100), (128, 2, 7, 128)),
    *((1024, 2, 12, 1024), (512, 2, 17, 300), (512, 1, 40, 512), (256, 1, 70, 256)),
    *((4096, 1, 9, 4096), (4096, 2, 9, 4000), (2048, 2, 5, 2048), (256, 1, 16, 256)),
    *((512, 1, 8, 512), (2048, 1, 2, 2048)),
]
#: Depth, banks, width of those without initial words. The iCE40's of four words are flip-flops:
#: alone, and beside one and two blocks; the last is several blocks both ways.
EMPTY = [
    *((4, 1, 20), (2, 1, 33), (2, 2, 33), (4, 1, 70)),
    *((512, 1, 12), (1024, 2, 12), (4096, 1, 18)),
]
#: Words of SPRAM: in one, wider than one, and deeper than one.
LARGE = [(1024, 1, 12), (2048, 1, 20), (32768, 1, 16)]
#: Values of codebooks and their bits: in a block, in several; in flip-flops of the iCE40.
CODEBOOKS = [(4, 3), (64, 8), (512, 16), (1024, 18), (2048, 10), (4096, 9), (16384, 1)]
MULTIPLIERS = [(8, 8), (9, 4), (16, 16), (17, 16), (18, 18), (18, 2), (19, 8)]
#: Bits of sums, and the carry.
ADDERS = [(1, 0), (2, 1), (5, 1), (6, 1), (19, 0), (19, 1), (20, 0)]


class SideBySide(wiring.Component):
    """All cells, with common inputs and an output each."""

    read_address: Signal
    read_enable: Signal
    write_address: Signal
    write_enable: Signal
    write_word: Signal
    a: Signal
    b: Signal
    c: Signal
    select: Signal

    def __init__(self) -> None:
        rng = random.Random(5)
        self.memories, self.codebooks, self.multipliers, self.adders = {}, {}, {}, {}
        self.cases: dict[str, list[dict[str, Any]]] = {
            kind: [] for kind in ("memories", "codebooks", "multipliers", "adders")
        }
        made = set()
        for technology in TECHNOLOGIES:
            if technology.memory not in made:  # not once more where two have the same
                for depth, banks, width, filled in MEMORIES:
                    init = [rng.getrandbits(width) for _ in range(filled)]
                    self._add(technology, "memory", depth, banks, width, init)
                for depth, banks, width in EMPTY:
                    self._add(technology, "memory", depth, banks, width, [])
            if technology.large_memory is not technology.memory:
                for depth, banks, width in EMPTY + LARGE:
                    self._add(technology, "large_memory", depth, banks, width, [])
            if technology.codebooks not in made:
                for index, (depth, width) in enumerate(CODEBOOKS):
                    readers = 1 + index % 2
                    name = f"{technology.name}_codebook_{depth}_by_{width}"
                    self.codebooks[name] = technology.codebooks(width, depth=depth, readers=readers)
                    self.cases["codebooks"] += [
                        {"name": f"{name}_{reader}", "reader": reader, "words": depth}
                        | {"width": width}
                        for reader in range(readers)
                    ]
            if technology.multiplier not in made:
                for a, b in MULTIPLIERS:
                    name = f"{technology.name}_{a}_by_{b}"
                    self.multipliers[name] = technology.multiplier(a, b)
                    self.cases["multipliers"].append({"name": name, "a": a, "b": b})
            if technology.adder not in made:
                for width, carry in ADDERS:
                    name = f"{technology.name}_sum_{width}_{carry}"
                    self.adders[name] = technology.adder(width, carry=bool(carry))
                    self.cases["adders"].append({"name": name, "width": width, "carry": carry})
            made |= {technology.memory, technology.codebooks}
            made |= {technology.multiplier, technology.adder}
        super().__init__({
            **{name: In(20) for name in ("read_address", "write_address")},
            "read_enable": In(1),
            "write_enable": In(1),
            "write_word": In(80),
            **{name: In(20) for name in "abc"},
            "select": In(1),
            **{
                case["name"]: Out(case["width"])
                for kind in ("memories", "codebooks", "adders")
                for case in self.cases[kind]
            },
            **{
                case["name"]: Out(signed(case["a"] + case["b"]))
                for case in self.cases["multipliers"]
            },
        })

    def _add(
        self, technology: Any, kind: str, depth: int, banks: int, width: int, init: list[int]
    ) -> None:
        name = f"{technology.name}_{kind}_{banks}_of_{depth}_by_{width}_{len(init)}"
        make = getattr(technology, kind)
        self.memories[name] = make(width, depth=depth, banks=banks, init=init)
        cells = make.cells(width, depth=depth, banks=banks, filled=bool(init))
        self.cases["memories"].append({
            "name": name,
            "words": depth * banks,
            "width": width,
            "init": init,
            "single": "spram" in cells,
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, memory in self.memories.items():
            m.submodules[name] = memory
            for port in ("read", "write"):
                address: Signal = getattr(self, f"{port}_address")
                m.d.comb += [
                    getattr(memory, f"{port}_address").eq(address),
                    getattr(memory, f"{port}_bank").eq(address[(memory.depth - 1).bit_length()]),
                ]
            m.d.comb += [
                memory.read_enable.eq(self.read_enable),
                memory.write_enable.eq(self.write_enable),
                memory.write_word.eq(self.write_word),
                getattr(self, name).eq(memory.read_word),
            ]
        for name, codebooks in self.codebooks.items():
            m.submodules[name] = codebooks
            m.d.comb += [
                codebooks.write_address.eq(self.write_address),
                codebooks.write_enable.eq(self.write_enable),
                codebooks.write_value.eq(self.write_word),
            ]
            for reader, address in enumerate((self.a, self.b)[: codebooks.readers]):
                m.d.comb += [
                    codebooks.read_address[reader].eq(address),
                    getattr(self, f"{name}_{reader}").eq(codebooks.read_value[reader]),
                ]
        for name, multiplier in self.multipliers.items():
            m.submodules[name] = multiplier
            m.d.comb += [
                multiplier.a.eq(self.a),
                multiplier.b.eq(self.b),
                getattr(self, name).eq(multiplier.product),
            ]
        for name, adder in self.adders.items():
            m.submodules[name] = adder
            m.d.comb += [
                adder.select.eq(self.select),
                adder.a.eq(self.a),
                adder.b.eq(self.b),
                adder.c.eq(self.c),
                getattr(self, name).eq(adder.sum),
            ]
        return m


@pytest.mark.cosim
def test_same_in_every_technology(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Cycle for cycle, on the cells that Yosys would not infer."""
    design = SideBySide()
    text = verilog.convert(design, name="dut", emit_src=False)
    # What this is about: that hard cells were there.
    ecp5 = ("DP16KD", "TRELLIS_DPR16X4", "MULT18X18D", "CCU2C")
    for cell in (*ecp5, "SB_RAM40_4K", "SB_SPRAM256KA", "SB_MAC16"):
        assert f"  {cell} " in text
    source = tmp_path / "dut.v"
    source.write_text("\n".join([ecp5_models(), ice40_models(), text]))
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps(design.cases))
    passed = cosimulate(
        [source],
        testbench="secateur.bench.tb_technology",
        build_dir=tmp_path,
        cache=pytestconfig.rootpath / "build/cosim",
        arguments=NETLIST_ARGUMENTS,
        env={"CASES": str(cases)},
    )
    assert passed == ["memories", "codebooks", "multipliers", "adders"]
