"""Layers of engines with maps as the layer table has them, drawn at random for benches."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.format import LOOPS, Section, memories

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from secateur.engine import EngineSpec

__all__ = ["Positions", "draw_lengths", "draw_positions", "table_word"]


@dataclass(frozen=True, kw_only=True)
class Positions:
    """How often each loop goes around, and what it moves an address by, the innermost first."""

    lengths: tuple[int, ...]
    moves: tuple[int, ...]
    base: int

    @property
    def count(self) -> int:
        """Positions."""
        return math.prod(self.lengths)

    def places(self) -> list[tuple[int, ...]]:
        """List the iteration of each loop, position by position."""
        outermost_first = map(range, reversed(self.lengths))
        return [place[::-1] for place in itertools.product(*outermost_first)]

    def addresses(self, size: int) -> list[int]:
        """List the address of each position, modulo ``size``."""
        return [
            (self.base + sum(at * move for at, move in zip(place, self.moves, strict=True))) % size
            for place in self.places()
        ]

    def steps(self, size: int) -> list[int]:
        """Say by how much an address moves when a loop goes on and the inner ones begin anew."""
        ends = [(n - 1) * move for n, move in zip(self.lengths, self.moves, strict=True)]
        return [(move - sum(ends[:loop])) % size for loop, move in enumerate(self.moves)]


def draw_lengths(rng: random.Random, most: int) -> tuple[int, ...]:
    """Draw how often each loop goes around, together at most ``most`` times."""
    lengths = [1] * LOOPS
    for _ in range(rng.randrange(2 * LOOPS)):
        loop = rng.randrange(LOOPS)
        if math.prod(lengths) // lengths[loop] * (lengths[loop] + 1) <= most:
            lengths[loop] += 1
    return tuple(lengths)


def draw_positions(rng: random.Random, lengths: Sequence[int], size: int) -> Positions:
    """Draw where the positions are: anywhere, modulo ``size``."""
    return Positions(
        lengths=tuple(lengths),
        moves=tuple(rng.randrange(size) for _ in lengths),
        base=rng.randrange(size),
    )


def table_word(spec: EngineSpec, rng: random.Random, fields: Mapping[str, int]) -> dict[str, int]:
    """Give a word of the layer table, with anything in the other fields.

    Raises
    ------
    LookupError
        If there is no such field.
    """
    record = memories(spec)[Section.LAYERS].record
    if unknown := fields.keys() - {field.name for field in record.fields}:
        raise LookupError(f"the layer table has no {sorted(unknown)}")
    return {field.name: rng.getrandbits(field.width) for field in record.fields} | dict(fields)
