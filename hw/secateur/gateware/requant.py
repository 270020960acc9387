"""Requantisation: from an accumulator to an activation."""

from __future__ import annotations

import itertools

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Requantizer"]

#: Shifts by a multiple of it and by less are two cycles.
STEP = 8


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

    LATENCY = 5

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
        kinds = data.StructLayout({"shift": 6, "signed": 1, "negative": 1})
        kind = [Signal(kinds, name=f"kind_{cycle}") for cycle in range(1, self.LATENCY)]

        # Cycle 1: shift by a multiple of STEP. The zero below the sum becomes the last bit that is
        # shifted out, which is one exactly where the fraction is at least one half: adding it
        # rounds half up, without an adder as wide as the accumulator before the shifter. The
        # quotient above it has at least one bit more than an activation.
        coarse = Signal(signed(1 + max(self.accumulator_width, width + 1)))

        # Cycle 2: shift by the rest. Of what is above an activation it is enough to know whether
        # all bits are the sign. Which of those stay above it is known before.
        step_bits = STEP.bit_length() - 1
        rest = kind[1].shift[:step_bits]
        stays = Signal(STEP - 1)
        negative = coarse[-1]
        beyond = [
            # The lowest of them may be shifted into the activation.
            (bit ^ negative) & (stays[index] if index < STEP - 1 else 1)
            for index, bit in enumerate(coarse[width + 1 :])
        ]
        fine = Signal(width + 1)
        fine_negative = Signal()
        fine_beyond = Signal(2)  # the halves

        # Cycle 3: round and saturate. Neither bound needs the rounded value: the largest number
        # stays what it is when rounded up, and what lies below the smallest does not get above it.
        # So the increment runs beside the comparisons.
        quotient = fine[1:]
        above = Signal()
        below = Signal()
        saturates = kind[2]
        with m.If(saturates.signed):
            m.d.comb += above.eq(fine_beyond.any() | quotient[-1] | quotient[:-1].all())
        with m.Else():
            m.d.comb += above.eq(fine_beyond.any() | quotient.all())
        m.d.comb += below.eq(~saturates.negative | fine_beyond.any() | ~quotient[-1])

        # Cycle 4: choose.
        rounded = Signal(width)
        is_below = Signal()
        is_above = Signal()
        last = kind[3]

        with m.If(self.enable):
            m.d.sync += [
                total.eq(self.acc + self.bias),
                kind[0].shift.eq(self.shift),
                kind[0].signed.eq(self.output_signed),
                kind[0].negative.eq(self.output_signed & ~self.relu),
                *(late.eq(early) for early, late in itertools.pairwise(kind)),
                coarse.eq(
                    Cat(C(0, 1), total).as_signed()
                    >> Cat(C(0, step_bits), kind[0].shift[step_bits:])
                ),
                stays.eq(Cat(kind[0].shift[:step_bits] <= index for index in range(STEP - 1))),
                fine.eq(coarse >> rest),
                fine_negative.eq(negative),
                fine_beyond.eq(Cat(Cat(beyond[::2]).any(), Cat(beyond[1::2]).any())),
                rounded.eq(quotient + fine[0]),
                is_below.eq(fine_negative & below),
                is_above.eq(~fine_negative & above),
                self.o.eq(rounded),
            ]
            with m.If(is_below):
                m.d.sync += self.o.eq(Mux(last.negative, 1 << (width - 1), 0))
            with m.Elif(is_above):
                m.d.sync += self.o.eq(Mux(last.signed, (1 << (width - 1)) - 1, (1 << width) - 1))

        return m
