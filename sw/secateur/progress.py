"""Telling people how far a long computation is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Display", "Note", "Progress", "silent", "unnoted"]

#: ``progress(done, total, note)``: ``done`` of ``total`` steps, and what is being done, in a few
#: words. A total of 0 means that it is not known.
Progress = Callable[[int, int, str], None]

#: ``note(text)``: a line that stays.
Note = Callable[[str], None]

#: Seconds between two lines about the same computation where there is no terminal.
QUIET = 10.0


def silent(done: int, total: int, note: str) -> None:
    """Tell nobody."""


def unnoted(text: str) -> None:
    """Tell nobody."""


class Display:
    """Bars on a terminal; elsewhere a line now and then.

    Parameters
    ----------
    console : Console
        Where to. Standard error is the right one, since results go to standard output.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Show one computation from beginning to end; ends with a line that says how long."""
        start = time.monotonic()
        with self._bar(name) if self.console.is_terminal else self._lines(name) as progress:
            yield progress
        self.note(name, f"{time.monotonic() - start:.1f} s")

    def note(self, name: str, text: str) -> None:
        """Write one line about the step ``name``."""
        self.console.print(f"{name:<12}{text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def _bar(self, name: str) -> Iterator[Progress]:
        columns = (
            TextColumn("{task.description:<11}"),
            SpinnerColumn(),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(name, total=None, note="")

            def progress(done: int, total: int, note: str) -> None:
                bars.update(task, completed=done, total=total or None, note=note)

            yield progress

    @contextmanager
    def _lines(self, name: str) -> Iterator[Progress]:
        last = time.monotonic()

        def progress(done: int, total: int, note: str) -> None:
            nonlocal last
            if time.monotonic() - last >= QUIET:
                last = time.monotonic()
                self.note(name, f"{done} of {total}, {note}" if total else note)

        yield progress
