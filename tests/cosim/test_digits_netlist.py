"""The example's network in the cells of the smallest device, which holds an engine of two PEs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secateur.encode import encode, fit
from secateur.rungs.netlist import on_ice40up
from secateur.rungs.rung import Subject
from secateur.rungs.top import top_on_ice40up

if TYPE_CHECKING:
    from secateur.dataset import Split
    from secateur.network import Network

pytestmark = [pytest.mark.cosim, pytest.mark.long]

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.fixture
def subject(digits: tuple[Network, Split], tmp_path: Path) -> Subject:
    network, test = digits
    return Subject(
        program=encode(network, fit(network, pes=2, banks=1)),
        network=network,
        x=network.quantize_input(test.flat),
        folder=tmp_path,
        cache=CACHE,
    )


def test_digits(subject: Subject) -> None:
    assert on_ice40up(subject) == {
        **{"test inputs": 20, "outputs": 3 * 20 * 10, "latencies": 20},
        **{"block RAMs": 14, "multipliers": 2, "SPRAMs": 2},
    }


def test_digits_over_the_wire(subject: Subject) -> None:
    assert top_on_ice40up(subject) == {
        **{"test inputs": 20, "outputs": 20 * 10},
        **{"bytes of the program": len(subject.program.image), "bytes of responses": 786},
        **{"block RAMs": 19, "multipliers": 2, "SPRAMs": 2},
    }
