"""cocotb test bench for any component that passes a stream on unchanged, from ``i`` to ``o``."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import cocotb

from secateur.bench.cocotb_stream import Sink, Source, quiet, start, within


@cocotb.test()
async def passed_on(dut: Any) -> None:
    """All payloads come, in order, once, whoever pauses with the probability ``STALL``."""
    stall = float(os.environ["STALL"])
    source, sink = Source(dut, "i", stall=stall, seed=1), Sink(dut, "o", stall=stall, seed=2)
    await start(dut, ["i", "o"])
    words = [random.getrandbits(len(dut.i__payload)) for _ in range(int(os.environ["COUNT"]))]
    began = time.process_time()
    sender = cocotb.start_soon(source.send(words))
    got = await within(20 * len(words) + 100, sink.receive(len(words)))
    seconds = time.process_time() - began
    for index, (g, w) in enumerate(zip(got, words, strict=True)):
        assert g == w, f"payload {index} is {g}, not {w}"
    assert sender.done(), "the last payload was not taken"
    await quiet(dut, ["o"], 100)
    cocotb.log.info("%d payloads a second", len(words) / seconds)
