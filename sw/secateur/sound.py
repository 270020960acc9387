"""Whether an image is a program, and the one that its description tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.fixed import NumberFormat, Requant, signed_width
from secateur.format import Section
from secateur.sound_maps import maps_fit
from secateur.streams import places
from secateur.words import streams_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from secateur.description import ProgramLayer
    from secateur.engine import EngineSpec
    from secateur.image import Contents
    from secateur.streams import Streams

__all__ = ["describes"]


def describes(
    spec: EngineSpec,
    input_order: Sequence[int],
    layers: Sequence[ProgramLayer],
    contents: Contents,
) -> bool:
    """Tell whether an engine computes with these memories what the description says.

    A checksum only tells that nobody damaged a file, not that its maker knew how to make one.

    Parameters
    ----------
    spec : EngineSpec
    input_order : sequence of int
    layers : sequence of ProgramLayer
    contents : Contents
        What the image writes.
    """
    lengths = [len(input_order), *(len(layer.order) for layer in layers)]
    words = [-(-length // spec.lanes) for length in lengths]
    table = contents.get((Section.LAYERS, 0), {})
    found = [[*table.get(name, ())] for name in ("source_words", "rows_words")]
    if found[1] != words[1:]:
        return False
    try:
        streams = streams_in(spec, contents)
        memory = contents[Section.BIASES, 0]
        biases = np.stack([memory[f"bias{lane}"] for lane in range(spec.drain_lanes)], axis=1)
        if spec.positions:
            if not maps_fit(spec, input_order, layers, contents, streams):
                return False
            lengths[:-1] = [count * spec.lanes for count in found[0]]
        elif found[0] != words[:-1] or not _queues_fit(spec, words):
            return False
    except LookupError:  # a memory that the image does not fill
        return False
    if not _fits(spec, table, len(biases)):
        return False
    for index, (layer, entries) in enumerate(zip(layers, streams, strict=True)):
        fields = {name: int(values[index]) for name, values in table.items()}
        rows = len(layer.order)
        bias = biases[fields["bias_base"] :].ravel()[:rows]
        if not (
            _is_described(spec, layer, fields, entries)
            and _computes(spec, layer, fields, entries, (rows, lengths[index]), bias)
        ):
            return False
    inner = [layer.output for layer in layers[:-1]]
    return inner == [layer.input for layer in layers[1:]]


def _fits(spec: EngineSpec, table: dict[str, NDArray[np.int64]], biases: int) -> bool:
    """Tell whether layers end with the last one, and have room where they lie."""
    bias_words = table["rows_words"] * spec.lanes // spec.drain_lanes
    return (
        table["last"].tolist() == [0] * (len(bias_words) - 1) + [1]
        and not np.any(table["bias_base"] + bias_words > biases)
        and not np.any(np.diff(table["weight_base"], prepend=0) < 0)
    )


def _queues_fit(spec: EngineSpec, words: Sequence[int]) -> bool:
    """Tell whether an engine without positions has room for activations and sums."""
    return (
        max(words[1:-1], default=0) <= spec.activation_depth // spec.jobs
        and -(-max(words[1:]) * spec.lanes // spec.groups) <= spec.row_depth
    )


def _is_described(
    spec: EngineSpec, layer: ProgramLayer, fields: dict[str, int], entries: Streams
) -> bool:
    """Tell whether a layer's numbers and formats are those of the description."""
    formats = [
        NumberFormat(width=spec.activation_width, signed=bool(fields[f"{side}_signed"]))
        for side in ("input", "output")
    ]
    extra = layer.code_width - spec.code_widths[0]
    return (
        layer.code_width in spec.code_widths
        and (layer.entries, layer.padding) == (entries.entries, entries.padding)
        and extra == fields.get("code_extra", 0)
        and layer.weights <= layer.nonzeros <= layer.rows * layer.columns
        and [layer.input, layer.output] == formats
    )


def _computes(
    spec: EngineSpec,
    layer: ProgramLayer,
    fields: dict[str, int],
    entries: Streams,
    shape: tuple[int, int],
    bias: NDArray[np.int64],
) -> bool:
    """Tell whether every entry lies in the matrix, and no sum ever leaves the accumulator."""
    try:
        Requant(shift=fields["shift"], output=layer.output, relu=bool(fields["relu"]))
    except ValueError:
        return False
    rows, columns, weights = places(entries, lanes=spec.lanes)
    if fields["multiplier"] != 1 or np.any(rows >= shape[0]) or np.any(columns >= shape[1]):
        return False
    lowest, highest = np.minimum(bias, 0), np.maximum(bias, 0)
    ends = np.stack([weights * layer.input.lowest, weights * layer.input.highest])
    np.add.at(lowest, rows, ends.min(axis=0))
    np.add.at(highest, rows, ends.max(axis=0))
    return signed_width(int(lowest.min()), int(highest.max())) <= spec.accumulator_width
