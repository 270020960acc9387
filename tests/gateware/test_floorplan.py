"""Sites of hard cells: those that nextpnr has, each once, the cells of a PE beside each other."""

from __future__ import annotations

import json
import re
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

DEVICE = find_device("ecp5-85k")
assert DEVICE.grid is not None
GRID = DEVICE.grid


def cells(pes: int, each: int, others: int = 0) -> dict[str, str]:
    """Give the hard cells of an engine, and one that is none."""
    return {
        **{f"top.pe_{pe}.accumulator.multiplier": "MULT18X18D" for pe in range(pes)},
        **{f"top.pe_{pe}.weights.U${at}": "DP16KD" for pe in range(pes) for at in range(each)},
        **{f"top.columns.U${at}": "DP16KD" for at in range(others)},
        "top.pe_0.total": "TRELLIS_FF",
    }


def tile(site: str) -> tuple[int, int]:
    """Give column and row of a site."""
    x, y = re.findall(r"\d+", site)[:2]
    return int(x), int(y)


@pytest.mark.parametrize("each", [1, 2])
def test_nextpnr_has_the_sites(tmp_path: Path, each: int) -> None:
    """All of them, since as many PEs are placed as there are places."""
    pes = len(GRID.places(each))
    assert pes == {1: 156, 2: 78}[each]
    kinds = cells(pes, each)
    del kinds["top.pe_0.total"]
    sites = floorplan(kinds, GRID, lanes=1)
    assert sites.keys() == kinds.keys()
    empty: dict[str, Any] = {"parameters": {}, "port_directions": {}, "connections": {}}
    netlist = {
        name: {"type": kind, "attributes": {"BEL": sites[name]}, **empty}
        for name, kind in kinds.items()
    }
    top = {"attributes": {"top": 1}, "ports": {}, "cells": netlist, "netnames": {}}
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": top}}))
    run_tool(
        DEVICE.family.place_and_route,
        [*DEVICE.arguments, "--json", "top.json", "--no-route", "--write", "placed.json"],
        folder=tmp_path,
        log="nextpnr.log",
        makes=["placed.json"],
    )
    placed = json.loads((tmp_path / "placed.json").read_text())["modules"]["top"]["cells"]
    assert {name: placed[name]["attributes"]["NEXTPNR_BEL"] for name in sites} == sites


@pytest.mark.parametrize(
    ("pes", "each", "lanes", "others"),
    [(1, 0, 1, 3), (8, 1, 2, 9), (32, 2, 4, 11), (64, 2, 4, 15), (78, 2, 2, 15), (39, 4, 1, 0)],
)
def test_cells_of_a_pe_lie_together(pes: int, each: int, lanes: int, others: int) -> None:
    kinds = cells(pes, each, others)
    sites = floorplan(kinds, GRID, lanes=lanes)
    assert sites.keys() == {name for name in kinds if ".pe_" in name} - {"top.pe_0.total"}
    assert len({*sites.values()}) == len(sites) == pes * (1 + each)
    for name, site in sites.items():
        if "weights" in name:
            pe = name.split(".")[1]
            across, down = zip(
                tile(site), tile(sites[f"top.{pe}.accumulator.multiplier"]), strict=True
            )
            assert abs(across[0] - across[1]) <= 9
            assert down[0] - down[1] == 12


def test_lanes_follow_each_other() -> None:
    """From the left to the right."""
    sites = floorplan(cells(64, 2, 15), GRID, lanes=4)
    lanes = [
        [tile(sites[f"top.pe_{pe}.accumulator.multiplier"])[0] for pe in range(lane, 64, 4)]
        for lane in range(4)
    ]
    assert all(max(left) <= min(right) for left, right in pairwise(lanes))


def test_the_middle_is_left_to_the_rest() -> None:
    """Of 78 places, the 8 in the middle for 15 block RAMs; with them, there is one more PE."""
    taken = {*floorplan(cells(70, 2, 15), GRID, lanes=1).values()}
    every = {*floorplan(cells(78, 2, 15), GRID, lanes=1).values()}
    free = [tile(site) for site in every - taken]
    assert taken < every
    assert len(free) == 8 * 3
    assert all(40 <= x <= 85 for x, _ in free)
    assert {y for _, y in free} == {34, 46}


@pytest.mark.parametrize(("pes", "each"), [(79, 2), (1, 53)])
def test_nothing_is_placed_without_room(pes: int, each: int) -> None:
    assert floorplan(cells(pes, each), GRID, lanes=1) == {}


def test_no_pe_has_no_site() -> None:
    assert floorplan({"top.ram": "DP16KD"}, GRID, lanes=1) == {}


class RoutedError(Exception):
    """Ends a build where it would be routed."""


def test_builds_have_a_floorplan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The netlist that nextpnr gets names a site for each hard cell of each PE, and no other."""
    network = random_network(1, [12, 6], density=0.5)
    program = encode(network, fit(network, pes=4, lanes=2))
    netlists = []

    def route(device: Any, seeds: Any, options: Any, *, folder: Path, **_: Any) -> Any:
        netlists.append(json.loads((folder / "top.json").read_text()))
        raise RoutedError

    monkeypatch.setattr(synthesis, "place_and_route", route)
    with pytest.raises(RoutedError):
        synthesis.synthesize(program, device="ecp5-85k", clock_mhz=50, folder=tmp_path / "s")
    found = netlists[0]["modules"]["top"]["cells"]
    kinds = {name: cell["type"] for name, cell in found.items()}
    expected = floorplan(kinds, GRID, lanes=2)
    assert expected != floorplan(kinds, GRID, lanes=1)
    assert sum(name.endswith(".multiplier") for name in expected) == 4
    sites = {name: cell["attributes"].get("BEL") for name, cell in found.items()}
    assert {name: site for name, site in sites.items() if site} == expected
