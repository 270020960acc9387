"""The benches of streams must pass what is right and catch what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.cosim import cosimulate
from secateur.bench.stream import STALLS, run
from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from pathlib import Path

PAIR = data.StructLayout({"data": data.ArrayLayout(4, 2), "last": 1})


class Register(wiring.Component):
    """A register between two streams, right, or wrong in the way that ``fault`` names."""

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: Any = 8, fault: str = "") -> None:
        self.fault = fault
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full, flip, count = Signal(), Signal(), Signal(3)
        free = ~full | self.o.ready
        taken = self.i.valid & self.i.ready
        m.d.comb += [self.o.valid.eq(full), self.i.ready.eq(free)]
        m.d.sync += [flip.eq(~flip), count.eq(count + taken)]
        with m.If(free):
            m.d.sync += [full.eq(taken), self.o.payload.eq(self.i.payload)]
        match self.fault:
            case "takes back":
                with m.If(flip):
                    m.d.sync += full.eq(0)
            case "changes":
                with m.If(full & ~self.o.ready):
                    m.d.sync += Value.cast(self.o.payload).eq(~Value.cast(self.o.payload))
            case "looks at ready":
                m.d.comb += self.o.valid.eq(full & self.o.ready)
            case "drops":
                with m.If(taken & (count == 7)):
                    m.d.sync += full.eq(0)
            case "repeats":
                with m.If(full & self.o.ready & ~taken & (count == 4)):
                    m.d.sync += [full.eq(1), count.eq(0)]
            case "sticks":
                with m.If(count == 7):
                    m.d.comb += self.i.ready.eq(0)
        return m


@pytest.mark.parametrize("stalls", STALLS)
def test_register_passes(stalls: str) -> None:
    words = [(37 * k) & 0xFF for k in range(200)]
    assert run(Register(), {"i": words}, {"o": 200}, stalls=stalls) == {"o": words}


@pytest.mark.parametrize("stalls", STALLS)
def test_layouts(stalls: str) -> None:
    words = [{"data": [k & 15, 15 - (k & 15)], "last": k % 3 == 0} for k in range(50)]
    assert run(Register(PAIR), {"i": words}, {"o": 50}, stalls=stalls) == {"o": words}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("takes back", "o.valid was taken back before the transfer"),
        ("changes", "o.payload changed before the transfer, from 0 to 255"),
        ("looks at ready", "o.valid depends on ready"),
        ("drops", "o delivered 18 payloads, not 20"),
        ("repeats", "o delivered 21 payloads, not 20"),
        ("sticks", "i took 7 payloads, not 20"),
    ],
)
def test_fault_is_caught(fault: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        run(Register(fault=fault), {"i": range(20)}, {"o": 20}, stalls="both", patience=50)
    assert str(caught.value) == message


@pytest.mark.cosim
@pytest.mark.parametrize("stall", ["0", "0.3"])
def test_cocotb_passes(stall: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    cosimulate(
        Register(16),
        testbench="secateur.bench.tb_stream",
        build_dir=tmp_path,
        cache=pytestconfig.rootpath / "build/cosim",
        env={"STALL": stall, "COUNT": "2000"},
    )


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("fault", "count", "said"),
    [
        ("changes", 100, r"o offered [01]+ and then [01]+ before the transfer"),
        ("takes back", 100, r"o offered [01]+ and then .+ before the transfer"),
        ("drops", 8, "SimTimeoutError"),
        ("repeats", 4, "o has one payload more"),
    ],
)
def test_cocotb_catches(
    fault: str, count: int, said: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    with pytest.raises(CheckFailedError, match=said):
        cosimulate(
            Register(16, fault),
            testbench="secateur.bench.tb_stream",
            build_dir=tmp_path,
            cache=pytestconfig.rootpath / "build/cosim",
            env={"STALL": "0.3", "COUNT": str(count)},
        )
