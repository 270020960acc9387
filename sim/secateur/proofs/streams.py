"""The contract of Amaranth's streams, for every component with an output stream.

A transmitter that has asserted valid keeps it, and the payload, until a clock edge at which ready
is asserted too; its valid does not depend combinationally on its ready. (Amaranth, standard
library, data streams, data transfer rules.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Value

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness, members
from secateur.gateware.buffer import StreamBuffer
from secateur.gateware.check import Checker
from secateur.gateware.cobs import CobsDecoder, CobsEncoder
from secateur.gateware.column import ColumnQueue
from secateur.gateware.drain import Drain
from secateur.gateware.frame import FrameReceiver, FrameSender
from secateur.gateware.maps.drain import MapDrain
from secateur.gateware.maps.pool import Pool
from secateur.gateware.payload import PayloadBuffer
from secateur.gateware.respond import Responder
from secateur.gateware.rows import drain_latencies
from secateur.gateware.terminal import Terminal
from secateur.gateware.uart import UartReceiver
from secateur.proofs.sizes import MAPS, SPEC

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLAIMS", "contract"]

#: Nothing between registers that leads to an output's valid may be its ready.
INDEPENDENT = "select -assert-none w:{0}__valid %ci*:-$dff,$sdff,$dffe,$sdffe w:{0}__ready %i"


def contract(
    make: Callable[[], Any], *, assume: Callable[[Harness], None] | None = None, **more: Any
) -> Claim:
    """Claim that a component keeps the contract on its outputs if others do on its inputs.

    Every other input is free in every cycle.

    Parameters
    ----------
    make : callable
        Builds the component, with stream members at any depth.
    assume : callable, optional
        Assumes what the component may rely on besides.
    more
        Fields of the claim.
    """

    def build() -> Harness:
        component = make()
        h = Harness(component)
        for path, is_stream, is_output, member in members(component.signature, component):
            if is_stream:
                payload = Value.cast(member.payload)
                waiting = h.late(member.valid & ~member.ready)
                stays = ~waiting | (member.valid & (payload == h.late(payload)))
                (h.claim if is_output else h.assume)(f"{path} stays", stays)
            if is_stream and is_output:
                h.checks.append(INDEPENDENT.format(path))
        if assume is not None:
            assume(h)
        return h

    return Claim(make=build, **more)


def well_started(h: Harness) -> None:
    """Assume that a drain is started while ``done``, its job held until it is, and not empty.

    The first two are said in its documentation, the last in that of the format.
    """
    drain = h.component
    h.assume("started while done", ~drain.start | drain.done)
    h.assume("it has words", drain.layer.rows_words != 0)
    for name in ("layer", "tag"):
        value = Value.cast(getattr(drain, name))
        h.assume(f"{name} is held", drain.done | (value == h.late(value)))


def well_started_maps(h: Harness) -> None:
    """Assume that a drain of positions is started while ``done``, its layer held until it is.

    Both are said in its documentation.
    """
    drain = h.component
    h.assume("started while done", ~drain.start | drain.done)
    layer = Value.cast(drain.layer)
    h.assume("layer is held", drain.done | (layer == h.late(layer)))


#: From its start to the second word that waits at its output.
DRAIN_CYCLES = drain_latencies(SPEC)["o"] + 6
MAP_DRAIN_CYCLES = drain_latencies(MAPS)["o"] + Pool.LATENCY + 8
SMALL = "the smallest engine"

CLAIMS = (
    contract(
        lambda: Drain(SPEC),
        assume=well_started,
        name="streams of Drain",
        size=SMALL,
        cycles=DRAIN_CYCLES,
        faults=(
            Fault(
                "drain",
                "queue.r_en.eq(~complete | Mux(layer.last, self.o.ready, self.hidden.ready))",
                "queue.r_en.eq(1)",
                "hidden stays",
            ),
            Fault(
                "drain",
                "self.o.valid.eq(queue.r_rdy & complete & layer.last)",
                "self.o.valid.eq(queue.r_rdy & complete & layer.last & self.hidden.ready)",
                "o stays",
            ),
        ),
    ),
    contract(
        lambda: MapDrain(MAPS),
        assume=well_started_maps,
        name="streams of MapDrain",
        size=SMALL,
        cycles=MAP_DRAIN_CYCLES,
        faults=(
            Fault("maps.drain", "move.eq(~self.o.valid | self.o.ready)", "move.eq(1)", "o stays"),
            Fault(
                "maps.drain",
                "self.o.valid.eq(made.valid & complete & layer.last)",
                "self.o.valid.eq(made.valid & complete & layer.last & ~self.freed)",
                "o stays",
            ),
        ),
    ),
    contract(
        lambda: ColumnQueue(SPEC),
        name="streams of ColumnQueue",
        size=SMALL,
        faults=(
            Fault("column", "queue.r_en.eq(self.o.ready)", "queue.r_en.eq(1)", "o stays"),
            Fault("queue", "(~self.r_rdy | self.r_en)", "(~self.r_rdy | self.w_en)", "o stays"),
        ),
    ),
    contract(
        lambda: StreamBuffer(2),
        name="streams of StreamBuffer",
        size="2 bits",
        faults=(
            Fault("buffer", "m.Elif(self.o.ready)", "m.Else()", "o stays"),
            Fault(
                "buffer",
                "with m.If(~self.o.valid):",
                "with m.If(~self.o.valid | self.i.valid):",
                "o stays",
            ),
        ),
    ),
    contract(
        CobsDecoder,
        name="streams of CobsDecoder",
        size="as it is",
        faults=(
            Fault(
                "cobs",
                "with m.If(~self.o.valid | self.o.ready):",
                "with m.If(~self.o.valid | self.i.valid):",
                "o stays",
            ),
            Fault(
                "cobs",
                "m.d.comb += self.i.ready.eq(1)\n            m.d.sync += [\n"
                "                self.o.valid.eq(\n",
                "m.d.comb += self.i.ready.eq(1)\n        if True:\n            m.d.sync += [\n"
                "                self.o.valid.eq(\n",
                "o stays",
            ),
        ),
    ),
    contract(
        CobsEncoder,
        name="streams of CobsEncoder",
        size="as it is",
        faults=(
            Fault(
                "cobs",
                'm.State("byte"), m.If(send(block.read_word))',
                'm.State("byte"), m.If(send(block.read_word) | self.i.valid)',
                "o stays",
            ),
            Fault(
                "cobs",
                "m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(value)]",
                "m.d.comb += [self.o.valid.eq(~self.i.valid), self.o.payload.eq(value)]",
                "o stays",
            ),
        ),
    ),
    contract(
        lambda: FrameReceiver(8, word_size=2),
        name="streams of FrameReceiver",
        size="8 bytes, words of 2",
        faults=(
            Fault(
                "frame",
                "m.d.sync += self.o.valid.eq(1)",
                "m.d.sync += self.o.valid.eq(~self.o.valid)",
                "o stays",
            ),
            Fault(
                "frame",
                "with m.If(self.o.valid & self.o.ready):",
                "with m.If(self.o.valid):",
                "o stays",
            ),
        ),
    ),
    contract(
        FrameSender,
        name="streams of FrameSender",
        size="as it is",
        faults=(
            Fault(
                "frame",
                'm.State("crc low"), m.If(send(check.crc[:8], last=0))',
                'm.State("crc low"), m.If(send(check.crc[:8], last=0) | self.i.valid)',
                "o stays",
            ),
            Fault(
                "frame",
                "check.valid.eq(self.i.valid & self.o.ready)",
                "check.valid.eq(self.i.valid)",
                "o stays",
            ),
        ),
    ),
    contract(
        lambda: PayloadBuffer(8, word_size=2),
        name="streams of PayloadBuffer",
        size="8 bytes, words of 2",
        faults=(
            Fault("payload", "ram.read_enable.eq(move)", "ram.read_enable.eq(1)", "o_byte stays"),
            Fault("payload", "(taken & last) | ~active", "last | ~active", "o_byte stays"),
        ),
    ),
    contract(
        Responder,
        name="streams of Responder",
        size="as it is",
        faults=(
            Fault(
                "respond", "with m.If(self.o.ready):", "with m.If(self.o.ready | last):", "o stays"
            ),
            Fault(
                "respond",
                "self.o.payload.data.eq(byte)",
                "self.o.payload.data.eq(text.word_select(place, 8))",
                "o stays",
            ),
        ),
    ),
    contract(
        lambda: Terminal(SPEC, size=8, clock=1, limit_bits=3),
        name="streams of Terminal",
        size=f"{SMALL}, 8 bytes",
        cycles=22,
        faults=(
            Fault("terminal", "with m.If(self.o_read.ready):", "if True:", "o_read stays"),
            Fault(
                "terminal",
                "self.o_load.valid.eq(self.i_byte.valid & feeding)",
                "self.o_load.valid.eq(self.i_byte.valid & feeding & ~self.i_y.valid)",
                "o_load stays",
            ),
        ),
    ),
    contract(
        lambda: Terminal(SPEC, size=8, clock=1, limit_bits=3, checked=True),
        name="streams of Terminal with the check",
        size=f"{SMALL}, 8 bytes",
        cycles=22,
        faults=(
            Fault(
                "terminal",
                "with m.If(self.o_check.ready):",
                "with m.If(self.o_check.ready | self.i_y.valid):",
                "o_check stays",
            ),
            Fault(
                "terminal",
                "Value.cast(self.o_check.payload).eq(asked)",
                "Value.cast(self.o_check.payload).eq(asked ^ self.i_y.valid)",
                "o_check stays",
            ),
        ),
    ),
    contract(
        lambda: Checker(SPEC),
        name="streams of Checker",
        size=SMALL,
        faults=(
            Fault(
                "check",
                "m.d.comb += self.o.valid.eq(1)",
                "m.d.comb += self.o.valid.eq(~self.there)",
                "o stays",
            ),
            Fault(
                "check",
                "self.o.payload.eq(checksum.crc)",
                "self.o.payload.eq(checksum.crc ^ self.there)",
                "o stays",
            ),
        ),
    ),
    contract(
        lambda: UartReceiver(8),
        name="streams of UartReceiver",
        size="8 cycles a bit",
        faults=(
            Fault("uart", "with m.If(self.o.ready):", "if True:", "o stays"),
            Fault("uart", "with m.If(self.o.valid & ~self.o.ready):", "with m.If(0):", "o stays"),
        ),
    ),
)
