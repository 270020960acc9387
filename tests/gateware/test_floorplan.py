"""Sites of hard cells: those that nextpnr has, each once, the cells of a PE beside each other."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from secateur import synthesize as synthesis
from secateur.bench.networks import random_network
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.floorplan import floorplan
from secateur.toolchain import run_tool

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.device import Device

SMALL, LARGE = find_device("ecp5-25k"), find_device("ecp5-85k")
assert SMALL.grid is not None
assert LARGE.grid is not None
ROW, GRID = SMALL.grid, LARGE.grid


def cells(pes: int, each: int, others: int = 0, shared: int = 0) -> dict[str, str]:
    """Give an engine's hard cells, and one that is none."""
    return {
        **{f"top.pe_{pe}.accumulator.multiplier": "MULT18X18D" for pe in range(pes)},
        **{f"top.pe_{pe}.weights.U${at}": "DP16KD" for pe in range(pes) for at in range(each)},
        **{f"top.columns.U${at}": "DP16KD" for at in range(others)},
        **{f"top.lookup.codebook_{at}.U$0": "DP16KD" for at in range(shared)},
        "top.pe_0.total": "TRELLIS_FF",
    }


def tile(site: str) -> tuple[int, int]:
    """Give column and row of a site."""
    x, y = re.findall(r"\d+", site)[:2]
    return int(x), int(y)


@pytest.mark.parametrize(
    ("device", "each", "pes"), [(LARGE, 1, 156), (LARGE, 2, 78), (SMALL, 0, 28)]
)
def test_nextpnr_has_the_sites(tmp_path: Path, device: Device, each: int, pes: int) -> None:
    """All of them, since as many PEs are placed as there are places."""
    assert device.grid is not None
    assert len(device.grid.places(each)) == pes
    kinds = cells(pes, each)
    del kinds["top.pe_0.total"]
    sites = floorplan(kinds, device.grid, lanes=1)
    assert sites.keys() == kinds.keys()
    empty: dict[str, Any] = {"parameters": {}, "port_directions": {}, "connections": {}}
    netlist = {
        name: {"type": kind, "attributes": {"BEL": sites[name]}, **empty}
        for name, kind in kinds.items()
    }
    top = {"attributes": {"top": 1}, "ports": {}, "cells": netlist, "netnames": {}}
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": top}}))
    run_tool(
        device.family.place_and_route,
        [*device.arguments, "--json", "top.json", "--no-route", "--write", "placed.json"],
        folder=tmp_path,
        log="nextpnr.log",
        makes=["placed.json"],
    )
    placed = json.loads((tmp_path / "placed.json").read_text())["modules"]["top"]["cells"]
    assert {name: placed[name]["attributes"]["NEXTPNR_BEL"] for name in sites} == sites


@pytest.mark.parametrize(
    ("pes", "each", "lanes", "others", "placed"),
    [
        (1, 0, 1, 3, False),
        (8, 1, 2, 4, True),
        (8, 1, 2, 5, False),
        (32, 2, 4, 11, True),
        (64, 2, 4, 15, True),
        (78, 2, 2, 15, False),
        (39, 4, 1, 0, True),
        (12, 13, 4, 30, False),
    ],
)
def test_cells_of_a_pe_lie_together(
    pes: int, each: int, lanes: int, others: int, *, placed: bool
) -> None:
    """The multiplier above the middle of its block RAMs; the others only where all have room."""
    kinds = cells(pes, each, others)
    kinds.pop("top.pe_0.weights.U$1", None)  # a PE with fewer of them
    sites = floorplan(kinds, GRID, lanes=lanes)
    assert sites.keys() == {
        name for name, kind in kinds.items() if kind != "TRELLIS_FF" and (placed or ".pe_" in name)
    }
    assert len({*sites.values()}) == len(sites)
    for name, site in sites.items():
        if "weights" in name:
            x, y = tile(sites[name.split("weights")[0] + "accumulator.multiplier"])
            assert abs(tile(site)[0] - x) <= 3 + 9 * each / 8
            assert tile(site)[1] == y + 12


def test_lanes_follow_each_other() -> None:
    """From the left to the right."""
    sites = floorplan(cells(64, 2, 15), GRID, lanes=4)
    lanes = [
        [tile(sites[f"top.pe_{pe}.accumulator.multiplier"])[0] for pe in range(lane, 64, 4)]
        for lane in range(4)
    ]
    assert all(max(left) <= min(right) for left, right in pairwise(lanes))


@pytest.mark.parametrize(("pes", "first"), [(28, 0), (16, 6), (8, 10), (1, 13)])
def test_only_multipliers_where_there_is_one_row(pes: int, first: int) -> None:
    """In its middle, one beside the other; block RAMs are left to nextpnr."""
    sites = floorplan(cells(pes, 2, 9), ROW, lanes=1)
    row = [f"X{x + at}/Y13/MULT18_{at}" for x in ROW.groups for at in (0, 1, 4, 5)]
    assert sites == {
        f"top.pe_{pe}.accumulator.multiplier": site
        for pe, site in enumerate(row[first : first + pes])
    }


def test_the_middle_is_left_to_the_rest() -> None:
    """Of 78 places, the 8 in the middle for 15 block RAMs, which lie in them."""
    sites = floorplan(cells(70, 2, 15), GRID, lanes=1)
    others = {sites.pop(f"top.columns.U${at}") for at in range(15)}
    every = {*floorplan(cells(78, 2, 15), GRID, lanes=1).values()}
    free = every - {*sites.values()}
    assert others < free
    assert len(free) == 8 * 3
    assert all(40 <= tile(site)[0] <= 85 for site in free)
    assert {tile(site)[1] for site in free} == {34, 46}


def test_what_pes_share_is_left_to_nextpnr() -> None:
    """It has no site, and takes none from anything else."""
    assert floorplan(cells(64, 2, 15, 32), GRID, lanes=4) == floorplan(
        cells(64, 2, 15), GRID, lanes=4
    )


def test_pes_stay_close_beside_many_others() -> None:
    """Four places in the middle for 88 block RAMs, no more than half as many as there are PEs.

    Those of everything else find no room there.
    """
    sites = floorplan(cells(8, 2, 88), GRID, lanes=4)
    assert len(sites) == 8 * 3
    assert all(35 <= tile(site)[0] <= 90 for site in sites.values())


@pytest.mark.parametrize(("pes", "each"), [(79, 2), (1, 53)])
def test_nothing_is_placed_without_room(pes: int, each: int) -> None:
    assert floorplan(cells(pes, each), GRID, lanes=1) == {}


def test_no_pe_has_no_site() -> None:
    assert floorplan({"top.ram": "DP16KD"}, GRID, lanes=1) == {}


class RoutedError(Exception):
    """Ends a build where it would be routed."""


@pytest.mark.parametrize(
    ("device", "placed"),
    [("ecp5-85k", {"MULT18X18D": 4, "DP16KD": 4}), ("ecp5-25k", {"MULT18X18D": 4})],
)
def test_builds_have_a_floorplan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, placed: dict[str, int]
) -> None:
    """The netlist that nextpnr gets names a site for hard cells of each PE, and for no other here.

    Registers that each PE has of its own are several.
    """
    network = random_network(1, [12, 6], density=0.5, codebook=True)
    spec = replace(fit(network, pes=4, lanes=2), weight_depth=512)
    program = encode(network, spec)
    netlists = []

    def route(device: Any, seeds: Any, options: Any, *, folder: Path, **_: Any) -> Any:
        netlists.append(json.loads((folder / "top.json").read_text()))
        raise RoutedError

    monkeypatch.setattr(synthesis, "place_and_route", route)
    with pytest.raises(RoutedError):
        synthesis.synthesize(program, device=device, clock_mhz=50, folder=tmp_path / "s")
    found = netlists[0]["modules"]["top"]["cells"]
    sites = {name: cell["attributes"].get("BEL", "") for name, cell in found.items()}
    kinds = Counter(cell["type"] for name, cell in found.items() if sites[name])
    assert kinds == placed
    assert Counter(cell["type"] for cell in found.values())["DP16KD"] > 4
    columns = [
        tile(next(site for name, site in sites.items() if f".pe_{pe}." in name and site))[0]
        for pe in range(4)
    ]
    assert max(columns[0], columns[2]) <= min(columns[1], columns[3])  # lanes
    bits = netlists[0]["modules"]["top"]["netnames"]
    for own, count in (("drain.drained", 4), ("lookup.written", 2)):
        nets = [bit for at in range(count) for bit in bits[f"top.engine.{own}_{at}"]["bits"]]
        assert len({*nets}) == len(nets) > 4 * count
