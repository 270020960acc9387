"""Golden model of the whole engine: from image bytes and words of x to words of y."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.entry import unpack_entries
from secateur.format import IMAGE_HEADER, LoadError, Section
from secateur.image import CRC_SIZE, IncompleteImageError, RefusedImageError, parse_image
from secateur.reference_maps import infer_maps, requantised

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
        self._memory = np.zeros(spec.activation_depth * spec.lanes, dtype=np.int64)

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
            self._memory[:] = 0
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
        if self.spec.positions:
            return np.array([
                infer_maps(self.spec, self._contents, layers, words, self._memory) for words in x
            ])
        y = []
        for words in x:
            for fields, *entries in layers:
                if len(words) != fields["source_words"]:
                    raise IndexError(
                        f"a layer reads {fields['source_words']} of {len(words)} words"
                    )
                words = self._layer(fields, words.ravel(), *entries)
            y.append(words)
        return np.array(y)

    def _entries(
        self, index: int, fields: dict[str, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """PE, accumulator, column and weight of every entry of a layer: int64[entries] each.

        The k-th entries of all columns are taken at once; each column has its own cursor.
        """
        spec = self.spec
        words, base = np.arange(fields["source_words"]), fields["weight_base"]
        found = []
        for pe in range(spec.pes):
            count = self._contents[Section.COLUMNS, 0][f"count{pe}"][fields["column_base"] + words]
            start, total = np.cumsum(count) - count, int(count.sum())
            codes, zeros = unpack_entries(
                self._contents[Section.WEIGHTS, pe]["entry"][base : base + total],
                code_width=spec.code_widths[fields.get("code_extra", 0)],
                signed=not spec.codebook_bits,
            )
            if spec.codebook_bits:
                book = index << spec.codebook_bits
                codes = self._contents[Section.CODEBOOKS, 0]["value"][book + codes]
            slot = np.full(words.size, -1)
            for k in range(count.max()):
                word = np.flatnonzero(count > k)
                slot[word] += 1 + zeros[start[word] + k]
                column = word * spec.lanes + pe % spec.lanes
                found.append((np.full_like(word, pe), slot[word], column, codes[start[word] + k]))
        pes, slots, columns, weights = np.concatenate([np.empty((4, 0), int), *found], axis=1)
        return pes, slots, columns, weights

    def _layer(
        self,
        fields: dict[str, int],
        source: NDArray[np.int64],
        pes: NDArray[np.int64],
        slots: NDArray[np.int64],
        columns: NDArray[np.int64],
        weights: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Multiply, accumulate, add the biases and requantise: int64[rows_words, lanes]."""
        spec, width = self.spec, self.spec.activation_width
        sign = fields["input_signed"] << (width - 1)
        sums = np.zeros((spec.row_depth, spec.groups, spec.lanes), dtype=np.int64)
        place = slots, pes // spec.lanes, pes % spec.lanes
        np.add.at(sums, place, weights * ((source ^ sign) - sign)[columns])

        pattern = requantised(spec, self._contents, fields, sums) & ((1 << width) - 1)
        return pattern.reshape(-1, spec.lanes)
