"""Which PE multiplies which weight of a network, whatever the widths of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from secateur.balance import balanced_order
from secateur.dead import remove_dead
from secateur.input_map import image_order, input_pitch
from secateur.maps import lay_out
from secateur.streams import cut, positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.maps import Walk
    from secateur.network import Layer, Network
    from secateur.streams import Slices

__all__ = ["Placement", "place"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """A network without dead neurons, its rows assigned to groups of PEs.

    Parameters
    ----------
    network : Network
        Without dead neurons.
    pes, lanes : int
        Of the engine.
    input_order : tuple of int
        The original network's inputs that are left; -1 is a zero.
    row_orders : tuple of tuple of int
        The original network's rows that are left, of each layer, as they are computed.
    orders : list of int64[rows]
        The same as indices into ``network``.
    slices : list of Slices
        Of each layer, the columns in the order of the rows before, or as ``offsets`` has them.
    walks : list of Walk
        Of each layer, in an engine with positions.
    offsets : list of int64[words, lanes]
        Of each layer in such an engine, the word in which a column's activation is, counted from
        the patch's first.
    """

    network: Network
    pes: int
    lanes: int
    input_order: tuple[int, ...]
    row_orders: tuple[tuple[int, ...], ...]
    orders: list[NDArray[np.int64]]
    slices: list[Slices]
    walks: list[Walk]
    offsets: list[NDArray[np.int64]]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers."""
        return self.network.layers

    @property
    def source_words(self) -> list[int]:
        """Words of each layer's columns."""
        return [each.words for each in self.slices]

    @property
    def rows_words(self) -> list[int]:
        """Words of each layer's rows."""
        return [-(-layer.bias.size // self.lanes) for layer in self.layers]

    @property
    def accumulators(self) -> list[int]:
        """Accumulators that each PE needs, those of a last word's missing rows included."""
        return [-(-words * self.lanes // (self.pes // self.lanes)) for words in self.rows_words]


#: The last placement of each network that is in use: an engine is fitted, then encoded for.
_PLACED: WeakKeyDictionary[Network, Placement] = WeakKeyDictionary()


def place(network: Network, *, pes: int, lanes: int, maps: bool = False) -> Placement:
    """Remove dead neurons (:func:`remove_dead`) and assign rows by load (:func:`balanced_order`).

    Inputs keep their natural order: neighbours, which are often active together, are in different
    lanes. ``maps`` tells whether the engine has positions.
    """
    known = _PLACED.get(network)
    if known is None or (known.pes, known.lanes, bool(known.walks)) != (pes, lanes, maps):
        _PLACED[network] = known = _place(network, pes, lanes, maps)
    return known


def _place(network: Network, pes: int, lanes: int, maps: bool) -> Placement:
    reduction = remove_dead(network)
    layers, input_order = reduction.network.layers, reduction.kept[0]
    walks = _walks(layers, lanes) if maps else []
    if layers[0].convolution is not None:
        input_order = image_order(
            layers[0].convolution, pitch=walks[0].pitch, length=walks[0].target_base * lanes
        )
    orders, slices, offsets = [], [], []
    before = np.arange(walks[0].channels if maps else reduction.network.inputs)
    for index, layer in enumerate(layers):
        shape = layer.weights.shape
        row, column = np.nonzero(layer.weights)
        weights = layer.weights[row, column]
        if maps:
            offset = walks[index].offsets(np.arange(shape[1]), positions(before))
            place, words = _listed(offset, np.unique(column), lanes)
            offsets.append(words)
            column, shape = place[column], (shape[0], words.size)
        else:
            column = positions(before)[column]
        loads = np.bincount(row * lanes + column % lanes, minlength=shape[0] * lanes)
        order = balanced_order(loads.reshape(-1, lanes), groups=pes // lanes)
        orders.append(order)
        row = positions(order)[row]
        slices.append(cut(weights, row, column, shape=shape, pes=pes, lanes=lanes))
        before = order
    return Placement(
        network=reduction.network,
        pes=pes,
        lanes=lanes,
        input_order=tuple(input_order.tolist()),
        row_orders=tuple(
            tuple(kept[order].tolist())
            for kept, order in zip(reduction.kept[1:], orders, strict=True)
        ),
        orders=orders,
        slices=slices,
        walks=walks,
        offsets=offsets,
    )


def _walks(layers: tuple[Layer, ...], lanes: int) -> list[Walk]:
    """Lay out the maps of a network without dead neurons."""
    first, pitch, inputs = layers[0], 1, layers[0].inputs
    if first.convolution is not None:
        inputs = first.convolution.channels
        read = np.flatnonzero(first.weights.any(axis=0))
        pitch = input_pitch(first.convolution, read, lanes=lanes)
    shapes = [(layer.convolution, len(layer.weights)) for layer in layers]
    return lay_out(shapes, inputs=inputs, pitch=pitch, lanes=lanes)


def _listed(
    offset: NDArray[np.int64], read: NDArray[np.int64], lanes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the columns of each lane by ascending offset.

    Parameters
    ----------
    offset : int64[columns]
    read : int64[n]
        Columns in which there is a weight.
    lanes : int

    Returns
    -------
    place : int64[columns]
        ``word * lanes + lane`` of those columns.
    words : int64[words, lanes]
        Words of their offsets; 0 where there is no column.
    """
    read = read[np.argsort(offset[read])]
    lane = offset[read] % lanes
    word = np.empty_like(read)
    for each in range(lanes):
        mine = np.flatnonzero(lane == each)
        word[mine] = np.arange(mine.size)
    place = np.zeros_like(offset)
    place[read] = word * lanes + lane
    words = np.zeros((int(word.max()) + 1, lanes), dtype=np.int64)
    words[word, lane] = offset[read] // lanes
    return place, words
