"""Drive and observe streams under cocotb, waking Python only when there is something to do.

Signals are driven at the falling edge of the clock and sampled once they have settled, before the
rising one: what is seen then is what the rising edge sees. Where a side has to wait, it waits for
the other's signal and not for the clock, so that cycles in which nothing is transferred cost the
simulator's time and none of Python's.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["PERIOD", "Sink", "Source", "quiet", "start", "within"]

#: Clock period, ns.
PERIOD = 10


async def start(dut: Any, streams: Iterable[str] = ()) -> None:
    """Start the clock, reset, and return at a falling edge.

    Every stream of ``streams``, by its prefix, must then have a ready and a valid of 0 or 1.
    """
    dut.rst.value = 1
    Clock(dut.clk, PERIOD, unit="ns").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await ReadOnly()
    for name in streams:
        for part in ("valid", "ready"):
            known(getattr(dut, f"{name}__{part}"))
    await FallingEdge(dut.clk)


def known(signal: Any) -> bool:
    """Return the value of a bit, which must not be X or Z."""
    value = signal.value
    assert value.is_resolvable, f"{signal._name} is {value}"
    return bool(value)


async def within(cycles: int, action: Coroutine[Any, Any, Any]) -> Any:
    """Await ``action``, and fail if that takes more than ``cycles``."""
    return await with_timeout(action, cycles * PERIOD, "ns")


class _End:
    """One stream of the device under test, by the prefix of its ports.

    Attributes
    ----------
    cycles : list of int
        When each payload was transferred, in cycles since the beginning of the simulation.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0, seed: int = 0) -> None:
        self.clock = dut.clk
        self.name = name
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.stall = stall
        self.rng = random.Random(seed)
        self.cycles: list[int] = []

    async def _transfer(self, signal: Any) -> None:
        """Wait for the other side's ``signal``, and note the cycle."""
        await self._high(signal)
        self.cycles.append(int(get_sim_time("ns")) // PERIOD)

    async def _high(self, signal: Any) -> None:
        """Return between a falling edge and the rising one at which ``signal`` is then set.

        All signals have settled and must not be driven before the next falling edge.
        """
        await ReadOnly()
        while not known(signal):
            await RisingEdge(signal)
            if self.clock.value:  # a register changed; with the clock low another driver did
                await FallingEdge(self.clock)
            await ReadOnly()


class Source(_End):
    """Sends payloads to a stream that the device takes.

    Parameters
    ----------
    dut : handle
        The device.
    name : str
        Prefix of the stream's ports.
    stall : float
        Probability of a pause of one cycle before each payload, and of each one more.
    seed : int
        Of the pauses.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0, seed: int = 0) -> None:
        super().__init__(dut, name, stall=stall, seed=seed)
        self.valid.value = 0

    async def send(self, payloads: Iterable[int]) -> None:
        """Send ``payloads``, from a falling edge on; return at the one after the last transfer."""
        for payload in payloads:
            while self.rng.random() < self.stall:
                self.valid.value = 0
                await FallingEdge(self.clock)
            self.payload.value = payload
            self.valid.value = 1
            await self._transfer(self.ready)
            await FallingEdge(self.clock)
        self.valid.value = 0


class Sink(_End):
    """Receives payloads from a stream that the device drives.

    Parameters are those of :class:`Source`.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0, seed: int = 0) -> None:
        super().__init__(dut, name, stall=stall, seed=seed)
        self.ready.value = 0

    async def receive(self, count: int) -> list[int]:
        """Take ``count`` payloads, from a falling edge on; return at the one after the last."""
        got: list[int] = []
        for index in range(count):
            held = await self._pause() if self.rng.random() < self.stall else ""
            self.ready.value = 1
            await self._transfer(self.valid)
            value = self.payload.value
            assert value.is_resolvable, f"{self.name}: payload {index} is {value}"
            self._check_held(held, str(value))
            got.append(value.to_unsigned())
            await FallingEdge(self.clock)
        self.ready.value = 0
        return got

    async def _pause(self) -> str:
        """Be not ready for some cycles; return what is offered then, which must stay."""
        self.ready.value = 0
        held = ""
        while True:
            await ReadOnly()
            now = str(self.payload.value) if known(self.valid) else ""
            self._check_held(held, now)
            held = now
            await FallingEdge(self.clock)
            if self.rng.random() >= self.stall:
                return held

    def _check_held(self, held: str, now: str) -> None:
        """Check that an offer, if there was one, still stands."""
        assert not held or now == held, (
            f"{self.name} offered {held} and then {now or 'nothing'} before the transfer"
        )


async def quiet(dut: Any, names: Iterable[str], cycles: int) -> None:
    """Check for ``cycles`` cycles that no stream of ``names`` has anything more to deliver.

    Their sinks are not ready meanwhile, so that what is offered at any time is there at the end.
    """
    await Timer(cycles * PERIOD, "ns")
    await ReadOnly()
    for name in names:
        assert not known(getattr(dut, f"{name}__valid")), f"{name} has one payload more"
    await FallingEdge(dut.clk)
