"""A few lines at the bottom of a terminal that are drawn over again and again, while other lines appear above them.

A terminal offers no such region: one goes back up over the lines drawn last, and writes. What can go wrong, and what is
done about it:

    flicker            lines are written over and the rest of each is erased, never the other way round; one write each
    wrapping           lines are cut to the width, and wrapping is off while they are drawn: a character that this
                       terminal draws wider than we think cannot push the region down
    another width      a narrower terminal breaks the old lines in two, and the way back up is longer: counted from
                       what was drawn. Terminals that cut lines off instead lose a line above the region by that, and
                       those that scroll to make room (tmux) keep pieces of old lines off the screen, in their history.
    another program    a job in the background has no business on the screen; the region is given up until it is back
                       in front
    Ctrl-Z             the region goes before the process stops, and the cursor comes back (`leave`)

The sequences are those of ECMA-48 and the private modes 7 (wrapping) and 25 (cursor) of the VT100 and VT220, which
every terminal that is not "dumb" has. Drawn by hand rather than by rich, whose live display knows neither of another
width nor of background jobs, and takes longer to load than most runs take to copy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
TO_END, BELOW = "\x1b[K", "\x1b[J"


class Region:
    """The region of one terminal.

    Args:
        stream: the terminal.
        cells: how many cells a line takes.
        style: puts colours into a line; must not change what it takes.
    """

    def __init__(
        self, stream: IO[str], cells: Callable[[str], int] = len, style: Callable[[str], str] = lambda line: line
    ) -> None:
        self._stream = stream
        self._cells = cells
        self._style = style
        self._drawn: list[int] = []
        self._width = 0

    @property
    def there(self) -> bool:
        """Whether lines of it stand on the screen."""
        return bool(self._drawn)

    def draw(self, lines: Sequence[str], width: int, above: Sequence[str] = ()) -> None:
        """Draw `lines`, none wider than `width` cells, in the place of those drawn last; `above`: lines to stay.

        Raises OSError and ValueError when the terminal is gone.
        """
        begin = self._top(width) if self._drawn else f"\r{HIDE}"
        if above:
            # They may be longer than the terminal is wide, and then it shall break them.
            begin += BELOW + "".join(f"{line}\n" for line in above)
        body = f"{TO_END}\n".join(self._style(line) for line in lines)
        self._drawn, self._width = [self._cells(line) for line in lines], width
        self._write(f"{begin}{NO_WRAP}{body}{BELOW}{WRAP}")

    def leave(self, width: int) -> None:
        """Remove the lines, if there are any, and show the cursor again."""
        if self._drawn:
            back, self._drawn = self._top(width), []
            self._write(f"{back}{BELOW}{SHOW}")

    def forget(self) -> None:
        """The lines belong to others now: the next ones are drawn where the cursor stands."""
        self._drawn = []

    def let_go(self) -> None:
        """Show the cursor again, on a line of its own, past all buffers: the process stops or ends at this moment."""
        if self._drawn:
            self._drawn = []
            with suppress(OSError, ValueError):
                os.write(self._stream.fileno(), f"{WRAP}{SHOW}\r\n".encode())

    def in_front(self) -> bool:
        """Whether the terminal is ours to draw on; one that knows no jobs always is."""
        if sys.platform == "win32":
            return True
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return True

    def _top(self, width: int) -> str:
        """The way from the end of the lines drawn last to the beginning of the first."""
        rows = sum(max(1, -(-cells // width)) if width < self._width else 1 for cells in self._drawn)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")

    def _write(self, text: str) -> None:
        # A name may hold what the terminal's character set does not.
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
