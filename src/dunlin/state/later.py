"""What waits for the end of the transfers: names to be deleted at the destination, hard links to be joined.

Both may be as many as there are files, so they live on disk and are read a page at a time. Extras
come by falling path: a path is smaller than every path below it, so children come before their
parents (a BLOB sorts after TEXT, and below a BLOB there are only BLOBs, so that holds for both).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dunlin.sqlite import Database
from dunlin.state.codec import MIN, Name, decode_name, encode_name, signed

PAGE = 1000


class Top(enum.IntEnum):
    """What the source has in the place of an extra; the values are stored."""

    BELOW = 0  # not even its parent
    NOTHING = 1  # its parent, but nothing of that name
    OTHER = 2  # something else of that name, which a directory stands in the way of


class Extra(NamedTuple):
    """A name at the destination that the source lacks, or has as something else than a directory."""

    path: str
    is_directory: bool
    top: Top


class LinkGroup(NamedTuple):
    """Some names of one inode. `first` holds the content when `copied`, `others` (at most 1,000) are to be linked.

    An inode with more names comes as several groups with the same `first`.
    """

    dev: int
    ino: int
    first: str
    copied: bool
    others: list[str]


class Later:
    """Deferred deletions and hard links of one state file."""

    def __init__(self, database: Database, sql: dict[str, str]) -> None:
        self._database = database
        self._sql = sql

    def add_extras(self, pair: int, extras: Sequence[tuple[str, bool, int]]) -> None:
        """Remember names to be deleted, given as (path, is a directory, `Top`)."""
        rows = [(pair, encode_name(path), is_directory, int(top)) for path, is_directory, top in extras]
        with self._database.transaction():
            self._database.many(self._sql["extra_put"], rows)

    def extras(self, pair: int, limit: int = PAGE, after: str | None = None) -> list[Extra]:
        """Up to `limit` names, children before their parents; `after` is the last path of the page before."""
        if after is None:
            rows = self._database.query(self._sql["extra_first"], (pair, limit))
        else:
            rows = self._database.query(self._sql["extra_page"], (pair, encode_name(after), limit))
        return [Extra(decode_name(path), bool(is_directory), Top(top)) for path, is_directory, top in rows]

    def blocked(self, pair: int, limit: int = PAGE, after: str | None = None) -> list[str]:
        """Up to `limit` paths with `Top.OTHER`, falling; `after` is the last path of the page before."""
        if after is None:
            rows = self._database.query(self._sql["blocked_first"], (pair, limit))
        else:
            rows = self._database.query(self._sql["blocked_page"], (pair, encode_name(after), limit))
        return [decode_name(path) for (path,) in rows]

    def count_extras(self, pair: int) -> tuple[int, int]:
        """How many (files, directories) are to be deleted."""
        names, directories = self._database.one(self._sql["extra_count"], (pair,))
        return names - directories, directories

    def drop_extras(self, pair: int, paths: Sequence[str]) -> None:
        """Forget names that were deleted, or found at the source after all."""
        with self._database.transaction():
            self._database.many(self._sql["extra_drop"], [(pair, encode_name(path)) for path in paths])

    def clear_extras(self, pair: int) -> None:
        """Forget all of the pair's extras."""
        self._database.execute(self._sql["extra_clear"], (pair,))

    def add_links(self, pair: int, links: Sequence[tuple[int, int, str, bool]]) -> list[str | None]:
        """Remember names of inodes with several, given as (dev, ino, path, copied).

        `copied`: its content is at the destination under that path. Returns for each the inode's first other
        name known before, or None: the caller copies those for which it is None.
        """
        answer: list[str | None] = []
        with self._database.transaction():
            for dev, ino, path, copied in links:
                inode, name = (pair, signed(dev), signed(ino)), encode_name(path)
                row = self._database.one(self._sql["link_first"], inode)
                answer.append(decode_name(row[0]) if row and row[0] != name else None)
                waits = int(not copied)
                self._database.execute(self._sql["link_drop"], (*inode, 1 - waits, name))
                self._database.execute(self._sql["link_put"], (*inode, waits, name))
        return answer

    def link_groups(self, pair: int) -> Iterator[LinkGroup]:
        """Every inode with at least two remembered names, ordered by (dev, ino)."""
        group: LinkGroup | None = None
        after: tuple[int, int, int, Name] = (MIN, MIN, 0, "")
        while True:
            rows = self._database.query(self._sql["link_page"], (pair, *after, PAGE))
            for dev, ino, waits, stored in rows:
                if group and (group.dev, group.ino) == (dev, ino):
                    group.others.append(decode_name(stored))
                else:
                    if group and group.others:
                        yield group
                    group = LinkGroup(dev, ino, decode_name(stored), not waits, [])
                if len(group.others) == PAGE:
                    yield group
                    group = group._replace(others=[])
            if len(rows) < PAGE:
                break
            after = rows[-1]
        if group and group.others:
            yield group

    def clear_links(self, pair: int) -> None:
        """Forget all of the pair's links."""
        self._database.execute(self._sql["link_clear"], (pair,))
