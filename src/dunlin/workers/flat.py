"""One flat listing of a subtree instead of one request per directory.

Theory. A service lists keys in order, a thousand or more to a request, whatever directories they lie in. A tree of
100,000 objects in 1,000 directories is 100 requests flat and over 1,000 one directory at a time. In the order of the
keys a directory's subtree comes in one piece. So while the flat listing of a directory streams by, its own names are
handed on as they come, and each sub-directory is handed on when the listing has left it, together with all that lies
below: that travels with the sub-directory's unit, which needs no request then.

Memory is bounded: what lies below one sub-directory is kept up to `MOST` names, and what travels up to `ROOM` bytes
in any process. What is beyond that is handed on by its name alone: the rest of it streams by unused, and its own
unit lists it, flat again. So a tree is listed twice at most where its directories are that large.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping

from dunlin.compare.listing import OrderError
from dunlin.model import BARE_DIRECTORY, DIRECTORY_BITS, MODE, TYPE_BITS, Facts, join

Named = tuple[str, Facts]
ESCAPE = "\u201b"
"""Escaped names stand where their keys do (`stores.objects.keys`), not where their own letters would."""
Batches = Iterator[list[Named]]

MOST = 20_000
"""Names below one sub-directory that travel with it."""

ROOM = 32 << 20
"""Bytes of listings that wait for their units."""


class Carried:
    """Packed listings by directory, as many as there is room for."""

    def __init__(self, room: int = ROOM) -> None:
        self._left = room
        self._kept: dict[str, bytes] = {}

    def put(self, path: str, listing: bytes) -> None:
        """Keep what lies below a directory, if there is room; it can be listed again."""
        if len(listing) <= self._left:
            self._left -= len(listing)
            self._kept[path] = listing

    def take(self, path: str) -> bytes | None:
        """What lies below a directory; None when it was not kept."""
        listing = self._kept.pop(path, None)
        self._left += len(listing or b"")
        return listing

    def put_all(self, directory: str, listings: Mapping[str, bytes]) -> None:
        """Keep the listings of sub-directories of a directory."""
        for name, listing in listings.items():
            self.put(join(directory, name), listing)


def directory_names(walk: Batches, below: Carried, most: int = MOST) -> Batches:
    """The names of one directory out of the flat listing of its subtree.

    Args:
        walk: the flat listing: batches of (path below the directory, facts) in key order. A directory may be an
            entry of it, before what lies in it.
        most: names below one sub-directory that are kept.
        below: gets, by the names of the sub-directories, what lies below each that is not too large.

    Raises `OrderError` when a sub-directory comes in two pieces.
    """
    last, child, rows, large = "", "", list[Named](), False

    def close() -> Named:
        if not large:
            below.put(child, marshal.dumps(rows, 2))
        return child, BARE_DIRECTORY

    for batch in walk:
        names: list[Named] = []
        for path, what in batch:
            name, slash, rest = path.partition("/")
            directory = slash or what[MODE] & TYPE_BITS == DIRECTORY_BITS
            if child and (not directory or name != child):
                names.append(close())
                last, child, rows, large = child, "", [], False
            if not directory:
                names.append((name, what))
                continue
            if not child and last and name + "/" <= last + "/" and ESCAPE not in name + last:
                raise OrderError(name)  # it was left before: what came of it then is only a part
            child = name
            if slash and not large:
                rows.append((rest, what))
                if len(rows) > most:
                    rows, large = [], True
        if names:
            yield names
    if child:
        yield [close()]


def unpacked(listing: bytes) -> Batches:
    """The flat listing of a subtree that travelled with its unit."""
    rows: list[Named] = marshal.loads(listing)
    yield rows
