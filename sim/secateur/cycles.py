"""The cycle model: how long the engine takes, register by register, for many inputs at once.

It moves counts, never values: what waits in a queue and how many entries a PE still has. Every
constant belongs to a pipeline stage in `secateur.gateware`; simulation shows that the sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.format import Section
from secateur.image import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.image import Contents
    from secateur.network import Network
    from secateur.program import Program

__all__ = ["LayerCycles", "model", "scan_cycles"]

#: Cycles from the state `scan` to the first broadcast: address, memory, word.
FIRST_BROADCAST = 3
#: Cycles from a broadcast until the column waits in the queue: register, memory, queue.
TO_QUEUE = 3
#: Cycles from the last entry's address until the sum is known to be stored, both included: entry,
#: weight, product, sum, and the register `settled`.
FROM_ENTRY = 6
#: Likewise from the last broadcast, where no PE has an entry: register, memory, `settled`.
FROM_BROADCAST = 5
#: Likewise from the last word, where it has no activation but zeros.
FROM_EMPTY_WORD = 3
#: Cycles of the drain beside one for each word of rows: `Drain.LATENCY`, and its start.
DRAIN = 6
#: Cycles from the last word of x to the first layer: the input is counted, the state is left.
START = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCycles:
    """Cycles of one layer for each of some inputs.

    Parameters
    ----------
    cycles : int64[inputs]
        From reading the layer table to the last word drained.
    multiplications : int64[inputs, pes]
        Useful ones: neither weight nor activation is zero.
    """

    cycles: NDArray[np.int64]
    multiplications: NDArray[np.int64]

    @property
    def ideal(self) -> NDArray[np.float64]:
        """Cycles if every PE multiplied in every cycle, float64[inputs]."""
        return self.multiplications.mean(axis=1)


def scan_cycles(
    counts: NDArray[np.int64], active: NDArray[np.bool_], queue_depth: int
) -> NDArray[np.int64]:
    """Cycles from the start of a scan until its last product is added.

    Parameters
    ----------
    counts : int64[columns, pes]
        Entries, padding included.
    active : bool[inputs, words, lanes]
        Activations that are not zero; ``words * lanes`` is at most ``columns``.
    queue_depth : int
        Columns that a PE's queue holds before the broadcast stops.

    Returns
    -------
    int64[inputs]
    """
    inputs, words, lanes = active.shape
    pes = counts.shape[1]
    # One slot a cycle: a broadcast, or a word without one (column -1).
    slots = []
    for flags in active:
        sequence = np.where(flags, np.arange(words * lanes).reshape(words, lanes), -1)
        idle = ~flags.any(axis=1)
        keep = flags.copy()
        keep[idle, 0] = True
        idle[:-1] = False  # an empty word is a slot, unless it is the last
        keep[idle] = False
        slots.append(sequence[keep])
    lengths = np.array([len(sequence) for sequence in slots])
    order = np.full((inputs, max(1, lengths.max(initial=0))), -1)
    for row, sequence in zip(order, slots, strict=True):
        row[: len(sequence)] = sequence

    every = np.arange(inputs)
    depth = queue_depth + TO_QUEUE + 1
    ring = np.zeros((inputs, pes, depth), dtype=np.int64)
    head = np.zeros((inputs, pes), dtype=np.int64)
    level = np.zeros((inputs, pes), dtype=np.int64)
    left = np.zeros((inputs, pes), dtype=np.int64)  # entries of the column under way
    flight = np.zeros((TO_QUEUE, inputs, pes), dtype=np.int64)
    room = np.ones(inputs, dtype=bool)
    slot = np.zeros(inputs, dtype=np.int64)
    finish = np.full(inputs, FIRST_BROADCAST - 1 + FROM_EMPTY_WORD)
    cycle = FIRST_BROADCAST
    grid = np.ix_(every, np.arange(pes))
    while True:
        arrived = flight[-1]
        # The queue as it stands at the beginning of this cycle, the arrival included.
        push = arrived != 0
        tail = (head + level) % depth
        ring[(*grid, tail)] = np.where(push, arrived, ring[(*grid, tail)])
        level += push
        next_room = (level <= queue_depth).all(axis=1)
        # The sequencer takes the next column in the last cycle of the one before.
        take = (left <= 1) & (level > 0)
        finish = np.where((left > 0).any(axis=1), cycle + FROM_ENTRY, finish)
        left = np.where(take, ring[(*grid, head % depth)], np.maximum(left - 1, 0))
        head += take
        level -= take
        # The scanner.
        running = slot < lengths
        column = order[every, np.minimum(slot, order.shape[1] - 1)]
        send = running & (column >= 0) & room
        flight[1:] = flight[:-1].copy()
        flight[0] = np.where(send[:, None], counts[np.maximum(column, 0)], 0)
        finish = np.where(send, np.maximum(finish, cycle + FROM_BROADCAST), finish)
        slot += running & (room | (column < 0))
        finish = np.where(
            running & (column < 0), np.maximum(finish, cycle + FROM_EMPTY_WORD), finish
        )
        room = next_room
        if not (running.any() or flight.any() or level.any() or left.any()):
            return finish
        cycle += 1


def model(
    program: Program, network: Network, x: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[LayerCycles]]:
    """Model one inference after the other on an engine that waits for nothing outside.

    Parameters
    ----------
    program : Program
        The program.
    network : Network
        The network that it was encoded from.
    x : int64[inputs, network.inputs]
        Inputs.

    Returns
    -------
    int64[inputs]
        Latency: cycles from the first word of x to the last of y, both included.
    list of LayerCycles
        By layer.
    """
    spec = program.spec
    contents = read_image(spec, program.image)
    table = contents[Section.LAYERS, 0]
    setup = 1 + ((1 << spec.codebook_bits) + 1 if spec.codebook_bits else 0)
    layers = []
    orders = [program.input_order, *(layer.order for layer in program.layers)]
    for index, layer_input in enumerate(network.activations(x)[:-1]):
        words = _words(layer_input[:, orders[index]], spec.lanes)
        base, length = int(table["column_base"][index]), words.shape[1] * spec.lanes
        columns = slice(base, base + length)
        counts = np.stack(
            [contents[Section.COLUMNS, pe]["count"][columns] for pe in range(spec.pes)], axis=1
        )
        active = words != 0
        scanning = scan_cycles(counts, active, spec.queue_depth)
        useful = np.stack(
            [_useful(spec, contents, pe, index, columns) for pe in range(spec.pes)], axis=1
        )
        layers.append(
            LayerCycles(
                cycles=setup + scanning + DRAIN + int(table["rows_words"][index]),
                multiplications=active.reshape(len(words), -1) @ useful,
            )
        )
    fixed = int(table["source_words"][0]) + START - 1
    return fixed + np.sum([layer.cycles for layer in layers], axis=0), layers


def _words(activations: NDArray[np.int64], lanes: int) -> NDArray[np.int64]:
    """Fill int64[inputs, length] up to whole words: int64[inputs, words, lanes]."""
    short = -activations.shape[1] % lanes
    return np.pad(activations, ((0, 0), (0, short))).reshape(len(activations), -1, lanes)


def _useful(
    spec: EngineSpec, contents: Contents, pe: int, layer: int, columns: slice
) -> NDArray[np.int64]:
    """Count the entries of a PE that are no padding: int64[columns]."""
    entries = contents[Section.WEIGHTS, pe]["code"]
    if spec.codebook_bits:
        values = contents[Section.CODEBOOKS, 0]["value"]
        entries = values[(layer << spec.codebook_bits) + entries]
    before = np.concatenate([[0], np.cumsum(entries != 0)])
    start = contents[Section.COLUMNS, pe]["start"][columns]
    return before[start + contents[Section.COLUMNS, pe]["count"][columns]] - before[start]
