"""cocotb test bench of :mod:`secateur.simulate`: load a program, infer, write down what came."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from secateur.bench.cocotb_stream import Sink, Source, quiet, start, within
from secateur.engine import EngineSpec
from secateur.format import LoadError
from secateur.gateware.engine import status_layout
from secateur.instrument import counters_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Cycles after which an engine that gives no result is stuck, not slow.
PATIENCE = 1_000_000
#: Cycles in which nothing more may come after the last word.
QUIET = 100
#: Probability of a pause of the source and the sink.
STALL = 0.5


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
            self.program = int(job["program"])
            self.counted: list[str] = job["counted"].tolist()

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


def _counters(dut: Any, job: Job) -> NDArray[np.int64]:
    """Read the counters: int64[layers, counters], or no layer where the design has none."""
    if not hasattr(dut, "counters"):
        return np.zeros((0, 0), dtype=np.int64)
    counts = counters_layout(job.spec, job.layers).from_bits(int(dut.counters.value))
    rows = [
        [*(layer[name] for name in job.counted), *layer.multiplications]
        for layer in (counts.layers[index] for index in range(job.layers))
    ]
    return np.array(rows)


@cocotb.test()
async def infer(dut: Any) -> None:
    """Infer every input alone, then one behind the other, then some under random stalls."""
    job = Job()
    load, x = Source(dut, "i_load"), Source(dut, "i_x")
    alone = Sink(dut, "o_y")
    await start(dut, ("i_load", "i_x", "o_y"))

    await within(
        PATIENCE,
        load.send(byte | (index == 0) << 8 for index, byte in enumerate(job.image)),
    )
    status = status_layout(job.spec)
    for _ in range(PATIENCE):
        await FallingEdge(dut.clk)
        now = status.from_bits(int(dut.status.value))
        if (now.loaded and not now.committing) or now.error:
            break
    else:
        raise AssertionError(f"the engine took no program in {PATIENCE} cycles")
    assert not now.error, f"the engine refused the program: {LoadError(now.error).name}"
    assert now.program == job.program, f"it runs {now.program:#x}, not {job.program:#x}"

    inputs = [job.pack(words) for words in job.x]
    y_alone = []
    for words in inputs:
        cocotb.start_soon(x.send(words))
        y_alone += await within(PATIENCE, alone.receive(job.output_words))
    starts, ends = (
        x.cycles[:: len(inputs[0])],
        alone.cycles[job.output_words - 1 :: job.output_words],
    )
    while status.from_bits(int(dut.status.value)).busy:  # the last layer ends after its last word
        await FallingEdge(dut.clk)
    counters = _counters(dut, job)

    followed = Sink(dut, "o_y")
    cocotb.start_soon(x.send(word for words in inputs for word in words))
    y_followed = []
    for _ in inputs:
        y_followed += await within(PATIENCE, followed.receive(job.output_words))
    finished = followed.cycles[job.output_words - 1 :: job.output_words]

    stalled = Sink(dut, "o_y", stall=STALL, seed=cocotb.RANDOM_SEED)
    source = Source(dut, "i_x", stall=STALL, seed=cocotb.RANDOM_SEED + 1)
    cocotb.start_soon(source.send(word for words in inputs[: job.stalled] for word in words))
    y_stalled = []
    for _ in range(job.stalled):
        y_stalled += await within(PATIENCE, stalled.receive(job.output_words))

    await quiet(dut, ["o_y"], QUIET)

    np.savez(
        os.environ["RESULT"],
        y_alone=job.unpack(y_alone),
        y_followed=job.unpack(y_followed),
        y_stalled=job.unpack(y_stalled),
        latency=np.array(ends) - np.array(starts) + 1,
        period=(finished[-1] - finished[0]) / max(1, len(finished) - 1),
        counters=counters,
    )
