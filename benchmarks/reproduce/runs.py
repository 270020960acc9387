"""Running the plan: one folder for each network and seed, which `build` goes on in."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from plan import ENGINES, Row, Study, Tradeoff

from secateur.build import build
from secateur.encode import encode, fit
from secateur.network import Network
from secateur.progress import Display
from secateur.stage import find_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from secateur.progress import Progress
    from secateur.project import Project

__all__ = ["Job", "run", "study", "tradeoff"]

#: The job, the step of it, how much of how much is done, a few words; a total of -1 ends the job.
News = tuple[str, str, int, int, str]


@dataclass(frozen=True)
class Job:
    """Work for one process: ``work(*arguments, display=...)`` gives JSON values."""

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)


class _Remote:
    """Shows in another process what a build does."""

    def __init__(self, news: queue.Queue[News], job: str) -> None:
        self._news, self._job = news, job

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        yield lambda done, total, note: self._news.put((self._job, name, done, total, note))

    def note(self, name: str, text: str) -> None:
        pass


def _build(
    project: Project, folder: Path, names: Sequence[str], display: object
) -> tuple[Path, dict[str, Any]]:
    """Run some stages; give the folder with the results, and the records of the stages."""
    stages = find_stages()
    chosen = {name: stage for name, stage in stages.items() if name in names}
    place = build(project, folder, stages=chosen, display=cast("Display", display))
    return place, json.loads((place / "manifest.json").read_text())["stages"]


def study(
    study: Study, seed: int, folder: Path, *, scan: bool = False, display: object = None
) -> dict[str, Any]:
    """Train a network and prune it in every way of a study.

    Parameters
    ----------
    study : Study
    seed : int
    folder : Path
        Is kept, so that nothing is run twice.
    scan : bool
        Whether the sensitivity of the layers is measured, too, of the network that the study's
        file trains.
    display : Display
        Shows what is done.

    Returns
    -------
    dict
        JSON values: ``rows`` by name, errors from 0 to 1 on the test split; ``seconds`` of the
        rows, what they share counted once; ``scan``, the folder of the scan's results, or None.
    """
    rows, seconds, scanned = {}, {}, None
    for row in study.rows:
        names = ["train", "prune", *(["quantize", "encode"] if row.integer else [])]
        place, records = _build(study.project(row, seed), folder, names, display)
        seconds |= {record["key"]: record["seconds"] for record in records.values()}
        rows[row.name] = _result(place, row)
    if scan:
        project = study.project(None, seed)
        scanned = str(_build(project, folder, ["train", "sensitivity"], display)[0])
    return {"rows": rows, "seconds": round(sum(seconds.values()), 1), "scan": scanned}


def _result(place: Path, row: Row) -> dict[str, Any]:
    def error(name: str, key: str = "accuracy") -> float:
        return round(1 - json.loads((place / name).read_text())[key], 6)

    found: dict[str, Any] = {
        "folder": str(place),
        "reference": error("train.json"),
        "unretrained": error("prune.json", "accuracy_before_retraining"),
        "error": error("prune.json"),
        "layers": json.loads((place / "prune.json").read_text())["layers"],
    }
    if row.integer:
        network = Network.load(place / "network.safetensors")
        found |= {
            "integer": error("quantize.json"),
            "bits": [
                encode(network, fit(network, **engine)).storage() for engine in ENGINES
            ],
        }  # fmt: skip
    return found


def tradeoff(
    study: Study, plan: Tradeoff, seed: int, folder: Path, *, display: object = None
) -> dict[str, Any]:
    """Prune a network to many densities in the ways of a trade-off.

    Returns
    -------
    dict
        ``curves``: by name, densities and changes of the error in points; ``seconds``.
    """
    curves: dict[str, Any] = {}
    seconds = {}

    def add(name: str, density: float, change: float) -> None:
        at = curves.setdefault(name, ([], []))
        at[0].append(density)
        at[1].append(round(100 * change, 4))

    for kind, train in plan.train.items():
        ways = [("", plan.once), *([(", in rounds", plan.often)] if kind == plan.often_for else [])]
        for name, prune in ways:
            for density in plan.densities:
                row = Row(name="", prune={**prune, "budget": density}, train=train)
                place, records = _build(
                    study.project(row, seed), folder, ["train", "prune"], display
                )
                seconds |= {record["key"]: record["seconds"] for record in records.values()}
                found = _result(place, row)
                add(f"{kind}{name}, retrained", density, found["reference"] - found["error"])
                if not name:
                    change = found["reference"] - found["unretrained"]
                    add(f"{kind}, not retrained", density, change)
    return {"curves": curves, "seconds": round(sum(seconds.values()), 1)}


def _work(job: Job, news: queue.Queue[News]) -> Any:
    result = job.work(*job.arguments, **job.options, display=_Remote(news, job.name))
    news.put((job.name, "", 0, -1, "done"))
    return result


def run(jobs: Sequence[Job], workers: int, display: Display) -> Mapping[str, Any]:
    """Do all jobs, in their order, as many at a time as there are workers.

    Returns
    -------
    mapping of str to object
        What each gives, by its name.
    """
    # What learns is fastest with a thread of its own, and gives the same result only so.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
        display.step("reproduce") as progress,
    ):
        news = manager.Queue()
        futures = {job.name: pool.submit(partial(_work, job, news)) for job in jobs}
        now: dict[str, str] = {}
        try:
            while True:
                over = all(future.done() for future in futures.values())
                for future in futures.values():
                    if future.done():
                        future.result()  # or what it raised
                try:
                    # What the last of them said comes before its end, and may be looked at after.
                    name, step, done, total, note = news.get(timeout=0.0 if over else 1.0)
                except queue.Empty:
                    if over:
                        break
                    continue
                if total < 0:
                    now.pop(name, None)
                    display.note(note, name)
                else:
                    now[name] = f"{name}, {step} {done} of {total}: {note}"
                finished = sum(future.done() for future in futures.values())
                progress(finished, len(jobs), "; ".join(now.values()))
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
