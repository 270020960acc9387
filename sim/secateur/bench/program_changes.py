"""The loader and the checker as a control sees them, for benches of both kinds of control."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from secateur.gateware.programs import ProgramControl

__all__ = ["ProgramBench", "run_bench"]


class ProgramBench(ABC):
    """Lets programs change and weights be checked, and sees that nothing else is done meanwhile.

    A test asks with ``begin``, ``commit`` and ``check``, which fall when they are answered;
    ``commit`` goes to the control for a cycle more, as the loader holds it.

    Parameters
    ----------
    ctx : simulation context
    dut : ProgramControl
        The control.
    tables : list
        The layer table of each bank: a word a layer, as a dict of its fields.
    reset : Signal
        Resets ``dut``.
    seed : int
        Of what is drawn.
    """

    #: Cycles in which something has to happen.
    PATIENCE: ClassVar[int]

    def __init__(
        self,
        ctx: Any,
        dut: ProgramControl,
        tables: list[list[dict[str, int]]],
        reset: Signal,
        seed: int,
    ) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.tables, self.reset_signal, self.rng = tables, reset, random.Random(seed)
        self.begin = self.commit = self.check = False
        self.restart()

    def restart(self) -> None:
        """Begin as after reset."""
        self.events: list[tuple[Any, ...]] = []
        self.committed = False  # in the cycle before

    @property
    def program(self) -> list[dict[str, int]]:
        """The layer table of the bank in use."""
        return self.tables[self.ctx.get(self.dut.bank)]

    @abstractmethod
    async def _step(self) -> None:
        """Go on for a cycle."""

    @abstractmethod
    def _assert_quiet(self) -> None:
        """No inference is under way, and no x has begun or may begin."""

    async def step(self, cycles: int = 1) -> None:
        """Go on for some cycles."""
        for _ in range(cycles):
            await self._step()

    def _ask(self) -> None:
        """Set what the control is asked for in this cycle."""
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.begin, self.begin)
        ctx.set(dut.commit, self.commit or self.committed)
        if hasattr(dut, "check"):
            ctx.set(dut.check, self.check)
            ctx.set(dut.checked, self.rng.random() < 0.1)

    def _look_at_programs(self) -> None:
        """Look at what is answered in this cycle."""
        ctx, dut = self.ctx, self.dut
        if ctx.get(dut.clear):
            self._assert_quiet()
            self.events.append(("clear", ctx.get(dut.clear_address)))
        if self.begin and ctx.get(dut.begun):
            self.events.append(("begun",))
            if self.spec.banks == 1:
                self._assert_quiet()
            self.begin = False
        committed = bool(ctx.get(dut.committed))
        if committed:
            assert self.commit
            self._assert_quiet()
            self.events.append(("committed", ctx.get(dut.write_bank)))
            self.commit = False
        self.committed = committed
        if self.check and ctx.get(dut.checking):
            self._assert_quiet()
            if ctx.get(dut.checked):
                self.events.append(("checked",))
                self.check = False
        write_bank = 1 - ctx.get(dut.bank) if self.spec.banks == 2 else 0
        assert ctx.get(dut.write_bank) == write_bank
        if ctx.get(dut.x_open):
            assert ctx.get(dut.ready)
        if ctx.get(dut.ready):
            assert ctx.get(dut.loaded)

    # What tests ask for.

    async def until(self, condition: Callable[[], object]) -> None:
        """Go on until something is so."""
        for _ in range(self.PATIENCE):
            if condition():
                return
            await self._step()
        raise AssertionError(f"nothing happens any more: {self.events}")

    async def ready(self) -> None:
        """Go on until an x may begin."""
        await self.until(lambda: self.ctx.get(self.dut.x_open))

    def take(self) -> list[tuple[Any, ...]]:
        """Give what has happened to programs since the last time."""
        events, self.events = self.events, []
        return events

    async def reset(self) -> None:
        """Reset the control for a cycle."""
        self.ctx.set(self.reset_signal, 1)
        await self.ctx.tick()
        self.ctx.set(self.reset_signal, 0)
        self.restart()


Bench = TypeVar("Bench", bound=ProgramBench)


def run_bench(
    dut: ProgramControl,
    make: Callable[[Any, Signal], Bench],
    body: Callable[[Bench], Coroutine[Any, Any, None]],
) -> None:
    """Run ``body(bench)``, where ``make`` makes the bench of a context and ``dut``'s reset."""
    reset = Signal()

    async def testbench(ctx: Any) -> None:
        await body(make(ctx, reset))

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
