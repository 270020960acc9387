"""The two queues of the activation memory."""

from __future__ import annotations

import dataclasses
from functools import partial

from amaranth.hdl import Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.bench.hostile import HOSTILE
from secateur.gateware.store import ActivationStore
from secateur.proofs.fifo import count, follow
from secateur.proofs.sizes import SPEC

__all__ = ["CLAIMS"]

#: One activation a word: the width of a word does not matter here.
NARROW = dataclasses.replace(SPEC, pes=1, lanes=1)
DEPTH = NARROW.activation_depth


def build(*, order: bool) -> Harness:
    """Words come and are read in any order, as long as what is read is there."""
    store = ActivationStore(NARROW, technology=HOSTILE)
    h = Harness(store)
    h.assume("one is read", ~(store.take_x & store.take_hidden))
    h.assume(
        "which is read",
        ~(store.take_x | store.take_hidden) | (store.read_hidden == store.take_hidden),
    )
    levels = []
    for name, i, there, take in (
        ("x", store.i_x, store.x_there, store.take_x),
        ("hidden", store.i_hidden, store.hidden_there, store.take_hidden),
    ):
        put = i.valid & i.ready
        level = count(h, name, put=put, take=take, depth=DEPTH)
        h.assume(f"{name} is there", ~take | there)
        h.claim(f"{name} is there when it is", there == (level != 0))
        if order:
            # Two cycles later the word is there.
            taken = h.late(h.late(take))
            follow(
                h,
                name,
                count(h, f"{name}_read", put=put, take=taken, depth=DEPTH + 2),
                put=put,
                word=i.payload,
                take=taken,
                given=store.word,
            )
        levels.append(level)
    h.claim("room for x", ~store.i_x.ready | (levels[0] < DEPTH))
    room = levels[1] < DEPTH
    h.claim("room for hidden", store.i_hidden.ready <= room)
    h.claim("one of them", ~store.i_x.ready | ~store.i_hidden.ready)
    # A hidden word that fits waits for one cycle at most.
    refused = store.i_hidden.valid & room & ~store.i_hidden.ready
    h.claim("hidden goes on", h.late(refused) <= (store.i_hidden.ready | ~room))

    # An x has so many words.
    words = h.constant("all_words", len(store.words))
    h.m.d.comb += store.words.eq(words)
    h.assume("an x has words", words != 0)
    left = Signal.like(words)
    put = store.i_x.valid & store.i_x.ready
    last = put & ((left == 1) | ((left == 0) & (words == 1)))
    with h.m.If(put):
        with h.m.If(left == 0):
            h.m.d.sync += left.eq(words - 1)
        with h.m.Else():
            h.m.d.sync += left.eq(left - 1)
    h.claim("x is complete", store.complete == h.late(last))
    h.claim("x begins when it may", ~put | (left != 0) | h.late(store.open))
    return h


SIZE = f"2 queues of {DEPTH} words of {NARROW.activation_width} bits"
CLAIMS = (
    Claim(
        name="activation store, pointers",
        size=SIZE,
        make=partial(build, order=False),
        faults=(
            Fault("store", "fills.eq(after_put == read)", "fills.eq(0)", "room for hidden"),
            Fault(
                "store",
                "there.eq(after_take != write)",
                "there.eq(0)",
                "hidden is there when it is",
            ),
            Fault("store", "Mux(put_x, ~last, inside)", "0", "x is complete"),
            Fault("store", "~(self.i_hidden.valid & ~hidden_full)", "1", "hidden goes on"),
            Fault("store", "~hidden_full & ~turn_x", "~hidden_full", "one of them"),
        ),
    ),
    Claim(
        name="activation store, order",
        size=SIZE,
        make=partial(build, order=True),
        cycles=12,
        faults=(
            Fault(
                "store",
                "Mux(turn_x, Cat(x_write, 0), Cat(hidden_write, 1))",
                "Mux(turn_x, Cat(x_write, 0), Cat(hidden_write, 0))",
                "hidden: in order",
            ),
            Fault(
                "store",
                "Mux(self.read_hidden, Cat(hidden_read, 1), Cat(x_read, 0))",
                "Mux(self.read_hidden, Cat(hidden_read, 1), Cat(hidden_read, 0))",
                "x: in order",
            ),
        ),
    ),
)
