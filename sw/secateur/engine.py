"""The specification of an engine: every parameter that the gateware is generated from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from secateur.errors import BadInputError

__all__ = ["EngineSpec", "check_range", "default_lanes"]

#: Allowed range of each plain field, inclusive.
RANGES = {
    "pes": (1, 256),
    "lanes": (1, 64),
    "activation_width": (4, 16),
    "weight_width": (2, 16),
    "codebook_bits": (0, 6),
    "index_width": (1, 8),
    "entry_width": (3, 24),
    "accumulator_width": (4, 48),
    "bias_width": (2, 48),
    "queue_depth": (4, 64),
    "weight_depth": (2, 1 << 20),
    "count_width": (1, 13),
    "column_depth": (2, 1 << 16),
    "row_depth": (2, 1 << 12),
    "activation_depth": (4, 1 << 16),
    "bias_depth": (2, 1 << 16),
    "layer_depth": (2, 64),
    "banks": (1, 2),
    "jobs": (1, 8),
    "accumulator_memories": (1, 4),
    "positions": (0, 16),
}

#: Fields that address a memory or a ring, whose counters wrap for free at a power of two.
POWERS_OF_TWO = (
    "lanes",
    "weight_depth",
    "column_depth",
    "row_depth",
    "activation_depth",
    "bias_depth",
    "layer_depth",
    "jobs",
    "accumulator_memories",
    "positions",
)


def check_range(name: str, value: int) -> None:
    """Refuse what no engine has.

    Raises
    ------
    BadInputError
        If the value is out of the field's range.
    """
    low, high = RANGES[name]
    if type(value) is not int or not low <= value <= high:
        raise BadInputError(f"{name} must be an integer between {low} and {high}, not {value!r}")


def default_lanes(pes: int) -> int:
    """Activations per word for an engine of ``pes`` PEs: a power of two that divides it.

    It is the largest one that is not more than the number of row groups.

    Examples
    --------
    >>> [default_lanes(pes) for pes in (1, 2, 3, 4, 6, 8, 16, 64)]
    [1, 1, 1, 2, 2, 2, 4, 8]
    """
    lanes = pes & -pes
    while lanes * lanes > pes:
        lanes //= 2
    return lanes


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Parameters of one engine. A program is encoded for exactly one specification.

    PE p is in lane ``p % lanes`` of row group ``p // lanes``: it multiplies the activations of that
    lane by weights of that group's rows.

    Parameters
    ----------
    pes : int
        Processing elements; each multiplies one weight a cycle.
    lanes : int
        Activations per word of the x and y streams and of the activation memory, all of them
        broadcast at once; a power of two that divides ``pes``.
    activation_width : int
        Bits of an activation, signed or unsigned by layer.
    weight_width : int
        Bits of a weight at the multiplier, two's complement.
    codebook_bits : int
        Bits of the largest code that is looked up in a layer's codebook; 0 stores weights directly.
    index_width : int
        Bits of the largest count of zeros before an entry.
    entry_width : int
        Bits of an entry: code and count of zeros, which each layer divides in its own way.
    accumulator_width, bias_width : int
        Bits of an accumulator and of a bias, two's complement.
    queue_depth : int
        Columns that can wait in front of each PE. With 11, and those that are on their way when it
        is full, its memory has 16 words.
    weight_depth : int
        Entries of each PE, per bank.
    count_width : int
        Bits of the number of entries that a PE has in a column.
    column_depth : int
        Words of ``lanes`` columns, all layers together, per bank.
    row_depth : int
        Accumulators of each PE, for each job; with ``positions``, for all of them.
    activation_depth : int
        Words of ``lanes`` activations that each of the two activation queues holds; with
        ``positions``, that all maps of an inference take together.
    bias_depth : int
        Words of ``drain_lanes`` biases, per bank.
    layer_depth : int
        Layers that the layer table holds.
    banks : int
        2 keeps the old program until a new one is complete and correct; 1 halves the memories
        and gives the old program up when a new one begins.
    jobs : int
        Layers, of one inference or several, that may be under way at once. With 1, a layer begins
        when the one before is drained.
    accumulator_memories : int
        2 for each PE lets a finished job be read while others accumulate; with 1, which takes half
        the memory, every accumulator that is read costs the PE a cycle. A power of two, at most
        ``tags``.
    positions : int
        Positions of a convolution that may be under way at once, each with its share of
        ``row_depth``: a power of two. 0 is an engine without convolutions, whose activations pass
        through queues; any other runs one layer after the other, with ``jobs`` 1.

    Raises
    ------
    BadInputError
        If a field is out of range, or two do not go together.
    """

    pes: int
    lanes: int
    activation_width: int = 8
    weight_width: int = 8
    codebook_bits: int = 0
    index_width: int = 4
    entry_width: int = 12
    accumulator_width: int = 24
    bias_width: int = 24
    queue_depth: int = 11
    weight_depth: int = 1024
    count_width: int = 5
    column_depth: int = 256
    row_depth: int = 16
    activation_depth: int = 256
    bias_depth: int = 128
    layer_depth: int = 8
    banks: int = 2
    jobs: int = 2
    accumulator_memories: int = 1
    positions: int = 0

    def __post_init__(self) -> None:
        for name in RANGES:
            check_range(name, getattr(self, name))
        for name in POWERS_OF_TWO:
            value = getattr(self, name)
            if value & (value - 1):
                raise BadInputError(f"{name} must be a power of two, not {value!r}")
        if self.pes % self.lanes:
            raise BadInputError(f"lanes must divide pes ({self.pes}), not {self.lanes!r}")
        widest = self.code_width + self.index_width
        if self.entry_width > widest:
            raise BadInputError(
                f"entry_width must be at most the largest code's and the largest index's bits "
                f"({self.code_width} + {self.index_width}), not {self.entry_width!r}"
            )
        if self.bias_width > self.accumulator_width:
            raise BadInputError(
                f"bias_width must be at most accumulator_width ({self.accumulator_width}), "
                f"not {self.bias_width!r}"
            )
        if self.positions and self.jobs != 1:
            raise BadInputError(f"jobs must be 1 with positions, not {self.jobs!r}")
        if 2 * self.positions > self.row_depth:
            raise BadInputError(
                f"positions must be at most half of row_depth ({self.row_depth}), "
                f"not {self.positions!r}"
            )
        if self.activation_depth < self.jobs:
            raise BadInputError(
                f"activation_depth must be at least jobs ({self.jobs}), a word for the output of "
                f"each, not {self.activation_depth!r}"
            )
        if self.accumulator_memories > self.tags:
            name = "positions" if self.positions else "jobs"
            raise BadInputError(
                f"accumulator_memories must be at most {name} ({self.tags}), "
                f"not {self.accumulator_memories!r}"
            )

    @property
    def code_width(self) -> int:
        """Bits of the largest code."""
        return self.codebook_bits or self.weight_width

    @property
    def code_widths(self) -> range:
        """Bits that a layer's codes may have; the rest of an entry is its count of zeros.

        Examples
        --------
        >>> EngineSpec(pes=1, lanes=1, entry_width=12, index_width=5).code_widths
        range(7, 9)
        """
        low = max(1, self.entry_width - self.index_width)
        return range(low, min(self.code_width, self.entry_width - 1) + 1)

    @property
    def groups(self) -> int:
        """Groups that the rows are dealt to, of one PE for each lane."""
        return self.pes // self.lanes

    @property
    def drain_lanes(self) -> int:
        """Rows that are requantised in a cycle.

        Examples
        --------
        >>> [EngineSpec(pes=pes, lanes=4).drain_lanes for pes in (4, 8, 12, 16, 32)]
        [1, 2, 1, 4, 4]
        """
        return min(self.lanes, self.groups & -self.groups)

    @property
    def tags(self) -> int:
        """Sets of accumulators: one for each job, or for each position of a convolution."""
        return self.positions or self.jobs

    @property
    def set_depth(self) -> int:
        """Accumulators of each PE in a set."""
        return self.row_depth // (self.positions or 1)

    @property
    def address_width(self) -> int:
        """Bits of the address of one activation, ``word * lanes + lane``.

        Examples
        --------
        >>> EngineSpec(pes=4, lanes=4, jobs=1, positions=8, activation_depth=512).address_width
        11
        """
        return (self.activation_depth * self.lanes - 1).bit_length()

    def to_dict(self) -> dict[str, int]:
        """Every field by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, int]) -> EngineSpec:
        """Build from :meth:`to_dict`'s result.

        Raises
        ------
        BadInputError
            If a field is missing, unknown or out of range. ``positions`` may be missing where it
            is 0, as it was before there were any.
        """
        fields = {"positions": 0} | fields
        names = {f.name for f in dataclasses.fields(cls)}
        if set(fields) != names:
            odd = ", ".join(sorted(names ^ set(fields)))
            raise BadInputError(f"the engine must have exactly its known fields; check {odd}")
        return cls(**fields)

    @property
    def fingerprint(self) -> int:
        """32 bits that a program image must carry to be accepted by this engine."""
        fields = self.to_dict()
        if not self.positions:  # that of before there were any, so that programs stay valid
            del fields["positions"]
        text = json.dumps(fields, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
