"""The walker of maps: which positions, which words of them, and what is passed."""

from __future__ import annotations

import dataclasses
from functools import partial

from amaranth.hdl import Cat, Const, Mux, Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.format import LOOPS
from secateur.gateware.maps.walk import MapWalker
from secateur.proofs.sizes import MAPS

__all__ = ["CLAIMS"]

#: Loops of more than one iteration: the proof of the loops has all of them.
NESTED = 2
ONE_LANE = dataclasses.replace(MAPS, pes=1, lanes=1)


def build(*, passes: bool) -> Harness:
    """Layers begin while the one before is done and drained; sets are freed at any time."""
    walker = MapWalker(ONE_LANE)
    h = Harness(walker)
    layer = walker.layer
    used = Signal(range(ONE_LANE.tags + 1))  # sets of accumulators
    h.assume("started while done", ~walker.start | (walker.done & (used == 0)))
    h.assume("freed while in use", ~walker.freed | (used != 0))
    held = Signal()
    with h.m.If(walker.start):
        h.m.d.sync += held.eq(1)
    changes = h.late(layer.as_value()) != layer.as_value()
    idle = ~held | walker.start | h.late(walker.done & ~walker.start)
    h.assume("a layer is held", ~changes | idle)

    for loop in range(NESTED, LOOPS):
        h.assume(f"loop {loop} has one iteration", layer[f"count{loop}"] == 0)

    if not passes:
        h.assume("a position has one word", layer.source_words <= 1)

    # The iteration of each loop at the position that is next, or none; the words left of the
    # position before.
    at = [Signal.like(layer[f"count{loop}"], name=f"at_{loop}") for loop in range(NESTED)]
    follows = Signal()
    patch, tag = Signal.like(walker.patch), Signal.like(walker.o[0].tag)
    words = Signal.like(layer.source_words)
    left = Signal.like(words)
    first, last = left == 0, Mux(left == 0, words, left) == 1
    h.m.d.comb += words.eq(layer.source_words | (layer.source_words == 0))
    begins = walker.take & first
    with h.m.If(walker.start):
        h.m.d.sync += [*(each.eq(0) for each in at), tag.eq(0), left.eq(0)]
        h.m.d.sync += [follows.eq(1), patch.eq(layer.source_base)]
    with h.m.Elif(walker.take):
        h.m.d.sync += left.eq(Mux(first, words, left) - 1)
        with h.m.If(first):
            h.m.d.sync += [tag.eq(tag + 1), follows.eq(0)]
            # The innermost loop that goes on; those inside it begin anew.
            inner_end = Const(1)
            for loop, here in enumerate(at):
                ends = here == layer[f"count{loop}"]
                with h.m.If(inner_end & ~ends):
                    h.m.d.sync += [here.eq(here + 1), patch.eq(patch + layer[f"step{loop}"])]
                    h.m.d.sync += [follows.eq(1), *(each.eq(0) for each in at[:loop])]
                inner_end = inner_end & ends
    h.m.d.sync += used.eq(used + begins - walker.freed)
    h.show("left", left)
    h.show("follows", follows)

    h.claim("takes what there is", ~walker.take | (walker.room & (~first | follows)))
    h.claim("goes on", first | (walker.take == walker.room))
    h.claim("a set is used once", ~begins | (used != ONE_LANE.tags))
    h.claim("at its patch", ~begins | (walker.patch == patch))
    h.claim("stays at its patch", first | (walker.patch == h.late(walker.patch)))
    read = Signal.like(walker.offset)  # the next word of a position
    with h.m.If(walker.take):
        h.m.d.sync += read.eq(Mux(first, layer.column_base, read) + 1)
    h.claim("word by word", ~walker.take | (walker.offset == Mux(first, layer.column_base, read)))
    h.claim("done when all are taken", ~walker.done | (first & ~follows) | ~held)

    if not passes:
        return h

    # Beside its activations, and what is passed.
    h.claim("its counts behind it", walker.column == h.late(walker.offset, MapWalker.GATHER))
    taken = h.late(walker.take, MapWalker.LATENCY)
    what = [Mux(first, tag, (tag - 1)[: len(tag)]), first, last]
    what = [h.late(value, MapWalker.LATENCY) for value in what]
    value, visit = h.late(walker.word[0]), walker.o[0]
    h.claim("passed once", walker.visit == taken)
    h.claim("the first is passed", walker.visit | ~visit.first)
    h.claim(
        "passed as it is",
        ~taken
        | (
            (visit.tag == what[0])
            & (visit.first == what[1])
            & (visit.end == what[2])
            & (visit.active == (value != 0))
            & (visit.value == Cat(value, value[-1] & h.late(layer.input_signed)).as_signed())
            & (visit.base == h.late(layer.weight_base))
        ),
    )
    return h


CLAIMS = (
    Claim(
        name="maps' walker, positions",
        size=f"{NESTED} loops, of one word",
        make=partial(build, passes=False),
        cycles=20,
        faults=(
            Fault(
                "maps.walk", "begin.eq(known & (free != 0)", "begin.eq(known", "a set is used once"
            ),
            Fault("maps.walk", "chooses & ~loops.ends.all()", "chooses", "takes what there is"),
        ),
    ),
    Claim(
        name="maps' walker, words",
        size=f"{NESTED} loops, of up to 7 words",
        make=partial(build, passes=True),
        cycles=16,
        faults=(
            Fault("maps.walk", "tag.eq(tag + 1),", "tag.eq(0),", "passed as it is"),
            Fault("maps.walk", "read[0].end.eq(last)", "read[0].end.eq(first)", "passed as it is"),
        ),
    ),
)
