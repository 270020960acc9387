"""The JSON in a program file: what a program's user needs to know besides the image."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass

from pydantic import ConfigDict

from secateur.convolution import Convolution
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
    convolution : Convolution, optional
        The network's; none for a fully connected layer.
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
    convolution: Convolution | None = None

    @property
    def inputs(self) -> int:
        """Activations of the network's input to the layer."""
        return self.columns if self.convolution is None else self.convolution.inputs

    @property
    def outputs(self) -> int:
        """Activations of the network's output of the layer."""
        if self.convolution is None:
            return self.rows
        return self.rows * math.prod(self.convolution.plane)

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
        layers do not fit each other. In the order of an image -1 is a zero.
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
        for before, layer in zip((None, *self.layers), self.layers, strict=False):
            _check_convolution(before, layer)
        lengths = [self.inputs, *(layer.outputs for layer in self.layers)]
        if [layer.inputs for layer in self.layers] != lengths[:-1]:
            raise ValueError("a layer must have as many columns as the one before has rows")
        lengths = [self.inputs, *(layer.rows for layer in self.layers)]
        image = self.layers[0].convolution is not None
        inputs = [index for index in self.input_order if index != -1 or not image]
        orders = [inputs, *(layer.order for layer in self.layers)]
        for length, order in zip(lengths, orders, strict=True):
            if not order or len({*order}) < len(order) or min(order) < 0 or max(order) >= length:
                raise ValueError(f"an order must hold different indices below {length}")

    def to_json(self) -> bytes:
        """Give the canonical text."""
        fields = dataclasses.asdict(self)
        for layer in fields["layers"]:  # as it was before there were any
            if layer["convolution"] is None:
                del layer["convolution"]
        return json.dumps(fields, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Description:
        """Parse and validate :meth:`to_json`'s result.

        Raises
        ------
        BadInputError
            With the first rule that the text breaks, as a phrase.
        """
        return parse(cls, text)


def _check_convolution(before: ProgramLayer | None, layer: ProgramLayer) -> None:
    """Refuse a convolution that no network has in this place."""
    convolution = layer.convolution
    if convolution is None:
        return
    if layer.columns != convolution.columns or layer.rows % convolution.groups:
        raise ValueError("a convolution must have the columns and rows of its groups")
    convolution.check_size("output", (layer.rows, *convolution.positions))
    planes = convolution.channels, convolution.height, convolution.width
    if before is not None and (
        before.convolution is None or (before.rows, *before.convolution.plane) != planes
    ):
        raise ValueError("a convolution must take the planes of the convolution before")
