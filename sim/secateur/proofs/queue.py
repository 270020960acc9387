"""The queue of words."""

from __future__ import annotations

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.queue import Queue
from secateur.proofs.fifo import count, follow

__all__ = ["CLAIMS"]

WIDTH, DEPTH = 2, 4


def build() -> Harness:
    """Write whenever fewer than ``depth`` words are there; read whenever one is offered."""
    queue = Queue(width=WIDTH, depth=DEPTH)
    h = Harness(queue)
    put, take = queue.w_en, queue.r_rdy & queue.r_en
    level = count(h, "queue", put=put, take=take, depth=DEPTH)
    follow(h, "queue", level, put=put, word=queue.w_data, take=take, given=queue.r_data)
    h.assume("there is room", ~queue.w_en | (level < DEPTH))
    # All that is not offered was written in the last cycle.
    h.claim("nothing waits inside", queue.r_rdy | (level == h.late(queue.w_en)))
    return h


CLAIMS = (
    Claim(
        name="queue",
        size=f"{DEPTH} words of {WIDTH} bits",
        make=build,
        faults=(
            Fault(
                "queue",
                "there.eq(after_read != write.addr)",
                "there.eq(0)",
                "nothing waits inside",
            ),
            Fault(
                "queue",
                "fetch.eq(there & (~self.r_rdy | self.r_en))",
                "fetch.eq(there)",
                "queue: in order",
            ),
            Fault("queue", "self.r_rdy.eq(0)", "self.r_rdy.eq(self.w_en)", "queue: in order"),
            Fault("queue", "address == words - 1, 0", "address == words, 0", "queue: in order"),
        ),
    ),
)
