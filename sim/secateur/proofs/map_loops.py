"""The loops over a layer's positions."""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Cat, Const, Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.format import LOOPS
from secateur.gateware.maps.loops import Loops
from secateur.proofs.sizes import MAPS

__all__ = ["CLAIMS"]

#: Addresses of two bits.
NARROW = dataclasses.replace(MAPS, pes=1, lanes=1)


def build() -> Harness:
    """Begin anew at any time, with any counts; positions are passed at any time."""
    loops = Loops(NARROW)
    h = Harness(loops)
    started, runs = Signal(), Signal()
    h.m.d.comb += runs.eq(started & ~loops.start)
    with h.m.If(loops.start):
        h.m.d.sync += started.eq(1)
    counts = [loops.counts[loop] for loop in range(LOOPS)]
    for loop, count in enumerate(counts):
        h.assume(f"count {loop} is held", ~runs | (count == h.late(count)))

    # The iteration of each loop: the next one when all inner loops end, and then these anew.
    at = [Signal.like(count, name=f"at_{loop}") for loop, count in enumerate(counts)]
    ends = Cat(here == count for here, count in zip(at, counts, strict=True))
    goes_on = Const(1)
    for loop, here in enumerate(at):
        with h.m.If(loops.start | (loops.advance & goes_on & ends[loop])):
            h.m.d.sync += here.eq(0)
        with h.m.Elif(loops.advance & goes_on):
            h.m.d.sync += here.eq(here + 1)
        goes_on = goes_on & ends[loop]
        h.show(f"iteration_{loop}", here)
        h.claim(f"loop {loop} ends with its last", ~runs | (loops.ends[loop] == ends[loop]))
    return h


CLAIMS = (
    Claim(
        name="loops",
        size=f"{LOOPS} loops of up to {1 << NARROW.address_width} iterations",
        make=build,
        faults=(
            Fault(
                "maps.loops",
                "goes_on = goes_on & end",
                "goes_on = self.advance",
                "loop 1 ends with its last",
            ),
            Fault(
                "maps.loops", "end.eq(left == 1)", "end.eq(left == 0)", "loop 0 ends with its last"
            ),
            Fault("maps.loops", "end.eq(count == 0)", "end.eq(0)", "loop 0 ends with its last"),
        ),
    ),
)
