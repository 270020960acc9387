"""Another program in a bitstream that exists, without placing and routing again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.artefact import write_whole
from secateur.device import find_device
from secateur.errors import CheckFailedError
from secateur.placed import PlacedDesign
from secateur.progress import silent
from secateur.synthesize import pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["reload"]


def reload(
    placed: Path, program: Program, *, bitstream: Path, folder: Path, progress: Progress = silent
) -> None:
    """Write the bitstream of a placed design with another program in it.

    It is the one that a build with that program gives. What it holds is read back and compared
    with the program, bit by bit. Takes some seconds.

    Parameters
    ----------
    placed : Path
        What a build kept (:class:`secateur.placed.PlacedDesign`).
    program : Program
        What the engine holds out of reset.
    bitstream : Path
        The file to write.
    folder : Path
        Gets the configuration, the one that is read back, and the logs.
    progress : callable
        As in :mod:`secateur.progress`.

    Raises
    ------
    BadInputError
        If the file is no placed design, or :meth:`PlacedDesign.holding` refuses the program.
    CheckFailedError
        If the tool that packs bitstreams, or the one that unpacks them, is missing or fails, or
        the bitstream does not hold the program.
    """
    progress(0, 3, "contents")
    design = PlacedDesign.load(placed).holding(program)
    device = find_device(design.device)
    (folder / "top.config").write_text(design.config)
    progress(1, 3, "bitstream")
    pack(device, "top.config", "top.bit", folder=folder)
    progress(2, 3, "check")
    unpack(device, "top.bit", "unpacked.config", folder=folder)
    if not design.holds((folder / "unpacked.config").read_text()):
        raise CheckFailedError("the bitstream must hold the program, bit by bit, and does not")
    write_whole(bitstream, (folder / "top.bit").read_bytes())
    progress(3, 3, "done")
