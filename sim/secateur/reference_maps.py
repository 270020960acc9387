"""Golden model of an engine with positions: how layers read and write the activation memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.fixed import NumberFormat, Requant
from secateur.format import LOOPS, Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.image import Contents

__all__ = ["infer_maps", "patches_of", "requantised", "targets_of"]

#: Fields of the layer table; then PE, accumulator, column and weight of every entry.
Layer: TypeAlias = "tuple[dict[str, int], *tuple[NDArray[np.int64], ...]]"


def infer_maps(
    spec: EngineSpec,
    contents: Contents,
    layers: Sequence[Layer],
    x: NDArray[np.int64],
    memory: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Run one inference.

    Parameters
    ----------
    spec : EngineSpec
    contents : Contents
        What the image writes.
    layers : sequence of Layer
    x : int64[input_words, lanes]
        Bit patterns.
    memory : int64[activation_depth * lanes]
        Bit patterns of all activations, which the engine keeps; modified.

    Returns
    -------
    int64[output_words, lanes]
        Bit patterns.

    Raises
    ------
    IndexError
        If x has other words than the program takes, or a word or an accumulator does not exist.
    OverflowError
        If an accumulator leaves its width.
    """
    first = layers[0][0]["target_base"]
    if len(x) != first:
        raise IndexError(f"the first layer reads {first} of {len(x)} words")
    memory[: x.size] = x.ravel()
    y = np.empty((0, spec.lanes), dtype=np.int64)
    for fields, *entries in layers:
        sums = _sums(spec, contents, fields, memory, entries)
        y = _pooled(spec, fields, requantised(spec, contents, fields, sums))
        if len(y) != fields["output_words"]:
            raise IndexError(f"a layer gives {len(y)} of {fields['output_words']} words")
        if not fields["last"]:
            memory.reshape(-1, spec.lanes)[targets_of(spec, fields)] = y
    return y


def patches_of(spec: EngineSpec, fields: dict[str, int]) -> NDArray[np.int64]:
    """Follow the loops: the address of every position's patch, int64[positions]."""
    loops = [(fields[f"count{loop}"] + 1, fields[f"step{loop}"]) for loop in range(LOOPS)]
    return _follow(fields["source_base"], loops) % (1 << spec.address_width)


def targets_of(spec: EngineSpec, fields: dict[str, int]) -> NDArray[np.int64]:
    """Follow the loops: the address of every word of a layer's output, int64[words]."""
    loops = [
        (fields["rows_words"], 1),
        (fields["count0"] + 1, 1 + fields["target_turn"]),
        (fields["count3"] + 1, 1 + fields["target_column"]),
        (fields["count4"] + 1, 1 + fields["target_row"]),
    ]
    return _follow(fields["target_base"], loops) % spec.activation_depth


def _follow(first: int, loops: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Begin at ``first`` and go through nested loops, the innermost first, by turns and step."""
    moves = np.zeros(math.prod(turns for turns, _ in loops), dtype=np.int64)
    moves[0], inner = first, 1
    for turns, step in loops:
        moves[inner::inner] = step  # an outer loop overwrites the inner ones
        inner *= turns
    return np.cumsum(moves)


def _sums(
    spec: EngineSpec,
    contents: Contents,
    fields: dict[str, int],
    memory: NDArray[np.int64],
    entries: Sequence[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Accumulate in every PE: int64[positions, accumulators, groups, lanes]."""
    pes, slots, columns, weights = entries
    patches = patches_of(spec, fields)
    depth = spec.set_depth if patches.size > 1 else spec.row_depth
    sums = np.zeros((patches.size, depth, spec.groups, spec.lanes), dtype=np.int64)
    sign = fields["input_signed"] << (spec.activation_width - 1)
    read = np.arange(fields["source_words"])
    for lane in range(spec.lanes):
        mine = columns % spec.lanes == lane
        words = columns[mine] // spec.lanes
        matrix = np.zeros((depth, spec.groups, fields["source_words"]), dtype=np.int64)
        np.add.at(matrix, (slots[mine], pes[mine] // spec.lanes, words), weights[mine])
        word = contents[Section.OFFSETS, 0][f"word{lane}"][fields["column_base"] + read]
        address = patches[:, None] + word * spec.lanes + lane
        seen = memory[address % (1 << spec.address_width)]
        sums[..., lane] = np.tensordot((seen ^ sign) - sign, matrix, axes=(1, 2))
    return sums


def requantised(
    spec: EngineSpec, contents: Contents, fields: dict[str, int], sums: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Add the lanes' sums and the biases, and requantise.

    Parameters
    ----------
    sums : int64[..., accumulators, groups, lanes]

    Returns
    -------
    int64[..., rows_words * lanes]

    Raises
    ------
    OverflowError
        If an accumulator leaves its width.
    """
    rows = fields["rows_words"] * spec.lanes
    bias = contents[Section.BIASES, 0]
    addresses = fields["bias_base"] + np.arange(rows // spec.drain_lanes)
    biases = np.stack([bias[f"bias{n}"][addresses] for n in range(spec.drain_lanes)], axis=1)
    total = sums.sum(axis=-1).reshape(*sums.shape[:-3], -1)[..., :rows] + biases.ravel()
    accumulator = NumberFormat(width=spec.accumulator_width, signed=True)
    if not (accumulator.holds(sums) and accumulator.holds(total)):
        raise OverflowError(f"an accumulator leaves its {accumulator.width} bits")
    requant = Requant(
        shift=fields["shift"],
        output=NumberFormat(width=spec.activation_width, signed=bool(fields["output_signed"])),
        relu=bool(fields["relu"]),
    )
    return requant.compute(total)


def _pooled(
    spec: EngineSpec, fields: dict[str, int], values: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Pool what belongs together: int64[positions, rows] to bit patterns, int64[words, lanes].

    Words are in the order in which the engine makes them.
    """
    together = (fields["count1"] + 1) * (fields["count2"] + 1)
    windows = values.reshape(-1, together, fields["count0"] + 1, values.shape[1])
    if fields["average"]:
        shift = fields["average_shift"]
        pixels = (windows.sum(axis=1) + (1 << shift >> 1)) >> shift
    else:
        pixels = windows.max(axis=1)
    return (pixels & ((1 << spec.activation_width) - 1)).reshape(-1, spec.lanes)
