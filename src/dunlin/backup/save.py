"""One directory of a backup: listed, compared with the last snapshot, what is new stored; rows and pages come back.

See, decide, do in one place, since all three are about the same packed columns:

    see     the listing becomes names, lengths and fingerprints in three buffers, sorted by name bytes
    decide  the same three buffers as in the run of the last snapshot: nothing at all is to be done.
            Else a name whose fingerprint is the same keeps its node, its checksum and its chunks, unread
    do      the others are read, cut, stored; their rows and page entries are built as columns (`rows`)

The *fingerprint* of an entry is 64 bits over everything by which a change can be told: mode, owner, group, size, mtime
and ctime in nanoseconds, inode or etag. It is XXH3 with a seed of the tenant's key, so nobody outside can make two
versions look alike. A change that leaves all of these as they were cannot be seen without reading; `--force` reads
everything. A file that changed just before it was read could change again within the same tick of the file system's
clock: it gets the fingerprint 0, which no listing has, and is read once more by the next backup.

A file that changes while it is read is tried again; after `attempts` it is stored as it was read then, and flagged. One
that cannot be read keeps the row of the last snapshot if there was one, and counts as failed: the last good version
stays, and the next backup tries again, since the fingerprints still differ.

A huge directory is done in windows (`windows`), so that memory does not grow with it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from dunlin.backup import windows
from dunlin.backup.content import LATEST, Content, Reader, bounded
from dunlin.backup.pages import UNKNOWN, Part
from dunlin.backup.rows import Listed, Old, Outcome, Rows, page_part
from dunlin.backup.tree.columns import CHANGED, KIND, NO_CONTENT
from dunlin.backup.tree.view import Run, Tree
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import (
    CTIME,
    DIRECTORY_BITS,
    FILE_BITS,
    GID,
    IDENT,
    MODE,
    MTIME,
    SIZE,
    TYPE_BITS,
    UID,
    Facts,
    is_directory,
)
from dunlin.stores.base import Store

_PRINT = struct.Struct("<IqqqII").pack


class Child(NamedTuple):
    """A directory found in another: its name, its facts, its fingerprint, its node in the last snapshot (0: new)."""

    name: bytes
    facts: Facts
    print: int
    node: int


@dataclass(slots=True)
class Saved:
    """What became of one directory.

    Attributes:
        same: its run is that of the last snapshot; `outcome` is None then.
        outcome: the rows of its run.
        children: directories in it.
        gone: nodes of directories that the last snapshot had in it.
        error: why it could not be listed; nothing else is known then.
        unread: why its own attributes could not be read; all else is known.
        more: this is a part of it: rows that come before those of the next one, or directories, and nothing else.
        place: how many parts came before. The last one, which is none, says how many there are.
    """

    same: bool = False
    outcome: Outcome | None = None
    children: list[Child] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    error: DunlinError | None = None
    unread: DunlinError | None = None
    more: bool = False
    place: int = 0

    @property
    def rows(self) -> int:
        """How many rows of files it brings."""
        return len(self.outcome.columns[2]) // 8 if self.outcome is not None else 0


Emit = Callable[[Saved], object]
"""Takes the parts of a directory."""


def fingerprint(seed: int) -> Callable[[Facts], int]:
    """The function from the facts of an entry to its fingerprint, for the tenant whose seed (64 bits) this is."""
    digest = xxhash.xxh3_64_intdigest

    def of(facts: Facts) -> int:
        ident = facts[IDENT]
        try:
            packed = _PRINT(
                facts[MODE] or 0,
                facts[SIZE],
                facts[MTIME] or 0,
                facts[CTIME] or 0,
                UNKNOWN if facts[UID] is None else facts[UID],
                UNKNOWN if facts[GID] is None else facts[GID],
            )
        except struct.error:  # a time that 64 bits of nanoseconds do not hold
            packed = repr([facts[at] for at in (MODE, SIZE, MTIME, CTIME, UID, GID)]).encode()
        packed += ident.to_bytes(8, "little") if type(ident) is int else str(ident).encode("utf-8", "surrogateescape")
        return digest(packed, seed)

    return of


class Saver:
    """Saves directories, one after the other; one for each thread or process.

    Args:
        store: the source.
        tree: the last snapshot's; empty when there is none.
        reader: reads and stores content.
        seed: of the tenant, for fingerprints.
        takes: for a directory, which names in it take part: (name, is a directory) -> bool.
        sized: whether a file takes part by its facts.
        content: files are read; else only the tree is made.
        force: files are read though they have not changed.
        folder: for temporary files; None: where the system has them.
    """

    def __init__(
        self,
        store: Store,
        tree: Tree,
        reader: Reader,
        seed: int,
        takes: Callable[[str], Callable[[str, bool], bool]],
        sized: Callable[[Facts], bool],
        *,
        content: bool = True,
        force: bool = False,
        folder: str | None = None,
    ) -> None:
        self._store, self._tree, self._reader = store, tree, reader
        self._print = fingerprint(seed)
        self._takes, self._sized = takes, sized
        self._content, self._force, self._folder = content, force, folder

    def directory(self, path: str, node: int, emit: Emit, *, moved: bool = False) -> Saved:
        """Save the directory at `path`, whose node in the last snapshot is `node` (0: it had none).

        `emit`: takes what is known of a huge one before the rest of it is. `moved`: it was elsewhere then, and may have
        been another one. Raises what `emit` raises, and what ends a run; what is wrong with one name or one directory
        is told in the outcome.
        """
        saved = Saved()
        run = self._tree.run(node) if node else None
        names: Iterator[list[Listed]] | None = None
        try:
            folders, others, more = self._listed(path)
            if more is not None or (node and self._was_huge(node, run)):
                names = windows.in_order(chain((folders, others), more or ()), self._folder)
        except DunlinError as error:
            if error.fatal:
                raise
            saved.error = self._sure(path, error)
            return saved
        if names is not None:
            del folders, others
            return self._huge(path, node, run, names, emit, moved)
        before = {each.name: each.node for each in self._tree.directories(node)} if node else {}
        saved.children = [Child(each.key, each.facts, each.print, before.pop(each.key, 0)) for each in folders]
        saved.gone = list(before.values())
        if self._same(run, others):
            saved.same = True
        else:
            saved.outcome = self._built(path, run, others, moved)
        return saved

    def _was_huge(self, node: int, run: Run | None) -> bool:
        return (run is not None and run.count > windows.HUGE) or len(self._tree.nodes_below(node)) > windows.HUGE

    def _huge(
        self, path: str, node: int, run: Run | None, names: Iterator[list[Listed]], emit: Emit, moved: bool
    ) -> Saved:
        """The same in windows; `names`: what lies in it, in order."""
        place, found = 0, array("q")

        def put(outcome: Outcome | None, children: list[Child]) -> None:
            nonlocal place
            emit(Saved(outcome=outcome, children=children, more=True, place=place))
            place += 1

        equal, differ = 0, run is None or self._force  # rows that are as they were, until something is not
        for folders, others, old in windows.cuts(names, run):
            if folders:
                children = [self._child(node, each) for each in folders]
                found.extend(child.node for child in children)
                put(None, children)
            same = self._same(old, others)
            if same and not differ:
                equal += len(others)
                continue
            if run is not None and not differ:
                for outcome in windows.all_kept(run, equal):
                    put(outcome, [])
            differ = True
            put(windows.kept(old) if same and old is not None else self._built(path, old, others, moved), [])
        gone = np.setdiff1d(self._tree.nodes_below(node), found).tolist() if node else []
        return Saved(not differ, windows.NOTHING if differ else None, gone=gone, place=place)

    def _child(self, node: int, each: Listed) -> Child:
        """A directory in the one whose node in the last snapshot was `node`."""
        handle = self._tree.child(node, each.key) if node else -1
        return Child(each.key, each.facts, each.print, self._tree.node_of(handle) if handle >= 0 else 0)

    def _same(self, run: Run | None, listed: list[Listed]) -> bool:
        """Whether names, sorted, are a run of the last snapshot that is good enough to go on."""
        if run is None or self._force:
            return False
        lengths = np.array([len(each.key) for each in listed], np.uint32)
        prints = np.array([each.print for each in listed], np.uint64)
        return run.same(b"".join([each.key for each in listed]), lengths, prints) and self._whole(run.flags)

    def _built(self, path: str, run: Run | None, listed: list[Listed], moved: bool) -> Outcome:
        """The rows of names, sorted, that were this run; what is new is stored. The list is used up."""
        rows = Rows(self._reader, path, Old(run), content=self._content, force=self._force, moved=moved)
        return rows.build(listed)

    def _whole(self, flags: NDArray[np.uint8]) -> bool:
        """Whether what the last snapshot has of a run is good enough to go on."""
        if self._content and ((flags & (KIND | NO_CONTENT)) == (FILE_BITS >> 12 | NO_CONTENT)).any():
            return False
        return not (flags & CHANGED).any()

    def _sure(self, path: str, error: DunlinError) -> DunlinError:
        """Gone is only what two questions do not find: a gateway or an automounter may say so of what is there."""
        if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.VANISHED):
            return error
        try:
            there = is_directory(self._store.stat(path).facts)
        except DunlinError as again:
            return again
        return DunlinError("list", path, ErrorKind.IO, "it is there, and was not found when listed") if there else error

    def _listed(self, path: str) -> tuple[list[Listed], list[Listed], Iterator[list[Listed]] | None]:
        """What lies in a directory and takes part: directories, and everything else, sorted.

        Of a huge directory so many as came first, unsorted, and the rest of it.
        """
        folders: list[Listed] = []
        others: list[Listed] = []
        batches = self._batches(path)
        for some, rest in batches:
            folders += some
            others += rest
            if len(folders) + len(others) > windows.HUGE:
                return folders, others, (each for both in batches for each in both)
        return _sorted(folders), _sorted(others), None

    def _batches(self, path: str) -> Iterator[tuple[list[Listed], list[Listed]]]:
        """The batches of a listing: directories, and everything else."""
        takes, sized, fingerprint = self._takes(path), self._sized, self._print
        for batch in self._store.list(path):
            folders: list[Listed] = []
            others: list[Listed] = []
            for name, facts in batch:
                if not -LATEST <= (facts[MTIME] or 0) <= LATEST:
                    facts = bounded(facts)
                if (facts[MODE] & TYPE_BITS) == DIRECTORY_BITS:
                    if takes(name, True):
                        folders.append(Listed(name.encode("utf-8", "surrogateescape"), name, facts, fingerprint(facts)))
                elif takes(name, False) and sized(facts):
                    others.append(Listed(name.encode("utf-8", "surrogateescape"), name, facts, fingerprint(facts)))
            yield folders, others

    def directory_part(self, path: str, facts: Facts) -> Part:
        """The page entry of a directory itself. Raises."""
        found = self._reader.attributes(path) if self._content else None
        return page_part([(facts, Content(facts, [], 0, found), "")])


def _sorted(listed: list[Listed]) -> list[Listed]:
    """Sorted by name, each once: while names come and go, a file system may list one twice."""
    listed.sort(key=itemgetter(0))
    if len({each.key for each in listed}) == len(listed):
        return listed
    return list({each.key: each for each in listed}.values())
