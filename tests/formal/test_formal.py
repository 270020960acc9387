# amaranth: UnusedElaboratable=no
"""The engine of the proofs: what is wrong is found, near and far, and shown."""

from __future__ import annotations

from functools import partial

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.fault import Fault, planted
from secateur.bench.formal import Claim, RefutedError, prove
from secateur.bench.harness import Harness
from secateur.errors import CheckFailedError
from secateur.gateware.drain import Drain
from secateur.gateware.uart import UartTransmitter
from secateur.proofs.sizes import SPEC
from secateur.proofs.streams import DRAIN_CYCLES, contract

pytestmark = pytest.mark.formal


class Stage(wiring.Component):
    """A register between two streams, right, or wrong in the way that ``fault`` names."""

    i: stream.Interface
    o: stream.Interface

    def __init__(self, fault: str) -> None:
        self.fault = fault
        payload = data.StructLayout({"data": 4, "last": 1})
        super().__init__({"i": In(stream.Signature(payload)), "o": Out(stream.Signature(payload))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full, flip = Signal(), Signal()
        m.d.sync += flip.eq(~flip)
        m.d.comb += [self.o.valid.eq(full), self.i.ready.eq(~full | self.o.ready)]
        with m.If(self.i.ready):
            m.d.sync += [full.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        match self.fault:
            case "payload changes":
                with m.If(flip):
                    m.d.sync += self.o.payload.last.eq(self.i.payload.last)
            case "always ready":
                m.d.comb += self.i.ready.eq(1)
            case "valid is taken back":
                with m.If(flip):
                    m.d.sync += full.eq(0)
            case "valid waits for ready":
                m.d.comb += self.o.valid.eq(full & self.o.ready)
        return m


def of_stage(fault: str) -> Claim:
    return contract(partial(Stage, fault), name="stage", size="5 bits")


def test_right_stage_is_proved() -> None:
    assert prove(of_stage("")) == ("o stays",)


@pytest.mark.parametrize("fault", ["payload changes", "valid is taken back", "always ready"])
def test_broken_contract_is_found(fault: str) -> None:
    with pytest.raises(RefutedError) as caught:
        prove(of_stage(fault))
    assert caught.value.broken == ("o stays",)
    first, *lines = str(caught.value).splitlines()
    assert first == "stage: 'o stays' does not hold at the end of this run"
    assert [line.split()[0] for line in lines] == [
        "cycle",
        *("i__payload", "i__valid", "i__ready", "o__payload", "o__valid", "o__ready"),
    ]


def test_valid_must_not_wait_for_ready() -> None:
    with pytest.raises(CheckFailedError) as caught:
        prove(of_stage("valid waits for ready"))
    assert str(caught.value) == (
        "stage: SymbiYosys ended with exit code 16: Assertion failed: selection is not empty: "
        "w:o__valid %ci*:-$dff,$sdff,$dffe,$sdffe w:o__ready %i"
    )


class Counter(wiring.Component):
    """Counts what comes, from zero."""

    i: Signal
    o: Signal

    def __init__(self) -> None:
        super().__init__({"i": In(1), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.o + self.i)
        return m


def counts(cycles: int | None, *, below: int) -> Claim:
    def build() -> Harness:
        h = Harness(Counter())
        h.claim("below", h.component.o < below)
        return h

    return Claim(name="counter", size="8 bits", make=build, cycles=cycles)


@pytest.mark.parametrize("cycles", [None, 40])
def test_what_goes_wrong_late_is_found(cycles: int | None) -> None:
    """Later than the base and the induction reach, and in the last cycle of those looked at."""
    with pytest.raises(RefutedError) as caught:
        prove(counts(cycles, below=39))
    assert str(caught.value).splitlines() == [
        "counter: 'below' does not hold at the end of this run",
        "cycle " + " ".join(map(str, range(16, 40))),
        "i     " + " ".join([" 1"] * 23 + [" 0"]),
        "o     " + " ".join(map(str, range(16, 40))),
    ]


def test_bound_is_the_number_of_cycles() -> None:
    assert prove(counts(39, below=39)) == ("below",)


def test_assumption_is_needed() -> None:
    """Without what its documentation asks for, the drain does break the contract."""
    bare = contract(lambda: Drain(SPEC), name="drain", size="", cycles=DRAIN_CYCLES)
    with pytest.raises(RefutedError, match=r"^drain: 'hidden stays' does not hold"):
        prove(bare)


def test_nothing_to_prove() -> None:
    with pytest.raises(AssertionError, match=r"^there is nothing to prove$"):
        prove(contract(lambda: UartTransmitter(8), name="transmitter", size=""))


def test_time_limit() -> None:
    with pytest.raises(CheckFailedError) as caught:
        prove(counts(None, below=39), seconds=0)
    assert str(caught.value) == "counter: SymbiYosys did not decide within 0 seconds"


@pytest.mark.parametrize(("old", "count"), [("no such text", 0), ("self.o.valid", 4)])
def test_fault_has_one_place(old: str, count: int) -> None:
    with pytest.raises(LookupError) as caught:
        with planted(Fault("buffer", old, "", "")):
            pass
    assert str(caught.value) == (
        f"buffer must hold {old!r} once, not {count} times; correct the deliberate fault"
    )
