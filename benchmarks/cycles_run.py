"""Runs the cases of `cycles.py`, some at a time, and shows how far they are."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cycles_measure import BuiltEngine, measure
from rich.console import Console

from secateur.progress import Display

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.network import Network
    from secateur.progress import Progress

__all__ = ["ONCE", "Case", "Run", "Through", "run_all"]

#: Ways to run, as `cycles_measure.measure` names them.
WAYS = ("alone", "following")
#: Simulations and compilations at a time.
WORKERS = 2


class Once:
    """What several cases need is made by the first that asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Any, Future[Any]] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Give what ``make`` gave for ``key``, or raise what it raised."""
        with self._lock:
            mine = key not in self._made
            future = self._made.setdefault(key, Future())
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()


class Through(Display):
    """Passes on, for one case, what a build shows."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(Console(quiet=True))
        self._progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Show a stage."""
        yield lambda done, total, note: self._progress(done, total, f"{name}, {note}")

    def note(self, name: str, text: str) -> None:
        """Say nothing more."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network on one engine.

    Parameters
    ----------
    name : str
    kind : str
        Which table it is in.
    run : callable
        Gives its figures.
    """

    name: str
    kind: str
    run: Callable[[Run], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how a case is measured.

    Parameters
    ----------
    folder : Path
        Gets everything that is built.
    models : Executor
        What the cycle model is computed by.
    progress : callable
        Told what is done.
    """

    folder: Path
    models: Executor
    progress: Progress

    def engine(
        self, key: str, spec: Callable[[], EngineSpec], layers: int, *, bare: bool = False
    ) -> BuiltEngine:
        """Get an engine that several cases may share."""

        def build() -> BuiltEngine:
            given = spec()
            self.progress(0, 0, "compiling the engine")
            place, cache = self.folder / f"engine-{key}", self.folder / "cache"
            return BuiltEngine.build(given, layers, bare=bare, folder=place, cache=cache)

        return ONCE.get(("engine", key), build)

    def measure(
        self,
        name: str,
        engine: BuiltEngine,
        network: Network,
        x: NDArray[np.int64],
        *,
        alone: int,
        modelled: int,
    ) -> dict[str, Any]:
        """Measure a network on an engine."""
        return measure(
            engine,
            network,
            x,
            alone=alone,
            modelled=modelled,
            folder=self.folder / name,
            models=self.models,
            progress=self.progress,
        )


ONCE = Once()


def run_all(chosen: list[Case], folder: Path, console: Console) -> dict[str, dict[str, Any]]:
    """Run cases, two at a time; give their figures by name."""
    now: dict[str, str] = {}
    done = 0
    display = Display(console)
    with (
        ThreadPoolExecutor(WORKERS) as pool,
        ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as models,
        display.step("cycles") as show_progress,
    ):

        def tell(name: str, at: int, total: int, note: str) -> None:
            now[name] = f"{name}: {f'{at} of {total} ' if total else ''}{note}"
            show_progress(done, len(chosen), "; ".join([*now.values()]))

        def run(case: Case) -> dict[str, Any]:
            nonlocal done
            start = time.monotonic()
            progress = partial(tell, case.name)
            found = case.run(Run(folder=folder, models=models, progress=progress))
            now.pop(case.name, None)
            done += 1
            seconds = round(time.monotonic() - start, 1)
            figures = [f"{way} {found[way]['cycles']:,.0f}" for way in WAYS if way in found]
            display.note("cycles", ", ".join([f"{case.name} done", *figures, f"{seconds} s"]))
            return {"kind": case.kind, **found, "seconds": seconds}

        futures = {case.name: pool.submit(run, case) for case in chosen}
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
