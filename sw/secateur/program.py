"""The program: what one engine runs, and the file that keeps it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from secateur.container import pack_container, read_container, write_file
from secateur.description import Description, ProgramLayer
from secateur.engine import EngineSpec
from secateur.errors import BadInputError
from secateur.format import Section, memories
from secateur.image import (
    CRC_SIZE,
    IncompleteImageError,
    RefusedImageError,
    parse_image,
    read_image,
)
from secateur.sound import describes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


__all__ = ["Program"]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network encoded for one engine.

    Parameters
    ----------
    spec : EngineSpec
        The only engine that accepts the program.
    image : bytes
        What the engine's load stream takes.
    network, network_digest : str
        Name and digest of the network.
    inputs : int
        Length of the network's x.
    input_order : tuple of int
        Inputs that are left, in the order in which the engine takes them; -1 is a zero.
    layers : tuple of ProgramLayer
    """

    spec: EngineSpec
    image: bytes = field(repr=False)
    network: str
    network_digest: str
    inputs: int
    input_order: tuple[int, ...]
    layers: tuple[ProgramLayer, ...]

    @property
    def id(self) -> int:
        """CRC-32 that ends the image; the engine's ``status.program`` while it runs it."""
        return int.from_bytes(self.image[-CRC_SIZE:], "little")

    @property
    def digest(self) -> str:
        """SHA-256 of the program file, in hexadecimal."""
        return hashlib.sha256(self._body()).hexdigest()

    @property
    def outputs(self) -> int:
        """Length of the network's y."""
        return self.layers[-1].outputs

    @cached_property
    def output_order(self) -> tuple[int, ...]:
        """Outputs, in the order in which the engine gives them; -1 means nothing."""
        last = self.layers[-1]
        if last.outputs == last.rows:
            return last.order
        pixels = last.outputs // last.rows
        order = np.full((pixels, self.rows_words[-1] * self.spec.lanes), -1)
        order[:, : last.rows] = np.array(last.order) * pixels + np.arange(pixels)[:, None]
        return tuple(order.ravel().tolist())

    @property
    def rows_words(self) -> list[int]:
        """Words of each layer's rows, for each position."""
        return [-(-len(layer.order) // self.spec.lanes) for layer in self.layers]

    @property
    def words(self) -> list[int]:
        """Words of the input, then of each layer's output."""
        pixels = [layer.outputs // layer.rows for layer in self.layers]
        words = [words * many for words, many in zip(self.rows_words, pixels, strict=True)]
        return [-(-len(self.input_order) // self.spec.lanes), *words]

    @property
    def input_words(self) -> int:
        """Words of ``lanes`` activations that the engine takes per inference."""
        return self.words[0]

    @property
    def output_words(self) -> int:
        """Words of ``lanes`` activations that the engine gives per inference."""
        return self.words[-1]

    def arrange(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn network inputs into words of the x stream.

        Parameters
        ----------
        x : int64[..., inputs]
            Each representable in the first layer's input format.

        Returns
        -------
        int64[..., input_words, lanes]
            Bit patterns, from 0 to ``2**activation_width - 1``.

        Raises
        ------
        BadInputError
            If x has another length, or a value is out of range.
        """
        x = np.asarray(x)
        kind = self.layers[0].input
        if x.shape[-1:] != (self.inputs,) or not kind.holds(x):
            raise BadInputError(
                f"x must be [..., {self.inputs}] from {kind.lowest} to {kind.highest}, not "
                f"{x.shape} from {x.min(initial=0)} to {x.max(initial=0)}"
            )
        words = np.zeros((*x.shape[:-1], self.input_words * self.spec.lanes), dtype=np.int64)
        order = np.array(self.input_order)
        words[..., np.flatnonzero(order >= 0)] = x[..., order[order >= 0]]
        words &= (1 << self.spec.activation_width) - 1
        return words.reshape(*x.shape[:-1], self.input_words, self.spec.lanes)

    def restore(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn words of the y stream into network outputs.

        Parameters
        ----------
        words : int64[..., output_words, lanes]
            Bit patterns, from 0 to ``2**activation_width - 1``.

        Returns
        -------
        int64[..., outputs]

        Raises
        ------
        BadInputError
            If the shape is another one.
        """
        words = np.asarray(words)
        if words.shape[-2:] != (self.output_words, self.spec.lanes):
            raise BadInputError(
                f"y must be [..., {self.output_words}, {self.spec.lanes}], not {words.shape}"
            )
        flat = words.reshape(*words.shape[:-2], self.output_words * self.spec.lanes)
        order = np.array(self.output_order)
        flat = flat[..., np.flatnonzero(order >= 0)]
        if self.layers[-1].output.signed:
            sign = 1 << (self.spec.activation_width - 1)
            flat = (flat ^ sign) - sign
        y = np.empty(flat.shape, dtype=np.int64)
        y[..., order[order >= 0]] = flat
        return y

    def storage(self) -> dict[str, int]:
        """Bits that the program occupies on chip, by what they hold."""
        return self._bits()[0]

    def unused(self) -> dict[str, int]:
        """Bits of the engine's memories that the program leaves free, of one bank.

        By memory, :class:`secateur.format.Section` in lower case.
        """
        return self._bits()[1]

    @cached_property
    def weight_words(self) -> list[int]:
        """Words of all weight memories that each layer takes, with the gaps behind its entries."""
        contents = read_image(self.spec, self.image)
        written = sum(contents[Section.WEIGHTS, pe]["entry"].size for pe in range(self.spec.pes))
        bases = contents[Section.LAYERS, 0]["weight_base"]
        return np.diff(self.spec.pes * bases, append=written).tolist()

    @cached_property
    def column_words(self) -> list[int]:
        """Words of columns that each layer takes."""
        return read_image(self.spec, self.image)[Section.LAYERS, 0]["source_words"].tolist()

    def _bits(self) -> tuple[dict[str, int], dict[str, int]]:
        spec = self.spec
        kinds = memories(spec)
        entries = sum(layer.entries for layer in self.layers)
        codebooks = len(self.layers) << spec.codebook_bits if spec.codebook_bits else 0
        used = {
            section: count * kinds[section].record.width
            for section, count in {
                Section.LAYERS: len(self.layers),
                Section.WEIGHTS: sum(self.weight_words),
                Section.COLUMNS: sum(self.column_words),
                Section.BIASES: sum(self.rows_words) * spec.lanes // spec.drain_lanes,
                Section.CODEBOOKS: codebooks,
                Section.OFFSETS: sum(self.column_words),
            }.items()
            if section in kinds
        }
        codes = sum(layer.weights * layer.code_width for layer in self.layers)
        padding = sum(layer.padding for layer in self.layers) * spec.entry_width
        holds = {
            section: memory.depth * memory.record.width * (spec.pes if memory.per_pe else 1)
            for section, memory in kinds.items()
        }
        return {
            "codes": codes,
            "indices": entries * spec.entry_width - padding - codes,
            "padding": padding,
            "gaps": used[Section.WEIGHTS] - entries * spec.entry_width,
            "counts": used[Section.COLUMNS],
            **({"offsets": used[Section.OFFSETS]} if spec.positions else {}),
            "codebooks": used.get(Section.CODEBOOKS, 0),
            "biases": used[Section.BIASES],
            "layers": used[Section.LAYERS],
        }, {section.name.lower(): bits - used[section] for section, bits in holds.items()}

    @property
    def bits_per_weight(self) -> float:
        """Bits of :meth:`storage` per weight that is left."""
        return sum(self.storage().values()) / sum(layer.weights for layer in self.layers)

    def _body(self) -> bytes:
        """Everything in the file but its SHA-256."""
        engine = self.spec.to_dict()
        if not self.spec.positions:  # as it was before there were any
            del engine["positions"]
        description = Description(
            engine=engine,
            network=self.network,
            network_digest=self.network_digest,
            inputs=self.inputs,
            input_order=self.input_order,
            layers=self.layers,
        )
        return pack_container(description.to_json(), self.image)

    def save(self, path: Path) -> None:
        """Write the program file: all of it or nothing."""
        write_file(path, self._body())

    @classmethod
    def load(cls, path: Path) -> Program:
        """Read :meth:`save`'s file.

        Raises
        ------
        BadInputError
            If the file is missing, truncated, altered, of another kind or of another version.
        """
        text, image = read_container(path)
        try:
            description = Description.from_json(text)
            program = cls(
                spec=EngineSpec.from_dict(description.engine),
                image=image,
                network=description.network,
                network_digest=description.network_digest,
                inputs=description.inputs,
                input_order=description.input_order,
                layers=description.layers,
            )
            contents, size = parse_image(program.spec, image)
            described = describes(program.spec, program.input_order, program.layers, contents)
            if size != len(image) or not described:
                raise BadInputError("it describes another image")
        except (BadInputError, RefusedImageError, IncompleteImageError) as error:
            raise BadInputError(
                f"{path} holds no valid program ({error}); make it again with `secateur encode`"
            ) from None
        return program
