# amaranth: UnusedElaboratable=no
"""Everything that is claimed of the gateware is proved, and of faulty gateware refuted."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from amaranth.lib.wiring import Component

from secateur.bench.fault import planted
from secateur.bench.formal import RefutedError, prove
from secateur.bench.harness import members
from secateur.markdown import update
from secateur.proofs import streams
from secateur.prove import CLAIMS, TABLES, Proof, prove_all

if TYPE_CHECKING:
    from secateur.bench.fault import Fault
    from secateur.bench.formal import Claim

pytestmark = pytest.mark.formal

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("claim", [pytest.param(claim, id=claim.name) for claim in CLAIMS])
def test_claim_is_proved(claim: Claim) -> None:
    assert prove(claim) == tuple(claim.elaborate().claims)


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        pytest.param(claim, fault, id=f"{claim.name}: {fault.new.splitlines()[0]}")
        for claim in CLAIMS
        for fault in claim.faults
    ],
)
def test_fault_is_found(claim: Claim, fault: Fault) -> None:
    with planted(fault), pytest.raises(RefutedError) as caught:
        prove(claim)
    assert fault.breaks in caught.value.broken
    assert caught.value.run.startswith("cycle")


def components() -> dict[str, type]:
    """Every component of the gateware by its name."""
    found = {}
    packages = [importlib.import_module(f"secateur.gateware{name}") for name in ("", ".maps")]
    modules = [
        importlib.import_module(f"{package.__name__}.{info.name}")
        for package in packages
        for info in pkgutil.iter_modules(package.__path__)
    ]
    for module in modules:
        found |= {
            one.__name__: one
            for one in vars(module).values()
            if isinstance(one, type)
            and issubclass(one, Component)
            and one.__module__ == module.__name__
            and "elaborate" in vars(one)  # not what is common to several
        }
    return found


#: Components without an output stream, and the reason for those with one that no claim is about.
SILENT = [
    *("Accumulator", "ActivationStore", "Control", "Loader", "Lookup", "ProcessingElement"),
    *("Queue", "Requantizer", "Top", "UartTransmitter", "Walker"),
    *("Loops", "MapControl", "MapStore", "MapWalker", "Pool"),
]
LEFT_OUT = {"Engine": "its o_y is the drain's, its o_crc the checker's"}


def test_every_output_stream_is_claimed() -> None:
    """Every component is here or there, and those said to have no output stream have none."""
    instances = {type(h.component).__name__: h.component for h in (c.elaborate() for c in CLAIMS)}
    claimed = {type(c.elaborate().component).__name__ for c in streams.CLAIMS}
    assert (len(streams.CLAIMS), len(claimed)) == (14, 13)  # Terminal with the check and without
    assert sorted([*claimed, *SILENT, *LEFT_OUT]) == sorted(components())
    for name in SILENT:
        source = inspect.getsource(components()[name].__init__)
        assert not re.search(r"Out\((stream\.Signature|\w+_stream)\(", source), name
        if name in instances:
            assert not outputs(instances[name]), name


def outputs(component: Any) -> list[str]:
    """List the output streams of a component."""
    return [
        path
        for path, is_stream, is_output, _ in members(component.signature, component)
        if is_stream and is_output
    ]


def test_every_stream_of_a_component_is_claimed() -> None:
    for claim in streams.CLAIMS:
        harness = claim.elaborate()
        paths = outputs(harness.component)
        assert [*harness.claims] == [f"{path} stays" for path in paths]
        assert len(harness.checks) == len(paths) >= 1


def test_every_claim_has_faults() -> None:
    """A proof that no fault breaks may prove nothing."""
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert len(claim.faults) >= 2, claim.name


def test_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "proofs.md").read_text()
    assert update(page, TABLES) == page


def test_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two claims stand for all: which is proved, in which order, and what is said of it."""
    chosen = (CLAIMS[1], next(c for c in CLAIMS if c.name == "streams of Terminal"))
    monkeypatch.setattr("secateur.prove.CLAIMS", chosen)
    told = []
    proofs = prove_all(lambda *step: told.append(step))
    assert proofs == [
        Proof(
            name="stream buffer",
            size="2 bits",
            result="proved",
            assertions=(
                "buffer: nothing from nothing",
                "buffer: nothing too many",
                "buffer: in order",
                "what is inside is offered",
                "taken while empty",
            ),
        ),
        Proof(
            name="streams of Terminal",
            size="the smallest engine, 8 bytes",
            result="bounded to 22 cycles",
            assertions=("o_read stays", "o stays", "o_load stays", "o_x stays"),
        ),
    ]
    assert told == [
        (0, 2, "stream buffer"),
        (1, 2, "streams of Terminal"),
        (2, 2, "all proved"),
    ]
