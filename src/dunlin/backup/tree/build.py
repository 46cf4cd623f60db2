"""Writes a tree segment: rows in, one immutable file out, in bounded memory.

    with SegmentWriter(path) as writer:
        writer.add_directory(1, 0, b"", mtime, fingerprint)                   # the root: node 1, parent 0, no name
        writer.add_directory(7, 1, b"etc", mtime, fingerprint)
        writer.add_run(7, b"fstabhosts", [5, 5], nodes, sizes, times, hashes, flags, fingerprints)
        writer.remove(12)                                                     # a delta: directory 12 is gone
        info = writer.finish()

A *run* is everything in one directory that is no directory, sorted by name bytes, in one call. It belongs to a
directory that has a row in the same segment; which comes first does not matter. Columns of a run are given packed:
`bytes` in the types below are taken as they are, arrays and lists are turned (names: one behind the other).

    lengths u32 · nodes i64 · sizes i64 (bytes) · times i64 (ticks of 100 ns since 1970: of the last modification)
    hashes u64 · flags u8 (`columns.KIND`, ...) · fingerprints u64

A directory row without a run (a rename, a changed mode) leaves the run where older segments have it; it must then say
`files` and `size` (what the run holds), and `check` (the run's), which the row of the older segment tells: that is
`view.Tree.rename`. An emptied directory gets a run of no rows.

*check* is the XOR over the rows of a run of a 64-bit mix of name, kind, size, mtime, hash and fingerprint. Two runs
with equal count and check are taken for equal by `diff`. It does not depend on order or node ids. It can be forged by
somebody who knows all of these, which is why the fingerprint is keyed.

Memory: 1 MiB for each column, plus about 100 bytes for each *directory* while finishing (names are sorted then).
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import zstandard

from dunlin.backup.tree import columns, lookup, names
from dunlin.backup.tree.columns import BASES, ESCAPE, FRAME, LONG, NO_RUN, OFFSETS, RAW, ZSTD, Array, Bytes, Ints, Words
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.spill import Output, Spill
from dunlin.errors import translate

BATCH = 1 << 16
"""Rows of files that are worked on at once."""

Packed = bytes | Sequence[int] | Array

DIRECTORY = 0o040000 >> 12
FILE = 0o100000 >> 12

_RUN = (("lengths", "u4"), ("nodes", "i8"), ("sizes", "i8"), ("times", "i8"), ("hashes", "u8"), ("flags", "u1"),
        ("fingerprints", "u8"))  # fmt: skip
_RUNS = ("r.node", "r.start", "r.count", "r.size", "r.check")
_MOST_COLUMNS = 48


class SegmentInfo(NamedTuple):
    """What was written: rows of both spaces, directories taken away, bytes of the file, bytes by column."""

    path: str
    directories: int
    files: int
    removed: int
    size: int
    columns: dict[str, int]


class SegmentWriter:
    """Collects rows and writes the segment `path` when finished; until then there is only ``path.tmp``.

    Args:
        path: where the segment goes; its folder holds temporary files, too.
        hashes: what the column `hash` holds, a key of `columns.HASHES`.
        names: `columns.RAW`, or `columns.ZSTD` for file names in compressed frames.

    Raises ValueError for rows that break the rules above, and what writing a file may raise.
    """

    def __init__(self, path: str | os.PathLike[str], *, hashes: str = "crc64", names: int = RAW) -> None:
        self.path = os.fspath(path)
        self._hashes = columns.HASHES[hashes]
        self._coding = names
        self._folder = os.path.dirname(self.path) or "."
        self._spills: dict[str, Spill] = {}
        self._file_names = _Names(self._spill, names)
        self._pending: dict[str, list[bytes]] = {name: [] for name, _ in _RUN}
        self._pending_names: list[bytes] = []
        self._owners, self._counts, self._waiting = array("q"), array("q"), 0
        self._rows: dict[str, array[int]] = {name: array(code) for name, (code, _) in _DIRECTORY.items()}
        self._directory_names: list[bytes] = []
        self._files = self._directories = 0
        self._removed = array("q")
        self._done = False

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    # -- rows

    def add_directory(
        self, node: int, parent: int, name: bytes, mtime: int = 0, fingerprint: int = 0, flags: int = 0,
        *, files: int = 0, size: int = 0, check: int = 0,
    ) -> None:  # fmt: skip
        """A directory: `mtime` in ns since 1970; `files`, `size`, `check`: of a run that stands in an older segment."""
        if node <= 0 or parent < 0 or node == parent:
            raise ValueError(f"directory {node} in {parent}")
        ticks, kept = mtime // columns.TICK, flags & ~columns.KIND | DIRECTORY
        row = (node, parent, len(name), ticks, fingerprint, kept, files, size, check)
        for column, value in zip(self._rows.values(), row, strict=True):
            column.append(value)
        self._directory_names.append(name)
        if len(self._directory_names) >= BATCH:
            self._flush_directories()

    def add_directories(
        self, nodes: Ints, parents: Ints, names: bytes, lengths: Array, times: Ints, fingerprints: Words, flags: Bytes,
        files: Array, sizes: Array, checks: Words,
    ) -> None:  # fmt: skip
        """Many directories at once, names one behind the other, `times` in ticks; the same rules as for one."""
        if len(nodes) and (int(nodes.min()) <= 0 or int(parents.min()) < 0 or bool((nodes == parents).any())):
            raise ValueError("a node id that cannot be")
        self._flush_directories()
        kept = flags & ~np.uint8(columns.KIND) | np.uint8(DIRECTORY)
        given = (nodes, parents, lengths, times, fingerprints, kept, files, sizes, checks)
        for (name, (_, kind)), part in zip(_DIRECTORY.items(), given, strict=True):
            self._spill(f"d.{name}").add(part.astype(f"<{kind}"))
        self._spill("d.names").add(names)
        self._directories += len(nodes)

    def add_run(
        self, directory: int, names: bytes, lengths: Packed, nodes: Packed, sizes: Packed, times: Packed,
        hashes: Packed | None = None, flags: Packed | None = None, fingerprints: Packed | None = None,
    ) -> None:  # fmt: skip
        """All files of one directory, sorted by name; see above. Without `flags` they are regular files."""
        given: list[bytes] = []
        for (_, kind), part in zip(_RUN, (lengths, nodes, sizes, times, hashes, flags, fingerprints), strict=True):
            if part is None:
                part = bytes([FILE] if kind == "u1" else 8) * (len(given[1]) // 8)
            given.append(part if isinstance(part, bytes) else columns.numbers(part, kind).tobytes())
        count = len(given[1]) // 8
        for (what, kind), raw in zip(_RUN, given, strict=True):
            if len(raw) != count * columns.width(kind):
                raise ValueError(f"{what} of {count} files in {len(raw)} bytes")
            self._pending[what].append(raw)
        self._pending_names.append(names)
        self._owners.append(directory)
        self._counts.append(count)
        self._waiting += count
        if self._waiting >= BATCH or len(self._counts) >= BATCH:
            self._flush_runs()

    def add_long_run(self, directory: int, parts: Iterable[Sequence[Packed]]) -> None:
        """All files of one directory, in parts of it, one behind the other: each names, and columns as in `add_run`.

        No more than one part is in memory. Raises what the parts raise; nothing can be added then.
        """
        self._flush_runs()
        first, size, check, last = self._files, 0, 0, b""
        for blob, *rest in parts:
            assert isinstance(blob, bytes)
            given = [columns.numbers(part, kind) for (_, kind), part in zip(_RUN, rest, strict=True)]
            lengths = given[0]
            if not len(lengths):
                continue
            name = blob[: int(lengths[0])]
            if self._files > first and name <= last:
                raise ValueError(f"{name!r} stands behind a name that is not smaller")
            last = blob[len(blob) - int(lengths[-1]) :]
            checks = self._take_rows(np.array([len(lengths)]), blob, *given)
            size += int(given[2].sum())
            check ^= int(np.bitwise_xor.reduce(checks.view(np.int64)))
        for what, value in zip(_RUNS, (directory, first, self._files - first, size, check), strict=True):
            self._spill(what).add(np.array([value], np.int64))

    def add_runs(self, directories: Ints, counts: Ints, names: bytes, columns_of_rows: Sequence[Packed]) -> None:
        """Many runs at once: `counts` rows for each directory; the other columns as in `add_run`, all given."""
        self._flush_runs()
        given = [columns.numbers(part, kind) for (_, kind), part in zip(_RUN, columns_of_rows, strict=True)]
        self._take_runs(directories, counts, names, *given)

    def remove(self, node: int) -> None:
        """Take a directory, and all that is below it, away from what older segments hold."""
        self._removed.append(node)

    @property
    def empty(self) -> bool:
        """Whether nothing was added, and nothing taken away."""
        return not (self._directories or self._directory_names or self._files or self._counts or self._removed)

    def finish(self) -> SegmentInfo:
        """Write the segment and give its facts. Nothing can be added then."""
        self._flush_runs()
        self._flush_directories()
        self._file_names.finish()
        temporary = self.path + ".tmp"
        try:
            with open(temporary, "wb", 1 << 18) as file:
                output = Output(file, _MOST_COLUMNS)
                self._put_directories(output)
                self._put_files(output)
                removed = np.unique(np.frombuffer(self._removed, np.int64))
                output.put_array("x.node", "i8", removed)
                size, made = output.finish(
                    hashes=self._hashes, names=self._coding, directories=self._directories, files=self._files,
                    removed=len(removed),
                )  # fmt: skip
            os.replace(temporary, self.path)
        except OSError as error:
            raise translate(error, "write the tree segment", self.path) from error
        finally:
            self._close(temporary)
        taken = {column.name: column.length for column in made}
        return SegmentInfo(self.path, self._directories, self._files, len(removed), size, taken)

    def discard(self) -> None:
        """Forget what was added and remove temporary files; nothing happens after `finish`."""
        if not self._done:
            self._close(self.path + ".tmp")

    def _close(self, temporary: str) -> None:
        self._done = True
        for spill in self._spills.values():
            spill.close()
        with contextlib.suppress(OSError):
            os.unlink(temporary)

    def _spill(self, name: str) -> Spill:
        known = self._spills.get(name)
        if known is None:
            known = self._spills[name] = Spill(self._folder)
        return known

    # -- files

    def _flush_runs(self) -> None:
        if not self._counts:
            return
        given = [columns.numbers(b"".join(self._pending[name]), kind) for name, kind in _RUN]
        owners, counts = np.array(self._owners, np.int64), np.array(self._counts, np.int64)
        blob = b"".join(self._pending_names)
        self._pending = {name: [] for name, _ in _RUN}
        self._pending_names, self._owners, self._counts, self._waiting = [], array("q"), array("q"), 0
        self._take_runs(owners, counts, blob, *given)

    def _take_runs(
        self, owners: Ints, counts: Ints, blob: bytes, lengths: Array, nodes: Array, sizes: Array, times: Array,
        hashes: Array, flags: Array, fingerprints: Array,
    ) -> None:  # fmt: skip
        first = self._files
        checks = self._take_rows(counts, blob, lengths, nodes, sizes, times, hashes, flags, fingerprints)
        begins = np.cumsum(counts) - counts
        made = _per_run(np.add, sizes, begins, counts), _per_run(np.bitwise_xor, checks.view(np.int64), begins, counts)
        for what, column in zip(_RUNS, (owners, begins + first, counts, *made), strict=True):
            self._spill(what).add(column)

    def _take_rows(
        self, counts: Ints, blob: bytes, lengths: Array, nodes: Array, sizes: Array, times: Array, hashes: Array,
        flags: Array, fingerprints: Array,
    ) -> Words:  # fmt: skip
        """The rows of some runs, of so many rows each; what goes into the checks of the runs (`row_checks`)."""
        rows, total = len(nodes), int(counts.sum())
        wide = lengths.astype(np.int64)
        if rows != total or int(wide.sum()) != len(blob) or any(len(part) != rows for part in (sizes, times, flags)):
            raise ValueError(f"runs of {total} files with {rows} rows and {len(blob)} bytes of names")
        if rows and (int(sizes.min()) < 0 or int(nodes.min()) <= 0):
            raise ValueError("a size below 0 or a node id that is not above 0")
        if self._files + rows >= NO_RUN:
            raise ValueError("a segment has room for fewer than 2^32 - 1 files")
        heap, offsets = names.padded(blob), names.starts(lengths)[:-1]
        wrong = names.first_unsorted(np.repeat(np.arange(len(counts)), counts), heap, offsets, wide)
        if wrong is not None:
            name = blob[offsets[wrong] : offsets[wrong] + wide[wrong]]
            raise ValueError(f"{name!r} stands behind a name that is not smaller")
        short, ticks, outside, late = columns.split_times(times)
        checks = row_checks(heap, offsets, wide, sizes, times, hashes, flags, fingerprints)
        first, put = self._files, self._spill
        self._file_names.add(blob, lengths)
        put("f.node").add(nodes)
        big = np.flatnonzero(sizes >= ESCAPE)
        put("f.big-row").add((big + first).astype("<u4"))
        put("f.big").add(sizes[big])
        put("f.size").add(np.minimum(sizes, ESCAPE).astype("<u4"))
        put("f.mtime").add(short)
        put("f.ticks").add(ticks)
        put("f.late-row").add((outside + first).astype("<u4"))
        put("f.late").add(late)
        put("f.hash").add(hashes)
        put("f.flags").add(flags)
        put("f.fingerprint").add(fingerprints)
        self._files += rows
        return checks

    def _put_files(self, output: Output) -> None:
        for name, kind in (("length", "u1"), ("names", "u1"), ("offset", "i8"), ("long-row", "u4"), ("long", "u4")):
            self._move(output, f"f.{name}", kind)
        self._put_nodes(output)
        for name, kind in (("size", "u4"), ("mtime", "u4"), ("ticks", "u3"), ("hash", "u8"), ("flags", "u1"),
                           ("fingerprint", "u8")):  # fmt: skip
            self._move(output, f"f.{name}", kind, shrink=True)
        for name, kind in (("big-row", "u4"), ("big", "i8"), ("late-row", "u4"), ("late", "i8")):
            self._move(output, f"f.{name}", kind)

    def _move(self, output: Output, name: str, kind: str, *, shrink: bool = False) -> None:
        """A column out of its spill, which is gone then: the disk never holds all columns twice."""
        spill = self._spill(name)
        output.put(name, kind, spill.pieces, shrink=shrink)
        spill.close()

    def _put_nodes(self, output: Output) -> None:
        """Node ids: as distances from the smallest of `BASES` rows where all of these fit into 32 bits."""
        spill = self._spill("f.node")
        bases: list[int] = []
        near = True
        for piece in spill.pieces(BASES * 8 * 64):
            nodes = np.frombuffer(piece, "<i8")
            cuts = np.arange(0, len(nodes), BASES)
            low, high = np.minimum.reduceat(nodes, cuts), np.maximum.reduceat(nodes, cuts)
            bases += low.tolist()
            near = near and bool(((high - low) <= ESCAPE).all())

        def distances() -> Iterator[Array]:
            for number, piece in enumerate(spill.pieces(BASES * 8 * 64)):
                nodes = np.frombuffer(piece, "<i8")
                base = np.array(bases[number * 64 : number * 64 + 64], np.int64)
                yield (nodes - np.repeat(base, BASES)[: len(nodes)]).astype("<u4")

        if near:
            output.put("f.near", "u4", distances)
            output.put_array("f.base", "i8", np.array(bases, "<i8"))
        else:
            output.put("f.node", "i8", spill.pieces)
        spill.close()

    # -- directories

    def _flush_directories(self) -> None:
        for name, (_, kind) in _DIRECTORY.items():
            self._spill(f"d.{name}").add(np.array(self._rows[name], f"<{kind}"))
            self._rows[name] = array(_DIRECTORY[name][0])
        self._spill("d.names").add(b"".join(self._directory_names))
        self._directories += len(self._directory_names)
        self._directory_names = []

    def _put_directories(self, output: Output) -> None:
        heap = names.padded(self._spill("d.names").array("u1"))
        parents = self._spill("d.parent").array("i8")
        lengths = self._spill("d.length").array("u4").astype(np.int64)
        offsets = names.starts(lengths)[:-1]
        order = names.order(parents, heap, offsets, lengths)
        parents, lengths, offsets = parents[order], lengths[order], offsets[order]
        twice = names.first_unsorted(parents, heap, offsets, lengths)
        if twice is not None:
            raise ValueError(f"two directories of one name in {parents[twice]}")

        if len(heap) > ESCAPE:
            raise ValueError("a segment has room for 4 GiB of directory names")
        output.put("d.names", "u1", lambda: gathered(heap, offsets, lengths))
        output.put_array("d.offset", "u4", names.starts(lengths).astype("<u4"))
        output.put_array("d.parent", "i8", parents)
        # Metadata pages are written while rows come in, before anybody can sort them.
        output.put_array("d.page", "u4", order.astype("<u4"))
        output.put_array("d.by-name", "u4", lookup.make_table(_name_slots(parents, heap, offsets, lengths)))

        def column(name: str) -> Array:
            return np.asarray(self._spill(f"d.{name}").array(_DIRECTORY[name][1])[order])

        nodes = column("node")
        table = lookup.make_table(lookup.node_slots(nodes, lookup.slots(len(nodes))))
        output.put_array("d.node", "i8", nodes)
        output.put_array("d.by-node", "u4", table)
        self._put_runs(output, nodes, table, column)
        short, ticks, outside, late = columns.split_times(column("time"))
        output.put_array("d.mtime", "u4", short, shrink=True)
        output.put_array("d.ticks", "u3", ticks, shrink=True)
        output.put_array("d.late-row", "u4", outside.astype("<u4"))
        output.put_array("d.late", "i8", late)
        output.put_array("d.flags", "u1", column("flags"), shrink=True)
        output.put_array("d.fingerprint", "u8", column("fingerprint"), shrink=True)

    def _put_runs(self, output: Output, nodes: Ints, table: Array, column: Callable[[str], Array]) -> None:
        if _repeats(nodes):
            raise ValueError("a directory has two rows")
        owners = self._spill("r.node").array("i8")
        rows = lookup.find_nodes(owners, table, nodes)
        if len(rows) and int(rows.min()) < 0:
            raise ValueError(f"the run of directory {owners[rows < 0][0]} without a row for it")
        if _repeats(rows):
            raise ValueError("a directory has two runs")
        start = np.full(len(nodes), NO_RUN, "<u4")
        start[rows] = self._spill("r.start").array("i8")
        output.put_array("d.start", "u4", start)
        for name, kind, run in (("files", "u4", "count"), ("size", "u8", "size"), ("check", "u8", "check")):
            values = column(name)
            values[rows] = self._spill(f"r.{run}").array("i8").view(np.uint64)
            output.put_array(f"d.{name}", kind, values, shrink=True)


_DIRECTORY = {
    "node": ("q", "i8"),
    "parent": ("q", "i8"),
    "length": ("I", "u4"),
    "time": ("q", "i8"),
    "fingerprint": ("Q", "u8"),
    "flags": ("B", "u1"),
    "files": ("I", "u4"),
    "size": ("Q", "u8"),
    "check": ("Q", "u8"),
}
"""Columns of directories as they are collected: type code of `array`, type of the column."""


def row_checks(
    heap: Bytes, offsets: Ints, lengths: Ints, sizes: Array, times: Array, hashes: Array, flags: Array,
    fingerprints: Array,
) -> Words:  # fmt: skip
    """The number of each file that goes into the *check* of its run; see the module docstring."""
    value = names.hashes(heap, offsets, lengths)
    value = names.mixed(value ^ sizes.view(np.uint64))
    value = names.mixed(value ^ times.view(np.uint64))
    value = names.mixed(value ^ np.where(flags & columns.NO_CONTENT, np.uint64(0), hashes))
    return names.mixed(value ^ fingerprints ^ (flags & columns.KIND).astype(np.uint64))


def gathered(heap: Bytes, offsets: Ints, lengths: Ints, rows: int = 1 << 18) -> Iterator[Bytes]:
    """Names out of a heap in the order of `offsets`, one behind the other, some rows at a time."""
    for at in range(0, len(offsets), rows):
        sizes = lengths[at : at + rows]
        ends = np.cumsum(sizes)
        begins = offsets[at : at + rows] - (ends - sizes)
        index = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(begins, sizes)
        yield heap[index]


def _repeats(values: Ints) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())


def _per_run(function: np.ufunc, values: Array, begins: Ints, counts: Ints) -> Ints:
    found = np.zeros(len(counts), np.int64)
    some = counts > 0
    if some.any():
        found[some] = function.reduceat(values, begins[some])
    return found


def _name_slots(parents: Ints, heap: Bytes, offsets: Ints, lengths: Ints) -> Ints:
    count = lookup.slots(len(parents))
    found = np.empty(len(parents), np.int64)
    slot = lookup.name_slot
    raw = heap.data
    for at in range(0, len(parents), BATCH):
        part = slice(at, at + BATCH)
        rows = zip(parents[part].tolist(), offsets[part].tolist(), lengths[part].tolist(), strict=True)
        found[part] = [slot(parent, bytes(raw[begin : begin + size]), count) for parent, begin, size in rows]
    return found


class _Names:
    """The columns of file names: lengths, heap, offsets, and the lengths of long names."""

    def __init__(self, spill: Callable[[str], Spill], coding: int) -> None:
        self._spill = spill
        self._coding = coding
        self._rows = self._bytes = 0
        self._tail, self._tail_lengths = b"", np.empty(0, "<u4")
        self._frame: Any = None
        if coding == ZSTD:
            self._frame = zstandard.ZstdCompressor(level=3, write_content_size=True).compress

    def add(self, blob: bytes, lengths: Array) -> None:
        """More names, one behind the other."""
        put = self._column
        put("length").add(np.minimum(lengths, LONG).astype(np.uint8))
        long = np.flatnonzero(lengths >= LONG)
        put("long-row").add((long + self._rows).astype("<u4"))
        put("long").add(lengths[long].astype("<u4"))
        if self._coding == ZSTD:
            self._pack(blob, lengths)
        else:
            first = -self._rows % OFFSETS
            put("offset").add(names.starts(lengths)[:-1][first::OFFSETS] + self._bytes)
            put("names").add(blob)
            self._bytes += len(blob)
        self._rows += len(lengths)

    def finish(self) -> None:
        """No more names."""
        if len(self._tail_lengths):
            self._put_frame(self._tail)
        self._column("offset").add(np.array([self._bytes], "<i8"))

    def _column(self, name: str) -> Spill:
        return self._spill(f"f.{name}")

    def _pack(self, blob: bytes, lengths: Array) -> None:
        blob, lengths = self._tail + blob, np.concatenate((self._tail_lengths, lengths))
        ends = names.starts(lengths)
        whole = len(lengths) // FRAME * FRAME
        cuts = ends[: whole + 1 : FRAME].tolist()
        for begin, end in pairwise(cuts):
            self._put_frame(blob[begin:end])
        self._tail, self._tail_lengths = blob[int(ends[whole]) :], lengths[whole:]

    def _put_frame(self, raw: bytes) -> None:
        self._column("offset").add(np.array([self._bytes], "<i8"))
        packed: bytes = self._frame(raw)
        self._column("names").add(packed)
        self._bytes += len(packed)


@functools.cache
def empty() -> Segment:
    """A segment without rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "empty")
        SegmentWriter(path).finish()
        with open(path, "rb") as file:
            return Segment(file.read(), "the empty tree")
