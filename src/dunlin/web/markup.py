"""Elements of a page. Text is escaped unless it is an element already, so that forgetting to do it is impossible.

Names of files are anything: markup, control characters, bytes that are no text, characters that turn the direction of
writing around. What cannot be printed is shown escaped (`errors.printable`), and then what means something to a
browser is. Attributes are always quoted.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from dunlin.errors import printable


class Safe(NamedTuple):
    """Markup that is put on the page as it stands."""

    markup: str


Child: TypeAlias = "str | int | float | Safe | Iterable[Child] | None"
"""What may stand in an element; None is nothing."""

_VOID = frozenset({"meta", "link", "br", "hr", "input"})


def text(value: object) -> str:
    """`value` for a page: printable, escaped, and without anything that UTF-8 cannot hold."""
    return html.escape(printable(str(value)), quote=True)


def el(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Safe:
    """An element.

    Args:
        attributes: `class_` is written class, `data_v` data-v; True gives the bare name, None and False nothing.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        written = name.rstrip("_").replace("_", "-")
        words.append(written if value is True else f'{written}="{text(value)}"')
    begin = f"<{' '.join(words)}>"
    return Safe(begin if tag in _VOID else f"{begin}{inner(children)}</{tag}>")


def inner(child: Child) -> str:
    """What stands in an element, as markup."""
    if child is None:
        return ""
    if isinstance(child, Safe):
        return child.markup
    if isinstance(child, str | int | float):
        return text(child)
    return "".join(inner(each) for each in child)
