"""Where everything of a network lies in the memories of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.balance import balanced_order
from secateur.dead import remove_dead
from secateur.format import Section
from secateur.streams import encode_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.image import Contents
    from secateur.network import Layer, Network
    from secateur.streams import Streams

__all__ = ["Placement", "place"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """A program, short of its words: what the depths of the engine's memories do not change.

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
    streams : list of Streams
        Of each layer, the columns in the order of the rows before.
    """

    network: Network
    pes: int
    lanes: int
    input_order: tuple[int, ...]
    row_orders: tuple[tuple[int, ...], ...]
    orders: list[NDArray[np.int64]]
    streams: list[Streams]

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
    def regions(self) -> list[int]:
        """Where the input, its double, and the outputs of even and odd layers begin, and the end.

        The last layer's output is not stored.
        """
        words, hidden = self.words[0], self.words[1:-1]
        sizes = [words, words, max(hidden[::2], default=0), max(hidden[1::2], default=0)]
        return [0, *np.cumsum(sizes).tolist()]

    @property
    def depths(self) -> dict[str, int]:
        """Words that the program needs, by the name of the depth."""
        per_pe = np.sum([streams.counts.sum(axis=1) for streams in self.streams], axis=0)
        return {
            "weight_depth": int(per_pe.max()),
            "column_depth": sum(self.words[:-1]) * self.lanes,
            "row_depth": max(-(-layer.bias.size // self.pes) for layer in self.layers),
            "activation_depth": self.regions[-1],
            "bias_depth": sum(self.words[1:]),
            "layer_depth": len(self.layers),
        }

    def contents(self, spec: EngineSpec) -> Contents:
        """Words of every memory, in the order in which an image holds them."""
        return {
            (Section.LAYERS, 0): self._layer_words(),
            **self._codebook_words(spec),
            (Section.BIASES, 0): self._bias_words(),
            **self._column_words(),
            **self._entry_words(),
        }

    def _layer_words(self) -> dict[str, NDArray[np.int64]]:
        words, count = self.words, len(self.layers)
        hidden = [self.regions[2 + index % 2] for index in range(count - 1)]
        column_words = [self.lanes * n for n in words[:-1]]
        fields = {
            "source": [0, *hidden],
            "source_words": words[:-1],
            "destination": [*hidden, 0],
            "rows_words": words[1:],
            "column_base": np.cumsum(column_words) - column_words,
            "bias_base": np.cumsum(words[1:]) - words[1:],
            "multiplier": [1] * count,
            "shift": [layer.requant.shift for layer in self.layers],
            "input_signed": [layer.input.signed for layer in self.layers],
            "output_signed": [layer.requant.output.signed for layer in self.layers],
            "relu": [layer.requant.relu for layer in self.layers],
            "last": [index == count - 1 for index in range(count)],
        }
        return {name: np.array(values, dtype=np.int64) for name, values in fields.items()}

    def _codebook_words(self, spec: EngineSpec) -> Contents:
        if not spec.codebook_bits:
            return {}
        values = np.zeros((len(self.layers), 1 << spec.codebook_bits), dtype=np.int64)
        for row, layer in zip(values, self.layers, strict=True):
            assert layer.codebook is not None  # `_check` has seen to it
            row[: len(layer.codebook)] = layer.codebook
        return {(Section.CODEBOOKS, 0): {"value": values.ravel()}}

    def _bias_words(self) -> dict[str, NDArray[np.int64]]:
        biases = []
        for layer, order, words in zip(self.layers, self.orders, self.words[1:], strict=True):
            biases.append(np.zeros(words * self.lanes, dtype=np.int64))
            biases[-1][: order.size] = layer.bias[order]
        rows = np.concatenate(biases).reshape(-1, self.lanes)
        return {f"bias{lane}": rows[:, lane] for lane in range(self.lanes)}

    def _column_words(self) -> Contents:
        counts = np.concatenate(
            [
                np.pad(streams.counts, ((0, 0), (0, words * self.lanes - streams.counts.shape[1])))
                for streams, words in zip(self.streams, self.words, strict=False)
            ],
            axis=1,
        )
        # A full memory's end has no address: an empty column starts nowhere, at 0.
        starts = np.where(counts > 0, np.cumsum(counts, axis=1) - counts, 0)
        return {
            (Section.COLUMNS, pe): {"start": starts[pe], "count": counts[pe]}
            for pe in range(self.pes)
        }

    def _entry_words(self) -> Contents:
        contents = {}
        for pe in range(self.pes):
            codes = [
                streams.weights[pe]
                if layer.codebook is None
                else np.searchsorted(layer.codebook, streams.weights[pe])
                for layer, streams in zip(self.layers, self.streams, strict=True)
            ]
            contents[Section.WEIGHTS, pe] = {
                "code": np.concatenate(codes),
                "zeros": np.concatenate([streams.zeros[pe] for streams in self.streams]),
            }
        return contents


def place(network: Network, spec: EngineSpec) -> Placement:
    """Remove dead neurons, assign rows to PEs by load and cut each layer into streams.

    Only the PEs, the lanes and the index width of ``spec`` count.
    """
    reduction = remove_dead(network)
    orders, streams = [], []
    columns = np.arange(reduction.network.inputs)
    for layer in reduction.network.layers:
        order = balanced_order(np.count_nonzero(layer.weights, axis=1), pes=spec.pes)
        natural = np.array_equal(columns, np.arange(columns.size))
        matrix = layer.weights if natural else layer.weights[:, columns]
        orders.append(order)
        streams.append(
            encode_matrix(matrix, pes=spec.pes, index_width=spec.index_width, order=order)
        )
        columns = order
    return Placement(
        network=reduction.network,
        pes=spec.pes,
        lanes=spec.lanes,
        input_order=tuple(reduction.kept[0].tolist()),
        row_orders=tuple(
            tuple(kept[order].tolist())
            for kept, order in zip(reduction.kept[1:], orders, strict=True)
        ),
        orders=orders,
        streams=streams,
    )
