"""AlexNet and VGG-16 from weights to programs: `python benchmarks/scale.py [PROJECT ...]`.

`secateur prune` at the densities of Han et al. 2015, removal of dead channels, codebooks, encoding
for 64 processing elements layer by layer, decoding, and comparison of every weight; time and peak
memory of each step, beside torch.nn.utils.prune doing its part of the same work.

Accuracy is not measured, and nothing here says anything about it: there is no ImageNet, the weights
are drawn and not learnt, and nothing is retrained. The engine has no convolutions: their matrices
[outputs, inputs * y * x] are packed and unpacked, not computed.

The results are written to build/scale/, the artefacts, up to 3 GB, to a temporary folder there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from secateur.project import Project

ROOT = Path(__file__).resolve().parents[1]
STEPS = Path(__file__).with_name("scale_steps.py")

#: Weights kept of each layer, percent (Han et al. 2015, tables 3 to 5).
KEPT = {
    "lenet5": {"conv1": 66, "conv2": 12, "fc1": 8, "fc2": 19},
    "alexnet": {
        **{"conv1": 84, "conv2": 38, "conv3": 35, "conv4": 37, "conv5": 37},
        **{"fc6": 9, "fc7": 9, "fc8": 25},
    },
    "vgg16": {
        **{"conv1_1": 58, "conv1_2": 22, "conv2_1": 34, "conv2_2": 36},
        **{"conv3_1": 53, "conv3_2": 24, "conv3_3": 42, "conv4_1": 32, "conv4_2": 27},
        **{"conv4_3": 34, "conv5_1": 35, "conv5_2": 29, "conv5_3": 36},
        **{"fc6": 4, "fc7": 4, "fc8": 23},
    },
}
#: Percentage points by which a layer's density may differ from those.
TOLERANCE = 0.5
#: Megabytes of Deep Compression (Han et al., ICLR 2016, table 1), Huffman's code included.
PAPER_MB = {"lenet5": 0.044, "alexnet": 6.9, "vgg16": 11.3}

#: The way of the weights, and what is measured beside it.
WAY = {
    "draw": "draw the weights",
    "prune": "secateur prune",
    "shrink": "remove dead channels",
    "codebook": "codebooks",
    "pack": "encode",
    "unpack": "decode and compare",
}
BESIDE = {
    "choose": "pruning alone, Secateur",
    "torch_prune": "pruning alone, torch.nn.utils.prune",
    "stream": "count bits in the paper's layout",
}


def measured(command: list[str]) -> dict[str, float]:
    """Run a command: its seconds, CPU seconds and peak memory, which is at least this process's."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # Not `wait`: only this gives the memory of one child.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "s": round(seconds, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": usage.ru_maxrss >> 10,  # Linux counts KiB
    }


def measure(file: Path, folder: Path) -> dict[str, Any]:
    """Run all steps on a project: what they found, and their figures."""
    found: dict[str, Any] = {"steps": {}}
    model, pruned = (str(folder / f"{name}.safetensors") for name in ("model", "pruned"))
    for step, title in {**WAY, **BESIDE}.items():
        print(f"{file.stem}: {title}", file=sys.stderr)
        command = [sys.executable, str(STEPS), step, str(file), str(folder)]
        if step == "prune":
            command = [sys.executable, "-m", "secateur", "prune", str(file), model, "-o", pruned]
        found["steps"][step] = measured(command)
        found[step] = json.loads((folder / f"{step}.json").read_text())
    return found


def checked(project: Project, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe each layer, and check that it was pruned as the paper's."""
    paper = KEPT[project.network.architecture]
    rows = []
    for layer, (name, kept) in zip(found["prune"]["layers"], paper.items(), strict=True):
        own = layer["name"]
        density = 100 * layer["nonzeros"] / layer["weights"]
        assert abs(density - kept) <= TOLERANCE, (
            f"{name} keeps {density:.2f} % of its weights, and {kept} % in the paper"
        )
        assert (
            layer["nonzeros"] == found["choose"]["left"][own] == found["torch_prune"]["left"][own]
        )
        rows.append({
            "layer": name,
            "name": own,
            "weights": layer["weights"],
            "left": layer["nonzeros"],
            "density": round(density, 3),
            "paper": kept,
            "dead": found["shrink"]["dead"][own],
            "code_bits": found["codebook"]["bits"][own],
            "program": found["pack"]["storage"][own],
            "stream": found["stream"]["stream"][own],
        })
    return rows


def summed(project: Project, found: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up sizes, in bytes, and the figures of the way."""
    way = [found["steps"][step] for step in WAY]
    parts = rows[0]["program"]
    return {
        "weights": sum(row["weights"] for row in rows),
        "left": sum(row["left"] for row in rows),
        "compared": found["unpack"]["compared"],
        "stored": found["unpack"]["stored"],
        "difference": found["shrink"]["difference"],
        "bytes": {
            kind: sum(row["stream"][kind] for row in rows) // 8
            for kind in ("codes", "codes_as_paper", "huffman")
        },
        "program_bytes": {part: sum(row["program"][part] for row in rows) // 8 for part in parts},
        "paper_mb": PAPER_MB[project.network.architecture],
        "s": round(sum(step["s"] for step in way), 1),
        "cpu_s": round(sum(step["cpu_s"] for step in way), 1),
        "peak_mib": max(step["peak_mib"] for step in way),
    }


def show(console: Console, project: Project, found: dict[str, Any]) -> None:
    """Print the tables of a network."""
    total, name = found["total"], project.name
    table = Table("step", title=f"{name}: each step a process")
    for heading in ("seconds", "of CPU", "peak MiB"):
        table.add_column(heading, no_wrap=True, justify="right")
    for step, title in {**WAY, **BESIDE}.items():
        figures = found["steps"][step]
        row = (f"{figures['s']:.1f}", f"{figures['cpu_s']:.1f}", f"{figures['peak_mib']:,}")
        table.add_row(title, *row)
        if step == [*WAY][-1]:
            row = (f"{total['s']:.1f}", f"{total['cpu_s']:.1f}", f"{total['peak_mib']:,}")
            table.add_row("together, at most at once", *row, end_section=True)
    for step, seconds in found["choosing_s"].items():
        table.add_row(f"{BESIDE[step]}, without loading", f"{seconds:.1f}", "", "")
    console.print(table)

    table = Table(title=f"{name}: layers")
    table.add_column("layer", no_wrap=True)
    for heading in ("weights", "left", "%", "paper's %", "dead", "code bits", "program KB"):
        table.add_column(heading, no_wrap=True, justify="right")
    for row in found["layers"]:
        size = sum(row["program"].values()) / 8e3
        counts = (f"{row['weights']:,}", f"{row['left']:,}", f"{row['density']:.2f}")
        more = (str(row["paper"]), str(row["dead"]), str(row["code_bits"]), f"{size:,.1f}")
        table.add_row(row["layer"], *counts, *more)
    console.print(table)

    table = Table("stored as", title=f"{name}: sizes")
    for heading in ("MB", "times smaller"):
        table.add_column(heading, no_wrap=True, justify="right")
    dense = 4 * total["weights"]
    program = total["program_bytes"]
    for title, size in (
        ("32-bit weights, dense", dense),
        ("one stream a layer, codes and indices", total["bytes"]["codes"]),
        (
            "the same with 8-bit codes in convolutions, as the paper's",
            total["bytes"]["codes_as_paper"],
        ),
        ("the same with our codes and Huffman's code", total["bytes"]["huffman"]),
        ("the paper's, with Huffman's code and learnt weights", total["paper_mb"] * 1e6),
        (f"programs for {project.engine.pes} PEs, every bit", sum(program.values())),
        (
            "of these codes, indices and padding",
            sum(program[part] for part in ("codes", "indices", "padding")),
        ),
        ("of these counts, one a column in each PE", program["counts"]),
    ):
        table.add_row(title, f"{size / 1e6:.3f}", f"{dense / size:.1f}")
    console.print(table)
    difference = f"{total['difference']:.1e} of the largest"
    console.print(
        f"{total['left']:,} of {total['weights']:,} weights are left, and {total['stored']:,} "
        f"without dead channels and neurons: one output in 32 was drawn as unused, which makes the "
        f"sizes that much smaller. Decoded and compared: {total['compared']:,}, zeros included, "
        f"all equal. Outputs with and without the dead channels differ by {difference}, "
        f"for an image of noise. Accuracy: not measured, for there is no ImageNet and the weights "
        f"are drawn.\n"
    )


def main() -> None:
    """Measure every project once."""
    parser = argparse.ArgumentParser(description="Measure each step from weights to programs.")
    examples = [ROOT / "examples" / f"{name}.toml" for name in ("alexnet", "vgg16")]
    parser.add_argument("projects", metavar="PROJECT", nargs="*", type=Path, default=examples)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "scale")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=100)
    for file in given.projects:
        project = Project.load(file)
        with tempfile.TemporaryDirectory(dir=given.output) as folder:
            found = measure(file, Path(folder))
        rows = checked(project, found)
        kept = {
            "steps": found["steps"],
            "choosing_s": {step: found[step]["own_s"] for step in ("choose", "torch_prune")},
            "layers": rows,
            "total": summed(project, found, rows),
        }
        (given.output / f"{project.name}.json").write_text(json.dumps(kept, indent=2) + "\n")
        show(console, project, kept)


if __name__ == "__main__":
    main()
