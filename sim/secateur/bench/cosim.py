"""Run a cocotb test bench against the Verilog of a component."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

from amaranth.lib import wiring
from cocotb_tools import config
from cocotb_tools.runner import get_runner

from secateur.errors import BadInputError, CheckFailedError
from secateur.simulator import SIMULATORS
from secateur.verilog import to_verilog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from secateur.simulator import Simulator

__all__ = ["build_simulation", "cosimulate"]

#: Hexadecimal digits of a digest in a folder's name.
SHORT = 16


def cosimulate(
    design: wiring.Component | Sequence[Path],
    *,
    testbench: str,
    build_dir: Path,
    simulator: str = "verilator",
    toplevel: str = "dut",
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    seed: int = 0,
    cache: Path | None = None,
) -> list[str]:
    """Build a simulation and run every ``@cocotb.test()`` of a module on it.

    A build is kept under the digest of all that decides it, and not made again.

    Parameters
    ----------
    design : Component or sequence of Path
        A component, which is emitted as the Verilog module ``toplevel``, or Verilog files.
    testbench : str
        The importable module with the tests.
    build_dir : Path
        Gets ``dut.v``, ``build.log``, ``simulation.log`` and ``results.xml``; made if missing.
    simulator : str
        A name in :data:`secateur.simulator.SIMULATORS`.
    toplevel : str
        The module whose ports the test bench sees.
    arguments : sequence of str
        Further arguments for the simulator's compiler.
    env : mapping
        Further environment variables of the test bench, which runs in another process.
    seed : int
        Of cocotb and of :mod:`random` in the test bench.
    cache : Path, optional
        Holds the builds; ``build_dir / "cache"`` by default.

    Returns
    -------
    list of str
        The names of the tests, all passed.

    Raises
    ------
    BadInputError
        If there is no such simulator.
    CheckFailedError
        If a tool is missing or fails, no test ran, or a test failed.
    """
    if simulator not in SIMULATORS:
        raise BadInputError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    tool = SIMULATORS[simulator]
    tool.require()
    build_dir = build_dir.resolve()
    build_dir.mkdir(parents=True, exist_ok=True)
    if isinstance(design, wiring.Component):
        source = build_dir / "dut.v"
        source.write_text(to_verilog(design, toplevel), encoding="utf-8")
        design = [source]
    cache = (build_dir / "cache" if cache is None else cache).resolve()
    built = build_simulation(tool, design, toplevel, arguments, cache, build_dir / "build.log")
    return _test(tool, testbench, built, toplevel, build_dir, seed, dict(env or {}))


def build_simulation(
    tool: Simulator,
    sources: Sequence[Path],
    toplevel: str,
    arguments: Sequence[str],
    cache: Path,
    log: Path,
) -> Path:
    """Return the folder with the executable, made now if it is not there."""
    # A build holds the path of cocotb's libraries.
    found = f"{tool.name} {tool.version()} {config.libs_dir}"
    toolchain = hashlib.sha256(found.encode()).hexdigest()[:SHORT]
    digest = hashlib.sha256(json.dumps([toplevel, *arguments]).encode())
    for path in sources:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    shared = cache / f"{tool.name}-{toolchain}"
    place = shared / digest.hexdigest()[:SHORT]
    shared.mkdir(parents=True, exist_ok=True)
    log.write_text(f"the build in {place}\n")
    if place.is_dir():
        return place
    with (
        tempfile.TemporaryDirectory(dir=shared) as work,
        tempfile.TemporaryDirectory(dir=shared, ignore_cleanup_errors=True) as finished,
    ):
        tool.build(
            [path.resolve() for path in sources],
            toplevel=toplevel,
            folder=Path(work),
            log=log,
            arguments=arguments,
            shared=shared,
        )
        executable = tool.executable(toplevel)
        (Path(work) / executable).rename(Path(finished) / executable)
        with contextlib.suppress(OSError):  # another process was faster
            Path(finished).rename(place)
    return place


def _test(
    tool: Simulator,
    testbench: str,
    built: Path,
    toplevel: str,
    folder: Path,
    seed: int,
    env: dict[str, str],
) -> list[str]:
    """Run the module ``testbench`` and judge what it reports."""
    log, results = folder / "simulation.log", folder / "results.xml"
    results.unlink(missing_ok=True)
    # The runner leaves like a program where a test failed, and raises where the simulator did;
    # what the results say, or that there are none, is all that counts.
    with contextlib.suppress(SystemExit, RuntimeError):
        get_runner(tool.name).test(
            test_module=testbench,
            hdl_toplevel=toplevel,
            hdl_toplevel_lang="verilog",
            build_dir=built,
            test_dir=folder,
            results_xml=str(results),
            log_file=log,
            seed=seed,
            extra_env=env,
        )
    if not results.is_file():
        raise CheckFailedError(f"{testbench}: {tool.name} ended without results; see {log}")
    reported = ElementTree.parse(results).iter("testcase")
    cases = [case for case in reported if case.find("skipped") is None]
    if not cases:
        raise CheckFailedError(f"{testbench}: no cocotb test ran; see {log}")
    for case in cases:
        for failure in (*case.iter("failure"), *case.iter("error")):
            said = (failure.get("message") or failure.get("type") or "it failed").splitlines()[0]
            raise CheckFailedError(f"{testbench}: {case.get('name')}: {said}; see {log}")
    return [case.get("name", "") for case in cases]
