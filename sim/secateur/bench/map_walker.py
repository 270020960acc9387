"""MapWalker against lists of positions, cycle by cycle, in Amaranth's simulator."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.bench.map_layers import Positions, draw_lengths, draw_positions, table_word
from secateur.errors import CheckFailedError
from secateur.gateware.maps.walk import MapWalker

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from secateur.engine import EngineSpec

__all__ = ["Layer", "draw_map_layers", "run_map_walker"]

LATENCY = MapWalker.LATENCY
#: Cycles from the begin of a position until the next one is known.
TO_KNOWN = 3


class Layer(NamedTuple):
    """Positions, what they read, and what is said of it."""

    positions: Positions
    words: int  # of a position; in the table, 0 counts as 1
    column: int
    weight: int
    signed: bool


def draw_map_layers(spec: EngineSpec, count: int, *, seed: int = 1) -> list[Layer]:
    """Draw layers of 1 to 24 positions of 1 to 9 words."""
    rng = random.Random(seed)
    layers = []
    for _ in range(count):
        words = min(rng.choice((0, 1, 1, 2, 3, 4, 9)), spec.column_depth)
        layers.append(
            Layer(
                positions=draw_positions(
                    rng, draw_lengths(rng, rng.choice((1, 3, 24))), 1 << spec.address_width
                ),
                words=words,
                column=rng.choice((0, rng.randint(0, spec.column_depth - max(1, words)))),
                weight=rng.randrange(spec.weight_depth),
                signed=rng.random() < 0.5,
            )
        )
    return layers


class _Word(NamedTuple):
    """A word on its way, and how it is passed."""

    column: int
    activations: list[int]
    visits: list[dict[str, int]]


def run_map_walker(
    spec: EngineSpec,
    layers: Sequence[Layer],
    *,
    sink: float = 1,
    freed: float = 1,
    density: float = 0.6,
    checked: bool = False,
    resets: Container[int] = (),
    seed: int = 1,
    time_out: int = 60_000,
) -> list[int]:
    """Walk ``layers``; there is room ``sink`` of the time, and a set is freed ``freed`` of it.

    A set may be freed once all of its position was passed; the next layer begins when all are. In
    between, with ``checked``, columns are passed for a check. A reset breaks a layer off. Every
    output is compared in every cycle.

    Returns
    -------
    list of int
        Cycles from the start of each layer that was not broken off to its last word.

    Raises
    ------
    CheckFailedError
        On the first difference, or if it is not done after ``time_out`` cycles.
    """
    rng = random.Random(seed)
    dut = MapWalker(spec, checked=checked)
    reset = Signal()
    size, half = 1 << spec.address_width, 1 << (spec.activation_width - 1)
    took: list[int] = []

    def read(layer: Layer, at: int, word: int) -> _Word:
        bits = [rng.randrange(1, 2 * half) * (rng.random() < density) for _ in range(spec.lanes)]
        return _Word(
            layer.column + word,
            bits,
            [
                {
                    "tag": at % spec.tags,
                    "first": word == 0,
                    "base": layer.weight,
                    "end": word == max(1, layer.words) - 1,
                    "active": value != 0,
                    "value": value - 2 * half if layer.signed and value >= half else value,
                }
                for value in bits
            ],
        )

    async def bench(ctx: Any) -> None:
        waiting = deque(layers)
        layer = waiting[0]
        patches: list[int] = []
        at = left = begun = 0  # position walked, its words, positions that have begun
        known = 0  # cycle from which on the next position is known
        free, since = spec.tags, 0
        passing: dict[int, _Word] = {}  # by the cycle in which it is taken
        free_from: deque[int] = deque()  # by position: the cycle in which its last word arrived
        scanned: int | None = None
        for cycle in range(time_out):
            where = f"cycle {cycle}, position {at}"
            idle = begun == len(patches) and not left and free == spec.tags
            starts = idle and bool(waiting) and rng.random() < max(sink, freed)
            room = rng.random() < sink
            gives = bool(free_from) and free_from[0] <= cycle and rng.random() < freed
            scans = checked and idle and not starts and rng.random() < 0.5
            scan_first = rng.getrandbits(1)
            if starts:
                layer = waiting.popleft()
            if idle:  # then the control makes the next layer's word
                fields = _fields(layer, size) if starts else {}
                ctx.set(dut.layer, table_word(spec, rng, fields))
            ctx.set(dut.start, starts)
            ctx.set(dut.room, room)
            ctx.set(dut.freed, gives)
            if checked:
                ctx.set(dut.scan, scans)
                ctx.set(dut.scan_first, scan_first)
            ctx.set(reset, cycle in resets)
            shown = passing.get(cycle - LATENCY + 1)
            garbage = [rng.getrandbits(spec.activation_width) for _ in range(spec.lanes)]
            ctx.set(dut.word, shown.activations if shown else garbage)

            follows = begun < len(patches) and cycle >= known
            take = left > 0 and room
            begins = follows and free > 0 and (not left or (take and left == 1))
            visited = passing.pop(cycle - LATENCY, None)
            want = {
                "done": begun == len(patches) and not left,
                "take": take,
                "waiting": follows and not free and not left,
                "blocked": left > 0 and not room,
                "visit": visited is not None or scanned is not None,
            }
            for name, value in want.items():
                expect(bool(ctx.get(getattr(dut, name))), value, f"{where}: {name}")
            if late := passing.get(cycle - MapWalker.GATHER):
                expect(ctx.get(dut.column), late.column, f"{where}: column")
            for lane in range(spec.lanes):
                got = ctx.get(dut.o)[lane]
                visit = visited.visits[lane] if visited else {"first": 0}
                if scanned is not None:
                    visit = {"first": scanned, "base": 0, "active": 1, "value": 0}
                expect({name: got[name] for name in visit}, visit, f"{where}: lane {lane}")
            if take:
                word = read(layer, at, max(1, layer.words) - left)
                expect(ctx.get(dut.patch), patches[at], f"{where}: patch")
                expect(ctx.get(dut.offset), word.column, f"{where}: offset")
                passing[cycle] = word
                left -= 1
                if not left:
                    free_from.append(cycle + LATENCY)
                    if at == len(patches) - 1:
                        took.append(cycle - since)
            await ctx.tick()

            free += gives - begins
            if gives:
                free_from.popleft()
            scanned = scan_first if scans else None
            if begins:
                at, begun, known, left = begun, begun + 1, cycle + TO_KNOWN, max(1, layer.words)
            if starts:
                patches = layer.positions.addresses(size)
                at, begun, known, since = 0, 0, cycle + 1, cycle
            if cycle in resets:
                patches, left, begun, free, scanned = [], 0, 0, spec.tags, None
                passing.clear()
                free_from.clear()
            if not waiting and idle and not starts and not passing:
                return
        raise CheckFailedError(f"the layers are not walked after {time_out} cycles")

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return took


def _fields(layer: Layer, size: int) -> dict[str, int]:
    """Say what the layer table says of a layer."""
    lengths, steps = layer.positions.lengths, layer.positions.steps(size)
    return {
        "source_words": layer.words,
        "column_base": layer.column,
        "weight_base": layer.weight,
        "input_signed": layer.signed,
        "source_base": layer.positions.base,
        **{f"count{loop}": length - 1 for loop, length in enumerate(lengths)},
        **{
            f"step{loop}": step
            for loop, (step, length) in enumerate(zip(steps, lengths, strict=True))
            if length > 1
        },
    }
