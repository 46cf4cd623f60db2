"""What snapshots need: the tree segments they name, and the chunks that what lies in their trees refers to.

Pages of a segment also speak of rows that no tree shows any more: runs that a later segment replaced, directories that
are gone. They need nothing. So the views are asked first which rows they show (one array operation for all
directories of a snapshot), and of each page only these entries count. A segment that many snapshots share is read
once. Chunks are known by the first half of their ids, as in the chunk index: 16 bytes for each distinct one, in memory
(`needed`) or in buckets on disk (`gather`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.buckets import Buckets
from dunlin.backup.manifest import Manifest
from dunlin.backup.pages import PAGE, PagesReader
from dunlin.backup.repository import Area
from dunlin.backup.snapshot import open_pages, open_tree
from dunlin.backup.tree import walk
from dunlin.backup.tree.view import Tree
from dunlin.errors import DunlinError, ErrorKind

Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]


_MANY = 1 << 20
"""References that are gathered before those that are the same become one."""


class Halves(NamedTuple):
    """The first 16 bytes of chunk ids as two numbers each."""

    high: Words
    low: Words

    def take(self, which: NDArray[np.bool_]) -> Halves:
        """Those that are chosen."""
        return Halves(self.high[which], self.low[which])


class Shown(NamedTuple):
    """Which entries of a segment's pages some snapshots show: those of directories, and those of files."""

    directories: Flags
    files: Flags


def halves(ids: NDArray[np.uint8]) -> Halves:
    """Of ids, 32 bytes in each row."""
    numbers = np.ascontiguousarray(ids[:, :16]).view(">u8").astype(np.uint64)
    return Halves(numbers[:, 0], numbers[:, 1])


def distinct(parts: Sequence[Halves]) -> Halves:
    """All of them once, sorted."""
    if not parts:
        return Halves(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    high, low = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    first = np.ones(len(high), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return Halves(high[first], low[first])


def shown(tree: Tree, names: Sequence[str], found: dict[str, Shown]) -> None:
    """Add to `found` what a tree shows of its segments; `names`: their ids, in the order of the tree."""
    handles = walk.below(tree)
    holder, row = walk.rows_of(tree, handles)
    number, start, count = walk.places(tree, handles)
    for at, (name, segment) in enumerate(zip(names, tree.segments, strict=True)):
        flags = found.get(name)
        if flags is None:
            flags = Shown(np.zeros(segment.directories.rows, bool), np.zeros(segment.files.rows, bool))
            found[name] = flags
        flags.directories[segment.array("d.page")[row[holder == at]].astype(np.int64)] = True
        mine = (number == at) & (count > 0)
        first, many = start[mine], count[mine]
        for some in _bearable(many):
            flags.files[walk.ranges(first[some], many[some])] = True


def _bearable(counts: NDArray[Any]) -> Iterator[slice]:
    """Slices of runs of rows that have about `_MANY` rows together, or are one run."""
    ends = np.cumsum(counts, dtype=np.int64)
    start = 0
    while start < len(ends):
        upto = (int(ends[start - 1]) if start else 0) + _MANY
        end = max(int(ends.searchsorted(upto, "right")), start + 1)
        yield slice(start, end)
        start = end


def references(pages: PagesReader, flags: Shown) -> Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.uint8]]]:
    """The chunks that shown entries refer to: space (0: directories), first entry of the page, entries, ids."""
    for space, live in enumerate(flags):
        for number in range((len(live) + PAGE - 1) // PAGE):
            mine = live[number * PAGE : (number + 1) * PAGE]
            if mine.any():
                page = pages.page(space, number)
                if page.count != len(mine):
                    raise DunlinError("read the metadata pages", pages.key, ErrorKind.CORRUPT, "a page is too short")
                yield space, number * PAGE, *page.references(mine)


def needed(area: Area, manifests: Iterable[Manifest]) -> Halves:
    """The chunks that snapshots of a share need. Raises NOT_FOUND, CORRUPT."""
    parts: list[Halves] = []
    whole, count = distinct([]), 0
    for part in parts_needed(area, manifests):
        parts.append(part)
        count += len(part.high)
        if count > max(_MANY, len(whole.high)):  # what many trees share comes as often, and is to be there once
            whole, parts, count = distinct([whole, *parts]), [], 0
    return distinct([whole, *parts])


def gather(
    area: Area, manifests: Iterable[Manifest], into: Buckets, begin: Callable[[int], object] = lambda n: None,
    done: Callable[[], object] = lambda: None,
) -> None:  # fmt: skip
    """As `needed`, into buckets by the number that ids begin with: however many there are.

    `begin`: told how many trees will be looked at. `done`: told of each. Raises what filling buckets raises, too.
    """
    for part in parts_needed(area, manifests, begin, done):
        into.add(part)


def parts_needed(
    area: Area, manifests: Iterable[Manifest], begin: Callable[[int], object] = lambda n: None,
    done: Callable[[], object] = lambda: None,
) -> Iterator[Halves]:  # fmt: skip
    """What `needed` tells, a bearable number at a time; what several trees refer to may come again."""
    found: dict[str, Shown] = {}
    for manifest in manifests:
        shown(open_tree(area, manifest), [ref.id for ref in manifest.segments], found)
    begin(len(found))
    parts: list[Halves] = []
    count = 0
    for name, flags in found.items():
        for *_, ids in references(open_pages(area, name), flags):
            parts.append(halves(ids))
            count += len(ids)
            if count > _MANY:
                yield distinct(parts)
                parts, count = [], 0
        done()
    yield distinct(parts)
