"""Project files: settings within their rules, or one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from secateur.bench.damage import altered, damaged
from secateur.errors import BadInputError
from secateur.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

DEFAULTS = Project(name="small").model_dump(mode="json")


def toml(value: Any) -> str:
    """Write a value as TOML writes it, in one line."""
    match value:
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return "nan" if math.isnan(value) else "inf"
        case dict():
            inner = (f"{toml(str(key))} = {toml(part)}" for key, part in value.items())
            return "{" + ", ".join(text for text in inner if text) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            escaped = "".join(f"\\U{ord(letter):08x}" for letter in value)
            return f'"{escaped}"'
        case None:
            return '"none"'
    return repr(value)


def check(path: Path) -> None:
    project, said = None, ""
    try:
        project = Project.load(path)
    except BadInputError as error:
        said = str(error)
    if project is None:
        assert said.startswith(str(path))
        assert "\n" not in said
        return
    again = Project.model_validate(project.model_dump(mode="python", exclude_unset=True))
    assert again.settings(*DEFAULTS) == project.settings(*DEFAULTS)
    assert project.checkpoint is None
    assert project.data_file is None


def test_altered_settings(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "small.toml"

    def case(rng: Random) -> None:
        section = rng.choice([name for name in DEFAULTS if isinstance(DEFAULTS[name], dict)])
        given = {key: value for key, value in DEFAULTS[section].items() if value is not None}
        found = altered(rng, {section: given})
        lines = (
            [f"{toml(str(key))} = {toml(value)}" for key, value in found.items()]
            if isinstance(found, dict)
            else [f"seed = {toml(found)}"]
        )
        path.write_text("\n".join(lines), encoding="utf-8")
        check(path)

    fuzz(case, 3)


def test_damaged_text(fuzz: Callable[..., None], tmp_path: Path) -> None:
    """Not TOML any more, keys twice, nesting, not UTF-8."""
    path = tmp_path / "small.toml"
    tables = {name: value for name, value in DEFAULTS.items() if isinstance(value, dict)}
    whole = "\n".join(
        f"[{name}]\n" + "\n".join(f"{k} = {toml(v)}" for k, v in table.items() if v is not None)
        for name, table in tables.items()
    ).encode()

    def case(rng: Random) -> None:
        raw = damaged(rng, whole)
        if rng.random() < 0.2:
            lines = whole.splitlines()
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            raw = b"\n".join(lines)
        elif rng.random() < 0.2:
            raw += b"\nx = " + rng.choice((b"[", b"{a=", b"9")) * rng.choice((20, 5000, 50_000))
        path.write_bytes(raw)
        check(path)

    fuzz(case, 2)
