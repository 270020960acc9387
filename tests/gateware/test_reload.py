"""Another program in a bitstream: what a build with it gives, word for word, on both families."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner, Result

from secateur.bench.networks import random_network
from secateur.cli import command
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.errors import BadInputError, CheckFailedError
from secateur.format import Section, memories
from secateur.gateware.engine import Engine, status_layout
from secateur.gateware.layout import words
from secateur.image import read_image
from secateur.placed import PlacedDesign, initial_contents
from secateur.reload import reload
from secateur.routed import RoutedConfig
from secateur.synthesize import build, unpack
from secateur.technology.ecp5 import ECP5

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.program import Program
    from secateur.technology import Technology

PAYLOAD = 256
LENGTHS = [20, 25, 3]
SPEC = fit(
    random_network(1, LENGTHS, density=0.5, codebook=True),
    pes=1,
    weight_depth=512,
    column_depth=128,
)
#: The second one is shorter: what the first one had behind it must go.
FIRST, SECOND = (
    encode(random_network(seed, LENGTHS, density=density, codebook=True), SPEC)
    for seed, density in ((1, 0.5), (2, 0.3))
)


class Small(wiring.Component):
    """An engine on the pins of a top, with nothing around it that takes long to place."""

    rx: Signal
    tx: Signal
    status: data.View

    def __init__(self, program: Program, technology: Technology) -> None:
        self.program, self.technology = program, technology
        super().__init__({"rx": In(1), "tx": Out(1), "status": Out(status_layout(SPEC))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = Engine(
            SPEC, program=self.program, technology=self.technology
        )
        fed = Cat(engine.i_load.valid, engine.i_load.payload, engine.i_x.valid, engine.i_x.payload)
        shift = Signal(len(fed) + 1)
        told = Cat(engine.o_y.valid, engine.o_y.payload, engine.status)
        m.d.sync += [shift.eq(Cat(self.rx, shift)), self.tx.eq(told.xor())]
        m.d.comb += [
            *(fed.eq(shift), engine.o_y.ready.eq(shift[-1])),
            self.status.eq(engine.status),
        ]
        return m


def make(device: str, program: Program, folder: Path) -> Path:
    """Build a bitstream, and what another program is put into."""
    target = find_device(device)
    build(
        lambda: Small(program, target.technology),  # pyright: ignore[reportArgumentType] - its pins
        device=target,
        clock_mhz=24 if "ice40" in device else 25,
        seeds=[1],
        expected={},
        lanes=1,
        keep=lambda netlist, config: PlacedDesign.of(
            program, device=target, max_payload=PAYLOAD, netlist=netlist, config=config
        ),
        folder=folder,
        progress=lambda done, total, note: None,
    )
    return folder


@pytest.fixture(scope="module", params=["ecp5-25k", "ice40-hx8k"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(request.param, FIRST, tmp_path_factory.mktemp("built") / "synthesis")


@pytest.fixture(scope="module")
def second(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put the second program into the bitstream."""
    folder = tmp_path_factory.mktemp("second")
    reload(built / "placed.zip", SECOND, bitstream=folder / "second.bit", folder=folder)
    return folder / "second.bit"


def unpacked(device: str, bitstream: Path, folder: Path) -> list[str]:
    """Turn a bitstream into the lines of a configuration."""
    (folder / "top.bit").write_bytes(bitstream.read_bytes())
    unpack(find_device(device), "top.bit", "unpacked.config", folder=folder)
    return (folder / "unpacked.config").read_text().split("\n")


def cell_words(lines: list[str], places: list[str], depth: int, width: int) -> list[int]:
    """Read the words of a cell from a configuration, by the families' documents alone."""
    at = [lines.index(place.rpartition(" ")[0] if "PLC2" in place else place) for place in places]
    if "PLC2" in places[0]:
        # A look-up table for each bit, the lowest entry at the right. Of its pins A, B, C and D
        # the first is the highest bit of the address, and D the lowest.
        tables = []
        for place, start in zip(places, at, strict=True):
            tile = lines[start : lines.index("", start)]
            name = place.rpartition(" ")[2]
            found = [line for line in tile if line.startswith(f"word: {name} ")]
            tables.append(found[0].rpartition(" ")[2][::-1] if found else "1" * 16)
        entry = [(a >> 3) | (a >> 1 & 1) << 1 | (a >> 2 & 1) << 2 | (a & 1) << 3 for a in range(16)]
        return [sum(int(t[entry[a]]) << bit for bit, t in enumerate(tables)) for a in range(16)]
    start = at[0] + 1
    if ".bram_init" in places[0]:
        # Bytes of nine bits, the ninth of which only words of whole bytes use.
        kept = 9 if width >= 9 else 8
        groups = [int(each, 16) for line in lines[start : start + 256] for each in line.split()]
        bits = [group >> bit & 1 for group in groups for bit in range(kept)]
        return [sum(bits[a * width + bit] << bit for bit in range(width)) for a in range(depth)]
    # 256 rows of 16 bits; in narrower words, the high bits of the address choose among neighbours.
    rows = [
        int(line[60 - 4 * row : 64 - 4 * row], 16)
        for line in lines[start : start + 16]
        for row in range(16)
    ]
    step = 16 // width
    return [
        sum((rows[a % 256] >> step * bit + a // 256 & 1) << bit for bit in range(width))
        for a in range(depth)
    ]


def test_every_word_of_the_bitstream_is_the_programs(
    built: Path, second: Path, tmp_path: Path
) -> None:
    """Read back from the bits, memory by memory, by a reader of its own."""
    design = PlacedDesign.load(built / "placed.zip")
    technology = find_device(design.device).technology
    lines = unpacked(design.device, second, tmp_path)
    want = {
        f"pe_{pe}.weights" if kind is Section.WEIGHTS else kind.name.lower(): (
            words(memories(SPEC)[kind].record, fields),
            memories(SPEC)[kind].record.width,
            memories(SPEC)[kind].depth * SPEC.banks,
        )
        for (kind, pe), fields in read_image(SPEC, SECOND.image).items()
    }
    want["identity"] = [SECOND.id], 32, 2 * SPEC.banks
    assert len(want) == 6
    for memory, (values, width, depth) in want.items():
        if depth <= 64 and technology is ECP5:
            rows, bits = 16, 4
            columns = -(-width // bits)
        else:
            tile = technology.memory.BLOCK.tile(depth, width)  # pyright: ignore[reportAttributeAccessIssue]
            rows, bits, columns = tile.words, tile.bits, tile.columns
        read = 0
        for row in range(-(-depth // rows)):
            for column in range(columns):
                places = design.places[f"top.engine.{memory}.U${row * columns + column}"]
                if not places:  # nobody reads it: the multiplier of a layer, which is reserved
                    assert memory == "layers"
                    continue
                read += 1
                part = [
                    value >> column * bits & (1 << bits) - 1
                    for value in values[row * rows : (row + 1) * rows]
                ]
                got = cell_words(lines, places, rows, bits)
                # Behind the program, and in the other bank, nothing of the first one is left.
                assert got == part + [0] * (rows - len(part)), (memory, row, column)
        assert read, memory


def test_the_first_program_again(built: Path, second: Path, tmp_path: Path) -> None:
    """There and back gives the bytes of the build."""
    design = PlacedDesign.load(built / "placed.zip")
    design.holding(SECOND).save(tmp_path / "second.zip")
    reload(tmp_path / "second.zip", FIRST, bitstream=tmp_path / "first.bit", folder=tmp_path)
    assert (tmp_path / "first.bit").read_bytes() == (built / "top.bit").read_bytes()
    reload(tmp_path / "second.zip", SECOND, bitstream=tmp_path / "second.bit", folder=tmp_path)
    assert (tmp_path / "second.bit").read_bytes() == second.read_bytes()
    assert second.read_bytes() != (built / "top.bit").read_bytes()


def test_a_build_gives_the_same_bytes(built: Path, second: Path, tmp_path: Path) -> None:
    device = PlacedDesign.load(built / "placed.zip").device
    other = make(device, SECOND, tmp_path / "synthesis")
    assert second.read_bytes() == (other / "top.bit").read_bytes()


def test_progress_and_what_is_left(built: Path, tmp_path: Path) -> None:
    steps = []
    (tmp_path / "work").mkdir()
    reload(
        built / "placed.zip",
        SECOND,
        bitstream=tmp_path / "program.bit",
        folder=tmp_path / "work",
        progress=lambda done, total, note: steps.append((done, total, note)),
    )
    assert steps == [(0, 3, "contents"), (1, 3, "bitstream"), (2, 3, "check"), (3, 3, "done")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program.bit", "work"]


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """Make a design of no tool's, for what is refused before any runs."""
    lines, places = [], {}
    cells = initial_contents(SPEC, FIRST.image, ECP5)
    for number, (name, contents) in enumerate(cells.items()):
        if "INITVAL" in contents:
            tile = f".tile R{number}C1:PLC2"
            tables = [f"SLICEA.K{bit}.INIT" for bit in range(4)]
            places[name] = [f"{tile} {table}" for table in tables]
            lines += [tile, *(f"word: {table} ?" for table in tables)]
        else:
            places[name] = [f".bram_init {number}"]
            lines += [*places[name], *["?"] * 256]
    config = RoutedConfig("\n".join(lines))
    for name, contents in cells.items():
        config.put(places[name], contents)
    design = PlacedDesign(
        device="ecp5-25k",
        spec=SPEC,
        image=FIRST.image,
        max_payload=PAYLOAD,
        places=places,
        config=str(config),
    )
    design.save(tmp_path / "placed.zip")
    return tmp_path / "placed.zip"


def refused(placed: Path, program: Program = SECOND) -> str:
    """Say why; whatever was in the place of the bitstream stays."""
    place = placed.with_name("program.bit")
    place.write_text("older")
    with pytest.raises(BadInputError) as caught:
        reload(placed, program, bitstream=place, folder=placed.parent)
    assert place.read_text() == "older"
    assert not (placed.parent / "top.config").exists()
    return str(caught.value)


def test_saved_is_loaded(placed: Path) -> None:
    design = PlacedDesign.load(placed)
    assert design.image == FIRST.image
    assert design.holds(design.config)
    other = design.holding(SECOND)
    assert other.holds(other.config)
    assert not other.holds(design.config)
    assert other.holding(FIRST) == design
    again = placed.with_name("again.zip")
    design.save(again)
    assert again.read_bytes() == placed.read_bytes()


def test_program_for_another_engine(placed: Path) -> None:
    spec = replace(SPEC, weight_depth=1024, queue_depth=12)
    other = encode(random_network(1, LENGTHS, density=0.5, codebook=True), spec)
    assert refused(placed, other) == (
        "the program was encoded for another engine than that of the bitstream (queue_depth is "
        "12, not 11, weight_depth is 1024, not 512); encode it for that one"
    )


def test_program_with_longer_inputs_than_the_frames(placed: Path) -> None:
    replace(PlacedDesign.load(placed), max_payload=16).save(placed)
    assert refused(placed) == (
        "the program's input takes 20 bytes and the hardware's frames carry 16; generate the "
        "hardware with max_payload = 32"
    )


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "placed.zip"
    assert refused(path) == f"{path} does not exist; make it with `secateur synthesize`"


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "member", "json"])
def test_damaged_file(damage: str, placed: Path) -> None:
    whole = placed.read_bytes()
    with zipfile.ZipFile(placed) as file:
        members = {name: file.read(name) for name in file.namelist()}
    if damage == "cut":
        placed.write_bytes(whole[: len(whole) // 2])
    elif damage == "bit":
        placed.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    elif damage == "text":
        placed.write_text("a bitstream")
    else:
        with zipfile.ZipFile(placed, "w") as file:
            for name, content in members.items():
                if name != "build.json":
                    file.writestr(name, content)
                elif damage == "json":
                    file.writestr(name, content.replace(b'"pes"', b'"pe"'))
    assert refused(placed) == (
        f"{placed} is no design that this Secateur placed; make it again with `secateur synthesize`"
    )


@pytest.mark.parametrize("altered", ["bit", "cell"])
def test_design_of_another_version(altered: str, placed: Path) -> None:
    """Contents that are not those of the program that it names, or cells of another name."""
    design = PlacedDesign.load(placed)
    if altered == "bit":
        design = replace(design, image=SECOND.image)
    else:
        design = replace(design, places={**design.places, "top.engine.more.U$0": []})
    design.save(placed)
    assert refused(placed) == (
        "the bitstream was built by another version of Secateur, or altered; build it again with "
        "`secateur synthesize`"
    )


def test_weights_in_spram(tmp_path: Path) -> None:
    spec = replace(SPEC, weight_depth=1024, banks=1)
    program = encode(random_network(1, LENGTHS, density=0.5, codebook=True), spec)
    design = PlacedDesign.of(
        program, device=find_device("ice40-up5k"), max_payload=PAYLOAD, netlist="", config=""
    )
    assert design.checks == []
    design.save(tmp_path / "placed.zip")
    assert refused(tmp_path / "placed.zip", program) == (
        "the bitstream for 'ice40-up5k' has its weights in SPRAM, which no bitstream fills; load "
        "the program through the serial port, with `secateur.host`"
    )


@pytest.mark.parametrize("lost", ["memory", "contents"])
def test_design_that_lost_something(lost: str, placed: Path) -> None:
    """The netlist names no cell, or the program is not what the configuration has."""
    design = PlacedDesign.load(placed)
    cells = {
        name: {"type": "DP16KD", "attributes": {"WID": f"{int(at[0].split()[1]):032b}"}}
        for name, at in design.places.items()
        if at[0].startswith(".bram_init")
    }
    message = "the routed design must have the memory top.engine.layers"
    if lost == "contents":
        cells |= {
            f"{name}$DPRAM_COMB{bit}": {
                "type": "TRELLIS_COMB",
                "attributes": {"NEXTPNR_BEL": f"X1/Y{at[0].split()[1][1:-7]}/SLICEA.K{bit}"},
            }
            for name, at in design.places.items()
            if at[0].startswith(".tile")
            for bit in range(4)
        }
        message = "the routed design must hold the program, bit by bit"
    netlist = json.dumps({"modules": {"top": {"cells": cells}}})
    device = find_device(design.device)
    options = {"max_payload": PAYLOAD, "netlist": netlist, "config": design.config}
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        PlacedDesign.of(SECOND, device=device, **options)
    if lost == "contents":
        assert PlacedDesign.of(FIRST, device=device, **options) == design


def test_bitstream_that_lost_the_program(
    placed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by what is read back from the bits, here those of the first program."""
    config = PlacedDesign.load(placed).config
    module = sys.modules["secateur.reload"]
    monkeypatch.setattr(module, "pack", lambda *_, **__: (tmp_path / "top.bit").write_text("bits"))
    monkeypatch.setattr(
        module, "unpack", lambda *_, **__: (tmp_path / "unpacked.config").write_text(config)
    )
    message = "the bitstream must hold the program, bit by bit, and does not"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        reload(placed, SECOND, bitstream=tmp_path / "program.bit", folder=tmp_path)
    assert not (tmp_path / "program.bit").exists()
    reload(placed, FIRST, bitstream=tmp_path / "program.bit", folder=tmp_path)
    assert (tmp_path / "program.bit").read_text() == "bits"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command(), [str(argument) for argument in arguments])


def test_command(built: Path, second: Path, tmp_path: Path) -> None:
    SECOND.save(tmp_path / "second.sct")
    out = tmp_path / "new/program.bit"
    result = call("program", "--weights", tmp_path / "second.sct", "--from", built, "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert out.read_bytes() == second.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["program.bit"]


def test_command_without_its_files(tmp_path: Path) -> None:
    given = ["program", "--weights", tmp_path / "no.sct", "--from", tmp_path]
    result = call(*given, "-o", tmp_path / "program.bit")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        f"secateur: {tmp_path}/no.sct does not exist; make it with `secateur encode`\n"
    )
    SECOND.save(tmp_path / "no.sct")
    result = call(*given, "-o", tmp_path / "program.bit")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        f"secateur: {tmp_path}/placed.zip does not exist; make it with `secateur synthesize`\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["no.sct"]
