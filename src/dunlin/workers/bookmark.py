"""Where a long listing may be taken up again: at the end of a page up to which everything is on record.

Theory. A listing of a million keys takes a thousand requests, and a run that is killed in the middle should not make
them all again. A service gives a token with every page, by which the next one can be asked for, also later and by
another process. A token may be used if all names before it have been dealt with and are on record. Three things stand
in the way of taking just the last one:

* windows of the merge end at a name, not at a page: a page counts when its last name lies within what was dealt with;
* in a flat listing a sub-directory is dealt with as one name, when the listing has left it. A page that ends within
  one can be used only if the next page begins with another name;
* a listing that is asked for at several places at once has pages without a token, where two of its ranges meet.

Only listings in proven order can be marked: "before" means something there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from dunlin.compare.listing import Named
from dunlin.model import is_directory, sort_key


class Bookmark(NamedTuple):
    """All names up to `last` (a sort key) are on record; `token` asks for what comes behind them."""

    token: str
    last: bytes


class Bookmarks:
    """The pages of one listing as they come, and which of them is the last that was dealt with."""

    def __init__(self) -> None:
        self._usable: deque[Bookmark] = deque()
        self._open: tuple[str, bytes] | None = None

    def note(self, pages: Iterator[tuple[list[Named], str]]) -> Iterator[list[Named]]:
        """Hand on the batches of a listing, taking note of where its pages end."""
        for batch, token in pages:
            if batch and self._open is not None:
                before, last = self._open
                if _first(batch[0]) != last:
                    self._usable.append(Bookmark(before, last))
            if batch:
                self._open = (token, _first(batch[-1])) if token else None
            yield batch

    def best(self, upto: bytes | None) -> Bookmark | None:
        """The last page whose names all lie up to this key; the pages before it are forgotten. None: no new one."""
        found = None
        while upto is not None and self._usable and self._usable[0].last <= upto:
            found = self._usable.popleft()
        return found


def _first(named: Named) -> bytes:
    """The key of the name in the directory itself to which a path of its subtree belongs."""
    name, slash, _ = named[0].partition("/")
    return sort_key(name, bool(slash) or is_directory(named[1]))
