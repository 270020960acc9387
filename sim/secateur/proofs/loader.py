"""The loader, whatever bytes come."""

from __future__ import annotations

from amaranth.hdl import Cat, Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.format import LoadError, memories
from secateur.gateware.loader import Loader
from secateur.proofs.sizes import SPEC

__all__ = ["CLAIMS"]


def build() -> Harness:
    """Any bytes come, and the engine answers at any time."""
    loader = Loader(SPEC)
    h = Harness(loader)
    write = loader.write
    inside = Cat(
        (write.section == section)
        & (write.address < memory.depth)
        & (write.pe < (SPEC.pes if memory.per_pe else 1))
        for section, memory in memories(SPEC).items()
    ).any()
    h.claim("writes inside a memory", ~loader.write_valid | inside)

    known = (h.late(write.section) == write.section) & (h.late(write.pe) == write.pe)
    h.claim("section and PE stand before a write", ~loader.write_valid | known)

    first = loader.i.valid & loader.i.ready & loader.i.payload.first
    begun, refused = Signal(), Signal()
    with h.m.If(first):
        h.m.d.sync += [begun.eq(0), refused.eq(0)]
    with h.m.Elif(loader.begin & loader.begun):
        h.m.d.sync += begun.eq(1)
    with h.m.Elif(loader.error != LoadError.NONE):
        h.m.d.sync += refused.eq(1)
    h.show("begun_before", begun)
    h.claim("writes after it has begun", ~loader.write_valid | begun | h.late(begun))
    h.claim("commits after it has begun", ~loader.commit | begun)
    h.claim(
        "a refused image never commits",
        ~loader.commit | (~refused & (loader.error == LoadError.NONE)),
    )
    h.claim("loading or refused or done", ~(loader.loading & (loader.error != LoadError.NONE)))
    answered = h.late(h.late(loader.committed))
    h.claim("commit is held", ~h.late(loader.commit) | answered | loader.commit)
    return h


CLAIMS = (
    Claim(
        name="loader",
        size=", ".join(
            f"{section.name.lower()} of {memory.depth} words"
            for section, memory in memories(SPEC).items()
        ),
        make=build,
        faults=(
            Fault(
                "loader", "fewer >= memory.depth", "fewer > memory.depth", "writes inside a memory"
            ),
            Fault(
                "loader",
                "address.eq(address + 1)",
                "address.eq(address + 2)",
                "writes inside a memory",
            ),
            Fault(
                "loader",
                "[self.write_valid.eq(1), left.eq(less)",
                "[self.write_valid.eq(1), self.write.pe.eq(self.write.pe ^ 1), left.eq(less)",
                "section and PE stand before a write",
            ),
            Fault(
                "loader",
                "section.pe >= self.spec.pes",
                "section.pe > self.spec.pes",
                "writes inside a memory",
            ),
            Fault(
                "loader",
                "refuse(LoadError.CRC)",
                'm.d.sync += self.error.eq(LoadError.CRC)\n                    m.next = "commit"',
                "a refused image never commits",
            ),
        ),
    ),
)
