"""One directory of a snapshot with all that is known of its names: the tree's columns and those of the pages, joined.

A listing is needed as tuples, one for each name, and what is asked next is the content of the very same names. So the
columns of a run and of the pages that speak of it are cut out once, by numpy, and stay columns, as lists: a file is a
place in them. Only its facts become a tuple of its own, for that is what a listing is made of. A name costs a
microsecond like this, where an object for each took four, and a lookup by path, a page and six numbers of it fifty.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, count, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.pages import PAGE, UNKNOWN, Page
from dunlin.backup.tree.columns import NO_CONTENT, TICK
from dunlin.backup.tree.view import Directory, Run
from dunlin.backup.words import CHUNK_ID, ChunkId
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Facts

LOST = 1 << 8
"""Stands among the flags of what has a damaged page: nothing is known of it but what the tree says."""

DAMAGE = (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND)

PIECE = 4096
"""Files whose columns are cut out together."""

FilePage = Callable[[int, int], tuple[Page, int]]
"""The page, and the entry in it, of a row of files in a segment."""


class Named(NamedTuple):
    """A file of a snapshot: its facts, its chunks (ids put together, and bytes of each), flags, chunk of attributes."""

    facts: Facts
    chunks: bytes
    lengths: list[int]
    flags: int
    attributes: ChunkId | None


class Content(NamedTuple):
    """The chunks of one file by the bytes that they hold: ids put together, and the byte at which each ends."""

    ids: bytes
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, known: Named) -> Content:
        """The content of a file of which this is known."""
        return cls(known.chunks, np.cumsum(known.lengths, dtype=np.int64))

    def between(self, start: int, end: int) -> Iterator[tuple[ChunkId, int, int]]:
        """The chunks that hold the bytes from `start` to `end`, that one not included, and from where to where in each.

        Chunks before those are not looked at: a large file is read by many ranges.
        """
        at = int(self.ends.searchsorted(start, "right"))
        begin = int(self.ends[at - 1]) if at else 0
        while at < len(self.ends) and max(begin, start) < end:
            after = int(self.ends[at])
            if begin < after:
                yield self.ids[at * CHUNK_ID : (at + 1) * CHUNK_ID], max(start - begin, 0), min(end, after) - begin
            at, begin = at + 1, after


class Contents:
    """The contents of the last files of many chunks; threads may share it."""

    MANY, KEPT = 64, 8
    """Chunks that a file must have to be kept, and files."""

    def __init__(self) -> None:
        self._kept: dict[str, Content] = {}

    def get(self, path: str) -> Content | None:
        """The content of a file, if it is kept."""
        return self._kept.get(path)

    def add(self, path: str, known: Named) -> Content:
        """The content of a file, which is kept if it is of many chunks."""
        content = Content.of(known)
        if len(content.ends) >= self.MANY:
            kept = {name: each for name, each in tuple(self._kept.items()) if name != path}
            for name in tuple(kept)[: max(len(kept) + 1 - self.KEPT, 0)]:
                del kept[name]
            self._kept = kept | {path: content}
        return content


class Files(NamedTuple):
    """Some files of one directory in their order, as columns.

    Attributes:
        names, facts, flags: of each file.
        ids: of all chunks, one behind the other; lengths: bytes of each of them.
        ends: for each file, how many chunks it and those before it have.
        attributes: the chunk of each file's attributes; empty where no file has any.
    """

    names: list[str]
    facts: list[Facts]
    flags: list[int]
    ids: bytes
    lengths: list[int]
    ends: list[int]
    attributes: list[ChunkId | None]

    def chunks(self, first: int, last: int) -> tuple[int, int]:
        """Where the chunks of the files from `first` to `last`, that one not included, begin and end."""
        return self.ends[first - 1] if first else 0, self.ends[last - 1] if last else 0

    def named(self, at: int) -> Named:
        """One of them by itself."""
        begin, end = self.chunks(at, at + 1)
        ids, lengths = self.ids[begin * CHUNK_ID : end * CHUNK_ID], self.lengths[begin:end]
        return Named(self.facts[at], ids, lengths, self.flags[at], self.attributes[at] if self.attributes else None)

    def and_then(self, more: Files) -> Files:
        """These and those behind them."""
        attributes: list[ChunkId | None] = []
        if self.attributes or more.attributes:
            attributes += self.attributes or [None] * len(self.names)
            attributes += more.attributes or [None] * len(more.names)
        before = len(self.lengths)
        return Files(
            self.names + more.names,
            self.facts + more.facts,
            self.flags + more.flags,
            self.ids + more.ids,
            self.lengths + more.lengths,
            self.ends + [before + end for end in more.ends],
            attributes,
        )


NOTHING = Files([], [], [], b"", [], [], [])


class Folder:
    """A directory that is kept as it was looked at: what is known of each of its names."""

    __slots__ = ("_at", "_blank", "_directories", "files")

    def __init__(self) -> None:
        self.files = NOTHING
        self._at: dict[str, int] = {}
        self._blank: set[int] = set()
        self._directories: dict[str, Named] = {}

    def add(self, files: Files) -> None:
        """Take in the next files."""
        before = len(self.files.names)
        self._at.update(zip(files.names, count(before), strict=False))
        self._blank.update(at for at, flags in enumerate(files.flags, before) if flags & NO_CONTENT)
        self.files = self.files.and_then(files) if self.files.names else files

    def add_directory(self, name: str, what: Named) -> None:
        """Take in a directory."""
        self._directories[name] = what

    def get(self, name: str) -> Named | None:
        """What is known of a name; None: it is not there."""
        at = self._at.get(name)
        return self.files.named(at) if at is not None else self._directories.get(name)

    def contents(self, names: Sequence[str]) -> list[int] | None:
        """The places of some files in `files`; None where any of them is no file whose content is there."""
        at = self._at
        places = [at.get(name, -1) for name in names]
        return places if -1 not in places and self._blank.isdisjoint(places) else None


def files(run: Run, page: FilePage) -> Iterator[Files]:
    """The files of a directory in their order, some thousands at a time. Raises CORRUPT."""
    blob, lengths, sizes, flags, nodes = run.names, run.lengths.tolist(), run.sizes, run.flags, run.nodes
    place, begin = run.start, 0
    end = run.start + run.count
    while place < end:
        try:
            found, entry = page(run.segment, place)
        except DunlinError as error:
            if error.kind not in DAMAGE:
                raise
            at, many = place - run.start, min(PAGE - place % PAGE, end - place)
            bounds = list(accumulate(lengths[at : at + many], initial=begin))
            yield _lost(_texts(blob, bounds), sizes[at : at + many].tolist(), run.ticks[at : at + many].tolist())
            place, begin = place + many, bounds[-1]
            continue
        many = min(found.count - entry, end - place, PIECE)
        if many <= 0:
            raise DunlinError("read the metadata pages", "", ErrorKind.CORRUPT, f"there is no entry for row {place}")
        at = place - run.start
        facts = _facts(found, entry, entry + many, sizes[at : at + many].tolist(), nodes[at : at + many])
        bounds = list(accumulate(lengths[at : at + many], initial=begin))
        ids, sizes_of_chunks, ends = found.chunks_between(entry, entry + many)
        some = found.attributed(entry, entry + many)
        attributes = [found.attributes(each) for each in range(entry, entry + many)] if some else []
        yield Files(_texts(blob, bounds), facts, flags[at : at + many].tolist(), ids, sizes_of_chunks, ends, attributes)
        place, begin = place + many, bounds[-1]


def _lost(names: list[str], sizes: list[int], ticks: list[int]) -> Files:
    """Files whose page is damaged: they are listed, so that whoever wants one learns what has become of it."""
    facts = [_bare(stat.S_IFREG | 0o600, size, each * TICK) for size, each in zip(sizes, ticks, strict=True)]
    count = len(names)
    return Files(names, facts, [NO_CONTENT | LOST] * count, b"", [], [0] * count, [])


def lost_directory(node: Directory) -> Named:
    """A directory whose page is damaged: what lies in it is there."""
    return Named(_bare(stat.S_IFDIR | 0o700, 0, node.mtime), b"", [], node.flags | LOST, None)


def _bare(mode: int, size: int, mtime: int) -> Facts:
    return (mode, size, mtime, None, None, 0, 1, 0, 0, mtime, 0)


def directory(node: Directory, page: Page, entry: int) -> Facts:
    """The facts of a directory."""
    return _facts(page, entry, entry + 1, [0], [node.node])[0]


def _texts(blob: bytes, bounds: list[int]) -> list[str]:
    """The names between these bounds."""
    whole = blob[bounds[0] : bounds[-1]]
    if whole.isascii():
        text, first = whole.decode("ascii"), bounds[0]
        return [text[start - first : end - first] for start, end in pairwise(bounds)]
    return [blob[start:end].decode("utf-8", "surrogateescape") for start, end in pairwise(bounds)]


def _facts(page: Page, start: int, end: int, sizes: list[int], nodes: Iterable[int]) -> list[Facts]:
    def numbers(name: str) -> list[int]:
        found: list[int] = page.column(name)[start:end].tolist()
        return found

    def known(name: str) -> Sequence[int | None]:
        found = numbers(name)
        return [None if each == UNKNOWN else each for each in found] if UNKNOWN in found else found

    modes, mtimes, texts = numbers("mode"), page.mtimes(start, end), page.idents(start, end)
    if 0 in modes:
        modes = [mode or stat.S_IFDIR for mode in modes]
    idents: list[int | str] = [int(text) if text.isdigit() else text for text in texts]
    if "" in texts:
        idents = [ident or int(node) for ident, node in zip(idents, nodes, strict=True)]
    others = (numbers(name) for name in ("ctime", "nlink", "device"))
    columns = (modes, sizes, mtimes, known("uid"), known("gid"), *others, idents, mtimes, numbers("rdev"))
    return list(zip(*columns, strict=True))
