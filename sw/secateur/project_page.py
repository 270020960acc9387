"""The tables of ``docs/project.md``: ``python -m secateur.project_page docs/project.md``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import PydanticUndefined

from secateur.markdown import table, update
from secateur.project import Project
from secateur.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TABLES"]


def _section(kind: type[Settings]) -> str:
    """List the keys of a table of settings, with their rules and defaults."""
    rows = []
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            continue
        value = field.get_default()
        default = "" if value in (None, PydanticUndefined) else f"`{json.dumps(value)}`"
        rows.append((f"`{key}`", field.description, default))
    return table(("key", "must be", "default"), *rows)


#: Every table by its name on the page: that of the section, and `project` for the keys above all.
TABLES: dict[str, Callable[[], str]] = {"project": lambda: _section(Project)} | {
    name: (lambda kind=field.annotation: _section(kind))
    for name, field in Project.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(update(path.read_text(), TABLES))
