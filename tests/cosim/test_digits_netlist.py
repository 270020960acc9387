"""The example's network in the cells of the smallest device, which holds an engine of two PEs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secateur.encode import encode, fit
from secateur.rungs.netlist import on_ice40up
from secateur.rungs.rung import Subject

if TYPE_CHECKING:
    from secateur.dataset import Split
    from secateur.network import Network

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.mark.cosim
def test_digits(digits: tuple[Network, Split], tmp_path: Path) -> None:
    network, test = digits
    subject = Subject(
        program=encode(network, fit(network, pes=2, banks=1)),
        network=network,
        x=network.quantize_input(test.flat),
        folder=tmp_path,
        cache=CACHE,
    )
    assert on_ice40up(subject) == {
        **{"test inputs": 20, "outputs": 3 * 20 * 10, "latencies": 20},
        **{"block RAMs": 14, "multipliers": 2, "SPRAMs": 2},
    }
