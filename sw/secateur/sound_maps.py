"""Whether the layers of a program for an engine with positions read and write where they should."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from secateur.format import AVERAGE_BITS, Section
from secateur.input_map import found_pitch, image_order
from secateur.maps import lay_out
from secateur.streams import places
from secateur.words import offsets_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from secateur.description import ProgramLayer
    from secateur.engine import EngineSpec
    from secateur.image import Contents
    from secateur.maps import Walk
    from secateur.streams import Streams

__all__ = ["described_walks", "maps_fit"]


def described_walks(
    input_order: Sequence[int], layers: Sequence[ProgramLayer], *, lanes: int
) -> list[Walk]:
    """Lay out the maps of a program as its encoder did.

    Raises
    ------
    ValueError
        If the order of the inputs is not that of an image, and the first layer takes one.
    """
    first, inputs, pitch = layers[0].convolution, len(input_order), 1
    if first is not None:
        inputs, pitch = first.channels, found_pitch(first, input_order)
        if pitch < first.width + 2 * first.padding[1]:
            raise ValueError("rows of the image overlap")
    shapes = [(layer.convolution, len(layer.order)) for layer in layers]
    return lay_out(shapes, inputs=inputs, pitch=pitch, lanes=lanes)


def maps_fit(
    spec: EngineSpec,
    input_order: Sequence[int],
    layers: Sequence[ProgramLayer],
    contents: Contents,
    streams: Sequence[Streams],
) -> bool:
    """Tell whether the maps lie in the memory as they must, and each column reads a channel of one.

    A layout follows from the description: all bases, counts and steps must be those of
    :func:`secateur.maps.lay_out`, by which no position reads or writes outside its map.

    Parameters
    ----------
    spec, input_order, layers, contents
        As in :func:`secateur.sound.describes`.
    streams : sequence of Streams
        The entries of each layer.

    Raises
    ------
    LookupError
        If the offsets are not filled as far as the layer table says.
    """
    try:
        walks = described_walks(input_order, layers, lanes=spec.lanes)
    except ValueError:
        return False
    if not _has_room(spec, walks):
        return False
    first, length = layers[0].convolution, walks[0].target_base * spec.lanes
    if first is not None and not np.array_equal(
        image_order(first, pitch=walks[0].pitch, length=length), input_order
    ):
        return False
    table = contents[Section.LAYERS, 0]
    offsets = offsets_in(spec, contents)
    channels = np.arange(walks[0].channels)
    for index, (layer, walk) in enumerate(zip(layers, walks, strict=True)):
        expected = walk.fields(spec)
        if any(table[name][index] != value for name, value in expected.items()):
            return False
        if not (
            _lists_columns(walk, streams[index], offsets[index])
            and _keeps_to_groups(walk, layer, channels, streams[index], offsets[index])
        ):
            return False
        channels = np.array(layer.order)
    return True


def _has_room(spec: EngineSpec, walks: Sequence[Walk]) -> bool:
    """Tell whether maps, sets of accumulators and windows are as large as the engine's."""
    return all(
        walk.end <= spec.activation_depth
        and -(-walk.rows_words * spec.lanes // spec.groups)
        <= (spec.set_depth if walk.positions > 1 else spec.row_depth)
        and (not walk.averages or math.prod(walk.window) <= 1 << AVERAGE_BITS)
        for walk in walks
    )


def _lists_columns(walk: Walk, streams: Streams, offsets: NDArray[np.int64]) -> bool:
    """Tell whether each lane's columns stand in their order, in the patch, without empty words.

    The longest list has the layer's words; behind the others there is nothing.

    Parameters
    ----------
    walk : Walk
    streams : Streams
    offsets : int64[words, lanes]
    """
    words, lanes = offsets.shape
    if not words:
        return False
    used: NDArray[np.bool_] = np.any(streams.counts.reshape(-1, lanes, words), axis=0).T
    behind = offsets // lanes
    return bool(
        np.any(used[-1])
        and not np.any(used[1:] & ~used[:-1])
        and np.all(walk.inside(offsets)[used])
        and not np.any(behind[~used])
        and not np.any(used[1:] & (behind[1:] <= behind[:-1]))
    )


def _keeps_to_groups(
    walk: Walk,
    layer: ProgramLayer,
    channels: NDArray[np.int64],
    streams: Streams,
    offsets: NDArray[np.int64],
) -> bool:
    """Tell whether a convolution's rows have weights for channels of their own group only.

    Parameters
    ----------
    walk : Walk
    layer : ProgramLayer
    channels : int64[channels]
        The network's, in the places of a pixel.
    streams : Streams
    offsets : int64[words, lanes]
    """
    if layer.convolution is None or layer.convolution.groups == 1:
        return True
    groups = layer.convolution.groups
    rows, columns, weights = places(streams, lanes=offsets.shape[1])
    real = weights != 0
    if np.any(rows[real] >= len(layer.order)):
        return False
    row = np.array(layer.order)[rows[real]]
    channel = channels[offsets.ravel()[columns[real]] % walk.pixel]
    return bool(
        np.all(row * groups // layer.rows == channel * groups // layer.convolution.channels)
    )
