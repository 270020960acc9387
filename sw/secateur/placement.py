"""Which PE multiplies which weight of a network, whatever the widths of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from secateur.balance import balanced_order
from secateur.dead import remove_dead
from secateur.streams import cut, positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        The original network's inputs that are left.
    row_orders : tuple of tuple of int
        The original network's rows that are left, of each layer, as they are computed.
    orders : list of int64[rows]
        The same as indices into ``network``.
    slices : list of Slices
        Of each layer, the columns in the order of the rows before.
    """

    network: Network
    pes: int
    lanes: int
    input_order: tuple[int, ...]
    row_orders: tuple[tuple[int, ...], ...]
    orders: list[NDArray[np.int64]]
    slices: list[Slices]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers."""
        return self.network.layers

    @property
    def words(self) -> list[int]:
        """Words of the input, then of each layer's output."""
        lengths = [self.network.inputs, *(layer.bias.size for layer in self.layers)]
        return [-(-length // self.lanes) for length in lengths]

    @property
    def row_depth(self) -> int:
        """Accumulators that each PE needs, those of a last word's missing rows included."""
        return -(-max(self.words[1:]) * self.lanes // (self.pes // self.lanes))


#: The last placement of each network that is in use: an engine is fitted, then encoded for.
_PLACED: WeakKeyDictionary[Network, Placement] = WeakKeyDictionary()


def place(network: Network, *, pes: int, lanes: int) -> Placement:
    """Remove dead neurons (:func:`remove_dead`) and assign rows by load (:func:`balanced_order`).

    Inputs keep their natural order: neighbours, which are often active together, are in different
    lanes.
    """
    known = _PLACED.get(network)
    if known is None or (known.pes, known.lanes) != (pes, lanes):
        _PLACED[network] = known = _place(network, pes, lanes)
    return known


def _place(network: Network, pes: int, lanes: int) -> Placement:
    reduction = remove_dead(network)
    orders, slices = [], []
    columns = np.arange(reduction.network.inputs)
    for layer in reduction.network.layers:
        shape = layer.weights.shape
        row, column = np.nonzero(layer.weights)
        weights = layer.weights[row, column]
        column = positions(columns)[column]
        loads = np.bincount(row * lanes + column % lanes, minlength=shape[0] * lanes)
        order = balanced_order(loads.reshape(-1, lanes), groups=pes // lanes)
        orders.append(order)
        row = positions(order)[row]
        slices.append(cut(weights, row, column, shape=shape, pes=pes, lanes=lanes))
        columns = order
    return Placement(
        network=reduction.network,
        pes=pes,
        lanes=lanes,
        input_order=tuple(reduction.kept[0].tolist()),
        row_orders=tuple(
            tuple(kept[order].tolist())
            for kept, order in zip(reduction.kept[1:], orders, strict=True)
        ),
        orders=orders,
        slices=slices,
    )
