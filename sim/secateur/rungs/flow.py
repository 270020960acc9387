"""The components that pass and keep words, with the engine's widths and depths, under stalls."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from secateur.bench.columns import busy_slices, draw_columns, run_columns
from secateur.bench.compare import expect
from secateur.bench.drain import draw_layer, run_drain
from secateur.bench.queue import run_queue
from secateur.bench.store import Program, Stalls, run_store
from secateur.bench.walker import draw_jobs, run_walker
from secateur.hard_cells import queue as column_queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.engine import EngineSpec

__all__ = ["columns", "drained", "queued", "stored", "walked"]

#: Share of the cycles in which a side goes on; a sink that fills what stands before it.
SOURCE, SINK, SLOW = 0.7, 0.6, 0.2


def _sometimes(share: float, seed: int) -> Callable[[int], bool]:
    rng = random.Random(seed)
    return lambda _: rng.random() < share


def queued(spec: EngineSpec, cases: int, _: int) -> int:
    """Count words through a queue like that of a PE's columns, against a list."""
    kind = column_queue(spec)
    depth = kind.depth + 1  # one word more than its memory has
    read = 0
    for writes, reads in ((1.0, SLOW), (SOURCE, 1.0)):
        read += run_queue(width=kind.width, depth=depth, writes=writes, reads=reads, cycles=cases)[
            0
        ]
    return read


def columns(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count columns through a PE's queue, whose addresses are sums of their counts; often full."""
    passed = 0
    for sink in (SINK, SLOW):
        sent = draw_columns(spec, cases // 20, seed=seed)
        take = _sometimes(sink, seed)
        got, came = run_columns(spec, sent, source=1, sink=take, cycles=4 * cases)
        expect((came, got), (len(sent), busy_slices(sent)), "columns in and out")
        passed += came
    return passed


def walked(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count words that the walker passes, of x and of hidden layers, lane by lane."""
    jobs = draw_jobs(spec, cases // 10, seed=seed)
    run_walker(spec, jobs, source=SOURCE, sink=SINK, pause=0.2, time_out=20 * cases)
    return sum(len(job.input) for job in jobs)


def stored(spec: EngineSpec, cases: int, _: int) -> int:
    """Count words through the activation memory, against two lists, until those are full."""
    hidden = min(2 * spec.activation_depth, cases)
    lengths = (min(words, spec.column_depth) for words in (7, 1, 20, 2))
    inputs = [Program(words, max(1, hidden // (4 * words))) for words in lengths]
    for stalls in (
        Stalls(x=SOURCE, hidden=0.3, take_x=SINK, take_hidden=SINK),
        Stalls(take_x=SLOW, take_hidden=SLOW),
    ):
        run_store(spec, inputs, hidden=hidden, stalls=stalls, time_out=50 * cases)
    return 2 * (hidden + sum(program.words * program.inputs for program in inputs))


def drained(spec: EngineSpec, cases: int, seed: int) -> int:
    """Count words that the drain makes of sums and biases, against ``Requant.compute()``."""
    rng = random.Random(seed)
    biases = spec.bias_depth * spec.drain_lanes // spec.lanes
    most = min(spec.row_depth * spec.groups // spec.lanes, biases, 40)
    layers = [
        draw_layer(spec, rng, rng.choice((1, most, rng.randint(1, most))), last=bool(number % 2))
        for number in range(cases // 20)
    ]
    run_drain(spec, [(layer, _sometimes(SINK, seed)) for layer in layers])
    return sum(layer.rows_words for layer in layers)
