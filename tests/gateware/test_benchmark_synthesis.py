"""The pure parts of the benchmark of synthesis, and that what it synthesises is the engine's."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from amaranth import *
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from secateur.bench.networks import random_inputs, random_network
from secateur.device import DEVICES, find_device
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.errors import BadInputError, CheckFailedError
from secateur.synthesize import Routed
from secateur.technology import PORTABLE, Codebooks

if TYPE_CHECKING:
    from types import ModuleType

    from secateur.device import Device

ROOT = Path(__file__).parents[2]
SMALL = EngineSpec(pes=2, lanes=1, weight_depth=128, column_depth=16)
#: Of six PEs in two lanes.
SIX = EngineSpec(pes=6, lanes=2, weight_depth=128, column_depth=16, codebook_bits=2, entry_width=6)
ECP5 = {"TRELLIS_COMB": 900, "TRELLIS_FF": 700, "DP16KD": 5, "MULT18X18D": 6}
UP5K = {"ICESTORM_LC": 800, "ICESTORM_RAM": 9, "ICESTORM_DSP": 4, "ICESTORM_SPRAM": 4}


@pytest.fixture
def synthesis(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("synthesis")


@pytest.fixture
def tables(synthesis: ModuleType) -> ModuleType:
    return importlib.import_module("synthesis_tables")


@pytest.fixture
def parts(synthesis: ModuleType) -> ModuleType:
    return importlib.import_module("synthesis_parts")


def report(fmax: float, cells: dict[str, int]) -> dict[str, Any]:
    return {
        "fmax": {"clk": {"achieved": fmax, "constraint": 400.0}},
        "utilization": {cell: {"used": used, "available": 9999} for cell, used in cells.items()},
    }


def routed(**used: int) -> Routed:
    path = {"from": "a.Q", "to": "b.D", "logic_ns": 2.0, "routing_ns": 3.5}
    return Routed(fmax_mhz=1.0, clamped_by=None, used=used, available=used, critical_path=path)


def test_every_case_is_possible(synthesis: ModuleType) -> None:
    """`Case` and `EngineSpec` refuse unknown fields; here, what a device cannot have."""
    every = synthesis.cases(synthesis.TABLE.read_text())
    sizes = [(case.device.name, case.spec.pes) for case in every.values()]
    assert {*sizes} == {
        *(("ecp5-25k", pes) for pes in (4, 8, 16, 28)),
        *(("ecp5-85k", pes) for pes in (32, 64)),
        ("ice40-up5k", 4),
        ("ice40-hx8k", 8),
    }
    for case in every.values():
        assert case.name == case.name.lower()
        assert {*case.parts} <= {"array", "engine", "top"}
        assert case.spec.pes <= (case.device.dsp or 8)
    weights = every["up5k-4"].spec
    cells = every["up5k-4"].device.technology.large_memory.cells
    found = cells(weights.entry_width, depth=weights.weight_depth, banks=weights.banks)
    assert found == {"spram": 1}


def test_bounds_are_those_that_were_set(synthesis: ModuleType) -> None:
    every = synthesis.cases(synthesis.TABLE.read_text())
    assert {name: (case.must, case.aim) for name, case in every.items() if case.must} == {
        "25k-16": (
            {"fmax_mhz": 150, "lut4_per_pe": 400},
            {"fmax_mhz": 200, "lut4_per_pe": 300},
        ),
        "85k-64": ({"fmax_mhz": 110}, {"fmax_mhz": 150}),
        "up5k-4": ({"fmax_mhz": 30}, {}),
    }


def test_networks_are_those_of_cases(synthesis: ModuleType, tmp_path: Path) -> None:
    every = synthesis.cases(synthesis.TABLE.read_text())
    assert {case.network for case in every.values()} == {(784, 300, 100, 10), (64, 64, 32, 10)}
    network = random_network(3, [64, 64, 32, 10], density=0.1)
    network.save(tmp_path / "network")
    found = synthesis.load_networks([tmp_path / "network"], every)
    assert {shape: each.digest for shape, each in found.items()} == {
        (64, 64, 32, 10): network.digest
    }
    random_network(3, [64, 10], density=0.5).save(tmp_path / "other")
    with pytest.raises(BadInputError) as caught:
        synthesis.load_networks([tmp_path / "other"], every)
    assert str(caught.value) == (
        "--network must have layers of (784, 300, 100, 10) or (64, 64, 32, 10), not (64, 10)"
    )


def test_engines_of_direct_weights_get_the_values_of_codes(synthesis: ModuleType) -> None:
    """A program that computes the same, and one that the engine is too small for is refused."""
    network = random_network(4, [20, 12, 5], density=0.4, codebook=True)
    spec = fit(network, pes=2, banks=1)
    assert synthesis.program_for(spec, network).image == encode(network, spec).image
    values = replace(
        network, layers=tuple(replace(layer, codebook=None) for layer in network.layers)
    )
    direct = fit(values, pes=2, banks=1)
    program = synthesis.program_for(direct, network)
    assert program.image == encode(values, direct).image
    x = random_inputs(5, network, 3)
    assert np.array_equal(values.compute(x), network.compute(x))
    with pytest.raises(BadInputError):
        synthesis.program_for(replace(direct, weight_depth=direct.weight_depth // 2), network)


def test_choice(synthesis: ModuleType) -> None:
    every = synthesis.cases(synthesis.TABLE.read_text())

    def names(only: list[str] | None) -> list[str]:
        return [f"{case.name}/{part}" for case, part in synthesis.chosen(every, only)]

    assert names(["25k-4/top"]) == ["25k-4/top"]
    # Once each; the largest first, and of these the array last.
    assert names(["25k-4", "25k-8/top", "25k-4/top"]) == [
        *("25k-8/top", "25k-4/engine", "25k-4/top", "25k-4/array"),
    ]
    assert len(names(None)) == sum(len(case.parts) for case in every.values())
    with pytest.raises(BadInputError) as caught:
        synthesis.chosen(every, ["25k"])
    assert str(caught.value) == f"--only must be one of {', '.join(every)}, not '25k'"


def test_figures_of_the_ecp5(tables: ModuleType) -> None:
    """Nothing is clamped."""
    found = tables.figures(
        report(151.239, ECP5),
        routed(lut=900, ff=700, bram=5, dsp=6, spram=0),
        find_device("ecp5-25k").family,
    )
    assert found == {
        **{"fmax_mhz": 151.24, "clamped_by": None, "nextpnr_mhz": 151.24},
        **{"lut4": 900, "ff": 700, "bram": 5, "dsp": 6, "spram": 0},
        "critical_path": {"from": "a.Q", "to": "b.D", "logic_ns": 2.0, "routing_ns": 3.5},
    }


@pytest.mark.parametrize(
    ("nextpnr", "cells", "fmax", "kind"),
    [
        (171.0, UP5K, 70.0, "ICESTORM_SPRAM"),
        (48.5, UP5K, 48.5, None),
        (171.0, UP5K | {"ICESTORM_SPRAM": 0}, 110.0, "ICESTORM_DSP"),
        (171.0, UP5K | {"ICESTORM_SPRAM": 0, "ICESTORM_DSP": 0}, 171.0, None),
    ],
)
def test_figures_of_the_up5k_are_clamped(
    tables: ModuleType, nextpnr: float, cells: dict[str, int], fmax: float, kind: str | None
) -> None:
    family = find_device("ice40-up5k").family
    used = routed(lut=800, ff=500, bram=9, dsp=4, spram=4)
    found = tables.figures(report(nextpnr, cells), used, family)
    assert (found["fmax_mhz"], found["clamped_by"]) == (fmax, kind)
    assert found["nextpnr_mhz"] == nextpnr
    assert (found["lut4"], found["ff"], found["spram"]) == (800, 500, 4)


@pytest.mark.parametrize(
    ("mhz", "seed"),
    [([90, 70, 80], 3), ([70, 80, 90], 2), ([70], 1), ([90, 70], 2), ([80, 80, 70], 1)],
)
def test_median(tables: ModuleType, mhz: list[float], seed: int) -> None:
    """One seed's figures, not a mixture; of an even number not the faster."""
    seeds = [{"seed": at, "fmax_mhz": each} for at, each in enumerate(mhz, 1)]
    assert tables.median(seeds) == seeds[seed - 1]


@pytest.mark.parametrize(
    ("fmax", "luts", "met"),
    [
        (150, 400, (True, True)),
        (149.99, 400.1, (False, False)),
        (200, 300, (True, True)),
        (150, 401, (True, False)),
    ],
)
def test_verdicts(tables: ModuleType, fmax: float, luts: float, met: tuple[bool, bool]) -> None:
    bounds = {"fmax_mhz": 150, "lut4_per_pe": 400}
    found = {"median": {"fmax_mhz": fmax, "lut4_per_pe": luts}, "must": bounds, "aim": {}}
    verdicts = tables.verdicts(found)
    assert tuple(each["met"] for each in verdicts["must"].values()) == met
    words = ["yes" if each else "NO" for each in met]
    assert tables.judged(found, "must") == f">= 150 MHz: {words[0]}, <= 400 LUT4/PE: {words[1]}"
    assert tables.judged(found, "aim") == ""


def part(**changed: Any) -> dict[str, Any]:
    seeds = [
        {
            **{"seed": seed, "fmax_mhz": mhz, "clamped_by": None, "nextpnr_mhz": mhz},
            **{"lut4": 1600, "ff": 700, "bram": 5, "dsp": 4, "spram": 0},
            "lut4_per_pe": 400.0,
            "critical_path": {"from": "a.Q", "to": "b.D", "logic_ns": 2.0, "routing_ns": 3.5},
        }
        for seed, mhz in ((1, 181.8), (2, 170.0), (3, 190.0))
    ]
    return {
        **{"case": "25k-4", "part": "top", "device": "ecp5-25k", "must": {}, "aim": {}},
        **{"synthesis": "synth_ecp5 -noabc9", "options": ["--25k"], "tools": {"yosys": "0.66"}},
        **{"wrapper": {"lut4": 7, "ff": 9}, "seeds": seeds, "median": seeds[0]},
        **changed,
    }


def test_page(tables: ModuleType) -> None:
    failed = {"case": "25k-8", "part": "top", "error": "it does not fit", "must": {}}
    failed["aim"] = {"fmax_mhz": 50}
    page = tables.page({"25k-4/top": part(must={"fmax_mhz": 190}), "25k-8/top": failed})
    assert (
        "| 25k-4 | top | 1,600 | 700 | 5 | 4 | 0 | 400 | 7 | 181.8 | 170.0 to 190.0, 3 of 3 "
        "|  | >= 190 MHz: NO |  |\n"
        "| 25k-8 | top | failed |  |  |  |  |  |  |  |  |  |  | >= 50 MHz: NO |\n"
    ) in page
    assert "| 25k-4 | top | 5.50 | 2.00 | 3.50 | a.Q | b.D |" in page
    assert page.endswith(
        "- ecp5-25k: Yosys `synth_ecp5 -noabc9`, nextpnr `--25k` (yosys 0.66)\n"
        "- 25k-8/top failed: it does not fit\n"
    )


def test_wrapper_counts_what_it_adds(parts: ModuleType) -> None:
    """The array's tree folds the sums of six PEs into two, and those into one."""
    array = parts.PeArray(SIX, technology=DEVICES["ecp5-25k"].technology)
    rtlil.convert(array)
    pe = array.pes[0]
    copies = {
        "i": SIX.lanes,
        **dict.fromkeys(("count", "write_enable", "drained"), SIX.pes),
    }
    inputs = sum(
        len(Value.cast(getattr(pe, name))) * copies.get(name, 1)
        for name, member in pe.signature.members.items()
        if member.flow is In and name != "weight"
    ) + len(Value.cast(array.codebook))
    outputs = 1 + 2 * SIX.jobs + SIX.accumulator_width
    tree = (2 + 1) * SIX.accumulator_width
    assert parts.wrapper(array) == {
        "lut4": outputs + tree,
        "ff": inputs + outputs + tree,
    }


def test_pes_are_connected_as_in_the_engine(parts: ModuleType) -> None:
    """A register for each lane, or for each PE."""
    array = parts.PeArray(SIX, technology=PORTABLE)

    async def bench(ctx: Any) -> None:
        for lane in range(SIX.lanes):
            ctx.set(array.i[lane].value, 10 + lane)
        for index in range(SIX.pes):
            ctx.set(array.count[index], index)
            ctx.set(array.write_enable[index], index % 3 == 0)
            ctx.set(array.drained[index].slot.row, index)
        await ctx.delay(1e-9)
        for index, pe in enumerate(array.pes):
            assert ctx.get(pe.i.value) == 10 + index % SIX.lanes
            assert ctx.get(pe.count) == ctx.get(pe.drained.slot.row) == index
            assert ctx.get(pe.write_enable) == (index % 3 == 0)
        # Every PE's code is the first of layer 0, until it has read an entry.
        ctx.set(array.codebook, {"write": 1, "number": 0, "value": -5})
        await ctx.tick()
        ctx.set(array.codebook.write, 0)
        await ctx.tick().repeat(1 + Codebooks.LATENCY)
        assert [ctx.get(pe.weight) for pe in array.pes] == [-5] * SIX.pes

    simulator = Simulator(array)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("part", ["array", "engine", "top"])
def test_sources_are_the_same_each_time(parts: ModuleType, part: str) -> None:
    """Or nothing would be found again; and each PE is there with its multiplier."""
    device = find_device("ecp5-25k")
    files, options, cost = parts.sources(part, SMALL, device, clock_mhz=100, program=None)
    again, *_ = parts.sources(part, SMALL, device, clock_mhz=100, program=None)
    assert files == again
    text = files["top.il"].decode()
    assert text.count("cell \\MULT18X18D") == SMALL.pes
    assert " \\rst\n" not in text  # as on the boards
    assert [*files] == (["top.il", "top.lpf"] if part == "top" else ["top.il"])
    assert options == (
        ("--lpf", "top.lpf") if part == "top" else ("--freq", "400", "--lpf-allow-unconstrained")
    )
    assert (cost["lut4"] > 0) == (part != "top")


class Tools:
    """What stands in for Yosys and nextpnr."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, synthesis: ModuleType) -> None:
        self.calls: list[str] = []
        self.dsp = SMALL.pes
        self.refused: dict[int, str | None] = {}
        monkeypatch.setattr(synthesis, "sources", self.sources)
        monkeypatch.setattr(synthesis, "run_yosys", self.yosys)
        monkeypatch.setattr(synthesis, "place_and_route", self.route)

    def sources(self, part: str, spec: EngineSpec, *_: Any, **__: Any) -> tuple[Any, Any, Any]:
        return {"top.il": f"{part} {spec}".encode()}, ("--freq", "1"), {"lut4": 0, "ff": 0}

    def yosys(self, name: str, *, makes: str, folder: Path, **_: Any) -> list[str]:
        assert (folder / f"{name}.il").stat().st_size
        (folder / makes).write_text(json.dumps({"modules": {name: {"ports": {}, "cells": {}}}}))
        self.calls.append("yosys")
        return []

    def route(
        self, device: Any, seeds: list[int], options: Any, *, folder: Path
    ) -> dict[int, Routed]:
        (seed,) = seeds
        self.calls.append(f"seed {seed}")
        if seed in self.refused:
            if (text := self.refused[seed]) is not None:
                (folder / f"nextpnr-{seed}.log").write_text(text)
            raise CheckFailedError("nextpnr ended with exit code 125")
        (folder / f"top-{seed}.config").write_text("")
        (folder / f"report-{seed}.json").write_text(json.dumps(report(100.0 + seed, ECP5)))
        return {seed: routed(lut=900, ff=700, bram=5, dsp=self.dsp, spram=0)}


def measured(
    synthesis: ModuleType, folder: Path, seeds: list[int], device: str = "ecp5-25k", **spec: int
) -> dict[str, Any]:
    case = synthesis.Case(
        name="small",
        device=find_device(device),
        spec=EngineSpec(**SMALL.to_dict() | spec),
        clock_mhz=100,
        must={"fmax_mhz": 90},
    )
    return synthesis.measure(
        case, "array", seeds=seeds, network=None, folder=folder, tell=lambda note: None
    )


def test_netlists_are_handed_over_once(
    synthesis: ModuleType,
    tables: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """After Yosys, for the lanes of the engine; the page says so."""
    tools = Tools(monkeypatch, synthesis)

    def hand_over(netlist: Path, device: Device, *, lanes: int) -> None:
        tools.calls.append(f"{netlist.name} {device.name} {lanes}")

    monkeypatch.setattr(synthesis.handover, "hand_over", hand_over)
    found = measured(synthesis, tmp_path, [1, 2], "ecp5-85k", lanes=2)
    assert tools.calls == ["yosys", "top.json ecp5-85k 2", "seed 1", "seed 2"]
    (flow,) = tables.flows({"small/array": found})
    options = "--85k --package CABGA381 --speed 6 --freq 1"
    assert f"nextpnr `{options}`, sites by secateur.floorplan (yowasp" in flow


def test_goes_on_where_it_was_broken_off(
    synthesis: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = Tools(monkeypatch, synthesis)
    first = measured(synthesis, tmp_path, [1, 2])
    assert tools.calls == ["yosys", "seed 1", "seed 2"]
    found = measured(synthesis, tmp_path, [1, 2, 3])
    assert tools.calls == ["yosys", "seed 1", "seed 2", "seed 3"]
    assert found["seeds"][:2] == first["seeds"]
    assert (found["median"]["seed"], found["median"]["fmax_mhz"]) == (2, 102.0)
    assert found["median"]["lut4_per_pe"] == 450.0
    # Another engine is another digest.
    measured(synthesis, tmp_path, [1], row_depth=32)
    assert tools.calls[4:] == ["yosys", "seed 1"]


def test_failure_is_kept_for_the_table_and_tried_again(
    synthesis: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = Tools(monkeypatch, synthesis)
    tools.dsp = 1
    with pytest.raises(CheckFailedError) as caught:
        measured(synthesis, tmp_path, [1])
    sentence = "the routed design must have 2 of dsp, as the engine was designed, not 1"
    assert str(caught.value) == sentence
    tools.dsp = 2
    assert measured(synthesis, tmp_path, [1])["median"]["dsp"] == 2
    assert tools.calls == ["yosys", "seed 1", "seed 1"]


def test_a_refused_seed_is_the_slowest(
    synthesis: ModuleType, tables: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And tried again; Yosys is not."""
    tools = Tools(monkeypatch, synthesis)
    tools.refused = {3: "Info: packing\nERROR: no legal placement\n1 error\n"}
    found = measured(synthesis, tmp_path, [1, 2, 3])
    assert found["seeds"][2] == {"seed": 3, "error": "no legal placement"}
    assert found["median"]["seed"] == 1
    found |= {"case": "small", "part": "array", "must": {}, "aim": {}}
    page = tables.page({"small/array": found})
    assert " 101.0 to 102.0, 2 of 3 " in page
    assert page.endswith("- small/array, seed 3: no legal placement\n")
    with pytest.raises(CheckFailedError) as caught:
        measured(synthesis, tmp_path, [1, 3])
    assert str(caught.value) == "seed 3: no legal placement"
    tools.refused = {}
    assert measured(synthesis, tmp_path, [1, 2, 3])["median"]["seed"] == 2
    assert tools.calls == ["yosys", "seed 1", "seed 2", *["seed 3"] * 3]


@pytest.mark.parametrize("log", ["Info: packing\n", None])
def test_another_failure_than_nextpnrs_is_none_of_the_seed(
    synthesis: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str | None
) -> None:
    """It was broken off, or is not there; what it said the time before does not count."""
    tools = Tools(monkeypatch, synthesis)
    tools.refused = {3: "ERROR: no legal placement\n"}
    measured(synthesis, tmp_path, [1, 2, 3])
    tools.refused = {3: log}
    with pytest.raises(CheckFailedError) as caught:
        measured(synthesis, tmp_path, [1, 2, 3])
    assert str(caught.value) == "nextpnr ended with exit code 125"
    tools.refused, tools.dsp = {}, 1
    with pytest.raises(CheckFailedError, match="2 of dsp"):
        measured(synthesis, tmp_path, [1, 2, 3])


def test_others_go_on_after_a_failure(synthesis: ModuleType) -> None:
    every = synthesis.cases(synthesis.TABLE.read_text())
    console = synthesis.Console(quiet=True)

    def work(case: Any, part: str, tell: Any) -> dict[str, Any]:
        tell("working")
        if part == "engine":
            raise CheckFailedError(f"see {synthesis.ROOT}/build/log")
        return {"median": {"fmax_mhz": 1.0}}

    chosen = synthesis.chosen(every, ["25k-4"])
    found = synthesis.run_all(chosen, 2, console, work)
    bounds = {"must": {}, "aim": {}}
    assert found == {
        "25k-4/engine": {"case": "25k-4", "part": "engine", **bounds, "error": "see build/log"},
        **{
            f"25k-4/{part}": {"case": "25k-4", "part": part, **bounds, "median": {"fmax_mhz": 1.0}}
            for part in ("top", "array")
        },
    }
