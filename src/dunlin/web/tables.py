"""Tables of a page: they fit the screen of a phone, and can be sorted where a script runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from dunlin.web.markup import Child, Safe, el


class Cell(NamedTuple):
    """What stands in a cell; `value` is what it is sorted by where its text is not, `kind` its classes."""

    content: Child
    value: float | None = None
    kind: str = ""


def number(value: float | None, written: Callable[[float], str] | None = None, kind: str = "") -> Cell:
    """A cell with a number: with commas, or as `written` says; a dash where nobody knows it."""
    if value is None:
        return Cell("–", -1, f"num {kind}".strip())
    return Cell(written(value) if written else f"{value:,}", value, f"num {kind}".strip())


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    wide: Collection[int] = (),
    sort: bool = False,
    path: int | None = None,
    this: int | None = None,
    stack: bool = False,
) -> Safe:
    """A table.

    Args:
        heads: "" where the column speaks for itself. wide: columns that a narrow screen does without.
        sort: it may be sorted. path: a column of names, broken anywhere. this: a row that stands out.
        stack: on a narrow screen each row stands as a card, its values with their heads before them.
    """
    shown = [
        el("th", head, scope="col", class_=_classes(_head(rows[0][at].kind if rows else ""), at in wide))
        for at, head in enumerate(heads)
    ]
    body = [
        el(
            "tr",
            *(
                el(
                    "td",
                    cell.content,
                    data_v=_value(cell.value),
                    class_=_classes(cell.kind, at in wide, at == path),
                    data_head=heads[at] or None if stack and at else None,
                )
                for at, cell in enumerate(row)
            ),
            class_="this" if line == this else None,
        )
        for line, row in enumerate(rows)
    ]
    kind = "stack" if stack else None
    return el("table", el("thead", el("tr", *shown)), el("tbody", *body), data_sort=sort, class_=kind)


def _head(kind: str) -> str:
    """The classes of a column that its head has, too."""
    return " ".join(word for word in kind.split() if word in ("num", "left", "wide"))


def _classes(kind: str, wide: bool, loose: bool = False) -> str | None:
    words = [*kind.split(), *(["wide"] if wide and "wide" not in kind else []), *(["loose"] if loose else [])]
    return " ".join(words) or None


def _value(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}".rstrip("0").rstrip(".")
