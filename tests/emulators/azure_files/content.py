"""What a file holds: extents that point into one arena, so that a file of 4 TiB costs what was written to it.

The arena is one file below a temporary directory to which all content of the emulator is appended. Nothing in it is
ever changed, so a share snapshot and a copy of a file take the list of extents and no byte, and a download goes on
with what it began with while the file is written anew. The price: what was overwritten is freed only at the end.

List Ranges tells allocation, which the service keeps in pages of 512 bytes: a range that was written is reported
rounded out to them. Clearing frees the whole pages of a range and writes zeros to the rest of it (Put Range).
"""

from __future__ import annotations

import os
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

PAGE = 512
PIECE = 1 << 20
LARGEST = 4 << 40


class Extent(NamedTuple):
    """Bytes `start` to `end` (not included) of a file, at `where` in the arena."""

    start: int
    end: int
    where: int


class Arena:
    """Where bytes lie. `append` is safe to use from many threads, and so is `read`."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="dunlin-azure-files-")  # noqa: SIM115 - lives as long as we do
        self._end = 0
        self._lock = threading.Lock()

    def append(self, data: bytes) -> int:
        """Keep bytes and say where."""
        with self._lock:
            where, self._end = self._end, self._end + len(data)
        view = memoryview(data)
        while view:
            view = view[os.pwrite(self._file.fileno(), view, where + len(data) - len(view)) :]
        return where

    def read(self, where: int, size: int) -> bytes:
        """Bytes that were kept."""
        return os.pread(self._file.fileno(), size, where)

    def close(self) -> None:
        """Forget all of it."""
        self._file.close()


class Content:
    """Size and extents of one file; not safe to change from two threads."""

    __slots__ = ("_arena", "extents", "size")

    def __init__(self, arena: Arena, size: int = 0, extents: list[Extent] | None = None) -> None:
        self._arena = arena
        self.size = size
        self.extents: list[Extent] = extents or []

    def copy(self) -> Content:
        """The same content, to be changed apart from this one."""
        return Content(self._arena, self.size, list(self.extents))

    def resize(self, size: int) -> None:
        """Cut, or go on with zeros."""
        if size < self.size:
            self._cut(size, max(self.size, _up(self.size)))
        self.size = size

    def write(self, start: int, data: bytes) -> None:
        """Put bytes at `start`; they must fit the size."""
        if not data:
            return
        self._cut(start, start + len(data))
        new = Extent(start, start + len(data), self._arena.append(data))
        at = bisect_left(self.extents, new)
        before = self.extents[at - 1] if at else None
        if before and before.end == start and before.where + before.end - before.start == new.where:
            self.extents[at - 1] = Extent(before.start, new.end, before.where)
        else:
            self.extents.insert(at, new)

    def clear(self, start: int, end: int) -> None:
        """Zeros from `start` to `end` (not included); whole pages are freed."""
        first, last = _up(start), end if end >= self.size else end // PAGE * PAGE
        if first >= last:
            self.write(start, bytes(end - start))
            return
        self._cut(first, last)
        self.write(start, bytes(first - start))
        self.write(last, bytes(end - last))

    def _cut(self, start: int, end: int) -> None:
        at = bisect_right(self.extents, start, key=lambda e: e.end)
        kept: list[Extent] = []
        upto = at
        while upto < len(self.extents) and self.extents[upto].start < end:
            old = self.extents[upto]
            if old.start < start:
                kept.append(Extent(old.start, start, old.where))
            if old.end > end:
                kept.append(Extent(end, old.end, old.where + end - old.start))
            upto += 1
        self.extents[at:upto] = kept

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`, as they are at this call and however late they are asked for."""
        at = bisect_right(self.extents, start, key=lambda e: e.end)
        upto = bisect_left(self.extents, end, key=lambda e: e.start)
        return _pieces(self._arena, self.extents[at:upto], start, end)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`."""
        return b"".join(self.pieces(start, end))

    def allocated(self) -> Iterator[tuple[int, int]]:
        """Ranges (start, end not included) that hold data, in whole pages, joined, in order."""
        first = last = 0
        for extent in self.extents:
            start, end = extent.start // PAGE * PAGE, min(_up(extent.end), self.size)
            if start > last:
                if last > first:
                    yield first, last
                first = start
            last = max(last, end)
        if last > first:
            yield first, last

    def used(self) -> int:
        """Bytes that hold data."""
        return sum(end - start for start, end in self.allocated())


def _pieces(arena: Arena, extents: list[Extent], start: int, end: int) -> Iterator[bytes]:
    for extent in extents:
        yield from _zeros(extent.start - start)
        start = max(start, extent.start)
        stop = min(end, extent.end)
        while start < stop:
            data = arena.read(extent.where + start - extent.start, min(PIECE, stop - start))
            yield data
            start += len(data)
    yield from _zeros(end - start)


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield bytes(min(PIECE, size))
        size -= PIECE


def _up(position: int) -> int:
    return -(-position // PAGE) * PAGE
