"""Lines for a terminal, fitted into a number of cells.

Names of files go through `shorten`, other words from elsewhere through `shown`, and neither through markup: what is
in them is drawn as it is.

Bars use the block elements of Unicode, which take one cell everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dunlin.errors import printable
from dunlin.report.cells import cells, cut
from dunlin.report.cells import shorten as fitted
from dunlin.tui.styles import DIM, PLAIN, TITLE, Line, Piece


def shown(text: str) -> str:
    """A message from elsewhere, harmless and in one line."""
    return printable(" ".join(text.split("\n")))


def shorten(name: str, width: int) -> str:
    """A path or URL as it came, harmless and in at most `width` cells; its middle goes first."""
    return fitted(name, width, "…")


def length(line: Iterable[Piece]) -> int:
    """Cells of a line."""
    return sum(cells(text) for text, _ in line)


def clip(line: Line, width: int) -> Line:
    """A line in at most `width` cells."""
    if length(line) <= width:
        return line
    result: Line = []
    for text, style in line:
        room = width - length(result)
        if cells(text) > room:
            result.append((cut(text, room), style))
            break
        result.append((text, style))
    return result


def pad(line: Line, width: int) -> Line:
    """A line in exactly `width` cells."""
    line = clip(line, width)
    return [*line, (" " * (width - length(line)), PLAIN)]


def apart(left: Line, right: Line, width: int) -> Line:
    """One line with something at either end; what is at the right goes first where there is no room for both."""
    space = width - length(left) - length(right)
    if space < 2:
        return clip(left, width)
    return [*left, (" " * space, PLAIN), *right]


def beside(left: Sequence[Line], right: Sequence[Line], width: int, gap: int = 2) -> list[Line]:
    """Two columns of equal width."""
    first = (width - gap) // 2
    rows = max(len(left), len(right))
    lines = []
    for row in range(rows):
        one = left[row] if row < len(left) else []
        two = right[row] if row < len(right) else []
        lines.append([*pad(one, first), (" " * gap, PLAIN), *clip(two, width - gap - first)])
    return lines


def joined(parts: Sequence[Line], width: int, between: str = "   ") -> Line:
    """As many of the parts, from the first, as fit; parts are never broken, except the first."""
    result: Line = clip(parts[0], width) if parts else []
    for part in parts[1:]:
        if length(result) + cells(between) + length(part) > width:
            break
        result = [*result, (between, PLAIN), *part]
    return result


def field(name: str, value: str, style: str = PLAIN) -> Line:
    """A figure and, before it, what it is."""
    return [(f"{name} ", DIM), (value, style)]


def fitting(width: int, *variants: Line) -> Line:
    """The first of the variants that fits, the longest first; the last one is cut."""
    return next((line for line in variants if length(line) <= width), clip(variants[-1], width))


def title(name: str, width: int, right: Line | None = None) -> Line:
    """The line above a panel."""
    left: Line = [("── ", DIM), (cut(name, max(0, width - 4)), TITLE), (" ", DIM)]
    end: Line = [(" ", DIM), *right, (" ──", DIM)] if right else []
    space = width - length(left) - length(end)
    if space < 1 and right:
        return title(name, width)
    return clip([*left, ("─" * max(0, space), DIM), *end], width)


def bar(share: float, width: int) -> str:
    """``[████░░░░]``, `width` cells with the brackets; full only when all is done."""
    room = max(1, width - 2)
    full = room if share >= 1 else min(room - 1, int(share * room + 0.5))
    return f"[{'█' * max(0, full)}{'░' * (room - max(0, full))}]"


def folded(text: str, width: int) -> list[str]:
    """A text in lines of `width` cells, broken between words; a word that is longer than a line is broken itself."""
    lines, current = [], ""
    for word in text.split(" "):
        while cells(word) > width:
            if current:
                lines.append(current)
                current = ""
            at = len(cut(word, width)) - 1
            lines.append(word[:at])
            word = word[at:]
        if current and cells(current) + 1 + cells(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    return [*lines, current] if current else lines
