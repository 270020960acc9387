"""Bytes to and from a UART pin: 8 data bits, no parity, one stop bit."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from secateur.errors import BadInputError

__all__ = ["MIN_DIVISOR", "UartReceiver", "UartTransmitter", "divisor", "received_stream"]

#: Cycles per bit below which a sample can miss the middle of the bit.
MIN_DIVISOR = 4
#: Data bits per byte; a start bit comes before them and a stop bit after.
BITS = 8


def divisor(clock: int, baud: int) -> int:
    """Clock cycles per bit.

    Parameters
    ----------
    clock : int
        Clock, Hz.
    baud : int
        Bits per second.

    Raises
    ------
    BadInputError
        If the clock is too slow, or no divisor comes within 1 % of the baud rate. The other half
        of the 2 % that a receiver tolerates is the other side's.

    Examples
    --------
    >>> divisor(25_000_000, 115_200)
    217
    """
    cycles = max(1, round(clock / baud))
    if cycles < MIN_DIVISOR:
        raise BadInputError(
            f"baud must be at most clock / {MIN_DIVISOR} ({clock // MIN_DIVISOR}), not {baud}"
        )
    if abs(clock - baud * cycles) * 100 > baud * cycles:
        raise BadInputError(
            f"baud must be within 1 % of clock / {cycles} ({clock // cycles}), not {baud}"
        )
    return cycles


def received_stream() -> stream.Signature:
    """Bytes from the line; ``error`` says that this byte or one before it was lost or damaged."""
    return stream.Signature(data.StructLayout({"data": 8, "error": 1}))


class UartReceiver(wiring.Component):
    """Sample a line in the middle of each bit, the majority of three samples.

    A start bit that is gone at its middle was noise. A byte without a stop bit, such as a break,
    is handed on with ``error``, and the line must be idle before the next. Nothing can hold up
    the line: a byte that comes while the one before still waits is dropped, and the next one has
    ``error``.

    Tolerates a baud rate that is 2 % off.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least :data:`MIN_DIVISOR`.

    Members
    -------
    rx : In(1)
        The pin, asynchronous; idle high.
    o : Out(received_stream())
        Bytes, as soon as the middle of their stop bit was seen.
    """

    rx: Signal
    o: stream.Interface

    def __init__(self, divisor: int) -> None:
        if divisor < MIN_DIVISOR:
            raise BadInputError(f"divisor must be at least {MIN_DIVISOR}, not {divisor!r}")
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(received_stream())})  # pyright: ignore[reportCallIssue]

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # samples[0] is the newest; the vote is that of the bit one cycle ago.
        samples = Signal(3, init=-1)
        line = Signal()
        m.submodules.synchronizer = FFSynchronizer(self.rx, samples[0], init=1)
        m.d.sync += samples[1:].eq(samples)
        m.d.comb += line.eq((samples[0] & samples[1]) | (samples[2] & (samples[0] | samples[1])))

        timer = Signal(range(self.divisor))
        left = Signal(range(BITS + 1))
        shift = Signal(BITS)
        sample = Signal()
        m.d.comb += sample.eq(timer == 0)
        m.d.sync += timer.eq(Mux(sample, self.divisor - 1, timer - 1))

        lost = Signal()
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("idle"):
                # The vote turns with the second low sample, one cycle into the bit, and stands
                # for the sample before: the middle lies half a bit after this cycle.
                m.d.sync += [timer.eq(self.divisor // 2 - 1), left.eq(BITS)]
                with m.If(~line):
                    m.next = "start"
            with m.State("start"), m.If(sample):
                m.next = "data"
                with m.If(line):
                    m.next = "idle"
            with m.State("data"), m.If(sample):
                m.d.sync += [shift.eq(Cat(shift[1:], line)), left.eq(left - 1)]
                with m.If(left == 1):
                    m.next = "stop"
            with m.State("stop"), m.If(sample):
                with m.If(self.o.valid & ~self.o.ready):
                    m.d.sync += lost.eq(1)
                with m.Else():
                    m.d.sync += [
                        self.o.valid.eq(1),
                        self.o.payload.data.eq(shift),
                        self.o.payload.error.eq(lost | ~line),
                        lost.eq(0),
                    ]
                m.next = "recover"
                with m.If(line):
                    m.next = "idle"
            with m.State("recover"), m.If(line):
                m.next = "idle"

        return m


class UartTransmitter(wiring.Component):
    """Send bytes, without a pause between them while ``i`` has more.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least :data:`MIN_DIVISOR`.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes.
    tx : Out(1)
        The pin, from a register; idle high.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, divisor: int) -> None:
        if divisor < MIN_DIVISOR:
            raise BadInputError(f"divisor must be at least {MIN_DIVISOR}, not {divisor!r}")
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})  # pyright: ignore[reportCallIssue]

    def elaborate(self, platform: object) -> Module:
        m = Module()

        shift = Signal(BITS + 1, init=-1)
        left = Signal(range(BITS + 3))
        timer = Signal(range(self.divisor))
        last_cycle = Signal(init=1)  # timer == 0
        ready = Signal(init=1)  # nothing is left, or this is the last cycle of the last bit
        m.d.comb += [self.tx.eq(shift[0]), self.i.ready.eq(ready)]
        with m.If(self.i.valid & ready):
            m.d.sync += [
                shift.eq(Cat(C(0, 1), self.i.payload)),
                left.eq(BITS + 2),
                timer.eq(self.divisor - 1),
                *(last_cycle.eq(0), ready.eq(0)),
            ]
        with m.Elif(~last_cycle):
            m.d.sync += [timer.eq(timer - 1), last_cycle.eq(timer == 1)]
            with m.If((timer == 1) & (left == 1)):
                m.d.sync += ready.eq(1)
        with m.Elif(left != 0):
            m.d.sync += [
                shift.eq(Cat(shift[1:], C(1, 1))),
                left.eq(left - 1),
                timer.eq(self.divisor - 1),
                last_cycle.eq(0),
            ]

        return m
