# amaranth: UnusedElaboratable=no
"""Drain against Requant.compute and a table of accumulators."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from secateur.bench.drain import draw_layer, run_drain
from secateur.engine import EngineSpec
from secateur.gateware.drain import Drain
from secateur.gateware.rows import drain_latencies, drain_room


def probably(share: float, seed: int) -> Any:
    """Take a word in ``share`` of the cycles."""
    rng = random.Random(seed)
    return lambda cycle: rng.random() < share


#: Of every kind: rows of a slot in one cycle or in several, words of one cycle or of several.
SIZES = [(1, 1), (2, 1), (3, 1), (4, 4), (8, 4), (12, 2), (12, 4), (16, 1), (16, 4), (16, 8)]


@pytest.mark.parametrize("memories", [1, 2])
@pytest.mark.parametrize("sink", [1, 0.5, 0.1], ids=["none", "sink", "long"])
@pytest.mark.parametrize(("pes", "lanes"), SIZES)
def test_rows(pes: int, lanes: int, sink: float, memories: int) -> None:
    """Any number of words, which fill the last accumulators of the PEs or not; hidden and last."""
    spec = EngineSpec(
        pes=pes,
        lanes=lanes,
        row_depth=4,
        bias_depth=128,
        accumulator_width=26,
        jobs=4,
        accumulator_memories=memories,
    )
    rng = random.Random(pes)
    most = spec.row_depth * spec.groups // lanes
    lengths = [*range(1, most + 1)] if sink == 1 and most < 20 else [1, 2, most - 1, most]
    layers = [
        draw_layer(spec, rng, words, last=last)
        for words in lengths
        if 0 < words <= most
        for last in (True, False)
    ]
    cycles = run_drain(spec, [(layer, probably(sink, layer.rows_words)) for layer in layers])
    if sink == 1:
        parts = lanes // spec.drain_lanes
        # `drain_lanes` rows a cycle, and the first word always as early.
        assert {b - a for mine in cycles for a, b in itertools.pairwise(mine)} <= {parts}
        assert len({mine[0] for mine in cycles}) == 1
        assert 0 < cycles[0][0] - drain_latencies(spec)["o"] - parts < 4


@pytest.mark.parametrize(("activation", "accumulator"), [(4, 9), (8, 24), (12, 33), (16, 48)])
def test_formats(activation: int, accumulator: int) -> None:
    """Every shift that there is, signed and unsigned, with and without ReLU."""
    spec = EngineSpec(
        pes=4,
        lanes=2,
        row_depth=4,
        bias_depth=64,
        activation_width=activation,
        accumulator_width=accumulator,
        bias_width=accumulator - 1,
    )
    rng = random.Random(activation)
    layers = [
        draw_layer(spec, rng, 4, last=shift % 3 == 0)._replace(
            shift=shift, output_signed=bool(kind & 1), relu=bool(kind & 2)
        )
        for shift in range(min(accumulator + 2, 48))
        for kind in range(4)
    ]
    run_drain(spec, [(layer, probably(0.8, 1)) for layer in layers])


@pytest.mark.parametrize(("pes", "lanes"), [(4, 2), (4, 4), (12, 2)])
def test_one_stall_in_every_cycle(pes: int, lanes: int) -> None:
    """Held up once, for one, three or many cycles, beginning with each cycle of the drain."""
    spec = EngineSpec(pes=pes, lanes=lanes, row_depth=16, bias_depth=64)
    rng = random.Random(8)
    words = 7 * lanes // spec.drain_lanes
    layers = []
    for length in (1, 3, 60):
        for at in range(0, drain_latencies(spec)["o"] + 12, 1 + 3 * (length == 60)):
            layer = draw_layer(spec, rng, min(words, spec.groups * 16 // lanes), last=at % 2 == 0)
            layers.append((
                layer,
                lambda cycle, at=at, length=length: not at <= cycle < at + length,
            ))
    run_drain(spec, layers)


def test_rows_that_wait_are_not_lost() -> None:
    """A long output that is held up as long as all fit that may wait, and longer."""
    spec = EngineSpec(pes=4, lanes=1, row_depth=32, bias_depth=128)
    rng = random.Random(2)
    room = drain_room(spec)
    assert room < 128
    layers = [draw_layer(spec, rng, 128, last=last) for last in (True, False)]
    for share in (lambda cycle: cycle > 300, lambda cycle: cycle % (room + 3) > room):
        run_drain(spec, [(layer, share) for layer in layers])


def test_a_layer_table_of_garbage_ends() -> None:
    """As many words as it says, whatever they are."""
    spec = EngineSpec(pes=2, lanes=1, row_depth=2, bias_depth=4)
    dut = Drain(spec)
    ends = []

    async def testbench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.hidden.ready, 1)
        for words in (*range(1, 8), 7, 2):
            ctx.set(dut.layer, {"rows_words": words, "bias_base": 3, "last": words % 2})
            ctx.set(dut.start, 1)
            taken = 0
            for _ in range(100):
                taken += ctx.get(dut.o.valid) + ctx.get(dut.hidden.valid)
                await ctx.tick()
                ctx.set(dut.start, 0)
            assert ctx.get(dut.done)
            ends.append(taken == words)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert ends == [True] * 9


@pytest.mark.parametrize("memories", [1, 2])
def test_clear(memories: int) -> None:
    """Each number that is cleared for a program reaches every PE two cycles later, and no other."""
    spec = EngineSpec(pes=4, lanes=2, row_depth=4, jobs=4, accumulator_memories=memories)
    dut = Drain(spec)
    numbers = [None, *range(spec.row_depth * spec.jobs), None, 5, None, None, None]
    told: list[list[int | None]] = []

    async def testbench(ctx: Any) -> None:
        for number in numbers:
            ctx.set(dut.clear, number is not None)
            ctx.set(dut.clear_address.as_value(), number or 0)
            got = [ctx.get(drained) for drained in dut.drained]
            assert {drained.clear for drained in got} <= {0, (1 << memories) - 1}
            told.append([drained.cleared.as_bits() if drained.clear else None for drained in got])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert told == [[number] * spec.pes for number in [None, None, *numbers[:-2]]]
