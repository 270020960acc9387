"""The tables of ``docs/format.md``, made from :mod:`secateur.format`.

``python -m secateur.format_page docs/format.md`` brings the page up to date.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from secateur.container import DIGEST_SIZE, NUMBER_SIZE, PROGRAM_MAGIC, PROGRAM_VERSION
from secateur.engine import EngineSpec
from secateur.format import IMAGE_HEADER, SECTION_HEADER, LoadError, Record, Section, memories
from secateur.markdown import table, update

__all__ = ["DEPTHS", "MAP_WIDTHS", "TABLES", "WIDTHS"]

#: Width of every field of a memory word that depends on the engine, in Python, by its parameters
#: and by what the page derives from them.
WIDTHS = {
    "source_words": "log2(column_depth) + 1",
    "rows_words": "log2(bias_depth) + 1",
    "column_base": "log2(column_depth)",
    "weight_base": "log2(weight_depth)",
    "bias_base": "log2(bias_depth)",
    "code_extra": "(most_code - least_code).bit_length()",
    "entry": "entry_width",
    "count0": "count_width",
    "bias0": "bias_width",
    "value": "weight_width",
}
#: Likewise, of what only engines with positions have; the digit of a name is left out.
MAP_WIDTHS = {
    "source_base": "log2(activation_depth * lanes)",
    "count": "log2(activation_depth * lanes)",
    "step": "log2(activation_depth * lanes)",
    **dict.fromkeys(
        ("target_base", "target_turn", "target_column", "target_row"), "log2(activation_depth)"
    ),
    "output_words": "log2(activation_depth) + 1",
    "word": "log2(activation_depth)",
}
#: Words of every memory, likewise.
DEPTHS = {
    Section.LAYERS: "layer_depth",
    Section.WEIGHTS: "weight_depth",
    Section.COLUMNS: "column_depth",
    Section.BIASES: "bias_depth",
    Section.CODEBOOKS: "layer_depth << codebook_bits",
    Section.OFFSETS: "column_depth",
}

#: An engine that has every field once.
SPEC = EngineSpec(pes=1, lanes=1, codebook_bits=4, index_width=5, entry_width=8)
#: And one for convolutions.
MAP_SPEC = replace(SPEC, jobs=1, positions=8)


def _record(record: Record, widths: Mapping[str, str] = MappingProxyType({})) -> str:
    """Describe a word's fields; ``widths`` are formulas."""
    rows = []
    for field in record.fields:
        sign = ", two's complement" if field.signed else ""
        width = widths.get(field.name, field.width)
        rows.append((f"`{field.name}`", f"`{width}`", field.meaning + sign))
    return table(("field", "bits", "meaning"), *rows)


def _memory(section: Section) -> str:
    return _record(memories(SPEC)[section].record, WIDTHS)


def _maps() -> str:
    """Describe the fields of the layer table that only engines with positions have."""
    plain = len(memories(SPEC)[Section.LAYERS].record.fields)
    fields = memories(MAP_SPEC)[Section.LAYERS].record.fields[plain:]
    widths = {field.name: MAP_WIDTHS.get(field.name.rstrip("01234")) for field in fields}
    return _record(Record(fields), {name: width for name, width in widths.items() if width})


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
            for section, memory in sorted(memories(MAP_SPEC).items())
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
    "maps": _maps,
    "offsets": lambda: _record(
        memories(MAP_SPEC)[Section.OFFSETS].record, {"word0": MAP_WIDTHS["word"]}
    ),
}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(update(path.read_text(), TABLES))
