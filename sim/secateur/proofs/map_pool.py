"""Pooling: the largest activation of a window, or its average, beside those of other windows."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Mux, Signal, Value

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.maps.pool import Pool, kept_layout
from secateur.proofs.sizes import MAPS

__all__ = ["CLAIMS"]


def build(*, average: bool) -> Harness:
    """Rows come in any order, and wait at any time.

    The windows of one index are followed, which an input chooses.
    """
    pool = Pool(MAPS)
    h = Harness(pool)
    for name in ("average", "shift", "output_signed"):
        value = getattr(pool, name)
        h.assume(f"{name} is held", ~h.after_first() | (value == h.late(value)))
    h.assume("halved at most", pool.shift <= average)
    h.assume("one kind", pool.average == average)

    followed = h.constant("followed", len(pool.index))
    value = Value.cast(pool.i[0])
    value = Mux(pool.output_signed, value.as_signed(), value)
    kept = Signal(kept_layout(MAPS)[0].shape)
    known = Signal()
    total = Mux(pool.average, kept + value, Mux(kept > value, kept, value))
    now = Signal.like(kept)
    h.m.d.comb += now.eq(Mux(pool.first, value, total))
    comes = pool.move & pool.valid & (pool.index == followed)
    h.assume("a window has a first position", ~comes | pool.first | known)
    with h.m.If(comes):
        h.m.d.sync += [kept.eq(now), known.eq(1)]
    h.show("kept", kept)

    # Registers that hold without `move`, as those of the pool.
    there, result = comes, now
    for _ in range(Pool.LATENCY):
        earlier, there = there, Signal()
        before, result = result, Signal.like(result)
        with h.m.If(pool.move):
            h.m.d.sync += [there.eq(earlier), result.eq(before)]
    half = (1 << pool.shift) >> 1
    out = Value.cast(pool.o[0])
    pooled = Signal.like(kept)
    h.m.d.comb += pooled.eq(result + half)
    h.claim("the window's", ~there | (out == (pooled >> pool.shift)[: len(out)]))
    return h


CLAIMS = tuple(
    Claim(
        name=f"pool, {kind}",
        size=f"one row of {MAPS.activation_width} bits, windows halved at most",
        make=partial(build, average=kind == "averages"),
        cycles=10,
        faults=faults,
    )
    for kind, faults in (
        (
            "largest",
            (
                Fault("maps.pool", "old > extended", "old < extended", "the window's"),
                Fault(
                    "maps.pool",
                    "write.en.eq(valid)",
                    "write.en.eq(1)",
                    "the window's",
                ),
            ),
        ),
        (
            "averages",
            (
                Fault(
                    "maps.pool",
                    "same.eq(valid & (self.index == index))",
                    "same.eq(0)",
                    "the window's",
                ),
                Fault("maps.pool", "old + extended", "old", "the window's"),
            ),
        ),
    )
)
