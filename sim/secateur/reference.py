"""Golden model of the whole engine: from image bytes and words of x to words of y."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.fixed import NumberFormat, Requant
from secateur.format import IMAGE_HEADER, LoadError, Section
from secateur.image import CRC_SIZE, IncompleteImageError, RefusedImageError, parse_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.image import Contents

__all__ = ["Reference"]

#: Refusals before the image has begun.
HEADER_ERRORS = frozenset({LoadError.MAGIC, LoadError.VERSION, LoadError.ENGINE})


class Reference:
    """An engine without its timing: it sees the bytes and words on the streams and nothing else.

    Words that an image does not write are unknown in an engine; here they do not exist, and a
    program that reads one is a defect that raises ``IndexError`` or ``KeyError``.

    Parameters
    ----------
    spec : EngineSpec

    Attributes
    ----------
    program : int or None
        CRC-32 of the program in use; none if there is none.
    error : LoadError
        Why the last image was refused; ``NONE`` while it is fine.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.program: int | None = None
        self.error = LoadError.NONE
        self._contents: Contents = {}
        self._activations = np.zeros((spec.activation_depth, spec.lanes), dtype=np.int64)

    def load(self, image: bytes) -> LoadError:
        """Take one image, its first byte marked as first.

        A refused or incomplete image leaves the old program in use, unless the engine has a
        single bank: then the old program ends as soon as the image's header is accepted.

        Parameters
        ----------
        image : bytes

        Returns
        -------
        LoadError
            ``NONE`` also for an image that ends too early: the engine waits for the rest.
        """
        self.error = LoadError.NONE
        try:
            self._contents, size = parse_image(self.spec, image)
            self.program = int.from_bytes(image[size - CRC_SIZE : size], "little")
            return self.error
        except RefusedImageError as refusal:
            self.error = refusal.error
            accepted = refusal.error not in HEADER_ERRORS
        except IncompleteImageError:
            accepted = len(image) >= IMAGE_HEADER.size
        if accepted and self.spec.banks == 1:
            self.program = None
        return self.error

    def infer(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Run inferences one after the other.

        Parameters
        ----------
        x : int64[inferences, input_words, lanes]
            At least one inference. Bit patterns, from 0 to ``2**activation_width - 1``.

        Returns
        -------
        int64[inferences, output_words, lanes]
            Bit patterns likewise.

        Raises
        ------
        RuntimeError
            If no program is in use.
        OverflowError
            If an accumulator leaves its width.
        """
        if self.program is None:
            raise RuntimeError("no program is in use")
        table = self._contents[Section.LAYERS, 0]
        layers = []
        for index, last in enumerate(table["last"]):
            fields = {name: int(values[index]) for name, values in table.items()}
            layers.append((fields, *self._entries(index, fields)))
            if last:
                break
        first = layers[0][0]
        region = self._region(first["source"], 2 * first["source_words"])
        regions = region[: first["source_words"]], region[first["source_words"] :]
        y = []
        regions[0][:] = x[0]
        for number in range(len(x)):
            # The next x is taken in while this one is computed, into the other of two regions.
            if number + 1 < len(x):
                regions[(number + 1) % 2][:] = x[number + 1]
            for index, (fields, *entries) in enumerate(layers):
                source = regions[number % 2]
                if index:
                    source = self._region(fields["source"], fields["source_words"])
                words = self._layer(fields, source.ravel(), *entries)
                if fields["last"]:
                    y.append(words)
                else:
                    self._region(fields["destination"], len(words))[:] = words
        return np.array(y).reshape(len(x), -1, self.spec.lanes)

    def _region(self, start: int, words: int) -> NDArray[np.int64]:
        """Give a view of activation words, all of which must exist."""
        if start + words > self.spec.activation_depth:
            raise IndexError(f"words {start} to {start + words} are not in the activation memory")
        return self._activations[start : start + words]

    def _entries(
        self, index: int, fields: dict[str, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row position, column and weight of every entry of a layer: int64[entries] each.

        The k-th entries of all columns of a PE are read at once; each column has its own cursor.
        """
        positions, columns, weights = [], [], []
        base, length = fields["column_base"], fields["source_words"] * self.spec.lanes
        addresses = np.arange(base, base + length)
        for pe in range(self.spec.pes):
            word = self._contents[Section.COLUMNS, pe]
            start, count = word["start"][addresses], word["count"][addresses]
            entry = self._contents[Section.WEIGHTS, pe]
            slot = np.full(length, -1)
            for k in range(count.max()):
                column = np.flatnonzero(count > k)
                slot[column] += 1 + entry["zeros"][start[column] + k]
                code = entry["code"][start[column] + k]
                if self.spec.codebook_bits:
                    book = index << self.spec.codebook_bits
                    code = self._contents[Section.CODEBOOKS, 0]["value"][book + code]
                positions.append(slot[column] * self.spec.pes + pe)
                columns.append(column)
                weights.append(code)
        return np.concatenate(positions), np.concatenate(columns), np.concatenate(weights)

    def _layer(
        self,
        fields: dict[str, int],
        source: NDArray[np.int64],
        positions: NDArray[np.int64],
        columns: NDArray[np.int64],
        weights: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Multiply, accumulate, add the biases and requantise: int64[rows_words, lanes]."""
        width = self.spec.activation_width
        sign = fields["input_signed"] << (width - 1)
        sums = np.zeros(self.spec.row_depth * self.spec.pes, dtype=np.int64)
        np.add.at(sums, positions, weights * ((source ^ sign) - sign)[columns])

        bias = self._contents[Section.BIASES, 0]
        addresses = np.arange(fields["bias_base"], fields["bias_base"] + fields["rows_words"])
        biases = np.stack([bias[f"bias{n}"][addresses] for n in range(self.spec.lanes)], axis=1)
        total = sums[: biases.size] + biases.ravel()
        accumulator = NumberFormat(width=self.spec.accumulator_width, signed=True)
        if not (accumulator.holds(sums) and accumulator.holds(total)):
            raise OverflowError(f"an accumulator leaves its {accumulator.width} bits")
        requant = Requant(
            shift=fields["shift"],
            output=NumberFormat(width=width, signed=bool(fields["output_signed"])),
            relu=bool(fields["relu"]),
        )
        pattern = requant.compute(total) & ((1 << width) - 1)
        return pattern.reshape(biases.shape)
