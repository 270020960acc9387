"""Ways to damage bytes and JSON values, for tests of what reads them."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

__all__ = ["altered", "damaged"]

#: Counts and lengths that a careless reader believes.
NUMBERS = (0, 1, 255, 1 << 16, (1 << 31) - 1, (1 << 32) - 1)
#: What nobody expects where another value stood.
ODD: tuple[Any, ...] = (
    None,
    True,
    "",
    "\0",
    "../../x",
    "9" * 400,
    [],
    {},
    [[]],
    {"": {}},
    0,
    -1,
    1,
    255,
    1 << 31,
    1 << 63,
    -(1 << 63),
    1 << 64,
    10**30,
    0.5,
    -0.0,
    1e308,
    math.nan,
    math.inf,
)


def damaged(rng: Random, raw: bytes) -> bytes:
    """Change bytes in one to three ways: flipped, lost, twice, exchanged, lengths that lie."""
    found = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(found))
        end = min(start + rng.choice((1, 2, 4, 9, 60)), len(found))
        match rng.randrange(9):
            case 0 if start < end:
                found[start] ^= 1 << rng.randrange(8)
            case 1:
                found[start:end] = rng.randbytes(end - start)
            case 2:
                found[start:end] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) * (end - start)
            case 3:
                del found[start:]
            case 4:
                del found[start:end]
            case 5:
                found[start:start] = found[start:end]
            case 6:
                found[start : start + 4] = rng.choice(NUMBERS).to_bytes(4, "little")
            case 7:
                other = rng.randint(0, len(found))
                size = end - start
                found[start:end], found[other : other + size] = (
                    found[other : other + size],
                    found[start:end],
                )
            case _:
                found += rng.randbytes(rng.randint(1, 9))
    return bytes(found)


def altered(rng: Random, value: Any) -> Any:
    """Change one to three parts of a JSON value: odd values, neighbours, lost, new, exchanged."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 3)):
        holders = [holder for holder in _holders(root) if len(holder)]
        holder = rng.choice(holders)
        keys: list[Any] = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
        key = rng.choice(keys)
        old = holder[key]
        match rng.randrange(6):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "code", str(key) + "s"))] = copy.deepcopy(old)
            case 1 if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(old))
            case 2:
                other = rng.choice(holders)
                if isinstance(other, list) and other is not root:
                    place = rng.randrange(len(other)) if other else 0
                    other[place : place + 1] = [copy.deepcopy(old)]
            case 3 if type(old) is bool:
                holder[key] = not old
            case 3 | 4 if type(old) is int:
                holder[key] = rng.choice((old + 1, old - 1, -old, old * 2, old ^ 1 << 16))
            case 3 if isinstance(old, list):
                rng.shuffle(old)
            case _:
                holder[key] = copy.deepcopy(rng.choice(ODD))
    return root[0]


def _holders(value: Any) -> list[Any]:
    """List every list and object in a value, itself included."""
    if not isinstance(value, (list, dict)):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [value, *(holder for part in parts for holder in _holders(part))]
