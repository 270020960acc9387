"""Reproduce the paper's tables and figures on MNIST: `python benchmarks/reproduce/reproduce.py`.

Everything goes through `build` into a folder for each network and seed, so that what is there is
not made again, and a run that is broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import runs
from page import page
from plan import STUDIES, TRADEOFF
from rich.console import Console
from runs import Job

from secateur import figures
from secateur.artefact import write_whole
from secateur.checkpoint import load
from secateur.errors import BadInputError, CheckFailedError
from secateur.model import weighted
from secateur.progress import Display

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from plan import Study, Tradeoff

ROOT = Path(__file__).resolve().parents[2]


def weights(file: Path) -> dict[str, NDArray[np.float32]]:
    """Give the weights of a model's file, by layer."""
    return {
        name: layer.weight.detach().numpy() for name, layer in weighted(load(file).module).items()
    }


def draw(
    studies: Sequence[tuple[Study, Sequence[Mapping[str, Any]]]],
    curves: Mapping[str, Any],
    folder: Path,
) -> None:
    """Draw every picture of the page, of the first seed."""
    folder.mkdir(parents=True, exist_ok=True)
    after: dict[str, NDArray[np.float32]] = {}
    for study, (first, *_) in studies:
        scan = Path(first["scan"]) / "sensitivity.svg"
        shutil.copyfile(scan, folder / f"sensitivity-{study.name}.svg")
        place = Path(first["rows"][study.rows[0].name]["folder"])
        before, after = (weights(place / f"{name}.safetensors") for name in ("model", "pruned"))
        figure = figures.distribution_figure(before, after)
        figures.save(figure, folder / f"weights-{study.name}.svg")
    head = next(iter(after.values()))  # of the last study, whose inputs are the pixels
    figures.save(figures.bands_figure(head, math.isqrt(head.shape[1])), folder / "bands.png")
    figures.save(figures.tradeoff_figure(curves), folder / "tradeoff.svg")


def reproduce(
    studies: Sequence[Study],
    tradeoff: Tradeoff,
    seeds: int,
    workers: int,
    folder: Path,
    display: Display,
) -> None:
    """Run everything; leave the page, its pictures, and all numbers in JSON in ``folder``."""
    jobs = [
        Job(
            f"{study.name}, seed {seed}",
            runs.study,
            (study, seed, folder / f"{study.name}-{seed}"),
            {"scan": seed == 1},
        )
        for study in studies
        for seed in range(1, seeds + 1)
    ]
    # A folder of its own: a build has its folder to itself.
    jobs.append(Job("trade-off", runs.tradeoff, (studies[-1], tradeoff, 1, folder / "tradeoff")))
    results = runs.run(jobs, workers, display)
    found = [
        (study, [results[f"{study.name}, seed {seed}"] for seed in range(1, seeds + 1)])
        for study in studies
    ]
    draw(found, results["trade-off"]["curves"], folder / "results")
    write_whole(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    write_whole(folder / "results.md", page(found, tradeoff, "results").encode())


def main() -> None:
    """Reproduce, and copy the page and its pictures into ``docs`` if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="from 1; 5 by default")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "reproduce")
    parser.add_argument("--docs", type=Path, help="a folder that gets results.md and results/")
    options = parser.parse_args()
    try:
        reproduce(
            STUDIES,
            TRADEOFF,
            options.seeds,
            options.workers,
            options.output,
            Display(Console(stderr=True)),
        )
    except (BadInputError, CheckFailedError) as error:
        sys.exit(f"reproduce: {error}")
    print(options.output / "results.md")
    if options.docs:
        shutil.copytree(options.output / "results", options.docs / "results", dirs_exist_ok=True)
        shutil.copyfile(options.output / "results.md", options.docs / "results.md")
        print(options.docs / "results.md")


if __name__ == "__main__":
    main()
