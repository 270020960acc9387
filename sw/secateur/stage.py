"""A stage: what turns the artefacts of earlier stages into the next ones."""

from __future__ import annotations

import graphlib
import os
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from secateur import distributed
from secateur.errors import BadInputError, CheckFailedError
from secateur.logs import unlogged
from secateur.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from secateur.logs import Log
    from secateur.progress import Progress
    from secateur.project import Project

__all__ = ["Context", "Stage", "execute", "find_stages", "order", "run_alone"]

#: Entry points that stages are found by.
GROUP = "secateur.stages"

#: What the extra `train` installs, as it is imported.
EXTRA = "torch"


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
    """

    project: Project
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    work: Path
    progress: Progress
    resume: Path | None = None
    log: Log = unlogged


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


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make what the system says about ``folder`` one sentence."""
    try:
        yield
    except OSError as error:
        raise BadInputError(f"{folder} cannot be written: {error.strerror}") from None


@contextmanager
def execute(
    stage: Stage,
    project: Project,
    inputs: Mapping[str, Path],
    work: Path,
    progress: Progress = silent,
    *,
    resume: Path | None = None,
    log: Log = unlogged,
) -> Iterator[Path]:
    """Run a stage in ``work``, made for it; within the context, a folder there has its outputs.

    Where ``resume`` is given, the stage keeps there what it can go on from, until the context has
    ended well.

    Raises
    ------
    BadInputError
        If the folder cannot be written, or a package that the stage needs is not installed.
    CheckFailedError
        Whatever check of the stage fails.
    """
    made, scratch = work / "outputs", work / "logs"
    with _writing(work.parent):
        made.mkdir(parents=True)
        scratch.mkdir()
    context = Context(
        project=project,
        inputs=inputs,
        outputs={name: made / name for name in stage.outputs},
        work=scratch,
        progress=progress,
        resume=resume,
        log=log,
    )
    try:
        stage.run(context)
        missing = [name for name, path in context.outputs.items() if not path.is_file()]
        if missing:
            raise RuntimeError(f"stage {stage.name} ended without writing {missing}")
        yield made
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)  # half-written results
        if isinstance(error, CheckFailedError) and any(scratch.iterdir()):
            error.add_note(f"The logs are in {scratch}")
        else:
            shutil.rmtree(work)
        if isinstance(error, ModuleNotFoundError) and error.name == EXTRA:
            raise BadInputError(
                f"`secateur {stage.name}` needs {error.name}, which is not installed; "
                "run `pip install secateur[train]`"
            ) from None
        raise
    shutil.rmtree(work)
    if resume is not None and distributed.is_primary():
        shutil.rmtree(resume, ignore_errors=True)


def run_alone(
    stage: Stage,
    project: Project,
    inputs: Mapping[str, Path],
    output: Path,
    progress: Progress = silent,
    *,
    project_file: Path | None = None,
    log: Log = unlogged,
) -> list[Path]:
    """Run one stage on files that exist, and put its results at ``output`` and beside it.

    Under torchrun every process runs the stage, and the primary one's results are kept.

    Parameters
    ----------
    stage : Stage
        What to run.
    project : Project
        The settings.
    inputs : mapping of str to Path
        The file of each of ``stage.inputs``, and those of ``stage.optional`` that there are.
    output : Path
        Where the first of ``stage.outputs`` goes; the others go into the same folder.
    progress : callable
        Told of what is done.
    project_file : Path, optional
        What the settings were read from, so that no result replaces it.
    log : callable
        Given the curves of a training.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    BadInputError
        As :func:`execute`; before anything runs, if a result has no place of its own, or if
        there are several processes and the stage is for one.
    CheckFailedError
        As :func:`execute`.
    """
    if distributed.world()[1] > 1 and not stage.shared:
        raise BadInputError(f"`secateur {stage.name}` is for one process; run it without torchrun")
    folder = output.parent
    places = [output, *(folder / name for name in stage.outputs[1:])]
    read = (*inputs.values(), project_file, project.checkpoint, project.data_file)
    with _writing(folder):
        _check_places(stage, places, [path for path in read if path is not None])
    # A name that nothing has: whatever lies there, and other commands, are left alone.
    work = folder / f".{output.name}.{secrets.token_hex(8)}"
    # A name that is the same next time.
    resume = folder / f".{output.name}.resume"
    with (
        distributed.together(),
        execute(stage, project, inputs, work, progress, resume=resume, log=log) as made,
        _writing(folder),
    ):
        for name, place in zip(stage.outputs, places, strict=True):
            if distributed.is_primary():
                (made / name).replace(place)
    return places


def _check_places(stage: Stage, places: Sequence[Path], read: Sequence[Path]) -> None:
    """Check that the results replace nothing but earlier results."""
    taken = {os.path.realpath(path) for path in read}
    for place in places:
        if place.exists() and not place.is_file():
            raise BadInputError(f"{place} exists and is no file; give another path for the output")
        real = os.path.realpath(place)
        if real in taken:
            raise BadInputError(
                f"{place} is a file that `secateur {stage.name}` reads, or two of its results at "
                "once; give another path for the output"
            )
        taken.add(real)
