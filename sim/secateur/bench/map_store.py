"""MapStore against a list of activations, cycle by cycle, in Amaranth's simulator."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.bench.hostile import HOSTILE
from secateur.errors import CheckFailedError
from secateur.gateware.maps.store import MapStore

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from secateur.engine import EngineSpec

__all__ = ["Passed", "Shares", "run_map_store"]

#: Cycles from a patch until its offsets come, and until the banks take their addresses.
TO_OFFSETS, TO_BANKS = 2, 3


class Shares(NamedTuple):
    """Shares of the time in which something may happen."""

    x: float = 1  # a word of x is offered
    open: float = 1  # an x may begin
    write: float = 0  # a word is written, where no x may come


class Passed(NamedTuple):
    """What was compared, and the cycles until the last x was complete."""

    cycles: int
    x: int  # words of x
    written: int
    read: int  # activations


class _Read:
    """A patch that is read: where each lane's activation lies, and what it is."""

    def __init__(self, rng: random.Random, spec: EngineSpec) -> None:
        lanes, size = spec.lanes, spec.activation_depth * spec.lanes
        self.patch = rng.randrange(size - lanes + 1)
        begins = [self.patch + lane for lane in range(lanes)]
        self.offsets = [rng.randrange((size - 1 - begin) // lanes + 1) for begin in begins]
        self.at = [begin + lanes * word for begin, word in zip(begins, self.offsets, strict=True)]
        self.want: list[int | None] = []


def run_map_store(
    spec: EngineSpec,
    inputs: Sequence[int],
    *,
    shares: Shares | None = None,
    resets: Container[int] = (),
    seed: int = 1,
    time_out: int = 20_000,
) -> Passed:
    """Take an x of each of the lengths ``inputs``, and read any patch in every cycle.

    Every output is compared in every cycle. Between two inputs, while no x may come, words are
    written to any address. A reset breaks an x off; the next one begins at address 0.

    Raises
    ------
    CheckFailedError
        On the first difference, or if the inputs are not taken after ``time_out`` cycles.
    """
    share = shares or Shares()
    rng = random.Random(seed)
    dut = MapStore(spec, technology=HOSTILE)
    reset = Signal()
    width, lanes = spec.activation_width, spec.lanes
    counts = dict.fromkeys(Passed._fields, 0)

    def draw() -> list[int]:
        return [rng.getrandbits(width) for _ in range(lanes)]

    async def bench(ctx: Any) -> None:
        # None is what a write that meets a reset leaves.
        memory: list[int | None] = [0] * (spec.activation_depth * lanes)
        waiting = iter(inputs)
        words = next(waiting)
        place = 0
        offered: list[int] | None = None
        ready = completed = closing = False
        over = 0  # cycles behind the last x
        reads: dict[int, _Read] = {}  # by the cycle of their patch
        for cycle in range(time_out):
            where = f"cycle {cycle}"
            if not offered and not over and rng.random() < share.x:
                offered = draw()
            open_ = not closing and not over and rng.random() < share.open
            write = not ready and rng.random() < share.write
            address, written = rng.randrange(spec.activation_depth), draw()
            reads[cycle] = read = _Read(rng, spec)
            ctx.set(dut.i_x.valid, offered is not None)
            ctx.set(dut.i_x.payload, offered or draw())
            ctx.set(dut.words, words)
            ctx.set(dut.open, open_)
            ctx.set(dut.write, write)
            ctx.set(dut.address, address)
            ctx.set(dut.written, written)
            ctx.set(dut.patch, read.patch)
            asked = reads.get(cycle - TO_OFFSETS, read).offsets
            ctx.set(dut.offsets, {f"word{lane}": word for lane, word in enumerate(asked)})
            ctx.set(reset, cycle in resets)

            expect(bool(ctx.get(dut.i_x.ready)), ready, f"{where}: i_x.ready")
            expect(bool(ctx.get(dut.begun)), place > 0 or completed, f"{where}: begun")
            expect(bool(ctx.get(dut.complete)), completed, f"{where}: complete")
            if shown := reads.pop(cycle - MapStore.LATENCY, None):
                got = [ctx.get(dut.word)[lane] for lane in range(lanes)]
                for lane, want in enumerate(shown.want):
                    if want is not None:
                        expect(got[lane], want, f"{where}: patch {shown.patch}, lane {lane}")
                        counts["read"] += 1
            await ctx.tick()

            put = offered if ready else None
            word = put or (written if write else None)
            target = place if put else address
            # What is written in the cycle in which a bank takes its address is not yet there, and
            # at that address it shows nothing that one could rely on.
            if late := reads.get(cycle - TO_BANKS):
                late.want = [
                    None if word and at // lanes == target else memory[at] for at in late.at
                ]
            if word:
                known = [None] * lanes if cycle in resets else word
                memory[target * lanes : (target + 1) * lanes] = known
            closing, completed = completed, False
            counts["written"] += write
            if put:
                counts["x"] += 1
                offered, place = None, place + 1
                if place == words:
                    place, completed = 0, True
                    counts["cycles"] = cycle + 1
            ready = place > 0 or (open_ and not closing and not completed)
            if cycle in resets:
                place, ready, completed, offered = 0, False, False, None
                reads.clear()
            if closing or over:  # the next one's length, now that `open` falls
                following = next(waiting, None)
                words, over = (following, 0) if following else (words, over + 1)
            if over > MapStore.LATENCY:
                return
        raise CheckFailedError(f"x is not taken after {time_out} cycles")

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return Passed(**counts)
