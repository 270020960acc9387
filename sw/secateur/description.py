"""The JSON in a program file: what a program's user needs to know besides the image."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from pydantic import ConfigDict

from secateur.fixed import NumberFormat
from secateur.schema import parse

__all__ = ["Description", "ProgramLayer"]


@dataclass(frozen=True, kw_only=True)
class ProgramLayer:
    """What a program's user needs to know of a layer.

    Parameters
    ----------
    name : str
    rows, columns, nonzeros : int
        Of the network's layer, dead rows and columns included.
    order : tuple of int
        The network's rows that are left, in the order in which they are computed.
    entries, padding : int
        Entries of all PEs, and how many of those are padding.
    code_width : int
        Bits of an entry that are its code.
    input, output : NumberFormat
    input_fraction, weight_fraction, output_fraction : int
        Bits after the binary point.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    rows: int
    columns: int
    nonzeros: int
    order: tuple[int, ...]
    entries: int
    padding: int
    code_width: int
    input: NumberFormat
    output: NumberFormat
    input_fraction: int
    weight_fraction: int
    output_fraction: int

    @property
    def weights(self) -> int:
        """Weights that are left, in entries of their own."""
        return self.entries - self.padding


@dataclass(frozen=True, kw_only=True)
class Description:
    """Everything in a program file but the image; fields as in :class:`secateur.program.Program`.

    Raises
    ------
    ValueError
        If an order holds an index twice, or one that does not exist, or lacks an output, or
        layers do not fit each other.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    engine: dict[str, int]
    network: str
    network_digest: str
    inputs: int
    input_order: tuple[int, ...]
    layers: tuple[ProgramLayer, ...]

    def __post_init__(self) -> None:
        if not self.layers or len(self.layers[-1].order) != self.layers[-1].rows:
            raise ValueError("the last layer must keep all of its rows")
        lengths = [self.inputs, *(layer.rows for layer in self.layers)]
        if [layer.columns for layer in self.layers] != lengths[:-1]:
            raise ValueError("a layer must have as many columns as the one before has rows")
        orders = [self.input_order, *(layer.order for layer in self.layers)]
        for length, order in zip(lengths, orders, strict=True):
            if not order or len({*order}) < len(order) or min(order) < 0 or max(order) >= length:
                raise ValueError(f"an order must hold different indices below {length}")

    def to_json(self) -> bytes:
        """Give the canonical text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Description:
        """Parse and validate :meth:`to_json`'s result.

        Raises
        ------
        BadInputError
            With the first rule that the text breaks, as a phrase.
        """
        return parse(cls, text)
