"""Components by themselves, of the program's engine, against their specifications."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from secateur.bench.accumulator import run_accumulator
from secateur.bench.hostile import HOSTILE
from secateur.bench.requantizer import Case, check_requantizer, random_cases
from secateur.gateware.accumulate import Accumulator
from secateur.rungs.flow import columns, drained, queued, stored, walked
from secateur.rungs.map_flow import drained_maps, pooled, stored_maps, walked_positions

if TYPE_CHECKING:
    from secateur.bench.accumulator import AccumulatorBench, Slot
    from secateur.engine import EngineSpec
    from secateur.network import Layer
    from secateur.rungs.rung import Subject

__all__ = ["components"]

#: What is counted, and who compares it.
ALIKE = {"queued words": queued, "columns": columns}
FLOW = ALIKE | {"walked words": walked, "stored words": stored, "drained words": drained}
MAPS = ALIKE | {
    "walked words": walked_positions,
    "read activations": stored_maps,
    "pooled activations": pooled,
    "drained words": drained_maps,
}


def components(subject: Subject) -> dict[str, int]:
    """Compare requantiser, accumulator and what passes words, as large as the engine's, each cycle.

    The requantiser with ``Requant.compute()``, under stalls, for drawn sums and shifts and around
    every bound of every layer; the accumulator with sums in a dictionary, while slots are read and
    cleared between products, with extreme operands and to the ends of its width; the components of
    :mod:`secateur.rungs.flow`, or of :mod:`secateur.rungs.map_flow` for an engine with maps, with
    lists of what they were given.
    """
    spec, amounts = subject.program.spec, subject.amounts
    cases = random_cases(spec.accumulator_width, amounts.cases, seed=subject.seed)
    for layer in subject.network.layers:
        cases += _bounds(layer, spec.accumulator_width)
    subject.progress(0, 0, f"{len(cases)} values through the requantiser")
    check_requantizer(cases, spec.accumulator_width, spec.activation_width, stall=0.3)
    subject.progress(0, 0, f"{amounts.cases} cycles of the accumulator")
    found = {"requantised values": len(cases), "products": 0, "sums": 0}

    async def body(bench: AccumulatorBench) -> None:
        await _accumulate(bench, amounts.cases, subject.seed, found)

    run_accumulator(Accumulator(spec, technology=HOSTILE), body)
    for name, compare in (MAPS if spec.positions else FLOW).items():
        subject.progress(0, 0, name)
        found[name] = compare(spec, amounts.cases, subject.seed)
    return found


def _bounds(layer: Layer, width: int) -> list[Case]:
    """List the sums at which a layer's results change from a bound, or from zero, to the next."""
    requant = layer.requant
    half = 1 << requant.shift >> 1
    limit = 1 << (width - 1)
    totals = [-limit, limit - 1]
    for value in (requant.output.lowest, 0, requant.output.highest):
        edge = (value << requant.shift) - half
        totals += [edge + away for away in (-1, 0, 1, half, 2 * half - 1, 2 * half)]
    return [
        Case(total, 0, requant.shift, requant.output.signed, requant.relu)
        for total in totals
        if -limit <= total < limit
    ]


async def _accumulate(
    bench: AccumulatorBench, cycles: int, seed: int, found: dict[str, int]
) -> None:
    """Add products to the same few slots and to others, and read and clear some meanwhile."""
    rng = random.Random(seed)
    spec = bench.spec
    limit = 1 << (spec.accumulator_width - 1)
    few = rng.sample(bench.slots, min(6, len(bench.slots)))
    for _ in range(cycles):
        read = None
        if rng.random() < 0.3:
            slot = rng.choice(few)
            read = slot if bench.readable(slot) else None
        add = _product(rng, spec, rng.choice(few if rng.random() < 0.9 else bench.slots))
        slot, weight, value = add
        fits = -limit <= bench.sums[slot] + weight * value < limit
        free = bench.usable(slot) and (read is None or bench.memory(slot) != bench.memory(read))
        adds = fits and free and rng.random() < 0.9
        await bench.cycle(add if adds else None, read=read, clear=rng.random() < 0.2)
        found["products"] += adds
        found["sums"] += read is not None
    found["sums"] += len(bench.slots)  # which are all read at the end


def _product(rng: random.Random, spec: EngineSpec, slot: Slot) -> tuple[Slot, int, int]:
    """Draw operands, the extremes above all."""
    weights = -(1 << (spec.weight_width - 1)), (1 << (spec.weight_width - 1)) - 1
    values = -(1 << (spec.activation_width - 1)), (1 << spec.activation_width) - 1
    weight = rng.choice(weights) if rng.random() < 0.5 else rng.randint(*weights)
    value = rng.choice(values) if rng.random() < 0.5 else rng.randint(*values)
    return slot, weight, value
