"""A stage: what turns the artefacts of earlier stages into the next ones."""

from __future__ import annotations

import graphlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from secateur.logs import unlogged
from secateur.progress import unnoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from rich.table import Table

    from secateur.logs import Log
    from secateur.progress import Note, Progress
    from secateur.project import Project

__all__ = ["Context", "Stage", "find_stages", "order"]

#: Entry points that stages are found by.
GROUP = "secateur.stages"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a stage is given.

    Parameters
    ----------
    project : Project
        The settings.
    inputs : mapping of str to Path
        The files to read, by the artefacts' names; optional ones that do not exist are left out.
    outputs : mapping of str to Path
        The files to write, all of them, by the artefacts' names. They move to their places only
        when the stage has ended well.
    work : Path
        An empty folder for everything else, such as the logs of tools. It is kept if a check
        fails, whose error then has a note that names it, and deleted otherwise.
    progress : callable
        To be called now and then in anything that takes over a second.
    resume : Path, optional
        A folder, not yet made, for what a run that is broken off goes on from. It is kept if the
        stage fails or is killed, and deleted when it has ended well.
    log : callable
        Given the curves of a training.
    note : callable
        Given lines for people about what results do not hold, such as speed.
    """

    project: Project
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    work: Path
    progress: Progress
    resume: Path | None = None
    log: Log = unlogged
    note: Note = unnoted


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step on the way, one subcommand of the command line.

    Parameters
    ----------
    name : str
        The subcommand.
    summary : str
        One line for the list of subcommands, without a full stop.
    description : str
        What it does, for its help.
    example : str
        A command line, for its help.
    layer : {"sw", "hw", "sim"}
        Where it is implemented: its result is made again when the sources there or below change.
    run : callable
        Reads ``context.inputs`` and writes ``context.outputs``.
    inputs, optional : tuple of str
        Artefacts of other stages that it needs; artefacts that it uses where they exist.
    outputs : tuple of str
        Artefacts that it writes; ``-o`` says where the first one goes, the rest go beside it.
    settings : tuple of str
        Sections of the project that decide its result.
    tools : tuple of str
        Distributions whose versions decide its result.
    programs : callable
        Gives the versions of programs of the system's that decide its result, by any name.
    more_settings : callable
        Gives further sections that decide its result with the values that a project has.
    show : callable, optional
        Makes of the files that it wrote, by the artefacts' names, a table for its subcommand to
        print.
    check : callable, optional
        Raises ``CheckFailedError`` if the files that it wrote, by the artefacts' names, say that
        something is wrong; called when they are in their places.
    on_request : bool
        Whether :func:`secateur.build.build` leaves it out unless told otherwise.
    fits : bool
        Whether it prunes, and so has a target that ``--fit`` replaces.
    curves : bool
        Whether it trains, and so has curves to log.
    shared : bool
        Whether several processes under torchrun may share its work.
    """

    name: str
    summary: str
    description: str
    example: str
    layer: Literal["sw", "hw", "sim"]
    run: Callable[[Context], None]
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    outputs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    programs: Callable[[Project], dict[str, str]] = lambda _: {}
    more_settings: Callable[[Project], tuple[str, ...]] = lambda _: ()
    show: Callable[[Mapping[str, Path]], Table] | None = None
    check: Callable[[Mapping[str, Path]], None] | None = None
    on_request: bool = False
    fits: bool = False
    curves: bool = False
    shared: bool = False


def find_stages() -> dict[str, Stage]:
    """Every installed stage by name, in the order in which they run."""
    return order(point.load() for point in entry_points(group=GROUP))


def order(stages: Iterable[Stage]) -> dict[str, Stage]:
    """Sort stages so that each comes after those whose artefacts it reads.

    Raises
    ------
    ValueError
        If two stages write the same artefact, or one needs an artefact that none writes.
    graphlib.CycleError
        If stages wait for each other.
    """
    by_name = {stage.name: stage for stage in stages}
    makers: dict[str, str] = {}
    for stage in by_name.values():
        for artefact in stage.outputs:
            if artefact in makers:
                raise ValueError(f"{artefact} is written by {makers[artefact]} and {stage.name}")
            makers[artefact] = stage.name
    needs: dict[str, list[str]] = {}  # lists: the order must not depend on the hash seed
    for stage in by_name.values():
        orphans = sorted({*stage.inputs} - set(makers))
        if orphans:
            raise ValueError(f"{stage.name} reads {orphans}, which no stage writes")
        needs[stage.name] = [
            makers[name] for name in (*stage.inputs, *stage.optional) if name in makers
        ]
    return {name: by_name[name] for name in graphlib.TopologicalSorter(needs).static_order()}
