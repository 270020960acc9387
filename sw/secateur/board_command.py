"""The subcommand `check`, which needs a board and no project."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.program import Program
from secateur.protocol import BAUD

__all__ = ["check_command"]

HELP = """
Check that the weights in a running board are still those of its program.

Finds any one or two flipped bits of a PE's weights, and more of them almost always, and says in
which PE. The hardware must have been built with `synthesize.check = true`.

\b
Example:
  secateur check /dev/ttyUSB0 --weights build/program.sct
"""


def _check(port: str, weights: Path, baud: int) -> None:
    from secateur.host import Board

    program = Program.load(weights)
    with Board(port, baudrate=baud) as board:
        board.attach(program)
        found = board.check()
    entries = sum(one.count for one in found)
    click.echo(f"the {entries} entries of {len(found)} PEs are those of {weights}")


def check_command(program: Path) -> click.Command:
    """Make the subcommand; ``program`` is the file that it reads if none is named."""
    return click.Command(
        "check",
        callback=_check,
        short_help="check the weights in a running board",
        help=HELP,
        params=[
            click.Argument(["port"]),
            click.Option(
                ["--weights"],
                metavar="PROGRAM.SCT",
                type=click.Path(path_type=Path),
                default=program,
                show_default=True,
                help="The program that the board runs.",
            ),
            click.Option(
                ["--baud"],
                type=click.IntRange(min=1),
                default=BAUD,
                show_default=True,
                help="Of the board's UART, bits a second: the project's synthesize.baud.",
            ),
        ],
    )
