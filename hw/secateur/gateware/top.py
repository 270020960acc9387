"""An engine behind a UART."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.errors import BadInputError
from secateur.gateware.buffer import StreamBuffer
from secateur.gateware.cobs import CobsDecoder, CobsEncoder
from secateur.gateware.engine import Engine, status_layout
from secateur.gateware.frame import FrameReceiver, FrameSender
from secateur.gateware.terminal import LIMIT_BITS, Terminal
from secateur.gateware.uart import UartReceiver, UartTransmitter, divisor
from secateur.protocol import PAYLOAD_RANGE, check_payload, word_size
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.program import Program
    from secateur.technology import Technology

__all__ = ["Top"]


class Top(wiring.Component):
    """An engine that speaks the protocol of :mod:`secateur.protocol` over two pins.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    program : Program, optional
        In use out of reset.
    clock : int
        Clock of the component, Hz.
    baud : int
        Of the UART, bits per second.
    max_payload : int
        Largest payload of a request, and largest y, bytes: a power of two from 256 to 65536.
    limit_bits : int
        log2 of the cycles after which the engine is given up.
    technology : Technology
        Its cells.
    checked : bool
        Whether it knows CHECK, and the engine's weights can be checked. Nothing else changes.

    Raises
    ------
    BadInputError
        If ``max_payload`` is not allowed or too small for ``program``, the clock does not give the
        baud rate, or ``program`` was encoded for another engine.

    Members
    -------
    rx : In(1)
        From the host; idle high, asynchronous.
    tx : Out(1)
        To the host.
    status : Out(status_layout(spec))
        Of the engine, for the lights of a board.
    """

    rx: Signal
    tx: Signal
    status: data.View

    def __init__(
        self,
        spec: EngineSpec,
        *,
        program: Program | None = None,
        clock: int,
        baud: int,
        max_payload: int = 1024,
        limit_bits: int = LIMIT_BITS,
        technology: Technology = PORTABLE,
        checked: bool = False,
    ) -> None:
        low, high = PAYLOAD_RANGE
        if not low <= max_payload <= high or max_payload & (max_payload - 1):
            raise BadInputError(
                f"max_payload must be a power of two between {low} and {high}, not {max_payload!r}"
            )
        if program is not None:
            check_payload(program, max_payload)
        self.spec, self.program, self.max_payload = spec, program, max_payload
        self.technology, self.checked = technology, checked
        self.clock, self.divisor, self.limit_bits = clock, divisor(clock, baud), limit_bits
        super().__init__({
            "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]
            "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
            "status": Out(status_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.frames = frames = FrameReceiver(
            self.max_payload, word_size=word_size(self.spec), technology=self.technology
        )
        m.submodules.terminal = terminal = Terminal(
            self.spec,
            size=self.max_payload,
            clock=self.clock,
            limit_bits=self.limit_bits,
            technology=self.technology,
            checked=self.checked,
        )
        m.submodules.engine = engine = Engine(
            self.spec, program=self.program, technology=self.technology, checked=self.checked
        )
        m.submodules.sender = sender = FrameSender()
        m.submodules.encoder = encoder = CobsEncoder(technology=self.technology)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)

        def connect(source: stream.Interface, sink: stream.Interface) -> None:
            """Connect with a register between them."""
            m.submodules += (buffer := StreamBuffer(source.payload.shape()))
            wiring.connect(m, source, buffer.i)
            wiring.connect(m, buffer.o, sink)

        # Requests.
        m.d.comb += receiver.rx.eq(self.rx)
        wiring.connect(m, receiver.o, decoder.i)
        connect(decoder.o, frames.i)
        wiring.connect(m, frames.o, terminal.i)
        wiring.connect(m, frames.i_read, terminal.o_read)
        wiring.connect(m, frames.o_byte, terminal.i_byte)
        wiring.connect(m, frames.o_word, terminal.i_word)

        # Engine.
        connect(terminal.o_load, engine.i_load)
        wiring.connect(m, terminal.o_x, engine.i_x)
        wiring.connect(m, engine.o_y, terminal.i_y)
        m.d.comb += [terminal.status.eq(engine.status), self.status.eq(engine.status)]
        if self.checked:
            wiring.connect(m, terminal.o_check, engine.i_check)
            wiring.connect(m, engine.o_crc, terminal.i_crc)

        # Responses.
        wiring.connect(m, terminal.o, sender.i)
        connect(sender.o, encoder.i)
        wiring.connect(m, encoder.o, transmitter.i)
        m.d.comb += self.tx.eq(transmitter.tx)
        return m
