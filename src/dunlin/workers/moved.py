"""Directories that were renamed or moved since the last snapshot, so that what lies in them is not read again.

A backup finds directories by their paths: of one that was moved, one place is empty and another is new. The tree could
take the move as one row, for node ids say nothing of paths; all that is missing is to know which of the new directories
is which of those that are gone. Both know their identity: a new one by its listing (an inode, a FileId), one that is
gone by its page of metadata. No index of identities is kept: only when the walk over what is known is over,
and some are gone *and* some are new, the identities of the gone ones, and of what lay below them, are looked up.

    see    the walk; new directories wait (`later`), gone ones are noted (`gone`)
    settle the identities of what is gone are read, `MOST` directories at most
    see    the new ones, and what lies in them: each takes its former node over if it had one, else a new one

*What lasts and what is a guess.* A FileId is never given again. An inode is, soon after a deletion: so there the time
of the directory's last change must be the same, too (moving it changes only that of its parents), and still it may be
another directory. What can be read is told by its own fingerprints (inode, size, times) whatever it is compared with.
But what *cannot* be read stays as it was elsewhere, and here that could be somebody else's content: a directory that
was taken over by guess and cannot be listed is let go (`let_go`), and of its files only those stay that look the same.

*No node is taken twice.* A directory that is moved while the backup runs is seen twice, or never. Whoever comes first
has the node, by its old name or its new one; the other one is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np

from dunlin.backup.pages import PagesReader
from dunlin.backup.tree import walk
from dunlin.backup.tree.columns import TICK, Ints
from dunlin.backup.tree.view import ROOT, Tree
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, MTIME, Facts

MOST = 1 << 18
"""Directories whose identities are looked up; 160 bytes each. What is moved beyond that is read again."""

MOST_LATER = 50_000
"""New directories that wait; more are taken for what they seem to be."""

Unit = TypeVar("Unit")


class Moves(Generic[Unit]):
    """Who is who among the directories that are gone and those that are new.

    Args:
        tree: of the last snapshot; pages: the metadata of each of its segments.
        lasting: nothing ever gets the identity of something else.

    Attributes:
        later: new directories that wait until it is known which ones are gone.
        left_out: some that are gone were not looked up, for there are too many.
    """

    def __init__(self, tree: Tree, pages: Sequence[Callable[[], PagesReader]], *, lasting: bool) -> None:
        self._tree, self._pages, self._lasting = tree, pages, lasting
        self.later: list[Unit] = []
        self.left_out = False
        self._gone: dict[int, None] = {}
        self._known: dict[str, int] = {}
        self._free: set[int] = set()
        self._taken: set[int] = set()
        self._found: set[int] = set()
        self._settled = tree.handle(ROOT) < 0

    @property
    def waits(self) -> bool:
        """Whether a new directory is to wait: it may turn out to be one that is gone elsewhere."""
        return not self._settled and len(self.later) < MOST_LATER

    def gone(self, nodes: Iterable[int]) -> None:
        """Directories that are not where the last snapshot had them."""
        self._gone.update(dict.fromkeys(nodes))

    def settle(self) -> list[Unit]:
        """The walk over what is known is over; the new directories that have waited."""
        self._settled = True
        if self.later:
            self._look_up()
        units, self.later = self.later, []
        return units

    def claim(self, node: int) -> int:
        """The node of a directory that is where it was; 0 where it was taken over by one that was seen elsewhere."""
        if node in self._taken:
            return 0
        if node in self._free:
            self._take(node)
        return node

    def find(self, facts: Facts) -> int:
        """The node that a new directory had before, 0: none."""
        node = self._known.get(_identity(str(facts[IDENT])), 0)
        if node not in self._free:
            return 0
        found = self._tree.directory(node)
        if found is None or not (self._lasting or found.mtime // TICK == (facts[MTIME] or 0) // TICK):
            return 0
        self._take(node)
        self._found.add(node)
        return node

    def anew(self, node: int) -> bool:
        """Whether a directory is to be looked at as one whose row is written anew, and which may have been another one.

        What lies below one that was moved has its rows as they are; where identities last nothing more is asked of it.
        """
        return node in (self._found if self._lasting else self._taken)

    def took(self, node: int) -> bool:
        """Whether a node was found at another place than before, or below such a one."""
        return node in self._taken

    def let_go(self, node: int) -> bool:
        """Take back that a node was taken over, if that was a guess; whether it was."""
        if self._lasting or node not in self._taken:
            return False
        self._taken.remove(node)
        self._gone[node] = None
        return True

    def removed(self) -> tuple[list[int], int]:
        """The directories that are nowhere, and how many files went with them and what lay below."""
        nodes = [node for node in self._gone if node not in self._taken]
        tops = np.array([self._tree.handle(node) for node in nodes], np.int64)
        taken = np.array(sorted(self._taken), np.int64)
        handles = [np.empty(0, np.int64), *walk.levels(self._tree, tops, taken)]
        files = walk.take(self._tree, "files", np.unique(np.concatenate(handles)))
        return nodes, int(files.sum(dtype=np.int64))

    def _take(self, node: int) -> None:
        self._free.remove(node)
        self._taken.add(node)

    def _look_up(self) -> None:
        found: list[Ints] = []
        room = MOST
        for top in self._gone:
            handles = self._below(top, room)
            if handles is None:
                self.left_out = True
                continue
            room -= len(handles)
            found.append(handles)
        if found:
            self._note(np.concatenate(found))

    def _below(self, top: int, most: int) -> Ints | None:
        """The handles of a directory and all below it; None: there are more."""
        found: list[Ints] = []
        for level in walk.levels(self._tree, np.array([self._tree.handle(top)], np.int64)):
            most -= len(level)
            if most < 0:
                return None
            found.append(level)
        return np.concatenate(found)

    def _note(self, handles: Ints) -> None:
        nodes, (segments, rows) = walk.take(self._tree, "node", handles), walk.rows_of(self._tree, handles)
        places = np.empty(len(rows), np.int64)
        for number in np.unique(segments).tolist():
            mine = segments == number
            places[mine] = self._tree.segments[number].array("d.page")[rows[mine]]
        order = np.lexsort((places, segments))  # so that each page is opened once
        for segment, place, node in zip(*(each[order].tolist() for each in (segments, places, nodes)), strict=True):
            try:
                page, entry = self._pages[segment]().directory(place)
                ident = page.ident(entry) if entry < page.count else ""
            except DunlinError as error:
                if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
                    raise
                continue  # not known any more, so read again; `dunlin verify` tells of the damage
            if ident:
                self._known[_identity(ident)] = node
                self._free.add(node)


def _identity(ident: str) -> str:
    """What stays the same of an identity: of a FileId and an etag (Azure Files) the first."""
    return ident.partition(" ")[0]
