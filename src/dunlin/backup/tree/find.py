"""Finds names in a tree by a pattern, at the speed of memory.

Of a pattern like ``*.docx`` the longest piece without wildcards must be in every name that fits. It is looked for in
the heap of names, hundreds of thousands of them at once, by one search over their bytes; only names in which it stands
are looked at one by one. A pattern without such a piece (``*``) costs a microsecond for every name.

Pattern: ``*`` any characters, ``?`` one, ``[abc]`` one of these, ``[!abc]`` none of these; the name as a whole must
fit. Characters are those of UTF-8; bytes that are none count as one each.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from dunlin.backup.tree import names, walk
from dunlin.backup.tree.columns import Array, Ints
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import ROOT, Directory, File, Tree

_CHUNK = 1 << 16


class Found(NamedTuple):
    """A name that fits: its path, and its row."""

    path: bytes
    row: Directory | File


def find(
    tree: Tree, pattern: str, *, ignore_case: bool = False, node: int = ROOT,
    look: Callable[[], object] = lambda: None,
) -> Iterator[Found]:  # fmt: skip
    """Everything below a directory whose name fits `pattern`; directories first, in no other order.

    `look`: called before every 65,536 names; what it raises ends the search.
    """
    search = _Search(pattern, ignore_case)
    paths = Paths(tree)
    whole = node == ROOT
    handles = walk.live(tree) if whole else walk.below(tree, node)
    for at in range(0, len(handles), _CHUNK):
        look()
        part = walk.names_of(tree, handles[at : at + _CHUNK])
        for row in search.rows(part.blob(), part.lengths):
            directory = tree.row(int(handles[at + row]))
            if directory.node != node and (path := paths.of(directory.node)) is not None:
                yield Found(path, directory)
    segment, start, count = walk.places(tree, handles)
    for number in np.unique(segment[count > 0]).tolist():
        mine = np.flatnonzero((segment == number) & (count > 0))
        mine = mine[np.argsort(start[mine])]
        begins = start[mine]
        for row in _files(tree.segments[number], search, begins, count[mine], look):
            owner = mine[int(begins.searchsorted(row, "right")) - 1]
            parent = tree.node_of(int(handles[owner]))
            path = paths.of(parent)
            name = tree.segments[number].files.name(row)
            file = tree.file(parent, name)
            if path is not None and file is not None:
                yield Found(path + b"/" + name if path else name, file)


def _files(
    segment: Segment, search: _Search, start: Ints, count: Ints, look: Callable[[], object]
) -> Iterator[int]:
    """The rows that fit among `start` … `start` + `count` - 1 of each run."""
    for first, last in stretches(start, count):
        for begin in range(first, last, _CHUNK):
            look()
            end = min(begin + _CHUNK, last)
            for row in search.rows(segment.files.names(begin, end), segment.files.lengths(begin, end)):
                yield begin + row


def stretches(start: Ints, count: Ints) -> Iterator[tuple[int, int]]:
    """Runs, sorted by their first row, put together where one begins where the last ends."""
    if not len(start):
        return
    ends = start + count
    cuts = np.flatnonzero(start[1:] != ends[:-1])
    firsts, lasts = np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(start) - 1]))
    yield from zip(start[firsts].tolist(), ends[lasts].tolist(), strict=True)


class Paths:
    """Paths of directories by node id, each step looked up once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[int, bytes | None] = {ROOT: b""}

    def of(self, node: int) -> bytes | None:
        """The path of a directory, None where it cannot be reached."""
        waiting: list[Directory] = []
        while node not in self._known:
            row = self._tree.directory(node)
            if row is None or len(waiting) > 1_000_000:
                self._known[node] = None
                break
            waiting.append(row)
            node = row.parent
        path = self._known[node]
        if len(self._known) > 1_000_000:
            self._known = {ROOT: b""}
        for row in reversed(waiting):
            path = None if path is None else path + b"/" + row.name if path else row.name
            self._known[row.node] = path
        return path


class _Search:
    """A pattern, and its longest piece without wildcards."""

    def __init__(self, pattern: str, ignore_case: bool) -> None:
        flags = re.IGNORECASE if ignore_case else 0
        self._fits = re.compile(fnmatch.translate(pattern), flags).match
        pieces = re.split(r"\*|\?|\[[!]?\]?[^\]]*\]", pattern)
        if ignore_case:
            # Bytes have two cases where their letters have no others: not outside of ASCII, and not these.
            kept = (letter if letter.isascii() and letter not in "iIkKsS" else "/" for letter in "/".join(pieces))
            pieces = "".join(kept).lower().split("/")
        self._lower = ignore_case
        self._piece = max(pieces, key=len).encode("utf-8", "surrogateescape")

    def rows(self, blob: bytes, lengths: Array) -> Iterator[int]:
        """Which of the names in `blob` fit."""
        begins = names.starts(lengths)
        candidates: Ints | range = range(len(lengths))
        if self._piece:
            hits = np.fromiter(_each(blob.lower() if self._lower else blob, self._piece), np.int64)
            row = begins.searchsorted(hits, "right") - 1
            candidates = np.unique(row[hits + len(self._piece) <= begins[row + 1]])
        for at in candidates:
            if self._fits(blob[begins[at] : begins[at + 1]].decode("utf-8", "surrogateescape")):
                yield int(at)


def _each(blob: bytes, piece: bytes) -> Iterator[int]:
    """Where `piece` stands in `blob`; also where it overlaps itself, since one of two may lie across two names."""
    at = blob.find(piece)
    while at >= 0:
        yield at
        at = blob.find(piece, at + 1)
