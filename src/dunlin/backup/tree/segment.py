"""One immutable tree segment, mapped into memory and looked at in place.

    segment = Segment.open(path)            # checks all of it at memory speed; check=False only its header
    segment.array("f.size")                 # a column as numpy array, read-only, nothing copied
    segment.directories.rows                # two spaces of rows, each with names, times and node ids
    segment.directories.name(row), segment.files.names(start, end)

Nothing is read before it is asked for: pages come in as columns are touched, and the system lets go of them when it
needs the memory. A column is had in two ways, since each is slow at what the other is for: as numpy array for many
rows, as memoryview for single cells (40 ns instead of 100 for a plain int).

Rows stand in two spaces, ``d`` (directories, sorted by parent id and name) and ``f`` (everything else, the rows of one
directory next to each other and sorted by name). Both have names, times, flags and fingerprints: `Space`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from dunlin.backup.tree import columns
from dunlin.backup.tree.columns import (
    BASES,
    CONSTANT,
    ESCAPE,
    SECOND,
    TICK,
    Array,
    Bytes,
    Ints,
    broken,
    join_ticks,
    unpack_front,
)
from dunlin.backup.tree.heaps import DirectoryNames, FileNames
from dunlin.errors import translate

_PIECE = 1 << 26
_CODES: dict[str, Literal["B", "I", "Q", "q"]] = {"u1": "B", "u3": "B", "u4": "I", "u8": "Q", "i8": "q"}
Cells = Sequence[int]


class Same:
    """The cells of a column in which every row has one value."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def __getitem__(self, row: int) -> int:
        return self.value


class Segment:
    """The columns of a segment. `raw` is the whole file; `where` names it in errors (CORRUPT, NEWER)."""

    def __init__(self, raw: mmap.mmap | bytes, where: str, *, check: bool = True) -> None:
        self.where = where
        self.raw = raw
        self._data = memoryview(raw)
        self.header, self.columns = unpack_front(self._data, where)
        self._arrays: dict[str, Array] = {}
        self._cells: dict[str, Cells] = {}
        if check:
            self.verify()
        self.directories = DirectorySpace(self)
        self.files = FileSpace(self)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, check: bool = True) -> Segment:
        """Map the file at `path`. `check`: compare the checksums of all columns, which reads all of it.

        Raises CORRUPT for a damaged or cut-off file, NEWER for a format that this program does not know, and what
        opening a file may raise.
        """
        where = os.fspath(path)
        try:
            with open(where, "rb") as file:
                if os.fstat(file.fileno()).st_size < columns.HEADER_BYTES:
                    raise broken(where, "it is no tree segment")
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise translate(error, "read the tree segment", where) from error
        return cls(data, where, check=check)

    def verify(self) -> None:
        """Compare every column with its checksum; raises CORRUPT naming the first that differs."""
        for column in self.columns.values():
            end = column.offset + column.length
            pieces = (self._data[at : min(at + _PIECE, end)] for at in range(column.offset, end, _PIECE))
            if column.coding != CONSTANT and columns.crc64(pieces) != column.crc:
                raise broken(self.where, f"the checksum of its column {column.name} is wrong")

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.header.size

    @property
    def removed(self) -> Ints:
        """The node ids of the directories that this segment takes away from older ones; sorted."""
        return self.array("x.node")

    def array(self, name: str) -> Array:
        """A column as array: one element (three for ticks) a row. Raises CORRUPT where there is no such column."""
        known = self._arrays.get(name)
        if known is None:
            known = self._arrays[name] = self._array(name)
        return known

    def _array(self, name: str) -> Array:
        column = self._column(name)
        kind = "<u1" if column.type == "u3" else f"<{column.type}"
        if column.coding == CONSTANT:
            rows = self.header.directories if name.startswith("d.") else self.header.files
            value = column.value.to_bytes(8, "little")
            if column.type == "u3":
                return np.ndarray((rows, 3), kind, value, 0, (0, 0))
            return np.ndarray((rows,), kind, value, 0, (0,))
        count = column.length // np.dtype(kind).itemsize
        found: Array = np.frombuffer(self._data, kind, count, column.offset)
        return found.reshape(-1, 3) if column.type == "u3" else found

    def heap(self, name: str) -> Bytes:
        """The bytes of a heap column and the few zeros behind them that `names.words` may touch."""
        column = self._column(name)
        return np.frombuffer(self._data, np.uint8, column.length + columns.SLACK, column.offset)

    def cells(self, name: str) -> Cells:
        """A column for single cells: indexing gives plain ints."""
        known = self._cells.get(name)
        if known is None:
            column = self._column(name)
            if column.coding == CONSTANT:
                known = cast(Cells, Same(column.value))
            else:
                known = cast(Cells, self.bytes(name).cast(_CODES[column.type]))
            self._cells[name] = known
        return known

    def bytes(self, name: str) -> memoryview:
        """The bytes of a column as they stand in the file."""
        column = self._column(name)
        return self._data[column.offset : column.offset + column.length]

    def _column(self, name: str) -> columns.Column:
        try:
            return self.columns[name]
        except KeyError:
            raise broken(self.where, f"it has no column {name}") from None

    def patch(self, found: Array, name: str, start: int, end: int) -> None:
        """Put the values of a short column into `found`, which holds rows `start` … `end` - 1."""
        rows = self.array(f"{name}-row")
        first, last = rows.searchsorted(start), rows.searchsorted(end)
        found[rows[first:last].astype(np.int64) - start] = self.array(name)[first:last]

    def bytes_by_column(self) -> dict[str, int]:
        """What each column takes in the file."""
        return {column.name: column.length for column in self.columns.values()}


class Space:
    """The columns that both row spaces of a segment have: ``d`` with its directories, ``f`` with its files."""

    def __init__(self, segment: Segment, letter: str, rows: int) -> None:
        self.segment = segment
        self.rows = rows
        self._letter = letter
        self._late = segment.array(f"{letter}.late-row")
        self._seconds = segment.cells(f"{letter}.mtime")
        self._ticks = segment.cells(f"{letter}.ticks")
        self._prints = segment.cells(f"{letter}.fingerprint")
        self._flags = segment.cells(f"{letter}.flags")

    def mtime(self, row: int) -> int:
        """Time of the last modification, ns since 1970 in steps of 100."""
        seconds = self._seconds[row]
        if seconds == ESCAPE:
            seconds = int(self.segment.array(f"{self._letter}.late")[self._late.searchsorted(row)])
        ticks, at = self._ticks, 3 * row
        low = ticks[0] if isinstance(ticks, Same) else ticks[at] | ticks[at + 1] << 8 | ticks[at + 2] << 16
        return (seconds * SECOND + low) * TICK

    def ticks(self, start: int, end: int) -> Ints:
        """The times of rows `start` … `end` - 1, ticks since 1970."""
        found = self.seconds(start, end)
        found *= SECOND
        found += join_ticks(self.segment.array(f"{self._letter}.ticks")[start:end])
        return found

    def ticks_at(self, rows: Ints) -> Ints:
        """The times of any rows, ticks since 1970."""
        return self.seconds_at(rows) * SECOND + join_ticks(self.segment.array(f"{self._letter}.ticks")[rows])

    def seconds_at(self, rows: Ints) -> Ints:
        """The times of any rows in whole seconds since 1970."""
        return self._wide("mtime", "late", rows)

    def _wide(self, name: str, short: str, rows: Ints) -> Ints:
        """A 32-bit column of any rows, with the values of the short column where it has `ESCAPE`."""
        found: Ints = self.segment.array(f"{self._letter}.{name}")[rows].astype(np.int64)
        index = self.segment.array(f"{self._letter}.{short}-row")
        if len(index):
            escaped = np.flatnonzero(found == ESCAPE)
            found[escaped] = self.segment.array(f"{self._letter}.{short}")[index.searchsorted(rows[escaped])]
        return found

    def seconds(self, start: int, end: int) -> Ints:
        """The times of rows `start` … `end` - 1 in whole seconds since 1970."""
        found: Ints = self.segment.array(f"{self._letter}.mtime")[start:end].astype(np.int64)
        if len(self._late):
            self.segment.patch(found, f"{self._letter}.late", start, end)
        return found

    def flags(self, row: int) -> int:
        """Kind and flags of a row."""
        return self._flags[row]

    def fingerprint(self, row: int) -> int:
        """The stat fingerprint of a row."""
        return self._prints[row]


class DirectorySpace(Space):
    """Rows of directories."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment, "d", segment.header.directories)
        self._names = DirectoryNames(segment)
        self.name, self.descend = self._names.name, self._names.descend
        self.places = self._names.places


class FileSpace(Space):
    """Rows of everything else."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment, "f", segment.header.files)
        self._names = FileNames(segment)
        self.name, self.names, self.lengths = self._names.name, self._names.names, self._names.lengths
        self.find = self._names.find
        self._sizes = segment.cells("f.size")
        self._hashes = segment.cells("f.hash")
        self._big = segment.array("f.big-row")
        self._whole = "f.node" in segment.columns
        self._nodes = segment.cells("f.node" if self._whole else "f.near")
        self._bases = None if self._whole else segment.cells("f.base")

    def size(self, row: int) -> int:
        """The size of a row in bytes."""
        size = self._sizes[row]
        return size if size != ESCAPE else int(self.segment.array("f.big")[self._big.searchsorted(row)])

    def sizes(self, start: int, end: int) -> Ints:
        """The sizes of rows `start` … `end` - 1 in bytes."""
        found: Ints = self.segment.array("f.size")[start:end].astype(np.int64)
        if len(self._big):
            self.segment.patch(found, "f.big", start, end)
        return found

    def sizes_at(self, rows: Ints) -> Ints:
        """The sizes of any rows in bytes."""
        return self._wide("size", "big", rows)

    def cells(self, row: int) -> tuple[int, int, int, int, int, int]:
        """Node id, size, mtime, hash, flags and fingerprint of a row."""
        size = self._sizes[row]
        if size == ESCAPE:
            size = self.size(row)
        return self.node(row), size, self.mtime(row), self._hashes[row], self._flags[row], self._prints[row]

    def node(self, row: int) -> int:
        """The node id of a row."""
        return self._nodes[row] if self._bases is None else self._nodes[row] + self._bases[row // BASES]

    def nodes(self, start: int, end: int) -> Ints:
        """The node ids of rows `start` … `end` - 1."""
        if self._whole:
            return self.segment.array("f.node")[start:end].astype(np.int64)
        found: Ints = self.segment.array("f.near")[start:end].astype(np.int64)
        found += self.segment.array("f.base")[np.arange(start, end) // BASES]
        return found
