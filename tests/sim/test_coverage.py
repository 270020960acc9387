# amaranth: UnusedElaboratable=no
"""Random programs, and the points that they have to meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Fragment

from secateur.bench.cover import ENGINES, Coverage
from secateur.bench.cover_page import main, page_parts
from secateur.bench.random_lengths import THEMES
from secateur.bench.random_programs import random_case
from secateur.coverage.inside import Inside
from secateur.coverage.points import POINTS, field_ends
from secateur.errors import CheckFailedError
from secateur.format import LoadError, Section
from secateur.gateware.engine import Engine
from secateur.image import read_image
from secateur.reference import Reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coverage.md"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("theme", THEMES)
def test_a_theme_does_what_it_says(engine: str, theme: str) -> None:
    """It fits, the golden model computes it, and it is as large as it should be."""
    spec = ENGINES[engine]
    ends = field_ends(spec)
    case = random_case(spec, theme, 5, count=8)
    again = random_case(spec, theme, 5, count=8)
    program, layers = case.program, case.network.layers
    assert program.image == again.program.image
    assert np.array_equal(case.x, again.x)
    reference = Reference(spec)
    assert reference.load(program.image) == LoadError.NONE
    y = program.restore(reference.infer(program.arrange(case.x)))
    assert np.array_equal(y, case.network.compute(case.x))

    table = read_image(spec, program.image)[Section.LAYERS, 0]
    first, last = ({name: values[at] for name, values in table.items()} for at in (0, -1))
    sums = case.x @ layers[0].weights.T + layers[0].bias
    half = 1 << (spec.accumulator_width - 1)
    assert {
        "any": len(layers) <= spec.layer_depth,
        "one": np.count_nonzero(layers[0].weights) == 1,
        "columns": first["source_words"] == ends["source_words"][1],
        "column": last["column_base"] == ends["column_base"][1],
        "rows": last["rows_words"] == ends["rows_words"][1],
        "biases": last["bias_base"] == ends["bias_base"][1],
        "weights": last["weight_base"] == ends["weight_base"][1],
        "layers": len(layers) == spec.layer_depth,
        "dense": bool(layers[0].weights.all()),
        "tall": np.count_nonzero(layers[0].weights) < 0.2 * layers[0].weights.size,
        "bounds": (sums.min(), sums.max()) == (-half, half - 1),
        "hidden": program.words[1]
        == min(spec.activation_depth // spec.jobs, ends["rows_words"][1]),
    }[theme]


def test_inside() -> None:
    """What has another name by now is not looked past."""
    whole = Fragment.get(Engine(ENGINES["1x1 direct"]), None)
    pe = Inside(whole, "pe_0")
    assert len(pe["zeros"]) == 3
    assert len(pe.component.room) == 1
    with pytest.raises(NameError, match=r"^pe_0 assigns 0 signals named gone$"):
        pe["gone"]
    with pytest.raises(NameError, match=r"^No subfragment with name 'pe_1'$"):
        Inside(whole, "pe_1")


def test_missed() -> None:
    """A point that one engine met is met."""
    coverage = Coverage(cycles={"a": {"one": 0, "two": 1}, "b": {"one": 0, "two": 0}})
    assert coverage.missed == ["b"]


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the page, and then says what was missed."""
    (tmp_path / "coverage.md").write_text(PAGE.read_text("utf-8"), "utf-8")
    seeds = []

    def covered(folder: Path, cache: Path, given: range, progress: object) -> Coverage:
        seeds.extend(given)
        zeros = {name: dict.fromkeys(ENGINES, 1) for name in POINTS}
        return Coverage(cycles=zeros | {"relu-lowest": dict.fromkeys(ENGINES, 0)})

    monkeypatch.setattr("secateur.bench.cover_page.cover", covered)
    monkeypatch.setattr("sys.argv", ["cover_page", "--seeds", "3", "--docs", str(tmp_path)])
    with pytest.raises(CheckFailedError, match=r"^no run met relu-lowest$"):
        main()
    assert seeds == [0, 1, 2]
    written = (tmp_path / "coverage.md").read_text("utf-8")
    assert f"| `relu-lowest` | {POINTS['relu-lowest']} | {' | '.join([''] * 6)} |" in written
    assert f"| `relu-highest` | {POINTS['relu-highest']} | {' | '.join('1' * 6)} |" in written
    assert f"{len(POINTS) - 1} of {len(POINTS)} points were met." in written


def test_page() -> None:
    """The page has every point and every engine; its counts are those of some run."""
    zeros = {name: dict.fromkeys(ENGINES, 0) for name in POINTS}
    parts = page_parts(Coverage(cycles=zeros))
    page = PAGE.read_text("utf-8")
    assert parts["engines"] in page
    heading, _, *rows = parts["points"].splitlines()
    assert heading in page
    assert len(rows) == len(POINTS)
    for row in rows:
        assert row.partition(" |  |")[0] in page
