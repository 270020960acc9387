"""The whole way in one call: every stage, each only if what decides its result has changed."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.digest import digest_file, digest_json, digest_sources, versions
from secateur.errors import BadInputError
from secateur.execute import execute
from secateur.progress import silent, unnoted
from secateur.stage import find_stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from secateur.progress import Display
    from secateur.project import Project
    from secateur.stage import Stage

__all__ = ["build"]

#: Hexadecimal digits of a digest in a folder's name.
SHORT = 16

#: What a finished stage leaves beside its outputs: what decided them, their digests, the seconds.
RECORD = "stage.json"


def build(
    project: Project,
    folder: Path = Path("build"),
    *,
    stages: Mapping[str, Stage] | None = None,
    display: Display | None = None,
    everything: bool = False,
) -> Path:
    """Run every stage whose inputs have changed and gather all artefacts in one folder.

    What decides a stage's result is its settings, its input files, the sources of its layer and
    of those below, and the versions of its tools. The SHA-256 of all that names the folder in
    ``folder/cache`` that its outputs are kept in. That folder appears when the stage has ended
    well, in one step, so that a build that is killed leaves no half-written result. After a check
    that failed, the logs are beside it in ``<name>.logs``, until the stage is run again.

    Parameters
    ----------
    project : Project
        The settings.
    folder : Path
        Gets the cache and the result.
    stages : mapping of str to Stage
        In the order to run them; all installed ones by default.
    display : Display
        Shows what is done; by default nothing does.
    everything : bool
        Whether to run the stages that take long and that no other needs.

    Returns
    -------
    Path
        ``folder/<digest>``: every artefact and ``manifest.json``.

    Raises
    ------
    BadInputError
        If a setting or a file is not usable, or the folder cannot be written.
    CheckFailedError
        If a check of a stage fails.
    """
    stages = find_stages() if stages is None else stages
    stages = {n: stage for n, stage in stages.items() if everything or not stage.on_request}
    cache = folder / "cache"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("w")
    except OSError as error:
        raise BadInputError(f"{cache} cannot be written: {error.strerror}") from None
    made: dict[str, Path] = {}
    records: dict[str, dict[str, Any]] = {}
    with lock, _alone(lock.fileno(), display):
        for leftover in cache.glob("*.work"):  # of a build that was killed
            shutil.rmtree(leftover)
        for stage in stages.values():
            reads = (*stage.inputs, *stage.optional)
            inputs = {name: made[name] for name in reads if name in made}
            place = _cached(stage, project, inputs, cache, display)
            records[stage.name] = json.loads((place / RECORD).read_text())
            made |= {name: place / name for name in stage.outputs}
        return _gather(project, made, records, folder)


@contextmanager
def _alone(lock: int, display: Display | None) -> Iterator[None]:
    """Hold the cache for this process; the system gives it back if the process is killed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if display is not None:
            display.note("waiting", "for another build in the same folder")
        fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _cached(
    stage: Stage,
    project: Project,
    inputs: Mapping[str, Path],
    cache: Path,
    display: Display | None,
) -> Path:
    """Return the folder with the stage's outputs, made now if it is not there."""
    causes = {
        "stage": stage.name,
        "settings": project.digest(*stage.settings, *stage.more_settings(project)),
        "inputs": {name: digest_file(path) for name, path in sorted(inputs.items())},
        "sources": digest_sources(stage.layer),
        "tools": versions(stage.tools) | stage.programs(project),
    }
    key = digest_json(causes)
    place = cache / f"{stage.name}-{key[:SHORT]}"
    logs = cache / f"{place.name}.logs"
    if _intact(place, stage):
        if display is not None:
            display.note(stage.name, f"unchanged, logs in {logs}" if logs.exists() else "unchanged")
        return place
    shutil.rmtree(place, ignore_errors=True)  # damaged by hand
    start = time.monotonic()
    step = nullcontext(silent) if display is None else display.step(stage.name)
    note = unnoted if display is None else partial(display.note, stage.name)
    work = cache / f"{place.name}.work"
    resume = cache / f"{place.name}.resume"
    with (
        step as progress,
        execute(
            stage, project, inputs, work, progress, resume=resume, logs=logs, note=note
        ) as outputs,
    ):
        record = {
            "key": key,
            **causes,
            "outputs": {name: digest_file(outputs / name) for name in stage.outputs},
            "seconds": round(time.monotonic() - start, 1),
        }
        (outputs / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        outputs.rename(place)
    return place


def _intact(place: Path, stage: Stage) -> bool:
    """Whether the cached folder holds every output as the stage wrote it."""
    try:
        digests = json.loads((place / RECORD).read_text())["outputs"]
        return digests == {name: digest_file(place / name) for name in stage.outputs}
    except (OSError, ValueError, KeyError):
        return False


def _gather(
    project: Project,
    made: Mapping[str, Path],
    records: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Copy all artefacts into the folder that is named by the digest of all that made them."""
    digest = digest_json({name: record["key"] for name, record in records.items()})
    report = made.get("report.json")
    manifest = {
        "project": project.name,
        "digest": digest,
        "seed": project.seed,
        "settings": project.settings(*type(project).model_fields),
        "tools": {k: v for record in records.values() for k, v in record["tools"].items()},
        "numbers": json.loads(report.read_text()) if report else {},
        "stages": records,
    }
    target = folder / digest[:SHORT]
    fresh = folder / "cache" / f"{target.name}.work"
    fresh.mkdir()
    # Copies, not links: whoever edits a result must not change the cache.
    for name, path in made.items():
        shutil.copyfile(path, fresh / name)
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    if target.exists():
        old = folder / "cache" / f"{target.name}.old.work"
        target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old)
    else:
        fresh.rename(target)
    return target
