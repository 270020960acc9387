"""The tables of ``docs/format.md``, made from :mod:`secateur.format`.

``python -m secateur.format_page docs/format.md`` brings the page up to date.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

from secateur.container import DIGEST_SIZE, NUMBER_SIZE, PROGRAM_MAGIC, PROGRAM_VERSION
from secateur.engine import EngineSpec
from secateur.format import IMAGE_HEADER, SECTION_HEADER, LoadError, Record, Section, memories
from secateur.markdown import table, update

__all__ = ["DEPTHS", "TABLES", "WIDTHS"]

#: Width of every field of a memory word that depends on the engine, in Python, by its parameters.
WIDTHS = {
    "source": "log2(activation_depth)",
    "source_words": "log2(activation_depth) + 1",
    "destination": "log2(activation_depth)",
    "rows_words": "log2(bias_depth) + 1",
    "column_base": "log2(column_depth)",
    "bias_base": "log2(bias_depth)",
    "code": "codebook_bits or weight_width",
    "zeros": "index_width",
    "start": "log2(weight_depth)",
    "count": "log2(row_depth) + 1",
    "bias0": "accumulator_width",
    "value": "weight_width",
}
#: Words of every memory, likewise.
DEPTHS = {
    Section.LAYERS: "layer_depth",
    Section.WEIGHTS: "weight_depth",
    Section.COLUMNS: "column_depth",
    Section.BIASES: "bias_depth",
    Section.CODEBOOKS: "layer_depth << codebook_bits",
}

DIRECT = EngineSpec(pes=1, lanes=1)
CODED = EngineSpec(pes=1, lanes=1, codebook_bits=4)


def _record(record: Record, coded: Record | None = None) -> str:
    """Describe a word's fields; ``coded`` is the same word in an engine with codebooks."""
    rows = []
    for field, other in zip(record.fields, (coded or record).fields, strict=True):
        sign = ", two's complement" if field.signed else ""
        sign += " where weights are direct" if field.signed and not other.signed else ""
        width = WIDTHS.get(field.name, field.width) if coded else field.width
        rows.append((f"`{field.name}`", f"`{width}`", field.meaning + sign))
    return table(("field", "bits", "meaning"), *rows)


def _memory(section: Section) -> str:
    coded = memories(CODED)[section].record
    return _record(
        memories(DIRECT)[section].record if section in memories(DIRECT) else coded, coded
    )


def _enumeration(kind: type[enum.IntEnum]) -> str:
    """List an enumeration's members with the comments that stand beside them."""
    members = re.findall(
        r"^    (\w+) = (\d+)(?:  #: (.*))?$", inspect.getsource(kind), re.MULTILINE
    )
    return table(
        ("code", "name", "meaning"), *((code, f"`{name}`", why) for name, code, why in members)
    )


def _sections() -> str:
    return table(
        ("section", "code", "words at most", "one for"),
        *(
            (
                f"`{section.name}`",
                int(section),
                f"`{DEPTHS[section]}`",
                "each PE" if memory.per_pe else "the engine",
            )
            for section, memory in sorted(memories(CODED).items())
        ),
    )


def _file() -> str:
    return table(
        ("bytes", "content"),
        (len(PROGRAM_MAGIC), f"`{PROGRAM_MAGIC.decode()}`"),
        (NUMBER_SIZE, f"version of the file, {PROGRAM_VERSION}"),
        (NUMBER_SIZE, "n, length of the description"),
        ("n", "description, JSON in UTF-8"),
        (NUMBER_SIZE, "m, length of the image"),
        ("m", "image"),
        (DIGEST_SIZE, "SHA-256 of all bytes before"),
    )


#: Every table by its name on the page.
TABLES: dict[str, Callable[[], str]] = {
    "file": _file,
    "image-header": lambda: _record(IMAGE_HEADER),
    "section-header": lambda: _record(SECTION_HEADER),
    "sections": _sections,
    "errors": lambda: _enumeration(LoadError),
    "layers": lambda: _memory(Section.LAYERS),
    "weights": lambda: _memory(Section.WEIGHTS),
    "columns": lambda: _memory(Section.COLUMNS),
    "biases": lambda: _memory(Section.BIASES),
    "codebooks": lambda: _memory(Section.CODEBOOKS),
}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(update(path.read_text(), TABLES))
