"""A placed and routed engine with a program, which can be replaced there.

All that differs between two programs for one engine lies in memories of cells that the gateware
places itself (:mod:`secateur.technology`): their initial contents are found again behind place and
route, and nothing is placed or routed again. A build keeps for this the routed configuration, the
image that it holds and where each cell went. Before anything is replaced, that image must be found
in the configuration, bit by bit, and afterwards the new one in the bitstream.

The SPRAM of the iCE40 UP5K has no initial contents. A bitstream with weights in SPRAM holds no
program, and gets every one through its serial port.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from amaranth.hdl import Const, Fragment, Instance, unsigned

from secateur.device import find_device
from secateur.engine import EngineSpec
from secateur.errors import BadInputError, CheckFailedError
from secateur.format import Section, memories
from secateur.gateware.layout import words
from secateur.image import CRC_SIZE, read_image
from secateur.protocol import check_payload
from secateur.routed import RoutedConfig, locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secateur.device import Device
    from secateur.program import Program
    from secateur.routed import Contents, Places
    from secateur.technology import Technology
    from secateur.technology.portable import Memory

__all__ = ["PlacedDesign", "initial_contents", "starts_with"]

#: The engine in the flattened netlist of a board.
ENGINE = "top.engine."
#: Files in the file that a build keeps.
CONFIG, IMAGE, BUILD = "top.config", "program.image", "build.json"
#: What reading a file of another kind, or a part of one, ends with.
DAMAGED = (
    *(OSError, EOFError, KeyError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error, BadInputError),
)


def starts_with(program: Program, technology: Technology) -> Program | None:
    """Return what an engine can hold out of reset: the program, or nothing.

    Nothing is where the weights lie in memories without initial contents.
    """
    spec = program.spec
    weights = technology.large_memory.cells(
        spec.entry_width, depth=spec.weight_depth, banks=spec.banks
    )
    return None if "spram" in weights else program


@dataclass(frozen=True, kw_only=True)
class PlacedDesign:
    """What a build keeps, so that its bitstream can get another program.

    Parameters
    ----------
    device : str
        Name of the device.
    spec : EngineSpec
        The engine.
    image : bytes
        The program in the configuration; empty where there can be none (:func:`starts_with`).
    max_payload : int
        Largest payload of a frame, bytes.
    places : dict of str to list of str
        Where the contents of each cell stand, as of :func:`secateur.routed.locate`; nowhere where
        synthesis found that nobody reads it.
    config : str
        The routed configuration; empty without a program.
    """

    device: str
    spec: EngineSpec
    image: bytes
    max_payload: int
    places: Places
    config: str

    @classmethod
    def of(
        cls, program: Program, *, device: Device, max_payload: int, netlist: str, config: str
    ) -> PlacedDesign:
        """Find the memories of a design in what nextpnr made of it.

        Parameters
        ----------
        program : Program
            What the design was made with.
        device : Device
            What it was made for.
        max_payload : int
            Largest payload of a frame, bytes.
        netlist : str
            The routed netlist.
        config : str
            The routed configuration.

        Raises
        ------
        CheckFailedError
            If a memory is not there, or does not hold the program.
        """
        holds = starts_with(program, device.technology) is not None
        empty = cls(
            device=device.name,
            spec=program.spec,
            image=b"",
            max_payload=max_payload,
            places={},
            config="",
        )
        if not holds:
            return empty
        # Amaranth numbers a component that has the name of a signal beside it.
        placed = {re.sub(r"\$\d+(?=\.)", "", name): at for name, at in locate(netlist).items()}
        cells = initial_contents(program.spec, program.image, device.technology)
        design = replace(
            empty,
            image=program.image,
            places={name: placed.get(name, []) for name in cells},
            config=config,
        )
        for memory in {name.rpartition(".")[0]: 0 for name in cells}:
            if not any(design.places[n] for n in cells if n.rpartition(".")[0] == memory):
                raise CheckFailedError(f"the routed design must have the memory {memory}")
        if not design.holds(config):
            raise CheckFailedError("the routed design must hold the program, bit by bit")
        return design

    @property
    def checks(self) -> list[str]:
        """Names of the checks that it passed when it was made."""
        return ["program in the routed design, bit by bit"] if self.image else []

    def save(self, path: Path) -> None:
        """Write the file; the same design gives the same bytes."""
        build = {
            "device": self.device,
            "engine": self.spec.to_dict(),
            "max_payload": self.max_payload,
            "places": self.places,
        }
        files = {CONFIG: self.config, IMAGE: self.image, BUILD: json.dumps(build)}
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files.items():
                # Of a fixed date.
                file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

    @classmethod
    def load(cls, path: Path) -> PlacedDesign:
        """Read :meth:`save`'s file.

        Raises
        ------
        BadInputError
            If it is missing, or of another kind.
        """
        try:
            with zipfile.ZipFile(path) as file:
                config, image = file.read(CONFIG).decode(), file.read(IMAGE)
                build = json.loads(file.read(BUILD))
            spec = EngineSpec.from_dict(build.pop("engine"))
            return cls(spec=spec, image=image, config=config, **build)
        except FileNotFoundError:
            raise BadInputError(
                f"{path} does not exist; make it with `secateur synthesize`"
            ) from None
        except DAMAGED:
            raise BadInputError(
                f"{path} is no design that this Secateur placed; make it again with "
                "`secateur synthesize`"
            ) from None

    def holding(self, program: Program) -> PlacedDesign:
        """Put another program in the place of the one that is there.

        Raises
        ------
        BadInputError
            If there can be none, the program is for another engine, its x or y does not fit into a
            frame, or the design was built by another Secateur, whose memories have other cells.
        """
        if not self.image:
            raise BadInputError(
                f"the bitstream for {self.device!r} has its weights in SPRAM, which no bitstream "
                "fills; load the program through the serial port, with `secateur.host`"
            )
        here = self.spec.to_dict()
        odd = [
            f"{name} is {value}, not {here[name]}"
            for name, value in program.spec.to_dict().items()
            if value != here[name]
        ]
        if odd:
            raise BadInputError(
                f"the program was encoded for another engine than that of the bitstream "
                f"({', '.join(odd)}); encode it for that one"
            )
        check_payload(program, self.max_payload)
        if not self.holds(self.config):
            raise BadInputError(
                "the bitstream was built by another version of Secateur, or altered; build it "
                "again with `secateur synthesize`"
            )
        config = RoutedConfig(self.config)
        for name, contents in self._contents(program.image).items():
            config.put(self.places[name], contents)
        return replace(self, image=program.image, config=str(config))

    def holds(self, config: str) -> bool:
        """Tell whether a configuration has the program, bit by bit, in the cells that it needs.

        Parameters
        ----------
        config : str
            That of the design, or what was unpacked of its bitstream.
        """
        routed, contents = RoutedConfig(config), self._contents(self.image)
        return set(self.places) == set(contents) and all(
            routed.holds(self.places[name], each) for name, each in contents.items()
        )

    def _contents(self, image: bytes) -> dict[str, Contents]:
        return initial_contents(self.spec, image, find_device(self.device).technology)


def _memories(
    spec: EngineSpec, image: bytes, technology: Technology
) -> Iterator[tuple[str, Memory]]:
    """Make every memory that a program fills, as the engine does, with its name there."""
    filled = read_image(spec, image)
    for kind, described in memories(spec).items():
        for pe in range(spec.pes if described.per_pe else 1):
            fields = filled.get((kind, pe))
            weights = kind is Section.WEIGHTS
            make = technology.large_memory if weights else technology.memory
            yield (
                f"pe_{pe}.weights" if weights else kind.name.lower(),
                make(
                    unsigned(described.record.width),
                    depth=described.depth,
                    banks=spec.banks,
                    init=words(described.record, fields) if fields else (),
                ),
            )
    identity = int.from_bytes(image[-CRC_SIZE:], "little")
    yield "identity", technology.memory(unsigned(32), depth=2, banks=spec.banks, init=[identity])


def initial_contents(spec: EngineSpec, image: bytes, technology: Technology) -> dict[str, Contents]:
    """Compute what a program puts into every cell, by the cell's name on a board.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    image : bytes
        The program.
    technology : Technology
        Its cells.
    """
    found = {}
    for path, memory in _memories(spec, image, technology):
        for index, (cell, name, _) in enumerate(Fragment.get(memory, None).subfragments):
            assert isinstance(cell, Instance), f"{path} has cells that only synthesis knows"
            found[f"{ENGINE}{path}.{name or f'U${index}'}"] = {
                parameter: f"{value.value:0{len(value)}b}"[::-1]
                for parameter, value in cell.parameters.items()  # pyright: ignore[reportAttributeAccessIssue] - no stub
                if parameter.startswith("INIT") and isinstance(value, Const)
            }
    return found
