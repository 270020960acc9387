"""The command line: one subcommand for each stage, and `build` for all of them."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from secateur import distributed, logs
from secateur.board_command import check_command
from secateur.build import build
from secateur.errors import BadInputError, CheckFailedError
from secateur.execute import run_alone
from secateur.progress import Display, silent, unnoted
from secateur.project import Project
from secateur.stage import find_stages
from secateur.summary import show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secateur.stage import Stage

__all__ = ["command", "main"]

#: Where artefacts are read from and written to if nothing else is said.
FOLDER = Path("build")

#: The entry point by which whoever knows bitstreams puts another program into one.
GROUP = "secateur.program"

#: Caches of tools, in the folder that `make setup` fills, by the variables that move them there.
CACHES = {"YOWASP_CACHE_DIR": "yowasp", "MPLCONFIGDIR": "matplotlib"}

HELP = """
Prune a PyTorch network and run what is left on a small FPGA, bit for bit as computed.

PROJECT is a TOML file that says what to do; examples/digits.toml is one. Exit codes: 0 is
success, 1 a failed check, 2 bad input.
"""

BUILD_HELP = """
Run every stage on PROJECT and show the results.

A stage is run again only if its settings, its input files, its sources or its tools have changed.
All artefacts end up in a folder of their own below FOLDER, with report.html and report.json.

\b
Example:
  secateur build examples/digits.toml
"""


class _Commands(click.Group):
    """Turns the errors of Secateur into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BadInputError as error:
            _fail(ctx, str(error), 2)
        except CheckFailedError as error:
            _fail(ctx, "\n".join([str(error), *getattr(error, "__notes__", ())]), 1)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", 130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands]  # in the order of the way, not of the alphabet


def _fail(ctx: click.Context, sentence: str, code: int) -> None:
    click.echo(f"secateur: {sentence}", err=True)
    ctx.exit(code)


def _project() -> click.Argument:
    return click.Argument(["project"], type=click.Path(path_type=Path))


def _display() -> Display:
    return Display(Console(stderr=True))


def _stage_command(stage: Stage, makers: Mapping[str, str]) -> click.Command:
    """Make the subcommand of one stage; ``makers`` says which stage writes an artefact."""
    first, *others = stage.outputs
    names = {f"input_{number}": name for number, name in enumerate(stage.inputs)}

    def callback(
        project: Path,
        folder: Path,
        output: Path | None,
        fit: str | None = None,
        tensorboard: Path | None = None,
        **given: Path | None,
    ) -> None:
        settings = Project.load(project)
        if fit is not None:
            settings = settings.fitting(fit)
        inputs = {names[key]: path or folder / names[key] for key, path in given.items()}
        for name, path in inputs.items():
            if not path.is_file():
                raise BadInputError(
                    f"{path} does not exist; make it with `secateur {makers[name]}`"
                )
        inputs |= {name: folder / name for name in stage.optional if (folder / name).is_file()}
        primary = distributed.is_primary()
        display = _display()
        step = display.step(stage.name) if primary else nullcontext(silent)
        curves = nullcontext(logs.unlogged)
        if tensorboard is not None and primary:
            curves = logs.tensorboard(tensorboard)
        with step as progress, curves as log:
            written = run_alone(
                stage,
                settings,
                inputs,
                output or FOLDER / first,
                progress,
                project_file=project,
                log=log,
                note=partial(display.note, stage.name) if primary else unnoted,
            )
        files = dict(zip(stage.outputs, written, strict=True))
        if stage.show is not None and primary:
            Console().print(stage.show(files))
        for path in written if primary else ():
            click.echo(path)
        if stage.check is not None:
            stage.check(files)

    needed, used = ", ".join(stage.inputs), ", ".join(stage.optional)
    reads = "; ".join(filter(None, (needed, used and f"if there: {used}"))) or "the project only"
    beside = f"; beside the first: {', '.join(others)}" if others else ""
    text = f"{stage.description}\n\n\b\nReads: {reads}\nWrites: {first}{beside}"
    return click.Command(
        stage.name,
        callback=callback,
        short_help=stage.summary,
        help=f"{text}\n\n\b\nExample:\n  {stage.example}",
        params=[
            _project(),
            *(
                click.Argument(
                    [key],
                    metavar=f"[{name.upper()}]",
                    required=False,
                    type=click.Path(path_type=Path),
                )
                for key, name in names.items()
            ),
            click.Option(
                ["--from", "folder"],
                type=click.Path(path_type=Path, file_okay=False),
                default=FOLDER,
                show_default=True,
                help="Where to read artefacts that are not given.",
            ),
            click.Option(
                ["-o", "--output"],
                type=click.Path(path_type=Path, dir_okay=False),
                help=f"File to write.  [default: {FOLDER / first}]",
            ),
            *([_fit()] if stage.fits else []),
            *([_tensorboard()] if stage.curves else []),
        ],
    )


def _fit() -> click.Option:
    return click.Option(
        ["--fit"],
        metavar="DEVICE",
        help="Prune to what this device holds, whatever target the project has.",
    )


def _tensorboard() -> click.Option:
    return click.Option(
        ["--tensorboard"],
        metavar="FOLDER",
        type=click.Path(path_type=Path, file_okay=False),
        help="Write the curves of the training there, for TensorBoard.",
    )


def _build_command(stages: Mapping[str, Stage]) -> click.Command:
    def callback(project: Path, output: Path, everything: bool) -> None:
        if distributed.world()[1] > 1:
            raise BadInputError(
                "`secateur build` is for one process; run it without torchrun, or the stages that "
                "learn, `secateur train`, `secateur prune` and `secateur quantize`, with it"
            )
        settings = Project.load(project)
        folder = build(settings, output, stages=stages, display=_display(), everything=everything)
        report = folder / "report.json"
        if report.exists():
            show(Console(), json.loads(report.read_text()))
        files = ", ".join(sorted(path.name for path in folder.iterdir()))
        click.echo(f"The files are in {folder}{os.sep}: {files}")
        for stage in stages.values():
            if stage.check is not None and (everything or not stage.on_request):
                stage.check({name: folder / name for name in stage.outputs})

    left_out = [name for name, stage in stages.items() if stage.on_request]
    return click.Command(
        "build",
        callback=callback,
        short_help="run every stage, from the project to the report",
        help=BUILD_HELP,
        params=[
            _project(),
            click.Option(
                ["-o", "--output"],
                metavar="FOLDER",
                type=click.Path(path_type=Path, file_okay=False),
                default=FOLDER,
                show_default=True,
                help="Where to keep results.",
            ),
            click.Option(
                ["--all", "everything"],
                is_flag=True,
                help=f"Run these stages too, which take long: {', '.join(left_out) or 'none'}.",
            ),
        ],
    )


def _program_command(stage: Stage) -> click.Command:
    """Make the subcommand that goes the last part of the way again, without a project."""
    program, placed = stage.inputs

    def callback(weights: Path, folder: Path, output: Path) -> None:
        inputs = {program: weights, placed: folder / placed}
        with _display().step(stage.name) as progress:
            (written,) = run_alone(stage, Project(name=stage.name), inputs, output, progress)
        click.echo(written)

    text = f"{stage.description}\n\n\b\nReads: {program}, {placed}\nWrites: {stage.outputs[0]}"
    return click.Command(
        stage.name,
        callback=callback,
        short_help=stage.summary,
        help=f"{text}\n\n\b\nExample:\n  {stage.example}",
        params=[
            click.Option(
                ["--weights"],
                metavar=program.upper(),
                required=True,
                type=click.Path(path_type=Path),
                help="The program that the bitstream gets.",
            ),
            click.Option(
                ["--from", "folder"],
                type=click.Path(path_type=Path, file_okay=False),
                default=FOLDER,
                show_default=True,
                help=f"Where {placed} is.",
            ),
            click.Option(
                ["-o", "--output"],
                type=click.Path(path_type=Path, dir_okay=False),
                default=FOLDER / stage.outputs[0],
                show_default=True,
                help="File to write.",
            ),
        ],
    )


IMPORT_HELP = """
Read an ONNX model as one that is pruned and built like any other.

The operators must follow each other in a chain. If there are test data, the outputs are compared
before anything is written: those that --check names, or input_0.pb and output_0.pb beside MODEL and
in folders test_data_set_* there. A project starts from the result by network.checkpoint.

\b
Example:
  secateur import mnist/model.onnx --scale 255 -o mnist.safetensors
"""


def _import_command() -> click.Command:
    """Make the subcommand that reads other people's models."""

    def callback(
        model: Path, output: Path, check: tuple[tuple[Path, Path], ...], scale: float
    ) -> None:
        try:
            from secateur import checkpoint
            from secateur.onnx_import import find_test_data, import_model
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "onnx"):
                raise
            raise BadInputError(
                f"`secateur import` needs {error.name}, which is not installed; "
                "run `pip install secateur[train]`"
            ) from None
        found = import_model(model, check or find_test_data(model), scale=scale)
        checkpoint.save(found.module, output)
        if found.compared:
            click.echo(f"Outputs agree, inputs compared: {found.compared}", err=True)
        else:
            click.echo("There are no test data: nothing was compared", err=True)
        click.echo(output)

    path = click.Path(path_type=Path)
    return click.Command(
        "import",
        callback=callback,
        short_help="read an ONNX model, to be pruned like any other",
        help=IMPORT_HELP,
        params=[
            click.Argument(["model"], type=path),
            click.Option(
                ["--check"],
                metavar="INPUT OUTPUT",
                type=(path, path),
                multiple=True,
                help="Files of inputs and of the outputs that the model must give.",
            ),
            click.Option(
                ["--scale"],
                type=float,
                default=1.0,
                show_default=True,
                help="What examples are to be multiplied by to be the model's inputs.",
            ),
            click.Option(
                ["-o", "--output"],
                type=click.Path(path_type=Path, dir_okay=False),
                default=FOLDER / "model.safetensors",
                show_default=True,
                help="File to write.",
            ),
        ],
    )


def command(stages: Mapping[str, Stage] | None = None) -> click.Group:
    """Make the command ``secateur`` from ``stages``, by default the installed ones."""
    stages = find_stages() if stages is None else stages
    makers = {artefact: stage.name for stage in stages.values() for artefact in stage.outputs}
    commands = [_build_command(stages), _import_command()]
    commands += [_stage_command(stage, makers) for stage in stages.values()]
    commands += [_program_command(point.load()) for point in entry_points(group=GROUP)]
    commands.append(check_command(FOLDER / "program.sct"))
    group = _Commands(
        "secateur",
        help=HELP,
        commands={each.name: each for each in commands if each.name},
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    return click.version_option(package_name="secateur", message="%(prog)s %(version)s")(group)


def main() -> None:
    """Run the command line of this process."""
    for variable, name in CACHES.items():
        cache = Path(sys.prefix) / "cache" / name
        if cache.is_dir():
            os.environ.setdefault(variable, str(cache))
    # Told to end, as by Ctrl-C: what is half-written is deleted on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command()(prog_name="secateur")
