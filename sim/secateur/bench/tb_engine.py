"""cocotb test bench of :mod:`secateur.simulate`: load a program, infer, write down what came."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, with_timeout
from cocotb.utils import get_sim_time

from secateur.engine import EngineSpec
from secateur.format import LoadError
from secateur.gateware.engine import status_layout
from secateur.instrument import counters_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    #: Whether to stall in the next cycle.
    Stall = Callable[[], bool]

PERIOD_NS = 10
#: Cycles after which an engine that has given no word is stuck, not slow.
PATIENCE = 1_000_000
#: Cycles in which nothing more may come after the last word.
QUIET = 100


def never() -> bool:
    """Do not stall."""
    return False


def cycle() -> int:
    """Cycles since the beginning of the simulation."""
    return round(get_sim_time("ns")) // PERIOD_NS


async def send(dut: Any, port: str, words: Iterable[int], stall: Stall = never) -> list[int]:
    """Offer words to an input stream; give the cycle in which each was taken."""
    payload, valid = getattr(dut, f"{port}__payload"), getattr(dut, f"{port}__valid")
    ready = getattr(dut, f"{port}__ready")
    taken = []
    for word in words:
        while stall():
            await FallingEdge(dut.clk)
        payload.value = word
        valid.value = 1
        for _ in range(PATIENCE):
            await ReadOnly()
            done = ready.value == 1  # an X raises
            taken_at = cycle()
            await FallingEdge(dut.clk)
            if done:
                break
        else:
            raise AssertionError(f"{port} took no word for {PATIENCE} cycles")
        taken.append(taken_at)
        valid.value = 0
    return taken


@dataclass
class Receiver:
    """Collects words of y, and the cycles in which they came."""

    dut: Any
    words: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)

    async def take(self, count: int, stall: Stall = never) -> None:
        """Take ``count`` words."""
        dut, wanted = self.dut, len(self.words) + count
        while len(self.words) < wanted:
            stalled = stall()
            dut.o_y__ready.value = int(not stalled)
            await ReadOnly()
            if dut.o_y__valid.value == 1 and not stalled:
                self.words.append(int(dut.o_y__payload.value))
                self.cycles.append(cycle())
            elif stall is never:  # nothing happens until the engine says so
                await with_timeout(RisingEdge(dut.o_y__valid), PATIENCE * PERIOD_NS, "ns")
            await FallingEdge(dut.clk)
        dut.o_y__ready.value = 0


class Job:
    """What to run, from the file that `simulate` wrote."""

    def __init__(self) -> None:
        with np.load(os.environ["JOB"], allow_pickle=False) as job:
            self.image: bytes = job["image"].tobytes()
            self.x: NDArray[np.int64] = job["x"]
            self.stalled = int(job["stalled"])
            self.output_words = int(job["output_words"])
            self.layers = int(job["layers"])
            self.spec = EngineSpec.from_dict(json.loads(str(job["spec"])))

    def pack(self, words: NDArray[np.int64]) -> list[int]:
        """Turn int64[words, lanes] into payloads."""
        width = self.spec.activation_width
        return [
            sum(int(value) << (width * lane) for lane, value in enumerate(word)) for word in words
        ]

    def unpack(self, payloads: list[int]) -> NDArray[np.int64]:
        """Turn payloads of y into int64[inputs, words, lanes]; check every ``last``."""
        width, lanes = self.spec.activation_width, self.spec.lanes
        last = [payload >> (width * lanes) for payload in payloads]
        ends = [0] * (self.output_words - 1) + [1]
        assert last == ends * (len(payloads) // self.output_words), "y.last is wrong"
        mask = (1 << width) - 1
        values = [
            [payload >> (width * lane) & mask for lane in range(lanes)] for payload in payloads
        ]
        return np.array(values, dtype=np.int64).reshape(-1, self.output_words, lanes)


@cocotb.test()
async def infer(dut: Any) -> None:
    """Infer every input alone, then one behind the other, then some under random stalls."""
    job = Job()
    rng = random.Random(cocotb.RANDOM_SEED)
    dut.rst.value = 1
    dut.i_load__valid.value = 0
    dut.i_x__valid.value = 0
    dut.o_y__ready.value = 0
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await ReadOnly()
    for port in (dut.i_load__ready, dut.i_x__ready, dut.o_y__valid):
        assert port.value.is_resolvable, f"{port._name} is X after reset"
    await FallingEdge(dut.clk)

    await send(dut, "i_load", (byte | (index == 0) << 8 for index, byte in enumerate(job.image)))
    status = status_layout(job.spec)
    for _ in range(PATIENCE):
        await FallingEdge(dut.clk)
        now = status.from_bits(int(dut.status.value))
        if now.loaded or now.error:
            break
    else:
        raise AssertionError(f"the engine took no program in {PATIENCE} cycles")
    assert not now.error, f"the engine refused the program: {LoadError(now.error).name}"

    inputs = [job.pack(x) for x in job.x]
    alone = Receiver(dut)
    starts = []
    for x in inputs:
        receiving = cocotb.start_soon(alone.take(job.output_words))
        starts.append((await send(dut, "i_x", x))[0])
        await receiving
    ends = alone.cycles[job.output_words - 1 :: job.output_words]
    counters = counters_layout(job.spec, job.layers).from_bits(int(dut.counters.value))

    followed = Receiver(dut)
    sending = cocotb.start_soon(send(dut, "i_x", (word for x in inputs for word in x)))
    await followed.take(job.output_words * len(inputs))
    await sending
    finished = followed.cycles[job.output_words - 1 :: job.output_words]

    stalled = Receiver(dut)
    some = [word for x in inputs[: job.stalled] for word in x]
    stall = lambda: rng.random() < 0.5  # noqa: E731
    sending = cocotb.start_soon(send(dut, "i_x", some, stall))
    await stalled.take(job.output_words * job.stalled, stall)
    await sending

    for _ in range(QUIET):
        await ReadOnly()
        assert dut.o_y__valid.value == 0, "the engine gave a word too many"
        await FallingEdge(dut.clk)

    np.savez(
        os.environ["RESULT"],
        y_alone=job.unpack(alone.words),
        y_followed=job.unpack(followed.words),
        y_stalled=job.unpack(stalled.words),
        latency=np.array(ends) - np.array(starts) + 1,
        period=(finished[-1] - finished[0]) / max(1, len(finished) - 1),
        counters=np.array([
            [
                *(
                    counters[layer][name]
                    for name in ("cycles", "draining", "blocked", "broadcasts")
                ),
                *counters[layer].multiplications,
            ]
            for layer in range(job.layers)
        ]),
    )
