"""The names of a segment, row by row or many at once.

Directories have an offset into their heap for each row (`DirectoryNames`): every step of a path compares one. Files are
ten times as many, so they have a byte for the length of each name and an offset for every so many rows (`FileNames`);
the place of one name is the sum of up to 63 bytes further. Where file names are packed in zstd frames, the frame is
unpacked first, and a few of those are kept, since whoever reads a directory reads the next one, too.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import zstandard
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from dunlin.backup.tree.columns import FRAME, LONG, OFFSETS, ZSTD, Bytes, Ints, broken
from dunlin.backup.tree.lookup import EMPTY, slots

if TYPE_CHECKING:
    from dunlin.backup.tree.segment import Segment

_KEPT = 64
_FEW = 64


class DirectoryNames:
    """The names of the rows of space ``d``."""

    def __init__(self, segment: Segment) -> None:
        self._raw = segment.raw
        self._at = segment.columns["d.names"].offset
        self._offsets = segment.cells("d.offset")
        self._segment = segment
        self._parents, self._nodes = segment.cells("d.parent"), segment.cells("d.node")
        self._table = segment.cells("d.by-name")
        self._slots = slots(segment.header.directories)
        if len(segment.bytes("d.offset")) != 4 * (segment.header.directories + 1):
            raise broken(segment.where, "its column d.offset does not fit its rows")

    def name(self, row: int) -> bytes:
        """The name of a row."""
        offsets, at = self._offsets, self._at
        return self._raw[at + offsets[row] : at + offsets[row + 1]]

    def descend(self, node: int, names: list[bytes]) -> int:
        """Go down from a directory along `names`; the row at the end, -1 if there is none.

        One step takes a microsecond, so everything that a step needs is a local name, and no function is called but
        the hash: this is `lookup.name_slot` and `name` written out.
        """
        raw, base, offsets, parents, nodes = self._raw, self._at, self._offsets, self._parents, self._nodes
        table, count, hashed = self._table, self._slots, xxh3_64_intdigest
        row = -1
        for name in names:
            at = (hashed(name, node) >> 32) * count >> 32
            while (row := table[at]) != EMPTY:
                if parents[row] == node and raw[base + offsets[row] : base + offsets[row + 1]] == name:
                    break
                at += 1
            else:
                return -1
            node = nodes[row]
        return row

    def places(self) -> tuple[Bytes, Ints, Ints]:
        """Heap, offsets and lengths of all rows, for the functions of `names`."""
        offsets = self._segment.array("d.offset")
        return self._segment.heap("d.names"), offsets[:-1], np.diff(offsets)


class FileNames:
    """The names of the rows of space ``f``."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._raw = segment.raw
        self._rows = segment.header.files
        self._zstd = segment.header.names == ZSTD
        self._step = FRAME if self._zstd else OFFSETS
        self._at = segment.columns["f.names"].offset
        self._sizes = segment.columns["f.length"].offset
        self._offsets = segment.cells("f.offset")
        self._long = segment.array("f.long-row")
        self._frames: dict[int, bytes] = {}
        whole = -(-self._rows // self._step) + 1
        if segment.columns["f.length"].length != self._rows or len(segment.bytes("f.offset")) != 8 * whole:
            raise broken(segment.where, "its columns of names do not fit its rows")

    def name(self, row: int) -> bytes:
        """The name of a row."""
        block = row // self._step
        at = self._sum(block * self._step, row)
        size = self._raw[self._sizes + row]
        end = at + (size if size != LONG else self._long_at(row))
        if self._zstd:
            return self._frame(block)[at:end]
        base = self._at + self._offsets[block]
        return self._raw[base + at : base + end]

    def names(self, start: int, end: int) -> bytes:
        """The names of rows `start` … `end` - 1, one behind the other."""
        if start >= end:
            return b""
        step = self._step
        first, last = start // step, (end - 1) // step
        begin, stop = self._sum(first * step, start), self._sum(last * step, end)
        if self._zstd:
            if first == last:
                return self._frame(first)[begin:stop]
            between = [self._frame(block) for block in range(first + 1, last)]
            return b"".join((self._frame(first)[begin:], *between, self._frame(last)[:stop]))
        offsets, at = self._offsets, self._at
        return self._raw[at + offsets[first] + begin : at + offsets[last] + stop]

    def lengths(self, start: int, end: int) -> NDArray[np.uint32]:
        """The lengths of those names in bytes."""
        found = np.frombuffer(self._raw[self._sizes + start : self._sizes + end], np.uint8).astype(np.uint32)
        if len(self._long):
            self._segment.patch(found, "f.long", start, end)
        return found

    def find(self, start: int, end: int, name: bytes) -> int:
        """The row with this name among `start` … `end` - 1, which are sorted; -1 if there is none."""
        if end - start <= _FEW:
            sizes = self._raw[self._sizes + start : self._sizes + end]
            if LONG not in sizes:
                return self._find_near(start, end, name, sizes)
        low, high = start, end
        while low < high:
            middle = (low + high) >> 1
            found = self.name(middle)
            if found < name:
                low = middle + 1
            elif found == name:
                return middle
            else:
                high = middle
        return -1

    def _find_near(self, start: int, end: int, name: bytes, sizes: bytes) -> int:
        """Search all names at once: what is found counts only where a name of this length begins."""
        if self._zstd:
            blob = self.names(start, end)
        else:
            block = start // OFFSETS
            begin = self._at + self._offsets[block] + self._sum(block * OFFSETS, start)
            blob = self._raw[begin : begin + sum(sizes)]
        size = len(name)
        if (at := blob.find(name)) < 0:
            return -1
        begins = list(accumulate(sizes, initial=0))
        while at >= 0:
            row = bisect_left(begins, at)
            while row < len(sizes) and begins[row] == at:
                if sizes[row] == size:
                    return start + row
                row += 1
            at = blob.find(name, at + 1)
        return -1

    def _sum(self, start: int, end: int) -> int:
        part = self._raw[self._sizes + start : self._sizes + end]
        total = sum(part)
        if LONG in part:
            total += sum(self._long_at(start + n) - LONG for n, size in enumerate(part) if size == LONG)
        return total

    def _long_at(self, row: int) -> int:
        return int(self._segment.array("f.long")[self._long.searchsorted(row)])

    def _frame(self, number: int) -> bytes:
        known = self._frames.get(number)
        if known is None:
            if len(self._frames) >= _KEPT:
                self._frames = {}
            begin, end = self._at + self._offsets[number], self._at + self._offsets[number + 1]
            known = self._frames[number] = _unzstd(self._raw[begin:end], self._segment.where)
        return known


class _Mine(threading.local):
    """An unpacker serves one thread at a time."""

    def __init__(self) -> None:
        self.decompress = zstandard.ZstdDecompressor().decompress


_mine = _Mine()


def _unzstd(data: bytes, where: str) -> bytes:
    try:
        return _mine.decompress(data)
    except zstandard.ZstdError as error:
        raise broken(where, f"a frame of names: {error}") from error
