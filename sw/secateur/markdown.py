"""Tables in Markdown pages that the code they describe writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

__all__ = ["table", "update"]


def table(*rows: Sequence[object]) -> str:
    """Lay rows out as a table, the first as the heading.

    Examples
    --------
    >>> print(table(("field", "bits"), ("shift", 6)))
    | field | bits |
    |---|---|
    | shift | 6 |
    """
    heading, *others = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([heading, "|---" * len(rows[0]) + "|", *others])


def update(page: str, parts: Mapping[str, Callable[[], str]]) -> str:
    r"""Replace what stands between ``<!-- begin NAME -->`` and ``<!-- end -->`` in a page.

    Parameters
    ----------
    page : str
        The page's text.
    parts : mapping of name to callable
        Gives what belongs there, without a line break at its end.

    Raises
    ------
    KeyError
        If the page asks for a part that does not exist.

    Examples
    --------
    >>> update("<!-- begin a -->\nold\n<!-- end -->", {"a": lambda: "new"})
    '<!-- begin a -->\nnew\n<!-- end -->'
    """
    return re.sub(
        r"(?<=<!-- begin )([\w-]+)( -->\n).*?(?=<!-- end -->)",
        lambda match: f"{match[1]}{match[2]}{parts[match[1]]()}\n",
        page,
        flags=re.DOTALL,
    )
