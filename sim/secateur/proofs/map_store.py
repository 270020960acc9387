"""The activation memory of an engine with maps."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Mux, Signal, Value

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.bench.hostile import HOSTILE
from secateur.gateware.maps.store import MapStore
from secateur.proofs.sizes import MAPS

__all__ = ["CLAIMS"]

#: Cycles from a patch until its offsets come, and until the banks take their addresses.
TO_OFFSETS, TO_BANKS = 2, 3


def build(*, contents: bool) -> Harness:
    """Words of x come, and are written where none may come; anything is read.

    One activation is followed, which an input chooses.
    """
    store = MapStore(MAPS, technology=HOSTILE)
    h = Harness(store)
    x, complete = store.i_x, store.complete
    put = x.valid & x.ready
    words = h.constant("all_words", len(store.words))
    h.m.d.comb += store.words.eq(words)
    h.assume("an x has words", words != 0)
    h.assume("closed once it is complete", ~h.late(complete) | ~store.open)
    h.assume("written where no x may come", ~(store.write & x.ready))

    # Words of the x that were taken.
    taken = Signal.like(words)
    last = put & (taken == words - 1)
    with h.m.If(put):
        h.m.d.sync += taken.eq(Mux(last, 0, taken + 1))
    h.show("taken", taken)
    h.claim("complete with its last word", complete == h.late(last))
    h.claim("begun while there is a part of it", store.begun == ((taken != 0) | complete))
    h.claim("begins when it may", ~x.ready | (taken != 0) | h.late(store.open))
    h.claim("goes on once it has begun", (taken == 0) | x.ready)
    h.claim("none between two", ~((complete | h.late(complete)) & x.ready))
    if not contents:
        return h

    lanes, lane_bits = MAPS.lanes, (MAPS.lanes - 1).bit_length()
    followed = h.constant("followed", MAPS.address_width)
    word, lane = followed[lane_bits:], followed[:lane_bits]
    kept = Signal(MAPS.activation_width)
    known = Signal()  # it was written
    hit = Signal()
    h.m.d.comb += hit.eq(Mux(put, taken == word, store.write & (store.address == word)))
    with h.m.If(hit):
        written = Mux(put, Value.cast(x.payload), Value.cast(store.written))
        h.m.d.sync += [kept.eq(written.word_select(lane, len(kept))), known.eq(1)]
    h.show("kept", kept)

    # Where each lane reads: known with the offsets. What is kept a cycle later, when the banks take
    # their addresses, and is not written then, comes.
    patch = h.late(store.patch, TO_OFFSETS)
    for number in range(lanes):
        place = Value.cast(store.offsets[f"word{number}"] << lane_bits) + patch + number
        reads = h.late(place[: len(followed)] == followed) & known & ~hit
        rest = MapStore.LATENCY - TO_BANKS
        h.claim(
            f"lane {number} reads as written",
            ~h.late(reads, rest) | (store.word[number] == h.late(kept, rest)),
        )
    return h


CLAIMS = (
    Claim(
        name="maps' store, x",
        size=f"{MAPS.activation_depth} words",
        make=partial(build, contents=False),
        faults=(
            Fault(
                "maps.store",
                "taking.eq((self.open & ~self.complete) | (place != 0) | put)",
                "taking.eq(self.open & ~self.complete)",
                "goes on once it has begun",
            ),
            Fault(
                "maps.store",
                "(self.open & ~self.complete)",
                "self.open",
                "none between two",
            ),
            Fault(
                "maps.store",
                "*(self.complete.eq(1), taking.eq(0))",
                "self.complete.eq(1)",
                "none between two",
            ),
            Fault(
                "maps.store", "after.eq(after + 1)", "after.eq(2)", "complete with its last word"
            ),
        ),
    ),
    Claim(
        name="maps' store, contents",
        size=f"{MAPS.activation_depth} words of {MAPS.lanes} activations",
        make=partial(build, contents=True),
        cycles=20,
        faults=(
            Fault(
                "maps.store",
                "bank.write_address.eq(Mux(taking, place, self.address))",
                "bank.write_address.eq(place)",
                "lane 0 reads as written",
            ),
            Fault("maps.store", "turned.eq(then)", "turned.eq(first)", "lane 0 reads as written"),
            Fault(
                "maps.store",
                "self.begun.eq((place != 0) | self.complete)",
                "self.begun.eq(place != 0)",
                "begun while there is a part of it",
            ),
            Fault("maps.store", "+ behind[lane])", ")", "lane 1 reads as written"),
        ),
    ),
)
