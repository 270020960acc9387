"""What the outcome of a test file rests on."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from secateur.digest import digest_file, digest_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SOURCES", "Causes"]

#: Folders of the sources.
SOURCES = ("sw", "hw", "sim")
#: A module by its full name, wherever a text names it: test benches are named in strings.
NAMED = re.compile(r"\bsecateur(?:\.\w+)+")
#: What a text imports from a package.
IMPORTED = re.compile(r"^ *from +(secateur[\w.]*) +import +(\([^)]*\)|.*)$", re.MULTILINE)


class Causes:
    """The files of a repository on which its test files rest.

    A test file rests on itself, on the ``conftest.py`` above it, on the modules that these name,
    directly or not, on the project's settings and on every file of the sources, tests and examples
    that is no Python. Who looks entry points up rests on the modules that the settings name.

    Parameters
    ----------
    root : Path
        Of the repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._digests: dict[str, str] = {}
        self._names: dict[Path, set[Path]] = {}

    @cached_property
    def _always(self) -> list[Path]:
        folders = [self.root / name for name in (*SOURCES, "tests", "examples")]
        data = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
        found = [path for path in data if path.suffix not in {".py", ".pyc"}]
        settings = self.root / "pyproject.toml"
        return [*found, settings] if settings.is_file() else found

    def files(self, test: str) -> list[Path]:
        """List the files that a test file rests on."""
        path = self.root / test
        above = [folder / "conftest.py" for folder in path.parents if folder != self.root.parent]
        waiting = [path, *(each for each in above if each.is_file() and self.root in each.parents)]
        found = {*self._always, *waiting}
        while waiting:
            named = self._named(waiting.pop()) - found
            found |= named
            waiting += named
        return sorted(found)

    def digest(self, test: str) -> str:
        """Digest of these files."""
        if test not in self._digests:
            self._digests[test] = digest_json([
                (path.relative_to(self.root).as_posix(), digest_file(path))
                for path in self.files(test)
            ])
        return self._digests[test]

    def _named(self, path: Path) -> set[Path]:
        """Find the modules that a file names."""
        if path not in self._names:
            text = path.read_text(encoding="utf-8")
            if "entry_points" in text:
                text += (self.root / "pyproject.toml").read_text(encoding="utf-8")
            names = {*NAMED.findall(text)}
            for package, imported in IMPORTED.findall(text):
                names |= {f"{package}.{name}" for name in re.findall(r"\w+", imported)}
            self._names[path] = {found for name in names for found in self._modules(name)}
        return self._names[path]

    def _modules(self, name: str) -> list[Path]:
        """Find a module, or that of an attribute of it, and the packages above it."""
        parts = name.split(".")
        places = [
            self.root / root / "/".join(parts[:count])
            for root in SOURCES
            for count in range(1, len(parts) + 1)
        ]
        files = [
            file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")
        ]
        return [file for file in files if file.is_file()]
