"""Pages whose tables the code writes."""

from pathlib import Path

import pytest

from secateur.markdown import update
from secateur.project_page import TABLES

ROOT = Path(__file__).resolve().parents[2]


def test_the_project_page_is_up_to_date() -> None:
    """`python -m secateur.project_page docs/project.md` would change nothing."""
    page = (ROOT / "docs" / "project.md").read_text()
    assert update(page, TABLES) == page
    for name in TABLES:
        assert page.count(f"<!-- begin {name} -->") == 1


def test_an_unknown_part() -> None:
    with pytest.raises(KeyError, match=r"^'speed'$"):
        update("<!-- begin speed -->\n<!-- end -->", TABLES)
