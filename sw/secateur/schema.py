"""JSON from a file as typed values, or what is wrong with it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from secateur.errors import BadInputError

__all__ = ["parse"]

T = TypeVar("T")


def parse(kind: type[T], text: str | bytes) -> T:
    """Build a dataclass from JSON; its ``__pydantic_config__`` says how strictly.

    Raises
    ------
    BadInputError
        With the first rule that the text breaks, as a phrase.

    Examples
    --------
    >>> parse(list[int], "[1, 2]")
    [1, 2]
    >>> parse(list[int], "[1, null]")
    Traceback (most recent call last):
    ...
    secateur.errors.BadInputError: 1: Input should be a valid integer
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInputError(": ".join([*map(str, first["loc"]), first["msg"]])) from None
