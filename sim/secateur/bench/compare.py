"""Compare what a circuit shows with what it must."""

from __future__ import annotations

from typing import Any

from secateur.errors import CheckFailedError

__all__ = ["expect"]


def expect(got: Any, want: Any, what: str) -> None:
    """Raise ``CheckFailedError``, which says what it is about, unless both are equal.

    Examples
    --------
    >>> expect(1, 1, "cycle 3: o.valid")
    """
    if got != want:
        raise CheckFailedError(f"{what} is {got}, not {want}")
