"""Verilog is emitted while the garbage collector pauses, and only then."""

import gc

import pytest
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from secateur.engine import EngineSpec
from secateur.gateware.engine import Engine
from secateur.verilog import to_verilog


class Broken(wiring.Component):
    """Cannot be elaborated."""

    def __init__(self) -> None:
        super().__init__({"i": In(1)})

    def elaborate(self, platform: object) -> None:
        assert not gc.isenabled()
        raise ValueError("it is broken")


def test_the_collector_goes_on() -> None:
    engine = Engine(EngineSpec(pes=1, lanes=1))
    assert "\nmodule engine(" in to_verilog(engine, "engine")
    assert gc.isenabled()
    with pytest.raises(ValueError, match=r"^it is broken$"):
        to_verilog(Broken(), "broken")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with pytest.raises(ValueError, match=r"^it is broken$"):
            to_verilog(Broken(), "broken")
        assert not gc.isenabled()
    finally:
        gc.enable()
