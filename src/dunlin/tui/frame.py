"""What the pages of both dashboards have in common: the frame around a page, the list in it, the page of keys.

A page has as many lines as the terminal, none longer than it is wide: a head, what is wrong if anything is, the page
itself, and a last line with the keys, or with a note, or with what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from typing import Protocol, TypeVar

from dunlin.report.cells import cut
from dunlin.tui.panels import clock_time
from dunlin.tui.styles import BAD, DIM, PLAIN, STRONG, TITLE, WARN, Line
from dunlin.tui.text import clip, folded, joined, shown, title

LEAST = 60, 20
"""Columns and lines below which nothing but that is said."""

Item = TypeVar("Item")


class Footed(Protocol):
    """What the last line shows before the keys: a note and its style, and the explanation of what is asked for."""

    note: tuple[str, str]
    asking: str


class Scrolled(Protocol):
    """What a page that is longer than the terminal needs: its first line that is shown."""

    scroll: int


def too_small(view: Footed, width: int, height: int) -> list[Line]:
    """What is all that is said in a terminal that is too small; nothing in one that is not."""
    if width >= LEAST[0] and height + bool(view.asking) >= LEAST[1]:
        return []
    small = f"too small: needs {LEAST[0]}x{LEAST[1]}, has {width}x{height} (q quits)"
    return [[(line, WARN)] for line in wrap(small, max(1, width))[: max(1, height)]]


def framed(
    head: Line, wrong: list[Line], page: Callable[[int], list[Line]], last: Line, width: int, height: int
) -> list[Line]:
    """Exactly `height` lines; `page` gives the lines between, and is told how many there may be."""
    top = [head, *wrong]
    room = height - len(top) - 1
    return [clip(line, width) for line in (*top, *filled(page(room)[:room], room), last)]


def wrong(problem: str, time: int, width: int) -> list[Line]:
    """The line that says why the figures are old, and how old (`time` in ns); none when they are not."""
    if not problem:
        return []
    old = f"; figures from {clock_time(time)}" if time else ""
    return [[(cut(f"⚠ {shown(problem)}{old}", width), BAD)]]


def keys(names: Iterable[tuple[str, str]], width: int) -> Line:
    """Keys and what they do, as many as fit."""
    return joined([[(key, f"{STRONG} {TITLE}"), (f" {what}", DIM)] for key, what in names], width, "  ")


def last_line(view: Footed, names: Iterable[tuple[str, str]], width: int) -> Line:
    """What is asked for, else the note, else the keys."""
    if view.asking:
        return [(cut(view.asking, width), DIM)]
    if view.note[0]:
        return [(cut(view.note[0], width), view.note[1])]
    return keys(names, width)


def filled(lines: list[Line], rows: int) -> list[Line]:
    """The lines, and empty ones up to so many."""
    return [*lines, *([[]] * (rows - len(lines)))]


def scrolled(lines: list[Line], view: Scrolled, room: int) -> list[Line]:
    """What there is room for; keeps `view.scroll` within what there is."""
    view.scroll = max(0, min(view.scroll, len(lines) - room))
    return lines[view.scroll : view.scroll + room]


def marked(items: Sequence[Item], at: int, rows: int, draw: Callable[[Item], Line]) -> list[Line]:
    """At most so many lines, with the chosen item among them and a mark before it; `draw` has two cells less."""
    start = max(0, min(at - rows // 2, len(items) - rows))
    return [
        [("▸ " if place == at else "  ", f"{STRONG} {TITLE}"), *draw(item)]
        for place, item in enumerate(items[start : start + rows], start)
    ]


def help_page(
    names: Iterable[tuple[str, str]],
    states: Iterable[tuple[str, str]],
    signs: Iterable[str],
    view: Scrolled,
    width: int,
    room: int,
) -> list[Line]:
    """Every key and what it does, every status with its style, and what is to be said of other signs."""
    lines: list[Line] = [title("Keys", width)]
    for key, what in names:
        for at, part in enumerate(folded(what, width - 18)):
            lines.append([(f"  {'' if at else key:16}", f"{STRONG} {TITLE}"), (part, PLAIN)])
    words: list[Line] = [[state] for state in states]
    lines += [title("Signs", width), joined(words[:4], width, "  "), joined(words[4:], width, "  ")]
    lines += [[(part, DIM)] for text in signs for part in folded(text, width)]
    return scrolled(lines, view, room)
