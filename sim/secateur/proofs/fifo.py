"""What first in, first out means, for anything that words go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import Signal, Value

if TYPE_CHECKING:
    from amaranth.hdl import ValueLike

    from secateur.bench.harness import Harness

__all__ = ["count", "follow"]


def count(
    h: Harness, name: str, *, put: ValueLike, take: ValueLike, depth: int, given: bool = False
) -> Signal:
    """Claim that no more comes out than went in, and that no more than ``depth`` words are inside.

    With ``given`` the first of them is assumed, as another proof's result.

    Returns
    -------
    Signal
        Words that are inside: put in, and not taken out.
    """
    level = Signal(range(depth + 2), name=f"{name}_level")
    put, take = Value.cast(put), Value.cast(take)
    h.m.d.sync += level.eq(level + put - take)
    h.show(f"{name}_inside", level)
    (h.assume if given else h.claim)(f"{name}: nothing from nothing", ~take | (level != 0))
    h.claim(f"{name}: nothing too many", level <= depth)
    return level


def follow(
    h: Harness,
    name: str,
    level: Signal,
    *,
    put: ValueLike,
    word: ValueLike,
    take: ValueLike,
    given: ValueLike,
) -> None:
    """Claim that what is put in comes out once, unchanged and in order.

    One word is followed, which an input chooses: if it comes out right, whichever it is, all do.

    Parameters
    ----------
    h : Harness
        Gets the claim.
    name : str
        Of what the words go through.
    level : Signal
        Words that are inside, as :func:`count` gives them.
    put, word : Value
        A word goes in.
    take, given : Value
        A word comes out; in a later cycle than it went in.
    """
    chosen = h.free(f"{name}_chosen")
    inside = Signal(name=f"{name}_follows")
    ahead = Signal.like(level, name=f"{name}_ahead")
    put, word, take, given = map(Value.cast, (put, word, take, given))
    kept = Signal(len(word), name=f"{name}_kept")
    with h.m.If(put & chosen & ~inside):
        h.m.d.sync += [inside.eq(1), kept.eq(word), ahead.eq(level - take)]
    with h.m.Elif(inside & take):
        h.m.d.sync += [ahead.eq(ahead - 1), inside.eq(ahead != 0)]
    h.show(f"{name}_follows", inside)
    h.show(f"{name}_followed", kept)
    h.claim(f"{name}: in order", ~(inside & take & (ahead == 0)) | (given == kept))
