"""The table of devices."""

import pkgutil
import re

import pytest

from secateur.device import DEVICES, ECP5_EBR, find_device
from secateur.errors import BadInputError


def test_names_are_the_keys_and_sizes_ascend() -> None:
    assert [*DEVICES] == [device.name for device in DEVICES.values()]
    sizes = [(device.lut, device.bram, device.dsp) for device in DEVICES.values()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", DEVICES)
def test_board_exists(name: str) -> None:
    assert callable(pkgutil.resolve_name(DEVICES[name].board))


def test_block_ram_holds_18_kbit_in_every_shape() -> None:
    # Nine bits a byte from a width of nine on, else the ninth is lost.
    assert {depth * width for depth, width in ECP5_EBR.shapes} == {16384, 18432}


@pytest.mark.parametrize(
    ("depth", "width", "blocks"),
    [(1, 1, 1), (512, 36, 1), (256, 96, 3), (2048, 12, 2), (1024, 19, 2), (4096, 9, 2)],
)
def test_blocks_needed(depth: int, width: int, blocks: int) -> None:
    assert ECP5_EBR.needed(depth, width) == blocks


def test_unknown_device() -> None:
    message = "device must be one of ecp5-25k, ecp5-85k, not 'ecp-85k' (did you mean 'ecp5-85k'?)"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        find_device("ecp-85k")
    message = "device must be one of ecp5-25k, ecp5-85k, not 'virtex'"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        find_device("virtex")
