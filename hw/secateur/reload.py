"""Another program in a bitstream that exists, without placing and routing again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.device import find_device
from secateur.placed import PlacedDesign
from secateur.progress import silent
from secateur.synthesize import pack

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["reload"]


def reload(
    placed: Path, program: Program, *, bitstream: Path, folder: Path, progress: Progress = silent
) -> None:
    """Write the bitstream of a placed design with another program in it.

    It is the one that a build with that program gives. Takes some seconds.

    Parameters
    ----------
    placed : Path
        What a build kept (:class:`secateur.placed.PlacedDesign`).
    program : Program
        What the engine holds out of reset.
    bitstream : Path
        The file to write.
    folder : Path
        Gets the configuration and the log.
    progress : callable
        As in :mod:`secateur.progress`.

    Raises
    ------
    BadInputError
        If the file is no placed design, or :meth:`PlacedDesign.holding` refuses the program.
    CheckFailedError
        If the tool that packs bitstreams is missing or fails.
    """
    progress(0, 2, "contents")
    design = PlacedDesign.load(placed).holding(program)
    (folder / "top.config").write_text(design.config)
    progress(1, 2, "bitstream")
    pack(find_device(design.device), "top.config", "top.bit", folder=folder)
    (folder / "top.bit").replace(bitstream)
    progress(2, 2, "done")
