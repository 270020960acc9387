"""A UART of a simulated board, with the interface of :class:`serial.Serial`.

Blocking code drives it from the thread of a function under :func:`cocotb.bridge`: while it sends
or waits for a byte, the simulation runs; while it computes, simulated time stands still.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import cocotb
from cocotb.task import resume
from cocotb.triggers import Event, FallingEdge, SimTimeoutError, Timer, with_timeout

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SimulatedPort"]

#: Data bits of a byte.
BITS = 8


class SimulatedPort:
    """The host's end of the two wires.

    Parameters
    ----------
    rx, tx : simulator handles
        The board's pins.
    bit_time : int
        Duration of a bit, picoseconds.

    Attributes
    ----------
    timeout : float or None
        Longest wait of a read for each byte, seconds of simulated time; None waits for ever.
    baudrate : int
        Bits per second.
    """

    def __init__(self, rx: Any, tx: Any, *, bit_time: int) -> None:
        self._rx, self._tx, self._bit_time = rx, tx, bit_time
        self.timeout: float | None = None
        self.baudrate = 10**12 // bit_time
        self._received: deque[int] = deque()
        self._came = Event()
        self._rx.value = 1
        self._task = cocotb.start_soon(self._listen())

    def write(self, data: bytes, /) -> int:
        """Send all of ``data``."""
        resume(self.send)(data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Receive ``size`` bytes, or what came before the time-out."""
        return resume(self._take)(size, None)

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        """Receive up to ``expected``, ``size`` bytes, or what came before the time-out."""
        return resume(self._take)(size, expected)

    def close(self) -> None:
        """Stop listening."""
        self._task.cancel()

    async def send(self, data: Iterable[int]) -> None:
        """Send bytes, for a coroutine."""
        for byte in data:
            line = (byte << 1) | (1 << (BITS + 1))
            await self.drive((line >> place & 1, 1) for place in range(BITS + 2))

    async def drive(self, levels: Iterable[tuple[int, float]]) -> None:
        """Set the line to each level for so many bits' time: for noise and breaks."""
        level, time = 1, 0.0
        for following, bits in levels:
            if following != level and time:  # a simulator is woken by changes only
                self._rx.value = level
                await Timer(round(time * self._bit_time), "ps")
                time = 0.0
            level, time = following, time + bits
        self._rx.value = level
        await Timer(round(time * self._bit_time), "ps")

    async def _take(self, size: int | None, end: bytes | None) -> bytes:
        taken = bytearray()
        while (size is None or len(taken) < size) and not (end and taken.endswith(end)):
            while not self._received:
                self._came.clear()
                if self.timeout is None:
                    await self._came.wait()
                    continue
                try:
                    await with_timeout(self._came.wait(), round(self.timeout * 10**12), "ps")
                except SimTimeoutError:
                    return bytes(taken)
            taken.append(self._received.popleft())
        return bytes(taken)

    async def _listen(self) -> None:
        """Collect what the board sends."""
        while True:
            await FallingEdge(self._tx)
            await Timer(self._bit_time * 3 // 2, "ps")
            byte = 0
            for place in range(BITS):
                byte |= int(self._tx.value) << place
                await Timer(self._bit_time, "ps")
            assert self._tx.value == 1, f"no stop bit after {byte:#04x}"
            self._received.append(byte)
            self._came.set()
