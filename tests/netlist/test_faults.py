"""Netlists that are wrong: a fault is planted in what Yosys wrote, and the ladder sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.rungs.netlist import on_ecp5
from secateur.rungs.rung import Amounts, Subject
from secateur.rungs.top import top_on_ecp5
from secateur.toolchain import run_yosys
from secateur.verify import Step, verify

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """An engine of one PE, and three inputs."""
    network = random_network(2, [12, 9, 8], density=0.5)
    return Subject(
        program=encode(network, fit(network, pes=1)),
        network=network,
        x=random_inputs(4, network, 3),
        folder=tmp_path,
        cache=CACHE,
        amounts=Amounts(netlist=3),
    )


def without_multiplier(netlist: str) -> str:
    """Lose the one multiplier."""
    return only(r"^  MULT18X18D #\((?:.*\n)*?  \);\n", "", netlist, count=1)


def zero_product(netlist: str) -> str:
    """Leave the outputs of the one multiplier open: a product of zero, as Yosys may make it."""
    return only(r"^    \.P(\d+)\(.*\)", r"    .P\1()", netlist, count=36)


def short_timer(netlist: str) -> str:
    """Let bit 3 of what counts the cycles of an inference stay zero."""
    return only(r"\.Q\(\\terminal\.timer \[3\]\)", ".Q()", netlist, count=1)


def only(pattern: str, new: str, netlist: str, *, count: int) -> str:
    changed, found = re.subn(pattern, new, netlist, flags=re.MULTILINE)
    assert found == count, "the fault does not fit the netlist"
    return changed


@pytest.fixture(scope="module")
def synthesized() -> dict[str, str]:
    """What Yosys made of a design, once for all faults."""
    return {}


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("climb", "fault", "why"),
    [
        pytest.param(
            on_ecp5,
            without_multiplier,
            "the netlist must have 1 of dsp, as the engine was designed, not 0",
            id="engine, cell",
        ),
        pytest.param(
            on_ecp5,
            zero_product,
            "27 of 72 outputs differ from the network's",
            id="engine, product",
        ),
        pytest.param(
            top_on_ecp5,
            without_multiplier,
            "the netlist must have 1 of dsp, as the engine was designed, not 0",
            id="uart, cell",
        ),
        pytest.param(
            top_on_ecp5,
            zero_product,
            "secateur.bench.tb_top_recorded: load_and_infer: input 0: [0, 255, 255, 255, 188, 0, "
            "0, 255], not [0, 255, 255, 255, 255, 0, 0, 255]; see "
            "ecp5-25k-top/netlist/simulation.log",
            id="uart, product",
        ),
        # Each response is sound, and each output right: only the bytes tell.
        pytest.param(
            top_on_ecp5,
            short_timer,
            "the netlist sent 246 bytes and its Verilog 246, of which 159 are the same",
            id="uart, cycles",
        ),
    ],
)
def test_a_fault_is_red(
    climb: Callable[[Subject], dict[str, int]],
    fault: Callable[[str], str],
    why: str,
    subject: Subject,
    synthesized: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*arguments: Any, folder: Path, makes: str, **options: Any) -> list[str]:
        design = (folder / "dut.il").read_text()
        if design not in synthesized:
            run_yosys(*arguments, folder=folder, makes=makes, **options)
            synthesized[design] = (folder / makes).read_text()
        (folder / makes).write_text(fault(synthesized[design]))
        return []

    monkeypatch.setattr("secateur.netlist.run_yosys", run)
    (rung,) = verify(subject, [Step(name="rung", compared="", climb=climb)])
    assert (rung.outcome, rung.why) == ("failed", why)
