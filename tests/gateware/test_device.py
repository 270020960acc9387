"""The table of devices."""

from __future__ import annotations

import json
import pkgutil
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue] - no stub
from amaranth.hdl import Module, Signal

from secateur.device import DEVICES, find_device
from secateur.errors import BadInputError
from secateur.technology import OWN, ecp5, ice40
from secateur.toolchain import run_yosys

if TYPE_CHECKING:
    from pathlib import Path

NAMES = "ice40-up5k, ice40-hx8k, ecp5-25k, ecp5-85k"


def test_names_are_the_keys_and_sizes_ascend() -> None:
    assert ", ".join(DEVICES) == NAMES
    assert [*DEVICES] == [device.name for device in DEVICES.values()]
    sizes = [(device.lut, device.bram) for device in DEVICES.values()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", DEVICES)
def test_board_exists(name: str) -> None:
    assert callable(pkgutil.resolve_name(DEVICES[name].board))


@pytest.mark.parametrize(
    ("name", "technology", "multiplier"),
    [
        ("ice40-up5k", ice40.ICE40UP, ice40.Ice40UpMultiplier),
        ("ice40-hx8k", ice40.ICE40, None),
        ("ecp5-25k", ecp5.ECP5, ecp5.Ecp5Multiplier),
        ("ecp5-85k", ecp5.ECP5, ecp5.Ecp5Multiplier),
    ],
)
def test_technology(name: str, technology: object, multiplier: Any) -> None:
    """Cells that a device lacks are not those that its engines are built of."""
    device = DEVICES[name]
    assert device.technology is technology
    assert bool(device.dsp) == (multiplier is not None)
    if multiplier:
        assert device.technology.multiplier is multiplier
    product = device.technology.multiplier.cells
    widest = multiplier.WIDTH if multiplier else 0
    assert product(8, 9) == product(2, widest or 2) == ({"dsp": 1} if multiplier else {})
    assert product(2, widest + 1) == product(widest + 1, 2) == {}
    weights = device.technology.large_memory.cells(12, depth=16384)
    assert ("spram" in weights) == bool(device.spram)
    # What is initial is in block RAM everywhere.
    filled = device.technology.large_memory.cells(12, depth=1024, filled=True)
    assert [*filled] == ["bram"]


def test_weights_of_the_up5k() -> None:
    """In SPRAM where they are many, need no second bank and are not initial."""
    cells = DEVICES["ice40-up5k"].technology.large_memory.cells
    assert cells(12, depth=1024) == {"spram": 1}
    assert cells(20, depth=16384) == {"spram": 2}
    assert cells(12, depth=512) == {"bram": 2}
    assert cells(12, depth=1024, banks=2) == {"bram": 6}
    assert cells(12, depth=1024, filled=True) == {"bram": 3}


def test_block_ram_holds_18_kbit_in_every_shape() -> None:
    # Nine bits a byte from a width of nine on, else the ninth is lost.
    assert {depth * width for depth, width in ecp5.EBR.shapes} == {16384, 18432}
    assert {depth * width for depth, width in ice40.EBR.shapes} == {4096}


@pytest.mark.parametrize(
    ("depth", "width", "blocks"),
    [(1, 1, 1), (512, 36, 1), (256, 96, 3), (2048, 12, 2), (1024, 19, 2), (4096, 9, 2)],
)
def test_blocks_needed(depth: int, width: int, blocks: int) -> None:
    assert ecp5.EBR.needed(depth, width) == blocks


@pytest.mark.parametrize(
    ("depth", "width", "blocks"),
    [(1, 1, 1), (256, 16, 1), (512, 12, 2), (2048, 2, 1), (1024, 12, 3), (257, 16, 2)],
)
def test_small_blocks_needed(depth: int, width: int, blocks: int) -> None:
    assert ice40.EBR.needed(depth, width) == blocks


def test_unknown_device() -> None:
    message = f"device must be one of {NAMES}, not 'ecp-85k' (did you mean 'ecp5-85k'?)"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        find_device("ecp-85k")
    message = f"device must be one of {NAMES}, not 'virtex'"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        find_device("virtex")


@pytest.mark.parametrize(
    ("name", "cell", "own"), [("ecp5-25k", "TRELLIS_FF", 3), ("ice40-hx8k", "SB_DFF", 1)]
)
def test_equal_registers(tmp_path: Path, name: str, cell: str, own: int) -> None:
    """Yosys makes one of them; those that ask for it stay apart where that costs no LUT."""
    m = Module()
    inputs, outputs = Signal(2), Signal(6)
    for at in range(6):
        register = Signal(attrs={OWN: 1} if at < 3 else {}, name=f"register_{at}")
        m.d.sync += register.eq(inputs[at // 3])
        m.d.comb += outputs[at].eq(register)
    (tmp_path / "top.il").write_text(rtlil.convert(m, name="top", ports=[inputs, outputs]))
    run_yosys("top", family=find_device(name).family, makes="top.json", folder=tmp_path)
    modules = json.loads((tmp_path / "top.json").read_text())["modules"]
    kinds = Counter(found["type"] for found in modules["top"]["cells"].values())
    assert kinds[cell] == own + 1
