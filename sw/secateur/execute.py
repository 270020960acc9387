"""Running one stage, so that its results appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secateur import distributed
from secateur.errors import BadInputError, CheckFailedError
from secateur.logs import unlogged
from secateur.progress import silent, unnoted
from secateur.stage import Context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from secateur.logs import Log
    from secateur.progress import Note, Progress
    from secateur.project import Project
    from secateur.stage import Stage

__all__ = ["execute", "run_alone"]

#: What the extra `train` installs, as it is imported.
EXTRA = "torch"


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
    logs: Path | None = None,
    log: Log = unlogged,
    note: Note = unnoted,
) -> Iterator[Path]:
    """Run a stage in ``work``, made for it; within the context, a folder there has its outputs.

    Where ``resume`` is given, the stage keeps there what it can go on from, until the context has
    ended well. When a check has failed, the stage's logs become the folder ``logs``, or stay in
    ``work`` where none is given; it is removed when the context has ended with none to keep.

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
        note=note,
    )
    try:
        stage.run(context)
        missing = [name for name, path in context.outputs.items() if not path.is_file()]
        if missing:
            raise RuntimeError(f"stage {stage.name} ended without writing {missing}")
        keep = _found_wrong(stage, context.outputs) and any(scratch.iterdir())
        yield made
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)  # half-written results
        if isinstance(error, CheckFailedError) and any(scratch.iterdir()):
            kept = _keep(work, scratch, logs)
            error.args = tuple(_moved(str(said), scratch, kept) for said in error.args)
            error.add_note(f"The logs are in {kept}")
        else:
            shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, ModuleNotFoundError) and error.name == EXTRA:
            raise BadInputError(
                f"`secateur {stage.name}` needs {error.name}, which is not installed; "
                "run `pip install secateur[train]`"
            ) from None
        raise
    if keep:
        note(f"the logs are in {_keep(work, scratch, logs)}")
    else:
        shutil.rmtree(work)
        if logs is not None and distributed.is_primary():
            shutil.rmtree(logs, ignore_errors=True)
    if resume is not None and distributed.is_primary():
        shutil.rmtree(resume, ignore_errors=True)


def _keep(work: Path, scratch: Path, logs: Path | None) -> Path:
    """Put a stage's logs in the place of those of an earlier failure; say where they are.

    Where that place cannot be had they stay: what they are about is more than where they lie.
    """
    if logs is None or not distributed.is_primary():
        return scratch
    shutil.rmtree(logs, ignore_errors=True)
    try:
        scratch.rename(logs)
    except OSError:
        return scratch
    shutil.rmtree(work, ignore_errors=True)
    return logs


def _moved(said: str, scratch: Path, kept: Path) -> str:
    """Say what names a log, after the logs were moved."""
    for place in (scratch.resolve(), scratch):
        said = said.replace(f"{place}{os.sep}", f"{kept}{os.sep}")
    return said


def _found_wrong(stage: Stage, outputs: Mapping[str, Path]) -> bool:
    """Tell whether the stage's results say that something is wrong, whose logs are of use."""
    try:
        if stage.check is not None:
            stage.check(outputs)
    except CheckFailedError:
        return True
    return False


def run_alone(
    stage: Stage,
    project: Project,
    inputs: Mapping[str, Path],
    output: Path,
    progress: Progress = silent,
    *,
    project_file: Path | None = None,
    log: Log = unlogged,
    note: Note = unnoted,
) -> list[Path]:
    """Run one stage on files that exist, and put its results at ``output`` and beside it.

    Under torchrun every process runs the stage, and the primary one's results are kept. After a
    check that failed, the logs are beside the results in ``.<first result>.logs``, until the next
    run.

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
    note : callable
        Given lines about what results do not hold.

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
    # Names that are the same next time.
    resume, logs = (folder / f".{output.name}.{what}" for what in ("resume", "logs"))
    with (
        distributed.together(),
        execute(
            stage, project, inputs, work, progress, resume=resume, logs=logs, log=log, note=note
        ) as made,
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
