"""What a placed network writes to the memories of one engine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from secateur.entry import pack_entries, unpack_entries
from secateur.fixed import signed_width
from secateur.format import Section, memories
from secateur.streams import Streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.image import Contents
    from secateur.placement import Placement

__all__ = ["Words", "offsets_in", "streams_in"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """A network in the words of an engine, which may be too small for them.

    Parameters
    ----------
    placement : Placement
    spec : EngineSpec
        Its depths, and the widths of accumulators, biases and counts, do not count.
    """

    placement: Placement
    spec: EngineSpec

    @cached_property
    def code_widths(self) -> list[int]:
        """Bits of each layer's codes: the fewest, so that the index is the largest."""
        fewest = self.spec.code_widths[0]
        return [max(layer.code_width, fewest) for layer in self.placement.layers]

    @cached_property
    def streams(self) -> list[Streams]:
        """Entries of each layer."""
        return [
            slices.streams(self.spec.entry_width - width)
            for slices, width in zip(self.placement.slices, self.code_widths, strict=True)
        ]

    @cached_property
    def weight_bases(self) -> list[int]:
        """Where each layer's entries begin in every PE, and last, where the memory ends."""
        most = [int(streams.counts.sum(axis=1).max()) for streams in self.streams]
        return [0, *itertools.accumulate(most)]

    @cached_property
    def needs(self) -> dict[str, int]:
        """What the network needs of a field of the engine: exact depths, and widths."""
        place, spec = self.placement, self.spec
        biases = [layer.bias for layer in place.layers]
        return {
            "accumulator_width": place.network.accumulator_width,
            "bias_width": signed_width(
                min(int(bias.min()) for bias in biases), max(int(bias.max()) for bias in biases)
            ),
            "weight_depth": self.weight_bases[-1],
            "row_depth": max(place.accumulators),
            "count_width": max(int(s.counts.max()) for s in self.streams).bit_length(),
            "column_depth": sum(place.source_words),
            "activation_depth": spec.jobs * max(place.rows_words[:-1], default=1),
            "bias_depth": sum(place.rows_words) * spec.lanes // spec.drain_lanes,
            "layer_depth": len(place.layers),
            **(self._map_needs() if spec.positions else {}),
        }

    def _map_needs(self) -> dict[str, int]:
        place, positions = self.placement, self.spec.positions
        sets = [
            count * (positions if walk.positions > 1 else 1)
            for count, walk in zip(place.accumulators, place.walks, strict=True)
        ]
        # The table has numbers up to the depth less one of x, and up to its double of y.
        most = max(place.walks[0].target_base + 1, place.walks[-1].output_words // 2 + 1)
        return {
            "row_depth": max(2 * positions, *sets),
            "activation_depth": max(most, *(walk.end for walk in place.walks)),
        }

    def contents(self) -> Contents:
        """Words of every memory, in the order in which an image holds them."""
        return {
            (Section.LAYERS, 0): self._layer_words(),
            **self._codebook_words(),
            (Section.BIASES, 0): self._bias_words(),
            (Section.COLUMNS, 0): self._column_words(),
            **self._offset_words(),
            **self._entry_words(),
        }

    def _layer_words(self) -> dict[str, NDArray[np.int64]]:
        place, layers = self.placement, self.placement.layers
        bias_words = np.array(place.rows_words) * self.spec.lanes // self.spec.drain_lanes
        walks = [walk.fields(self.spec) for walk in place.walks]
        fields = {
            "source_words": place.source_words,
            "rows_words": place.rows_words,
            "column_base": np.cumsum(place.source_words) - place.source_words,
            "weight_base": self.weight_bases[:-1],
            "bias_base": np.cumsum(bias_words) - bias_words,
            "multiplier": [1] * len(layers),
            "shift": [layer.requant.shift for layer in layers],
            "code_extra": np.array(self.code_widths) - self.spec.code_widths[0],
            "input_signed": [layer.input.signed for layer in layers],
            "output_signed": [layer.requant.output.signed for layer in layers],
            "relu": [layer.requant.relu for layer in layers],
            "last": [index == len(layers) - 1 for index in range(len(layers))],
            **{name: [walk[name] for walk in walks] for name in (walks[0] if walks else ())},
        }
        return {
            field.name: np.array(fields[field.name], dtype=np.int64)
            for field in memories(self.spec)[Section.LAYERS].record.fields
        }

    def _codebook_words(self) -> Contents:
        if not self.spec.codebook_bits:
            return {}
        layers = self.placement.layers
        values = np.zeros((len(layers), 1 << self.spec.codebook_bits), dtype=np.int64)
        for row, layer in zip(values, layers, strict=True):
            assert layer.codebook is not None  # `encode` has seen to it
            row[: len(layer.codebook)] = layer.codebook
        return {(Section.CODEBOOKS, 0): {"value": values.ravel()}}

    def _bias_words(self) -> dict[str, NDArray[np.int64]]:
        place = self.placement
        biases = []
        for layer, order, words in zip(place.layers, place.orders, place.rows_words, strict=True):
            biases.append(np.zeros(words * self.spec.lanes, dtype=np.int64))
            biases[-1][: order.size] = layer.bias[order]
        rows = np.concatenate(biases).reshape(-1, self.spec.drain_lanes)
        return {f"bias{lane}": rows[:, lane] for lane in range(self.spec.drain_lanes)}

    def _column_words(self) -> dict[str, NDArray[np.int64]]:
        counts = np.concatenate([streams.counts for streams in self.streams], axis=1)
        return {f"count{pe}": counts[pe] for pe in range(self.spec.pes)}

    def _offset_words(self) -> Contents:
        if not self.spec.positions:
            return {}
        words = np.concatenate(self.placement.offsets)
        fields = {f"word{lane}": words[:, lane] for lane in range(self.spec.lanes)}
        return {(Section.OFFSETS, 0): fields}

    def _entry_words(self) -> Contents:
        contents = {}
        for pe in range(self.spec.pes):
            count = self.streams[-1].weights[pe].size
            memory = np.zeros(self.weight_bases[-2] + count, dtype=np.int64)
            for base, layer, streams, width in zip(
                self.weight_bases[:-1],
                self.placement.layers,
                self.streams,
                self.code_widths,
                strict=True,
            ):
                weights = streams.weights[pe]
                book = layer.codebook
                codes = weights if book is None else np.searchsorted(book, weights)
                entries = pack_entries(codes, streams.zeros[pe], code_width=width)
                memory[base : base + entries.size] = entries
            contents[Section.WEIGHTS, pe] = {"entry": memory}
        return contents


def streams_in(spec: EngineSpec, contents: Contents) -> list[Streams]:
    """Read every layer's entries back from the words of the memories.

    Raises
    ------
    LookupError
        If a memory is not filled as far as the layer table or the counts say.
    """
    table = contents[Section.LAYERS, 0]
    columns = contents[Section.COLUMNS, 0]
    counts = np.stack([columns[f"count{pe}"] for pe in range(spec.pes)])
    layers = []
    for index, (base, words) in enumerate(
        zip(table["column_base"].tolist(), table["source_words"].tolist(), strict=True)
    ):
        mine = counts[:, base : base + words]
        if mine.shape[1] != words:
            raise IndexError(f"layer {index} has {words} words of columns, not {mine.shape[1]}")
        at = int(table["weight_base"][index])
        extra = int(table["code_extra"][index]) if "code_extra" in table else 0
        weights, zeros = [], []
        for pe, count in enumerate(mine.sum(axis=1).tolist()):
            entries = contents[Section.WEIGHTS, pe]["entry"][at : at + count]
            if entries.size != count:
                raise IndexError(f"PE {pe} has {count} entries of layer {index}")
            code, skipped = unpack_entries(
                entries, code_width=spec.code_widths[0] + extra, signed=not spec.codebook_bits
            )
            if spec.codebook_bits:
                codebook = contents[Section.CODEBOOKS, 0]["value"]
                code = codebook[(index << spec.codebook_bits) + code]
            weights.append(code)
            zeros.append(skipped)
        layers.append(Streams(weights=tuple(weights), zeros=tuple(zeros), counts=mine))
    return layers


def offsets_in(spec: EngineSpec, contents: Contents) -> list[NDArray[np.int64]]:
    """Read every layer's offsets back from the words of the memories.

    Returns
    -------
    list of int64[words, lanes]
        Activations from the patch's first one to that of each column.

    Raises
    ------
    LookupError
        If the memory is not filled as far as the layer table says.
    """
    table = contents[Section.LAYERS, 0]
    memory = contents[Section.OFFSETS, 0]
    word = np.stack([memory[f"word{lane}"] for lane in range(spec.lanes)], axis=1)
    layers = []
    for index, (base, words) in enumerate(
        zip(table["column_base"].tolist(), table["source_words"].tolist(), strict=True)
    ):
        mine = word[base : base + words]
        if len(mine) != words:
            raise IndexError(f"layer {index} has {words} words of offsets, not {len(mine)}")
        layers.append(mine * spec.lanes + np.arange(spec.lanes))
    return layers
