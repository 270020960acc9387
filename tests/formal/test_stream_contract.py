# amaranth: UnusedElaboratable=no
"""Every component with an output stream keeps the contract of Amaranth's streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.formal import assert_stream_contract
from secateur.engine import EngineSpec
from secateur.gateware.buffer import StreamBuffer
from secateur.gateware.cobs import CobsDecoder, CobsEncoder
from secateur.gateware.column import ColumnQueue
from secateur.gateware.drain import Drain, drain_latencies
from secateur.gateware.frame import FrameReceiver, FrameSender
from secateur.gateware.payload import PayloadBuffer
from secateur.gateware.respond import Responder
from secateur.gateware.terminal import Terminal
from secateur.gateware.uart import UartReceiver, UartTransmitter

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.formal

#: The smallest engine: a proof's size is the number of its registers.
SPEC = EngineSpec(
    pes=2,
    lanes=2,
    activation_width=4,
    weight_width=2,
    index_width=1,
    entry_width=3,
    accumulator_width=6,
    bias_width=6,
    queue_depth=4,
    weight_depth=4,
    column_depth=4,
    row_depth=4,
    activation_depth=4,
    bias_depth=2,
    layer_depth=2,
    banks=1,
)
#: Cycles of a drain until two words wait at its output.
DRAIN_STEPS = drain_latencies(SPEC)["o"] + 6


def well_started(m: Module, dut: Any) -> None:
    """Assume that a drain is started while ``done``, its job held until it is, and not empty.

    The first two are said in its documentation, the last in that of the format.
    """
    m.d.comb += [
        Assume(~dut.start | dut.done, "started"),
        Assume(dut.layer.rows_words != 0, "words"),
    ]
    for name in ("layer", "tag"):
        now = Value.cast(getattr(dut, name))
        before = Signal(now.shape())
        m.d.sync += before.eq(now)
        m.d.comb += Assume(dut.done | (now == before), name)


#: "bounded" where the proof would need to know which states a FIFO or a pipeline never reaches;
#: the steps are then enough to fill it.
@pytest.mark.parametrize(
    ("make", "assume", "result"),
    [
        pytest.param(lambda: Drain(SPEC), well_started, "bounded", id="drain"),
        pytest.param(lambda: ColumnQueue(SPEC), None, "proved", id="column"),
        pytest.param(lambda: StreamBuffer(2), None, "proved", id="buffer"),
        pytest.param(CobsDecoder, None, "proved", id="cobs decoder"),
        pytest.param(CobsEncoder, None, "proved", id="cobs encoder"),
        pytest.param(lambda: FrameReceiver(8, word_size=2), None, "proved", id="frame receiver"),
        pytest.param(FrameSender, None, "proved", id="frame sender"),
        pytest.param(lambda: PayloadBuffer(8, word_size=2), None, "proved", id="payload"),
        pytest.param(Responder, None, "proved", id="respond"),
        pytest.param(
            lambda: Terminal(SPEC, size=8, clock=1, limit_bits=3), None, "bounded", id="terminal"
        ),
        pytest.param(lambda: UartReceiver(8), None, "proved", id="uart receiver"),
    ],
)
def test_contract_is_kept(
    make: Callable[[], wiring.Component], assume: Callable[[Module, Any], None] | None, result: str
) -> None:
    component = make()
    # From its start to the second word that waits at its output.
    steps = max(10, DRAIN_STEPS if isinstance(component, Drain) else 0)
    assert assert_stream_contract(component, assume=assume, steps=steps) == result


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


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("payload changes", "Stage breaks the contract of its streams:"),
        ("valid is taken back", "Stage breaks the contract of its streams:"),
        ("always ready", "Stage breaks the contract of its streams:"),
        ("valid waits for ready", "Stage: o.valid depends combinationally on o.ready"),
    ],
)
def test_fault_is_found(fault: str, message: str) -> None:
    assert assert_stream_contract(Stage("")) == "proved"
    with pytest.raises(AssertionError) as caught:
        assert_stream_contract(Stage(fault))
    assert str(caught.value).splitlines()[0] == message


def test_assumption_is_needed() -> None:
    """Without what its documentation asks for, the drain does break the contract."""
    with pytest.raises(AssertionError, match="Drain breaks the contract of its streams"):
        assert_stream_contract(Drain(SPEC), steps=DRAIN_STEPS)


def test_nothing_to_prove() -> None:
    with pytest.raises(AssertionError, match=r"^UartTransmitter has no output stream$"):
        assert_stream_contract(UartTransmitter(8))
