"""The register between two streams."""

from __future__ import annotations

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.buffer import StreamBuffer
from secateur.proofs.fifo import count, follow

__all__ = ["CLAIMS"]

WIDTH = 2


def build() -> Harness:
    """Anything comes, and is taken at any time."""
    buffer = StreamBuffer(WIDTH)
    h = Harness(buffer)
    i, o = buffer.i, buffer.o
    put, take = i.valid & i.ready, o.valid & o.ready
    level = count(h, "buffer", put=put, take=take, depth=1)
    follow(h, "buffer", level, put=put, word=i.payload, take=take, given=o.payload)
    h.claim("what is inside is offered", o.valid == (level == 1))
    h.claim("taken while empty", i.ready == (level == 0))
    return h


CLAIMS = (
    Claim(
        name="stream buffer",
        size=f"{WIDTH} bits",
        make=build,
        faults=(
            Fault(
                "buffer",
                "self.i.ready.eq(~self.o.valid)",
                "self.i.ready.eq(1)",
                "taken while empty",
            ),
            Fault("buffer", "m.Elif(self.o.ready)", "m.Else()", "what is inside is offered"),
        ),
    ),
)
