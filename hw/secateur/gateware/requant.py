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
        highest_signed = (1 << (width - 1)) - 1
        highest_unsigned = (1 << width) - 1

        # Cycle 0: add. ReLU is a saturation at zero, so an output is "negative" only without it.
        total = Signal(signed(self.accumulator_width))
        total_shift = Signal.like(self.shift)
        total_signed = Signal()
        total_negative = Signal()

        # Cycle 1: shift. The zero below the sum becomes the last bit that is shifted out, which
        # is one exactly where the fraction is at least one half: adding it rounds half up, without
        # an adder as wide as the accumulator before the shifter.
        shifted = Signal(signed(self.accumulator_width + 1))
        shifted_signed = Signal()
        shifted_negative = Signal()

        # Cycle 2: round and saturate. A quotient that one more bit than an activation does not
        # hold is out of range whatever the rounding, which is why the adder may be this narrow.
        quotient = shifted[1:].as_signed()
        near = Signal(signed(width + 2))
        outside = Signal()
        lowest = Signal(signed(width))
        highest = Signal(width)
        m.d.comb += [
            near.eq(quotient[: width + 1].as_signed() + shifted[0]),
            outside.eq(quotient != quotient[: width + 1].as_signed()),
            lowest.eq(Mux(shifted_negative, -highest_signed - 1, 0)),
            highest.eq(Mux(shifted_signed, highest_signed, highest_unsigned)),
        ]

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
            with m.If(Mux(outside, quotient < 0, near < lowest)):
                m.d.sync += self.o.eq(lowest)
            with m.Elif(outside | (near > highest)):
                m.d.sync += self.o.eq(highest)
            with m.Else():
                m.d.sync += self.o.eq(near)

        return m
