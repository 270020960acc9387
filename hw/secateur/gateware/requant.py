"""Requantisation: from an accumulator to an activation."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Requantizer"]


class Requantizer(wiring.Component):
    """Add the bias, shift right, round half up, saturate and activate, one value a cycle.

    Computes :meth:`secateur.fixed.Requant.compute` of ``acc + bias``, with the fields of
    :class:`secateur.fixed.Requant` as inputs. They travel with their value, so that a layer may
    follow another without a gap. The latency is :attr:`LATENCY` cycles in which ``enable`` is set.

    It is no stream: it stands inside a pipeline that stalls as a whole.

    Parameters
    ----------
    accumulator_width : int
        Bits of an accumulator and of a bias, two's complement.
    activation_width : int
        Bits of an activation.

    Members
    -------
    acc, bias : In(signed(accumulator_width))
        Summands; whoever chose ``accumulator_width`` has shown that their sum fits in it.
    shift : In(6)
        Right shift, bits.
    output_signed : In(1)
        Saturate to the two's complement numbers of ``activation_width`` bits, not the unsigned.
    relu : In(1)
        Negative results become zero.
    enable : In(1)
        Advance the pipeline; without it every register holds.
    o : Out(activation_width)
        The result's bits, two's complement or unsigned as its ``output_signed`` said.
    """

    LATENCY = 3

    acc: Signal
    bias: Signal
    shift: Signal
    output_signed: Signal
    relu: Signal
    enable: Signal
    o: Signal

    def __init__(self, *, accumulator_width: int, activation_width: int) -> None:
        self.accumulator_width = accumulator_width
        self.activation_width = activation_width
        super().__init__({
            "acc": In(signed(accumulator_width)),
            "bias": In(signed(accumulator_width)),
            "shift": In(6),
            "output_signed": In(1),
            "relu": In(1),
            "enable": In(1),
            "o": Out(activation_width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.activation_width

        # Cycle 0: add. ReLU is a saturation at zero, so an output is "negative" only without it.
        total = Signal(signed(self.accumulator_width))
        total_shift = Signal.like(self.shift)
        total_signed = Signal()
        total_negative = Signal()

        # Cycle 1: shift. The zero below the sum becomes the last bit that is shifted out, which
        # is one exactly where the fraction is at least one half: adding it rounds half up, without
        # an adder as wide as the accumulator before the shifter. The quotient above it has at least
        # one bit more than an activation.
        shifted = Signal(signed(1 + max(self.accumulator_width, width + 1)))
        shifted_signed = Signal()
        shifted_negative = Signal()

        # Cycle 2: round and saturate. Neither bound needs the rounded value: the largest number
        # stays what it is when rounded up, and what lies below the smallest does not get above it.
        # So the increment, of an activation's width, runs beside the comparisons, which look at
        # the quotient's sign and at whether the bits above an activation agree with it.
        quotient = shifted[1:].as_signed()
        negative = quotient[-1]
        rounded = Signal(width)
        above = Signal()
        below = Signal()
        m.d.comb += rounded.eq(quotient[:width] + shifted[0])
        with m.If(shifted_signed):
            m.d.comb += above.eq(quotient[width - 1 :].any() | quotient[: width - 1].all())
        with m.Else():
            m.d.comb += above.eq(quotient[width:].any() | quotient[:width].all())
        with m.If(shifted_negative):
            m.d.comb += below.eq(~quotient[width - 1 :].all())
        with m.Else():
            m.d.comb += below.eq(1)

        with m.If(self.enable):
            m.d.sync += [
                total.eq(self.acc + self.bias),
                total_shift.eq(self.shift),
                total_signed.eq(self.output_signed),
                total_negative.eq(self.output_signed & ~self.relu),
                shifted.eq(Cat(C(0, 1), total).as_signed() >> total_shift),
                shifted_signed.eq(total_signed),
                shifted_negative.eq(total_negative),
            ]
            with m.If(negative & below):
                m.d.sync += self.o.eq(Mux(shifted_negative, 1 << (width - 1), 0))
            with m.Elif(~negative & above):
                m.d.sync += self.o.eq(Mux(shifted_signed, (1 << (width - 1)) - 1, (1 << width) - 1))
            with m.Else():
                m.d.sync += self.o.eq(rounded)

        return m
