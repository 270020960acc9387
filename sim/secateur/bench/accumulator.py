"""Drive an accumulator in Amaranth's simulator, and compare it with a dictionary of sums."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.sim import Simulator

from secateur.errors import CheckFailedError
from secateur.gateware.accumulate import Accumulator

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["AccumulatorBench", "Slot", "run_accumulator", "sets_and_rows"]


def sets_and_rows(spec: EngineSpec) -> tuple[int, int]:
    """Count the tags of accumulators, and the rows of each: with positions a tag for a memory.

    Examples
    --------
    >>> from secateur.engine import EngineSpec
    >>> sets_and_rows(EngineSpec(pes=1, lanes=1, row_depth=16, jobs=4))
    (4, 16)
    >>> fields = {"jobs": 1, "positions": 8, "accumulator_memories": 2}
    >>> sets_and_rows(EngineSpec(pes=1, lanes=1, row_depth=16, **fields))
    (2, 8)
    """
    if spec.positions:
        return spec.accumulator_memories, spec.row_depth // spec.accumulator_memories
    return spec.jobs, spec.row_depth


class Slot(NamedTuple):
    """An accumulator."""

    row: int
    tag: int


class AccumulatorBench:
    """Drives an accumulator, keeps the sums that it must hold, and says what may be done when."""

    def __init__(self, ctx: Any, dut: Accumulator, seed: int) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.rng = random.Random(seed)
        sets, rows = sets_and_rows(self.spec)
        self.slots = [Slot(row, tag) for tag in range(sets) for row in range(rows)]
        self.sums = dict.fromkeys(self.slots, 0)
        self.now = 0
        #: First cycle in which a slot may be read, because its sums are stored or it is cleared,
        #: and in which products may come for it.
        self.stored = dict.fromkeys(self.slots, 0)
        self.cleared = dict.fromkeys(self.slots, 0)
        self.captures: dict[int, tuple[int, int]] = {}  # by cycle: memory, sum
        self.clears: dict[int, Slot] = {}
        self.captured: int | None = None  # what `sum` must show now

    def memory(self, slot: Slot) -> int:
        return slot.tag % self.spec.accumulator_memories

    def readable(self, slot: Slot) -> bool:
        return self.stored[slot] <= self.now

    def usable(self, slot: Slot) -> bool:
        return self.cleared[slot] <= self.now

    async def cycle(
        self,
        add: tuple[Slot, int, int] | None = None,
        *,
        read: Slot | None = None,
        clear: bool = False,
        want: int | None = None,
    ) -> None:
        """Pass a cycle: add a product, read a slot and perhaps clear it, as a drain does.

        What is not valid is garbage. ``want`` is for slots that are read too early on purpose.
        """
        ctx, dut, rng = self.ctx, self.dut, self.rng
        slot, weight, value = add or (rng.choice(self.slots), rng.choice((-1, 1)), 1)
        ctx.set(dut.valid, add is not None)
        ctx.set(dut.slot, slot._asdict())
        ctx.set(dut.weight, weight)
        ctx.set(dut.value, value)
        if add:
            assert self.usable(slot), "the bench breaks the contract"
            self.sums[slot] += weight * value
            self.stored[slot] = self.now + Accumulator.LATENCY + 1
        if read:
            assert want is not None or self.readable(read), "the bench breaks the contract"
            assert not add or self.memory(slot) != self.memory(read)
            want = self.sums[read] if want is None else want
            self.captures[self.now + Accumulator.DRAINED] = (self.memory(read), want)
            if clear:
                self.clears[self.now + Accumulator.LATENCY] = read
                self.sums[read] = 0
                self.stored[read] = self.cleared[read] = self.now + Accumulator.LATENCY + 1
        capture = self.captures.pop(self.now, None)
        cleared = self.clears.pop(self.now, None)
        ctx.set(
            dut.drained,
            {
                "slot": (read or rng.choice(self.slots))._asdict(),
                "capture": capture is not None,
                "memory": capture[0] if capture else rng.randrange(self.spec.accumulator_memories),
                "clear": 0 if cleared is None else 1 << self.memory(cleared),
                "cleared": (cleared or rng.choice(self.slots))._asdict(),
            },
        )
        await ctx.tick()
        self.now += 1
        if capture:
            self.captured = capture[1]
        if self.captured is not None:
            got = ctx.get(dut.sum)
            if got != self.captured:
                raise CheckFailedError(f"cycle {self.now}: {got}, not {self.captured}")

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.cycle()

    async def erase(self) -> None:
        """Clear all memories, as after reset."""
        for slot in self.slots:
            ones = (1 << self.spec.accumulator_memories) - 1
            self.ctx.set(self.dut.drained, {"clear": ones, "cleared": slot._asdict()})
            await self.ctx.tick()
            self.now += 1

    async def check(self) -> None:
        """Read every slot."""
        await self.idle(Accumulator.LATENCY)
        for slot in self.slots:
            await self.cycle(read=slot)
        await self.idle(Accumulator.DRAINED)


def run_accumulator(dut: Accumulator, body: Any, *, elaboratable: Any = None) -> None:
    """Run ``body(bench)`` on cleared accumulators.

    Raises
    ------
    CheckFailedError
        On the first sum that is wrong.
    """

    async def testbench(ctx: Any) -> None:
        bench = AccumulatorBench(ctx, dut, 1)
        await bench.erase()
        await body(bench)
        await bench.check()

    simulator = Simulator(elaboratable or dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
