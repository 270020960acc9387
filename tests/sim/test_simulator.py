"""What the runner of cocotb benches says when something is not as it should be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.cosim import cosimulate
from secateur.errors import BadInputError, CheckFailedError
from secateur.simulator import SIMULATORS, Icarus, Verilator


class Wire(wiring.Component):
    """A component that is quickly built."""

    i: Signal
    o: Signal

    def __init__(self) -> None:
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


def only(folder: Path, *programs: str) -> str:
    """Make a folder with nothing but these programs of ``PATH``."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """Write an importable test bench; return its name."""
    (folder / "tb_written.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return "tb_written"


def test_unknown_simulator(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        cosimulate([], testbench="tb", build_dir=tmp_path, simulator="questa")
    assert str(caught.value) == "simulator must be one of verilator, icarus, not 'questa'"


@pytest.mark.parametrize(
    ("simulator", "there", "message"),
    [
        (
            Verilator(),
            [],
            (
                "the simulator verilator needs g++ and make, not found on PATH; "
                "install it (on Debian: apt install g++ make)"
            ),
        ),
        (
            Verilator(),
            ["g++"],
            (
                "the simulator verilator needs make, not found on PATH; "
                "install it (on Debian: apt install make)"
            ),
        ),
        (
            Icarus(),
            ["make"],
            (
                "the simulator icarus needs iverilog, not found on PATH; "
                "install it (on Debian: apt install iverilog)"
            ),
        ),
    ],
)
def test_missing_program(
    simulator: Any, there: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", only(tmp_path / "bin", *there))
    with pytest.raises(CheckFailedError) as caught:
        simulator.require()
    assert str(caught.value) == message


def test_programs_are_there() -> None:
    SIMULATORS["verilator"].require()


def test_bad_verilog(tmp_path: Path) -> None:
    source = tmp_path / "bad.v"
    source.write_text("module dut(input a; endmodule\n")
    with pytest.raises(CheckFailedError) as caught:
        cosimulate([source], testbench="tb", build_dir=tmp_path)
    log = tmp_path / "build.log"
    assert str(caught.value) == (
        f"verilator_bin failed with exit code 1 while verilator built the simulation; "
        f"its output is in {log}"
    )
    assert "syntax error" in log.read_text()
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tb_written: verilator ended without results; see {log}"),
        (
            "import cocotb\n@cocotb.test(skip=True)\nasync def t(dut): pass\n",
            "tb_written: no cocotb test ran; see {log}",
        ),
        (
            "import cocotb\n@cocotb.test()\nasync def t(dut):\n    assert 1 == 2, 'unequal'\n",
            "tb_written: t: unequal; see {log}",
        ),
        (
            "import cocotb, os\n@cocotb.test()\nasync def t(dut): os._exit(3)\n",
            "tb_written: verilator ended without results; see {log}",
        ),
    ],
    ids=["none", "skipped", "failed", "crashed"],
)
def test_failure_is_said(
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    with pytest.raises(CheckFailedError) as caught:
        cosimulate(
            Wire(),
            testbench=bench(tmp_path, monkeypatch, text),
            build_dir=tmp_path / "build",
            cache=pytestconfig.rootpath / "build/cosim",
        )
    said = str(caught.value)
    log = tmp_path / "build" / "simulation.log"
    assert said == message.format(log=log)
    assert log.is_file()


@pytest.mark.cosim
def test_build_is_kept_and_environment_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import cocotb, os\nfrom cocotb.triggers import Timer\n@cocotb.test()\n"
        "async def t(dut):\n    dut.i.value = int(os.environ['VALUE'])\n"
        "    await Timer(1, 'ns')\n    assert dut.o.value == 7\n"
    )
    name = bench(tmp_path, monkeypatch, text)
    before = dict(os.environ)

    def run() -> list[str]:
        return cosimulate(Wire(), testbench=name, build_dir=tmp_path / "build", env={"VALUE": "7"})

    assert run() == ["t"]
    built = sorted(p for p in tmp_path.glob("build/cache/*/*/dut"))
    assert len(built) == 1
    stamp = built[0].stat().st_mtime_ns
    assert run() == ["t"]
    assert built[0].stat().st_mtime_ns == stamp
    assert {**os.environ, "PYTEST_CURRENT_TEST": ""} == {**before, "PYTEST_CURRENT_TEST": ""}
