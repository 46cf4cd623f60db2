"""A tree as an ordered list of segments shows it: the oldest first, newer rows over older ones.

    tree = Tree([Segment.open(path) for path in paths])     # [] is a tree with nothing in it
    tree.lookup(b"usr/share/doc")                           # Directory, File or None
    directories, run = tree.children(node)                  # what lies in a directory
    run = tree.run(node)                                    # its files as packed columns, without the directories
    if run.same(names, lengths, fingerprints): ...          # compared with a listing, no object per file
    tree.path(node)                                         # b"usr/share/doc"
    tree.rename(writer, node, parent, b"new name")          # one row in a delta

The three rules
    A directory's run is the one of the newest segment that has one for it; a directory's row is that of the newest
    segment that has one; a removed directory is gone with everything that can only be reached through it. So renaming
    or moving a directory is one row, whatever lies below it: its children name it by its node id.

The first segment, the *base*, is looked at in place; what the others say over it is gathered when the tree is opened
(`overlay`). A *handle* is what methods of this room pass on for a directory: its row in the base, or the number of rows
of the base plus its row in the overlay.

Steps of a path go through a hash table from (parent, name) to row. Only the last name is searched for among files:
a binary search in one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.tree import lookup
from dunlin.backup.tree.build import SegmentWriter, empty
from dunlin.backup.tree.columns import KIND, NO_RUN, TICK, Array, Bytes, Ints, Words
from dunlin.backup.tree.overlay import Overlay
from dunlin.backup.tree.segment import Segment
from dunlin.errors import DunlinError, ErrorKind

_AT_ONCE = 1 << 13
"""Rows of a run that are gone through at a time."""

ROOT = 1
"""The node id of a share's root; its row has parent 0 and no name."""


class Directory(NamedTuple):
    """A directory: `files`, `size` (bytes), `check` of its run; `segment`, `row`: where its row stands in the view."""

    node: int
    parent: int
    name: bytes
    mtime: int
    fingerprint: int
    flags: int
    files: int
    size: int
    check: int
    segment: int
    row: int


class File(NamedTuple):
    """Anything but a directory: `size` in bytes, `mtime` ns since 1970; `segment`, `row`: where it stands in a view."""

    node: int
    parent: int
    name: bytes
    size: int
    mtime: int
    hash: int
    flags: int
    fingerprint: int
    segment: int
    row: int

    @property
    def kind(self) -> int:
        """The type bits of st_mode."""
        return (self.flags & KIND) << 12


class Run:
    """The files of one directory: rows `start` … `start` + `count` - 1 of a segment, as columns sorted by name.

    Every property is an array of `count` elements, made when asked for. Times are ticks of 100 ns, rounded down.
    """

    __slots__ = ("_segment", "count", "directory", "segment", "start")

    def __init__(self, segment: Segment, number: int, start: int, count: int, directory: int) -> None:
        self._segment = segment
        self.segment = number
        self.start = start
        self.count = count
        self.directory = directory

    def __len__(self) -> int:
        return self.count

    @property
    def names(self) -> bytes:
        """All names, one behind the other."""
        return self._segment.files.names(self.start, self.start + self.count)

    @property
    def lengths(self) -> NDArray[np.uint32]:
        """Bytes of each name."""
        return self._segment.files.lengths(self.start, self.start + self.count)

    @property
    def nodes(self) -> Ints:
        """Node ids."""
        return self._segment.files.nodes(self.start, self.start + self.count)

    @property
    def sizes(self) -> Ints:
        """Bytes of content."""
        return self._segment.files.sizes(self.start, self.start + self.count)

    @property
    def ticks(self) -> Ints:
        """Times of the last modification, ticks since 1970."""
        return self._segment.files.ticks(self.start, self.start + self.count)

    @property
    def hashes(self) -> Words:
        """The content's checksum, or the stat fingerprint where flags have `columns.NO_CONTENT`."""
        return self._column("hash")

    @property
    def flags(self) -> Bytes:
        """Kind and flags."""
        return self._column("flags")

    @property
    def fingerprints(self) -> Words:
        """Stat fingerprints."""
        return self._column("fingerprint")

    def _column(self, name: str) -> Array:
        return self._segment.array(f"f.{name}")[self.start : self.start + self.count]

    def same(self, names: bytes, lengths: Array, fingerprints: Array) -> bool:
        """Whether a listing, sorted by name, has the same names with the same fingerprints."""
        return (
            len(fingerprints) == self.count
            and bool((self.fingerprints == fingerprints).all())
            and bool((self.lengths == lengths).all())
            and self.names == names
        )

    def part(self, start: int, end: int) -> Run:
        """Its rows `start` … `end` - 1, as a run."""
        return Run(self._segment, self.segment, self.start + start, end - start, self.directory)

    def name(self, index: int) -> bytes:
        """The name of one row."""
        return self._segment.files.name(self.start + index)

    def find(self, name: bytes) -> int:
        """The index of a name in this run, -1 if it is not there."""
        row = self._segment.files.find(self.start, self.start + self.count, name)
        return row - self.start if row >= 0 else -1

    def each_name(self) -> Iterator[bytes]:
        """The names one by one."""
        blob, at = self.names, 0
        for size in self.lengths.tolist():
            yield blob[at : at + size]
            at += size

    def file(self, index: int) -> File:
        """One row."""
        row = self.start + index
        return _file(self._segment, row, self.directory, self._segment.files.name(row), self.segment)

    def files(self) -> Iterator[File]:
        """The rows one by one; some thousands at a time are objects."""
        for at in range(0, self.count, _AT_ONCE):
            yield from self.part(at, min(at + _AT_ONCE, self.count))._files()

    def _files(self) -> Iterator[File]:
        parts = (self.nodes, self.sizes, self.ticks, self.hashes, self.flags, self.fingerprints)
        node, size, ticks, content, flags, fingerprint = (part.tolist() for part in parts)
        for at, name in enumerate(self.each_name()):
            yield File(
                node[at], self.directory, name, size[at], ticks[at] * TICK, content[at], flags[at], fingerprint[at],
                self.segment, self.start + at,
            )  # fmt: skip


def _file(segment: Segment, row: int, directory: int, name: bytes, number: int) -> File:
    node, size, mtime, content, flags, fingerprint = segment.files.cells(row)
    return File(node, directory, name, size, mtime, content, flags, fingerprint, number, row)


class Tree:
    """What `segments`, oldest first, hold together. Immutable; threads may share it."""

    def __init__(self, segments: Sequence[Segment] = ()) -> None:
        self.segments = tuple(segments) or (empty(),)
        self.base = self.segments[0]
        self.overlay = Overlay(self.segments) if len(self.segments) > 1 else None
        self._rows = self.base.directories.rows
        self._parents = self.base.cells("d.parent")
        self._nodes = self.base.cells("d.node")
        self._by_node = self.base.cells("d.by-node")
        self._slots = lookup.slots(self._rows)
        self._root = self.handle(ROOT)

    # -- one directory

    def handle(self, node: int) -> int:
        """The handle of a directory, -1 if the newest segments do not have it."""
        overlay = self.overlay
        if overlay is not None and (row := overlay.find_node(node)) >= 0:
            return self._rows + row
        row = lookup.find_node(node, self._by_node, self._nodes, self._slots)
        return -1 if overlay is not None and row >= 0 and overlay.is_gone(row) else row

    def child(self, parent: int, name: bytes) -> int:
        """The handle of the directory `name` in the directory with node id `parent`, -1 if there is none."""
        overlay = self.overlay
        if overlay is not None and (row := overlay.find_child(parent, name)) >= 0:
            return self._rows + row
        row = self.base.directories.descend(parent, [name])
        return -1 if overlay is not None and row >= 0 and overlay.is_gone(row) else row

    def node_of(self, handle: int) -> int:
        """The node id of a handle."""
        rows = self._rows
        return self._nodes[handle] if handle < rows or self.overlay is None else int(self.overlay.node[handle - rows])

    def directory(self, node: int) -> Directory | None:
        """The newest row of a directory, None if it is not there."""
        handle = self.handle(node)
        return None if handle < 0 else self.row(handle)

    def row(self, handle: int) -> Directory:
        """The row of a handle."""
        if handle >= self._rows and (overlay := self.overlay) is not None:
            at = handle - self._rows
            node, parent, files, size, check, fingerprint, flags = (int(c[at]) for c in overlay.columns.values())
            number, row = int(overlay.segment[at]), int(overlay.row[at])
            mtime = self.segments[number].directories.mtime(row)
            name = overlay.name(at)
            return Directory(node, parent, name, mtime, fingerprint, flags, files, size, check, number, row)
        cells, space = self.base.cells, self.base.directories
        return Directory(
            self._nodes[handle], self._parents[handle], space.name(handle), space.mtime(handle),
            space.fingerprint(handle), space.flags(handle), cells("d.files")[handle], cells("d.size")[handle],
            cells("d.check")[handle], 0, handle,
        )  # fmt: skip

    def place(self, handle: int) -> tuple[int, int, int]:
        """Where the run of a directory stands: segment, first row, rows."""
        if handle >= self._rows and (overlay := self.overlay) is not None:
            at = handle - self._rows
            start = int(overlay.run_start[at])
            return int(overlay.run_segment[at]), max(start, 0), int(overlay.columns["files"][at]) if start >= 0 else 0
        start = self.base.cells("d.start")[handle]
        return (0, 0, 0) if start == NO_RUN else (0, start, self.base.cells("d.files")[handle])

    def run(self, node: int) -> Run:
        """The files of a directory; none if the directory is not there."""
        handle = self.handle(node)
        return self.run_at(handle) if handle >= 0 else Run(self.base, 0, 0, 0, node)

    def run_at(self, handle: int) -> Run:
        """The files of the directory with this handle."""
        node = self.node_of(handle)
        number, start, count = self.place(handle)
        return Run(self.segments[number], number, start, count, node)

    def directories(self, node: int) -> list[Directory]:
        """The directories in a directory, sorted by name."""
        parents = self.base.array("d.parent")
        first, last = parents.searchsorted(node), parents.searchsorted(node, "right")
        overlay = self.overlay
        if overlay is None:
            return [self.row(row) for row in range(first, last)]
        found = [self.row(row) for row in range(first, last) if not overlay.is_gone(row)]
        first, last = overlay.parent.searchsorted(node), overlay.parent.searchsorted(node, "right")
        found += [self.row(self._rows + row) for row in range(first, last)]
        found.sort(key=lambda directory: directory.name)
        return found

    def nodes_below(self, node: int) -> Ints:
        """The node ids of the directories in a directory, in no order."""
        parents, nodes = self.base.array("d.parent"), self.base.array("d.node")
        first, last = parents.searchsorted(node), parents.searchsorted(node, "right")
        overlay = self.overlay
        if overlay is None:
            return nodes[first:last]
        found = nodes[first:last][~overlay.gone[first:last]]
        first, last = overlay.parent.searchsorted(node), overlay.parent.searchsorted(node, "right")
        return np.concatenate((found, overlay.node[first:last]))

    def children(self, node: int) -> tuple[list[Directory], Run]:
        """What lies in a directory: directories, sorted by name, and the run of everything else."""
        return self.directories(node), self.run(node)

    # -- paths

    def lookup(self, path: bytes) -> Directory | File | None:
        """What stands at a path, names separated by ``/``; the root is ``b""``."""
        handle = self._root
        if handle < 0 or not path:
            return self.row(handle) if handle >= 0 else None
        *above, last = path.split(b"/")
        node = ROOT
        if above:
            handle = self._descend(above)
            if handle < 0:
                return None
            node = self.node_of(handle)
        below = self.child(node, last)
        return self.row(below) if below >= 0 else self._file(handle, node, last)

    def _descend(self, names: list[bytes]) -> int:
        if self.overlay is None:
            return self.base.directories.descend(ROOT, names)
        node, handle = ROOT, -1
        for name in names:
            handle = self.child(node, name)
            if handle < 0:
                return -1
            node = self.node_of(handle)
        return handle

    def file(self, directory: int, name: bytes) -> File | None:
        """A file by the node id of its directory and its name."""
        handle = self.handle(directory)
        return self._file(handle, directory, name) if handle >= 0 else None

    def _file(self, handle: int, node: int, name: bytes) -> File | None:
        number, start, count = self.place(handle)
        segment = self.segments[number]
        row = segment.files.find(start, start + count, name)
        return None if row < 0 else _file(segment, row, node, name, number)

    def path(self, node: int) -> bytes | None:
        """The path of a directory, None if it cannot be reached from the root."""
        parts: list[bytes] = []
        seen = set()
        while node != ROOT:
            handle = self.handle(node)
            if handle < 0 or node in seen:
                return None
            seen.add(node)
            row = self.row(handle)
            parts.append(row.name)
            node = row.parent
        return b"/".join(reversed(parts)) if self.handle(ROOT) >= 0 else None

    # -- changing

    def rename(self, writer: SegmentWriter, node: int, parent: int, name: bytes) -> Directory:
        """Write the one row by which the directory `node` is called `name` in `parent` from the next view on.

        Raises NOT_FOUND where one of both directories is not there, EXISTS where the name is taken, CLASH where
        `parent` lies below `node`.
        """
        row = self.directory(node)
        if row is None or self.handle(parent) < 0:
            raise DunlinError("rename", f"node {node}", ErrorKind.NOT_FOUND, "the directory is not in the tree")
        if self.child(parent, name) >= 0 or self.file(parent, name) is not None:
            raise DunlinError("rename", f"node {node}", ErrorKind.EXISTS, "the name is taken")
        above = parent
        while above != ROOT:
            found = self.directory(above) if above != node else None
            if found is None:
                raise DunlinError("rename", f"node {node}", ErrorKind.CLASH, "it would lie in itself")
            above = found.parent
        row = row._replace(parent=parent, name=name)
        writer.add_directory(*row[:6], files=row.files, size=row.size, check=row.check)
        return row
