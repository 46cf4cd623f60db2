"""Metadata pages: everything about a node that the tree's columns do not hold. FlatBuffers, a column for each thing.

A page speaks of up to 4,096 nodes of one segment, in the order of their rows: row i is entry i % 4096 of page i //
4096, so no row needs a reference. The pages of one segment are one object:

    page       a frame (see `frames`) of the FlatBuffers table of `page.fbs`
    ...
    row page   a frame of the table of `rowpage.fbs`: for each page, the tree's columns of the same nodes (`rowpages`)
    ...
    removed    frames of node ids, i64 each: directories that the segment takes away
    ...
    index      a frame of: version: u16 | coding of names: u8 | what the hashes are: u8 | directory pages: u32
               | file pages: u32 | row pages: u32, 0 or as many as both | removed frames: u32
               | offset of each of them, in this order, and of the index: u64 each
    footer     offset of the index: u64 | CRC-64/NVME of the key of the object: 8 bytes | "DLPI"

A page that is larger than a frame may be, since its files have some hundred thousand chunks, stands in several, one
behind the other (`frames.seal_long`). So does whatever else may grow as large.

Row pages and what is removed make the segment a second time: should it be lost, `mend` writes it again, byte by byte.
Who browses or restores does not read them.

What several nodes share is stored once. Extended attributes, access control lists and security descriptors of a node
are one blob (`attributes.pack`), which is a chunk like those of content: a page names it by its chunk id, and the
chunk index sees to it that each distinct one is there once.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dunlin.backup import rowpages, vectors
from dunlin.backup.frames import Codec, seal_long, unseal_long, walk
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.spill import Spill
from dunlin.backup.vectors import Column
from dunlin.backup.words import CHUNK_ID, MOST_FRAME, ChunkId
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import one_shot
from dunlin.model import DIRECTORY_BITS, TYPE_BITS

PAGE = 4096
"""Nodes of a page; the last page of a segment has fewer."""

VERSION = 1
IDENTIFIER = b"DLPG"

FIXED = {
    "mode": "<u4",  # st_mode, type bits included
    "uid": "<u4",  # 0xFFFFFFFF: not known; likewise gid
    "gid": "<u4",
    "mtime": "<i8",  # ns since 1970, as the source tells it; what does not fit is in `late`
    "ctime": "<i8",
    "birth": "<i8",  # 0: not known
    "size": "<u8",
    "rdev": "<u8",  # of a device
    "device": "<u8",  # st_dev, where nlink > 1: with ident, names of one file are known by it
    "nlink": "<u4",
}
"""Columns with one number for each node."""

UNKNOWN = 0xFFFFFFFF

COUNTED = {
    "chunks": CHUNK_ID,  # ids of the chunks of the content, in order
    "lengths": 4,  # bytes of each chunk
    "attributes": CHUNK_ID,  # none or one id: the chunk of the node's attributes
    "ident": 1,  # inode number or etag, as text
    "target": 1,  # of a symbolic link
    "late": 12,  # none, or a time of modification beyond the years 1677 to 2262: seconds since 1970 (i64), ns (u32)
}
"""Columns with some items for each node, and bytes of an item; `lengths` has as many as `chunks`."""

LATE = struct.Struct("<qI")
FAR = -(1 << 63)
"""What stands in `mtime` where `late` has the time."""

_OWN_COUNT = tuple(name for name in COUNTED if name != "lengths")
_FIELDS = FIXED | {f"{name}_end": "<u4" for name in _OWN_COUNT if name != "late"}
_FIELDS |= {name: "u1" for name in COUNTED if name != "late"} | {"late_end": "<u4", "late": "u1"}
_HEAD = struct.Struct("<HBBIIII")
_REMOVED = 1 << 16
"""Node ids of removed directories in one frame."""

_FOOTER = struct.Struct("<Q8s4s")
_MAGIC = b"DLPI"
_NOTHING = np.zeros(0, np.uint8)

Part = Mapping[str, bytes]
"""Some nodes: for each of `FIXED` its numbers, for each of `COUNTED` its items put together, and for each but
`lengths`, as `NAME_n`, how many each node has (u4). What is not there is 0, or none."""


class Gathering:
    """Collects nodes in the order of their rows, and gives pages as they become full."""

    __slots__ = ("_count", "_parts")

    def __init__(self) -> None:
        self._parts: list[tuple[int, Part]] = []
        self._count = 0

    def add(self, count: int, part: Part) -> list[bytes]:
        """Take in `count` nodes; the pages that are full now."""
        self._parts.append((count, part))
        self._count += count
        return self._pages(self._count // PAGE * PAGE) if self._count >= PAGE else []

    def finish(self) -> list[bytes]:
        """The page of what is left, if anything is."""
        return self._pages(self._count)

    def _pages(self, upto: int) -> list[bytes]:
        fixed = {name: self._fixed(name, kind) for name, kind in FIXED.items()}
        counts = {name: self._fixed(f"{name}_n", "<u4") for name in _OWN_COUNT}
        ends = {name: np.concatenate([[0], np.cumsum(column, dtype=np.int64)]) for name, column in counts.items()}
        items = {name: b"".join(part.get(name, b"") for _, part in self._parts) for name in COUNTED}

        def cut(start: int, end: int) -> Part:
            part = {name: column[start:end].tobytes() for name, column in fixed.items()}
            part |= {f"{name}_n": column[start:end].tobytes() for name, column in counts.items()}
            for name, width in COUNTED.items():
                bounds = ends["chunks" if name == "lengths" else name]
                part[name] = items[name][int(bounds[start]) * width : int(bounds[end]) * width]
            return part

        starts = range(0, upto, PAGE)
        pages = [to_bytes(min(PAGE, upto - start), cut(start, min(start + PAGE, upto))) for start in starts]
        left = self._count - upto
        self._parts = [(left, cut(upto, self._count))] if left else []
        self._count = left
        return pages

    def _fixed(self, name: str, kind: str) -> Column:
        return np.concatenate([_column(part, name, kind, count) for count, part in self._parts] or [np.zeros(0, kind)])


def to_bytes(count: int, part: Part) -> bytes:
    """A page of `count` nodes in its stored form."""
    columns = [(name, _column(part, name, kind, count)) for name, kind in FIXED.items()]
    for name in _OWN_COUNT:
        ends = np.cumsum(_column(part, f"{name}_n", "<u4", count), dtype=np.uint32)
        columns.append((f"{name}_end", ends))
    columns += [(name, np.frombuffer(part.get(name, b""), np.uint8)) for name in COUNTED]
    if not part.get("late"):
        columns = [(name, column) for name, column in columns if name not in ("late", "late_end")]
    return vectors.to_bytes(IDENTIFIER, tuple(_FIELDS), count, columns)


class Page:
    """A page that was read; what it says of an entry is looked up in place."""

    __slots__ = ("_columns", "count")

    def __init__(self, data: bytes, where: str) -> None:
        if data[4:8] != IDENTIFIER:
            raise _damaged(where, "holds something else than a metadata page")
        try:
            self.count, found = vectors.from_bytes(data, IDENTIFIER, _FIELDS)
            if self.count > PAGE:
                raise ValueError("too many entries")
            self._columns = dict.fromkeys(COUNTED, _NOTHING) | {"late_end": np.zeros(self.count, "<u4")} | found
            _check(self._columns, self.count)
        except Exception as error:  # the library tells damage by whatever its reading of it runs into
            raise _damaged(where, "holds a damaged metadata page") from error

    def number(self, name: str, entry: int) -> int:
        """One of `FIXED` for an entry."""
        return int(self._columns[name][entry])

    def column(self, name: str) -> Column:
        """One of `FIXED` for all entries; of times `mtimes` knows those that do not fit."""
        return self._columns[name]

    def mtimes(self, start: int, end: int) -> list[int]:
        """The times of modification of the entries from `start` to `end`, ns since 1970."""
        found: list[int] = self._columns["mtime"][start:end].tolist()
        if len(self._columns["late"]):
            for at in range(start, end):
                if item := self._items("late", at):
                    seconds, rest = LATE.unpack(item)
                    found[at - start] = seconds * 10**9 + rest
        return found

    def chunks(self, entry: int) -> list[tuple[ChunkId, int]]:
        """The chunks of an entry's content, in order, each with its bytes."""
        start, end = self._bounds("chunks", entry)
        ids = self._columns["chunks"][start * CHUNK_ID : end * CHUNK_ID].tobytes()
        lengths = self._columns["lengths"].view("<u4")[start:end].tolist()
        return [(ids[i * CHUNK_ID : (i + 1) * CHUNK_ID], length) for i, length in enumerate(lengths)]

    def attributes(self, entry: int) -> ChunkId | None:
        """The chunk that holds an entry's attributes, or None."""
        return self._items("attributes", entry) or None

    def ident(self, entry: int) -> str:
        """The inode number or etag that an entry had."""
        return self._items("ident", entry).decode("utf-8", "surrogateescape")

    def idents(self, start: int, end: int) -> list[str]:
        """`ident` of the entries from `start` to `end`."""
        first, last = self._bounds("ident", start)[0], self._bounds("ident", end - 1)[1]
        text = self._columns["ident"][first:last].tobytes()
        ends = (self._columns["ident_end"][start:end] - np.uint32(first)).tolist()
        return [
            text[before:after].decode("utf-8", "surrogateescape") for before, after in pairwise([0, *ends])
        ]

    def chunks_between(self, start: int, end: int) -> tuple[bytes, list[int], list[int]]:
        """The ids of the chunks of the entries from `start` to `end`, put together, their bytes, where each ends."""
        first, last = self._bounds("chunks", start)[0], self._bounds("chunks", end - 1)[1]
        ids = self._columns["chunks"][first * CHUNK_ID : last * CHUNK_ID].tobytes()
        lengths = self._columns["lengths"].view("<u4")[first:last].tolist()
        return ids, lengths, (self._columns["chunks_end"][start:end] - np.uint32(first)).tolist()

    def attributed(self, start: int, end: int) -> bool:
        """Whether any of the entries from `start` to `end` has attributes."""
        return self._bounds("attributes", start)[0] < self._bounds("attributes", end - 1)[1]

    def target(self, entry: int) -> str:
        """Where an entry, a symbolic link, leads."""
        return self._items("target", entry).decode("utf-8", "surrogateescape")

    def part(self, start: int, end: int) -> Part:
        """The entries from `start` to `end` in the form that `Gathering` takes: for rows that go on unchanged."""
        part = {name: self._columns[name][start:end].tobytes() for name in FIXED}
        for name, width in COUNTED.items():
            bounds = "chunks" if name == "lengths" else name
            first, last = self._bounds(bounds, start)[0], self._bounds(bounds, end - 1)[1] if end > start else 0
            part[name] = self._columns[name][first * width : last * width].tobytes() if end > start else b""
        for name in _OWN_COUNT:
            ends = self._columns[f"{name}_end"]
            before = ends[start - 1 : end - 1] if start else np.concatenate([[0], ends[: max(end - 1, 0)]])
            part[f"{name}_n"] = (ends[start:end] - before).astype("<u4").tobytes() if end > start else b""
        return part

    def references(self, live: NDArray[np.bool_]) -> tuple[Column, Column]:
        """The chunks that the entries refer to which `live` chooses: numbers of entries, and ids (rows of 32 bytes).

        Attributes are among them. An entry comes once for each of its chunks.
        """
        entries, ids = [], []
        for name in ("chunks", "attributes"):
            ends = self._columns[f"{name}_end"].astype(np.int64)
            counts = ends - np.concatenate(([0], ends[:-1]))
            owner = np.repeat(np.arange(self.count), counts)
            chosen = live[owner]
            entries.append(owner[chosen])
            ids.append(self._columns[name].reshape(-1, CHUNK_ID)[chosen])
        return np.concatenate(entries), np.concatenate(ids)

    def _items(self, name: str, entry: int) -> bytes:
        start, end = self._bounds(name, entry)
        return bytes(self._columns[name][start * COUNTED[name] : end * COUNTED[name]].tobytes())

    def _bounds(self, name: str, entry: int) -> tuple[int, int]:
        ends = self._columns[f"{name}_end"]
        return int(ends[entry - 1]) if entry else 0, int(ends[entry])


class PagesWriter:
    """Writes the pages of a segment as one object, as they become full; directories have a space of rows of their own.

    Args:
        codec: of the object.
        write: takes the next bytes of it.
        folder: for temporary files; None: where the system has them.
    """

    def __init__(self, codec: Codec, write: Callable[[bytes], object], folder: Path | None = None) -> None:
        where = str(folder or tempfile.gettempdir())
        self._codec = codec
        self._write = write
        self._place = 0
        self._directories, self._files = Gathering(), Gathering()
        self._offsets: tuple[list[int], list[int]] = ([], [])
        self._known = [rowpages.Known(Spill(where), Spill(where)) for _ in (0, 1)]

    def add_directories(self, count: int, part: Part) -> None:
        """Take in rows of the segment's directories, in their order."""
        self._take(0, self._directories.add(count, part))

    def add_files(self, count: int, part: Part) -> None:
        """Take in rows of everything that is no directory, in their order."""
        self._take(1, self._files.add(count, part))

    def finish(self, segment: Segment | None = None) -> int:
        """Write what is left, and the index; bytes of the whole object.

        `segment`: whose rows the pages speak of, so that they can make it anew; None: they cannot.
        """
        self._take(0, self._directories.finish())
        self._take(1, self._files.finish())
        directories, files = self._offsets
        rows, removed = self._tree(segment) if segment is not None else ([], [])
        header = segment.header if segment is not None else None
        index = _HEAD.pack(
            VERSION, header.names if header else 0, header.hashes if header else 0, len(directories), len(files),
            len(rows), len(removed),
        )  # fmt: skip
        index += np.array([*directories, *files, *rows, *removed, self._place], "<u8").tobytes()
        start = self._place
        self._put(seal_long(self._codec, index, start))
        self._put(_FOOTER.pack(start, _bound(self._codec.key), _MAGIC))
        self.close()
        return self._place

    def close(self) -> None:
        """Give memory and disk back; nothing happens after `finish`."""
        for known in self._known:
            known.close()

    def _tree(self, segment: Segment) -> tuple[list[int], list[int]]:
        """Write the columns of the segment; the offsets of row pages, and of what is removed."""
        rows: list[int] = []
        for page in rowpages.pages_of(segment, self._known[0], self._known[1], PAGE):
            rows.append(self._place)
            self._put(seal_long(self._codec, page, self._place))
        removed: list[int] = []
        for start in range(0, len(segment.removed), _REMOVED):
            removed.append(self._place)
            self._put(self._codec.make(segment.removed[start : start + _REMOVED].tobytes(), self._place))
        return rows, removed

    def _take(self, space: int, pages: list[bytes]) -> None:
        for data in pages:
            self._offsets[space].append(self._place)
            self._put(seal_long(self._codec, data, self._place))
            page = Page(data, self._codec.key)
            self._known[space].add(page.column("mtime"), page.column("size"))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._place += len(data)


class PagesReader:
    """Finds and reads the pages of a segment; keeps the last ones that were asked for.

    Args:
        codec: of the object.
        read: bytes of it from a start, so many.
        size: bytes of it.

    Attributes:
        damage: why its pages had to be looked for from the beginning of the object, without its index; else None.
        remade: it holds what makes the segment again.

    Raises CORRUPT, NEWER.
    """

    KEPT = 16

    def __init__(self, codec: Codec, read: Callable[[int, int], bytes], size: int) -> None:
        self._codec, self._read = codec, read
        self.key = codec.key
        self.names = self.hashes = 0
        self._kept: dict[tuple[int, int], Page] = {}
        self.damage: DunlinError | None = None
        footer = read(max(size - _FOOTER.size, 0), _FOOTER.size)
        start, bound, magic = _FOOTER.unpack(footer) if len(footer) == _FOOTER.size else (0, b"", b"")
        if magic == _MAGIC and bound != _bound(codec.key):
            raise _damaged(codec.key, "was another object")
        try:
            if magic != _MAGIC or start > size - _FOOTER.size:
                raise _damaged(codec.key, "does not end as metadata pages do")
            self._take_index(unseal_long(codec, read(start, size - _FOOTER.size - start), start))
        except DunlinError as error:
            if error.kind is not ErrorKind.CORRUPT:
                raise
            self.damage = error
            self._look_for_pages(size, error)

    def _take_index(self, index: bytes) -> None:
        codec = self._codec
        version, self.names, self.hashes, directories, files, rows, removed = _HEAD.unpack_from(index)
        if version > VERSION:
            reason = f"its format is {version}, this dunlin reads up to {VERSION}"
            raise DunlinError("read the metadata pages", codec.key, ErrorKind.NEWER, reason, "use a newer dunlin")
        offsets = np.frombuffer(index, "<u8", offset=_HEAD.size).tolist()
        pages = directories + files
        if len(offsets) != pages + rows + removed + 1 or rows not in (0, pages):
            raise _damaged(codec.key, "has an index of another length")
        ends = dict(pairwise(sorted(offsets)))
        spans = [(offset, ends[offset]) for offset in offsets[:-1]]
        self._spans = (spans[:directories], spans[directories:pages])
        self._rows = (spans[pages : pages + directories], spans[pages + directories : pages + rows])
        self._removed = spans[pages + rows :]
        self.remade = rows == pages > 0

    def _look_for_pages(self, size: int, error: DunlinError) -> None:
        """Find the pages one behind the other. Raises `error` where it cannot be told which rows one speaks of."""
        self._spans, self._rows, self._removed, self.remade = ([], []), ([], []), [], False
        unknown = False
        last = [PAGE, PAGE]
        begin, parts = 0, list[bytes]()
        for start, frame in walk(self._codec, self._read, size):
            begin = begin if parts else start
            try:
                parts.append(self._codec.open(frame, start))
                if len(parts[-1]) == MOST_FRAME:
                    continue  # it goes on in the next one
                data = b"".join(parts)
                page = Page(data, self.key) if data[4:8] == IDENTIFIER else None
            except DunlinError:
                unknown = True
                page = None
            parts = []
            if page is not None:
                space = 1 if (page.column("mode") & TYPE_BITS & ~np.uint32(DIRECTORY_BITS)).any() else 0
                if unknown or last[space] != PAGE:
                    raise error
                last[space] = page.count
                self._spans[space].append((begin, start + len(frame)))
        if not self._spans[0]:
            raise error

    def directory(self, row: int) -> tuple[Page, int]:
        """The page that speaks of a row of the segment's directories, and its entry there."""
        return self._page(0, row // PAGE), row % PAGE

    def file(self, row: int) -> tuple[Page, int]:
        """The page that speaks of a row of the segment's files, and its entry there."""
        return self._page(1, row // PAGE), row % PAGE

    def file_parts(self, row: int, count: int) -> Iterator[tuple[int, Part]]:
        """What is known of `count` rows of files from `row` on, in the form that `PagesWriter.add_files` takes."""
        while count:
            page, entry = self.file(row)
            here = min(count, page.count - entry)
            if here <= 0:
                raise _damaged(self._codec.key, f"has no entry for row {row}")
            yield here, page.part(entry, entry + here)
            row, count = row + here, count - here

    def check_files(self, row: int, count: int) -> None:
        """See that there are pages for `count` rows of files from `row` on, one at least. Raises CORRUPT."""
        last = row + count - 1
        for each in (*range(row, last, PAGE), last):
            page, entry = self.file(each)
            if entry >= page.count:
                raise _damaged(self._codec.key, f"has no entry for row {each}")

    def counts(self) -> tuple[int, int]:
        """How many pages speak of directories, and how many of files."""
        return len(self._spans[0]), len(self._spans[1])

    def page(self, space: int, number: int) -> Page:
        """One page: of directories (`space` 0) or of files (1). Raises CORRUPT."""
        return self._page(space, number)

    def row_page(self, space: int, number: int) -> rowpages.RowPage:
        """The tree's columns of the rows of one page. Raises CORRUPT."""
        return rowpages.RowPage(self._opened(*self._rows[space][number]), space, self.page(space, number), self.key)

    def check_rows(self) -> None:
        """See that what would make the segment again is whole. Raises CORRUPT."""
        for space, spans in enumerate(self._rows):
            for number in range(len(spans)):
                self.row_page(space, number)
        for _ in self.removed():
            pass

    def removed(self) -> Iterator[NDArray[np.int64]]:
        """The node ids of the directories that the segment takes away. Raises CORRUPT."""
        for span in self._removed:
            yield np.frombuffer(self._opened(*span), "<i8")

    def pages(self) -> Iterator[Page]:
        """Every page, those of directories first."""
        for space, spans in enumerate(self._spans):
            for number in range(len(spans)):
                yield self._page(space, number)

    def _page(self, space: int, number: int) -> Page:
        page = self._kept.pop((space, number), None)
        if page is None:
            if number >= len(self._spans[space]):
                raise _damaged(self._codec.key, f"has no page {number}")
            page = Page(self._opened(*self._spans[space][number]), self._codec.key)
        self._kept[space, number] = page
        if len(self._kept) > self.KEPT:
            del self._kept[next(iter(self._kept))]
        return page

    def _opened(self, start: int, end: int) -> bytes:
        return unseal_long(self._codec, self._read(start, end - start), start)


def _column(part: Part, name: str, kind: str, count: int) -> Column:
    data = part.get(name)
    return np.frombuffer(data, kind, count) if data is not None else np.zeros(count, kind)


def _check(columns: Mapping[str, Column], count: int) -> None:
    """A page whose columns contradict each other must not be read beyond their ends."""
    if any(len(columns[name]) != count for name in FIXED):
        raise ValueError("columns of several lengths")
    for name in _OWN_COUNT:
        ends = columns[f"{name}_end"]
        if len(ends) != count or (count and (np.diff(ends.astype(np.int64)) < 0).any()):
            raise ValueError(f"ends of {name}")
        if len(columns[name]) != (int(ends[-1]) if count else 0) * COUNTED[name]:
            raise ValueError(f"items of {name}")
    if len(columns["lengths"]) * CHUNK_ID != len(columns["chunks"]) * COUNTED["lengths"]:
        raise ValueError("lengths of chunks")


def _bound(key: str) -> bytes:
    """What binds pages to their segment where nothing is sealed: they would fit another one of as many rows."""
    check = one_shot("crc64")
    assert check is not None
    return check(key.encode())


def _damaged(where: str, what: str) -> DunlinError:
    return DunlinError("read the metadata pages", where, ErrorKind.CORRUPT, f"the object {what}")
