"""Row pages: the columns of a tree segment a second time, beside its metadata pages, so that it can be made anew.

A segment is one file that is mapped into memory, and a lost one takes every snapshot with it that is built on it. What
its columns hold is known to the pages in part: size and time of modification of every node. The rest stands in row
pages, one for each page and of the same rows, as FlatBuffers tables (`rowpage.fbs`). They hold values, not layout:
`mend` gives them to the writer of segments, which makes the same bytes of them, and manifests name the BLAKE3 of
those.

So that nearly nothing is stored twice, columns hold how a value differs from what is known elsewhere, and a column of
zeros is left out. All numbers wrap around at 2^64:

    node, parent   the id less the one of the row before
    mtime          in steps of 100 ns, less that of the page (zeros, but for directories that could not be looked into)
    size           of files: less that of the page
    hash           where the content was not read, XOR the fingerprint, which it is then
    run_size, check   of directories: only where their run stands in an older segment; else the rows tell
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dunlin.backup import vectors
from dunlin.backup.tree.build import gathered
from dunlin.backup.tree.columns import NO_CONTENT, NO_RUN, Array
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.spill import Spill
from dunlin.backup.vectors import Column
from dunlin.errors import DunlinError, ErrorKind

IDENTIFIER = b"DLRP"

_FIELDS = {
    "node": "<i8",
    "length": "<u4",
    "name": "u1",
    "flags": "u1",
    "mtime": "<i8",
    "fingerprint": "<u8",
    "size": "<i8",
    "hash": "<u8",
    "parent": "<i8",
    "start": "<u4",
    "files": "<u4",
    "run_size": "<u8",
    "check": "<u8",
}
_SPACES = (
    ("node", "length", "flags", "mtime", "fingerprint", "parent", "start", "files", "run_size", "check"),
    ("node", "length", "flags", "mtime", "fingerprint", "size", "hash"),
)
"""Columns of directories, and of files, with one number for each row."""

Ints = NDArray[np.int64]


class Known(NamedTuple):
    """What the pages of one space know already: times in steps of 100 ns, and sizes, in the order of entries."""

    times: Spill
    sizes: Spill

    def add(self, mtimes: Column, sizes: Column) -> None:
        """What the next page says: ns since 1970, and bytes."""
        self.times.add(mtimes // 100)
        self.sizes.add(sizes)

    def close(self) -> None:
        """Give memory and disk back."""
        self.times.close()
        self.sizes.close()


class RowPage:
    """The tree's columns of the rows of one metadata page.

    Args:
        data: the table.
        space: 0: they are directories; 1: they are files.
        page: the metadata page of the same rows.
        where: names it in errors.

    Its items are the columns of `rowpage.fbs` ("node", "mtime", ...), whole values and not differences; `name`: all
    names, one behind the other; `count`: rows. Raises CORRUPT.
    """

    def __init__(self, data: bytes, space: int, page: _MetadataPage, where: str) -> None:
        try:
            self.count, found = vectors.from_bytes(data, IDENTIFIER, _FIELDS)
            if self.count != page.count:
                raise ValueError("rows of another page")
            columns = {name: found.get(name, np.zeros(self.count, _FIELDS[name])) for name in _SPACES[space]}
            if any(len(column) != self.count for column in columns.values()):
                raise ValueError("columns of several lengths")
            self.name = found["name"].tobytes() if "name" in found else b""
            self._columns = columns | {
                name: np.cumsum(columns[name]) for name in ("node", "parent") if name in columns
            }
            self._columns["mtime"] = columns["mtime"] + page.column("mtime") // 100
            if space == 1:
                self._columns["size"] = columns["size"] + page.column("size").view("<i8")
                copied = (columns["flags"] & NO_CONTENT).astype(bool)
                self._columns["hash"] = columns["hash"] ^ np.where(copied, columns["fingerprint"], np.uint64(0))
            if len(self.name) != int(columns["length"].sum(dtype=np.int64)):
                raise ValueError("names of other lengths")
        except Exception as error:  # the library tells damage by whatever its reading of it runs into
            reason = "the object holds a damaged row page"
            raise DunlinError("read the metadata pages", where, ErrorKind.CORRUPT, reason) from error

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]


class _MetadataPage(Protocol):
    """What of a metadata page is needed here."""

    count: int

    def column(self, name: str) -> Column:
        """One of its columns."""


def pages_of(segment: Segment, directories: Known, files: Known, rows: int) -> Iterator[bytes]:
    """The row pages of a segment, those of directories first, `rows` rows in each; what its pages know is given."""
    order = np.argsort(segment.array("d.page"), kind="stable")
    if not np.array_equal(segment.array("d.page")[order], np.arange(len(order))):
        raise ValueError("directories without an entry of their own")
    if (directories.times.size, files.times.size) != (8 * segment.header.directories, 8 * segment.header.files):
        raise ValueError("pages of other rows than those of the segment")
    width = 8 * rows
    for at, (times, _) in enumerate(zip(directories.times.pieces(width), directories.sizes.pieces(width), strict=True)):
        part = order[at * rows : (at + 1) * rows]
        yield _page(len(part), *_directories(segment, part, np.frombuffer(times, "<i8")))
    for at, (times, sizes) in enumerate(zip(files.times.pieces(width), files.sizes.pieces(width), strict=True)):
        start, end = at * rows, min((at + 1) * rows, segment.header.files)
        yield _page(end - start, *_files(segment, start, end, np.frombuffer(times, "<i8"), np.frombuffer(sizes, "<i8")))


def _page(count: int, name: Column, columns: dict[str, Array]) -> bytes:
    # What does not repeat is put first, so that it stands last: zstd looks at the beginning (`frames.compressed`).
    kept = [(each, np.ascontiguousarray(columns[each], _FIELDS[each])) for each in reversed(columns)]
    kept = [pair for pair in kept if not vectors.zeros(pair[1])]
    return vectors.to_bytes(IDENTIFIER, tuple(_FIELDS), count, [*kept, ("name", name)])


def _directories(segment: Segment, rows: Ints, times: Ints) -> tuple[Column, dict[str, Array]]:
    heap, offsets, lengths = segment.directories.places()
    sizes = lengths[rows].astype(np.int64)
    name = np.concatenate([np.zeros(0, np.uint8), *gathered(heap, offsets[rows].astype(np.int64), sizes)])
    start = segment.array("d.start")[rows]
    own = start != NO_RUN
    return name, {
        "node": _steps(segment.array("d.node")[rows]),
        "parent": _steps(segment.array("d.parent")[rows]),
        "length": sizes,
        "flags": segment.array("d.flags")[rows],
        "mtime": segment.directories.ticks_at(rows) - times,
        "start": start,
        "files": segment.array("d.files")[rows],
        "run_size": np.where(own, np.uint64(0), segment.array("d.size")[rows]),
        "check": np.where(own, np.uint64(0), segment.array("d.check")[rows]),
        "fingerprint": segment.array("d.fingerprint")[rows],
    }


def _files(segment: Segment, start: int, end: int, times: Ints, sizes: Ints) -> tuple[Column, dict[str, Array]]:
    files = segment.files
    flags, prints = segment.array("f.flags")[start:end], segment.array("f.fingerprint")[start:end]
    copied = (flags & NO_CONTENT).astype(bool)
    return np.frombuffer(files.names(start, end), np.uint8), {
        "node": _steps(files.nodes(start, end)),
        "length": files.lengths(start, end),
        "flags": flags,
        "mtime": files.ticks(start, end) - times,
        "size": files.sizes(start, end) - sizes,
        "hash": segment.array("f.hash")[start:end] ^ np.where(copied, prints, np.uint64(0)),
        "fingerprint": prints,
    }


def _steps(values: Ints) -> Ints:
    return np.diff(values, prepend=np.int64(0))
