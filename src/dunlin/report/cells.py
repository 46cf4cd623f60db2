"""Text in the cells of a terminal: how many it takes, and how a name is made to fit into fewer.

A character takes no cell (accents and other marks), one, or two (most of East Asia, most pictures). Names of files
hold anything, so a name is taken apart into pieces that belong together before any of it is left out: a letter with
its marks, a wide character, an escaped one (`errors.printable`). What is left never says something that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence

from dunlin.errors import printable


def cells(text: str) -> int:
    """How many cells of a terminal the text takes; it must be printable."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # most runs print nothing else than ASCII, and do not pay for rich

    return cell_len(text)


def shorten(text: str, width: int, gap: str = "...") -> str:
    """`text`, fit for a terminal, in at most `width` cells: its beginning and, twice as long, its end.

    The beginning of a path says where, its end says what. `gap` stands for what is left out.
    """
    whole = printable(text)
    if cells(whole) <= width:
        return whole
    room = width - cells(gap)
    if room <= 0:
        return gap[: max(0, width)]
    pieces = _pieces(text)
    head = _fitting(pieces, room // 3)
    tail = _fitting(pieces[::-1], room - cells("".join(head)))[::-1]
    return f"{''.join(head)}{gap}{''.join(tail)}"


def cut(text: str, width: int, gap: str = "…") -> str:
    """`text`, fit for a terminal, in at most `width` cells, with `gap` for what is left out at the end."""
    whole = printable(text)
    if cells(whole) <= width:
        return whole
    room = width - cells(gap)
    return "".join(_fitting(_pieces(text), room)).rstrip() + gap if room >= 0 else ""


def _pieces(text: str) -> list[str]:
    """What `printable` makes of the text, in pieces that belong together."""
    pieces: list[str] = []
    for char in text:
        shown = printable(char)
        if pieces and not cells(shown):
            pieces[-1] += shown
        else:
            pieces.append(shown)
    return pieces


def _fitting(pieces: Sequence[str], width: int) -> list[str]:
    """As many pieces from the first as take at most `width` cells."""
    used = 0
    for at, piece in enumerate(pieces):
        used += cells(piece)
        if used > width:
            return list(pieces[:at])
    return list(pieces)
