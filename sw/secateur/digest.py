"""Digests of whatever decides a result: files, settings, the package's own sources, versions."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import secateur

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LAYERS", "digest_file", "digest_json", "digest_sources", "versions"]

#: The three source folders; each imports only from itself and from those before it.
LAYERS = ("sw", "hw", "sim")


def digest_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """SHA-256 of a JSON value whose objects are sorted by key, in hexadecimal.

    Examples
    --------
    >>> digest_json({"b": 1, "a": 2}) == digest_json({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@functools.cache
def digest_sources(layer: str) -> str:
    """SHA-256 of the sources of ``layer`` and of the layers that it may import.

    An installed wheel holds the three layers in one folder, which then counts as a whole.
    """
    folders = {Path(path).parent.name: Path(path) for path in secateur.__path__}
    below = LAYERS[: LAYERS.index(layer) + 1]
    chosen = [folders[name] for name in below if name in folders] or [*folders.values()]
    return digest_json([
        (path.relative_to(folder).as_posix(), digest_file(path))
        for folder in chosen
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ])


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of those of ``distributions`` that are installed, by name."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # the stage that needs it says so, with what to do
    return found
