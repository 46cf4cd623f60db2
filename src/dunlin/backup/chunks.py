"""The chunk index: which chunks are stored, and where. Sorted segments of 28 bytes for a chunk, and no dictionary.

A dictionary of a million ids takes 250 MB, and a billion small files have a billion ids. A *segment* is immutable,
sorted by id and mapped into memory; the movers of a machine share its pages. What a run stores goes into a delta, a
small dictionary that becomes a segment in memory whenever it has 65,536 chunks; segments in memory are merged while
they are of like size, also those that were stored since, so that there are few.

Of the segments of a repository, those that overlap in no id are asked as one: a *run* of them. Whoever joins many
segments makes runs (`cut`): whoever looks for one chunk asks one segment of each run, whoever looks for many at once
(`find_many`) asks all segments.

Segment (all numbers little-endian)

    "DLCI" | version: u16 | zero: u16 | chunks n: u64 | packs p: u32 | length of a pack's name: u32     24 bytes
    packs         16 bytes each
    high          the first 8 bytes of each id as a big-endian number, stored as u64, ascending
    low           the next 8 bytes, likewise; rows of one `high` are ascending by it
    pack          u32: number of the pack in the table above
    offset        u32: of the frame in the pack, bytes
    frame         u32: length of the frame, bytes, in the upper 24 bits; (inside / 512) in the lower 8
    CRC-64/NVME of everything before: 8 bytes

Frames start below 4 GiB, are shorter than 16 MiB, and a chunk that is not the first in its frame begins below 128
KiB: so two numbers of 32 bits hold a place. Half an id (16 of 32 bytes) is enough to find a chunk: ids are keyed, so
nobody can make two that begin alike, and by chance two of 2^40 would in one of 2^49 repositories. Whoever reads a
chunk compares the whole id (`pack.member`), whoever trusts its content hashes it.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.words import CHUNK_ID, ChunkId, Location, Stored
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import one_shot

ROW = 28
DELTA = 1 << 16
"""Chunks in the dictionary of a run before it becomes a segment in memory."""

ENDS = 1 << 64
"""Above the numbers that ids begin with."""

_MAGIC, VERSION = b"DLCI", 1
_HEAD = struct.Struct("<4sHHQII")
_PACK = 16
_BLOCK = 512
_FIELDS = ("high", "low", "pack", "offset", "frame")

Column = NDArray[Any]


class Segment:
    """Some chunks and where they lie; immutable.

    Args:
        packs: ids of packs, 16 bytes each.
        columns: `high`, `low`, `pack`, `offset`, `frame`, sorted; see the module docstring.
    """

    __slots__ = ("_columns", "_packs")

    def __init__(self, packs: Sequence[bytes], columns: Sequence[Column]) -> None:
        self._packs = packs
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def packs(self) -> Sequence[bytes]:
        """The packs that it speaks of, in the order of their numbers."""
        return self._packs

    def find(self, high: int, low: int) -> Location | None:
        """Where the chunk lies whose id begins with these two numbers."""
        return next(self.places(high, low), None)

    def places(self, high: int, low: int) -> Iterator[Location]:
        """Everywhere that it lies, as far as this segment knows."""
        column = self._columns[0]
        row = int(column.searchsorted(np.uint64(high)))
        while row < len(column) and int(column[row]) == high:
            if int(self._columns[1][row]) == low:
                yield self._location(row)
            row += 1

    def columns(self) -> Sequence[Column]:
        """Its columns in the order of the format."""
        return self._columns

    def rows(self, high: Column, low: Column) -> Column:
        """The row of each of many chunks, by the two numbers that their ids begin with; -1 where there is none."""
        if not len(self):
            return np.full(len(high), -1, np.int64)
        mine, other = self._columns[:2]
        at = mine.searchsorted(high)
        at[at == len(mine)] = 0
        found = np.where((mine[at] == high) & (other[at] == low), at, -1)
        for miss in np.flatnonzero((found < 0) & (mine[at] == high)).tolist():  # by chance two begin alike
            row = int(at[miss])
            while row < len(mine) and mine[row] == high[miss]:
                if other[row] == low[miss]:
                    found[miss] = row
                row += 1
        return found

    def cut(self, first: int, last: int) -> Segment:
        """Only the chunks whose ids begin with a number from `first` to below `last`; nothing is copied."""
        high = self._columns[0]
        start = int(high.searchsorted(np.uint64(first))) if first else 0
        end = int(high.searchsorted(np.uint64(last))) if last < ENDS else len(high)
        return Segment(self._packs, [column[start:end] for column in self._columns])

    def numbered(self, packs: Sequence[bytes], numbers: Column) -> Segment:
        """The same with another table of packs; `numbers`: the number in it of each pack of this one's."""
        columns = list(self._columns)
        columns[2] = numbers[columns[2]] if len(self) else columns[2]
        return Segment(packs, columns)

    def where(self, chosen: NDArray[np.bool_]) -> Segment:
        """Only the chunks in packs that are chosen, by their numbers."""
        keep = chosen[self._columns[2]]
        return self if keep.all() else Segment(self._packs, [column[keep] for column in self._columns])

    def part(self, packs: AbstractSet[bytes], inside: bool) -> Segment:
        """Only the chunks that lie in these packs (`inside`), or only those that do not."""
        chosen = np.array([(bytes(pack) in packs) is inside for pack in self._packs], bool)
        if chosen.all():
            return self
        return self.where(chosen)

    def ends(self) -> dict[bytes, int]:
        """For each pack that it speaks of, how many bytes it must have for its frames to be whole."""
        pack, offset, frame = self._columns[2:]
        most = np.zeros(len(self._packs), np.int64)
        np.maximum.at(most, pack, offset.astype(np.int64) + (frame >> 8))
        return {bytes(each): end for each, end in zip(self._packs, most.tolist(), strict=True)}

    def _location(self, row: int) -> Location:
        pack, offset, frame = (int(column[row]) for column in self._columns[2:])
        return Location(bytes(self._packs[pack]), offset, frame >> 8, (frame & 0xFF) * _BLOCK)


def build(rows: Iterable[tuple[ChunkId, Location]]) -> Segment:
    """A segment of these chunks; of two with one id the first stays."""
    numbers: dict[bytes, int] = {}
    ids, fields = bytearray(), []
    for chunk, place in rows:
        ids += chunk[:16]
        number = numbers.setdefault(place.pack, len(numbers))
        fields.append((number, place.offset, place.length << 8 | place.inside // _BLOCK))
    halves = np.frombuffer(ids, ">u8").reshape(-1, 2).astype("<u8")
    places = np.array(fields, "<u4").reshape(-1, 3)
    return _sorted(list(numbers), [halves[:, 0], halves[:, 1], *places.T])[0]


def merge(segments: Sequence[Segment], *, every: bool = False) -> Segment:
    """One segment of several; of two chunks with one id that of the earlier segment stays.

    `every`: one for each pack that holds it.
    """
    return _sorted(*_together(segments), every)[0]


def split(segments: Sequence[Segment]) -> tuple[Segment, Segment]:
    """What `merge` makes of several segments, and the chunks that it leaves out."""
    return _sorted(*_together(segments), spare=True)


def _together(segments: Sequence[Segment]) -> tuple[Sequence[bytes], list[Column]]:
    """The rows of several segments, one behind the other, with one table of packs."""
    if segments and all(segment.packs is segments[0].packs for segment in segments):
        packs: Sequence[bytes] = segments[0].packs
    else:
        numbers: dict[bytes, int] = {}
        segments = [
            segment.numbered(
                (), np.array([numbers.setdefault(bytes(pack), len(numbers)) for pack in segment.packs], "<u4")
            )
            for segment in segments
        ]
        packs = list(numbers)
    none = [np.zeros(0, kind) for kind in _kinds()]
    parts = [none, *(segment.columns() for segment in segments)]
    return packs, [np.concatenate([part[field] for part in parts]) for field in range(len(_FIELDS))]


def tidy(segment: Segment) -> Segment:
    """A segment without packs of which it says nothing."""
    columns = list(segment.columns())
    numbers, columns[2] = np.unique(columns[2], return_inverse=True)
    columns[2] = columns[2].astype("<u4")
    return Segment([bytes(segment.packs[at]) for at in numbers.tolist()], columns)


def mapped(segment: Segment, folder: Path | None) -> Segment:
    """The same, its columns in a file without a name in `folder` (None: the system's) instead of in memory.

    Where there is no room for that it stays in memory.
    """
    if not len(segment):
        return segment
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for column, kind in zip(segment.columns(), _kinds(), strict=True):
                file.write(np.ascontiguousarray(column, kind).data)
            file.flush()
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return segment
    return Segment(segment.packs, _columns(memoryview(view), len(segment), 0))


def to_bytes(segment: Segment) -> bytes:
    """A segment in its stored form."""
    columns = segment.columns()
    parts = [_HEAD.pack(_MAGIC, VERSION, 0, len(segment), len(segment.packs), _PACK), *segment.packs]
    parts += [np.ascontiguousarray(column, kind).tobytes() for column, kind in zip(columns, _kinds(), strict=True)]
    data = b"".join(parts)
    del parts  # or it would all be in memory three times
    return data + _crc(data)


def from_buffer(data: bytes | mmap.mmap, where: str) -> Segment:
    """The segment in `data`, which is not copied; `where` is its name in errors. Raises CORRUPT, NEWER."""
    view = memoryview(data)
    if len(view) < _HEAD.size + 8 or view[:4] != _MAGIC:
        raise _damaged(where, "is no segment of a chunk index")
    _, version, _, count, packs, width = _HEAD.unpack_from(view)
    if version > VERSION:
        reason = f"its format is {version}, this dunlin reads up to {VERSION}"
        raise DunlinError("read the chunk index", where, ErrorKind.NEWER, reason, "use a newer dunlin")
    if len(view) != _HEAD.size + width * packs + ROW * count + 8 or width != _PACK:
        raise _damaged(where, "has another length than it says")
    if _crc(view[:-8]) != view[-8:]:
        raise _damaged(where, "is damaged")
    place = _HEAD.size + width * packs
    names: Any = np.frombuffer(view, f"V{width}", packs, _HEAD.size)  # each piece may name all packs that there are
    return Segment(names, _columns(view, count, place))


class Places(NamedTuple):
    """Where some chunks lie, as columns.

    Attributes:
        names: ids of the packs in which any lies, 16 bytes each; one may be there several times.
        pack: for each chunk the number of its pack in them, -1: it is not there.
        offset, length: of its frame, bytes. inside: where it begins in the frame's raw bytes.
    """

    names: list[bytes]
    pack: Column
    offset: Column
    length: Column
    inside: Column


class _Run:
    """Segments no two of which can hold one chunk, in the order of their ids."""

    __slots__ = ("firsts", "lasts", "segments")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.segments: list[Segment] = []

    def takes(self, first: int, last: int) -> bool:
        """Whether none of them has an id that begins with a number from `first` to `last`."""
        at = bisect_right(self.firsts, last)
        return not at or self.lasts[at - 1] < first

    def add(self, first: int, last: int, segment: Segment) -> None:
        at = bisect_right(self.firsts, first)
        self.firsts.insert(at, first)
        self.lasts.insert(at, last)
        self.segments.insert(at, segment)

    def find(self, high: int, low: int) -> Location | None:
        at = bisect_right(self.firsts, high)
        return self.segments[at - 1].find(high, low) if at else None

    def places(self, high: int, low: int) -> Iterator[Location]:
        at = bisect_right(self.firsts, high)
        return self.segments[at - 1].places(high, low) if at else iter(())


def _runs(segments: Iterable[Segment]) -> list[_Run]:
    """As few runs as hold them; of two that overlap the earlier is in the earlier run."""
    runs: list[_Run] = []
    for segment in segments:
        if not len(segment):
            continue
        first, last = (int(segment.columns()[0][at]) for at in (0, -1))
        at = len(runs)
        while at and runs[at - 1].takes(first, last):
            at -= 1
        if at == len(runs):
            runs.append(_Run())
        runs[at].add(first, last, segment)
    return runs


def in_order(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Segments of which none is preferred, in as few runs as there can be; the empty ones are left out."""
    rising = sorted((each for each in segments if len(each)), key=lambda each: int(each.columns()[0][0]))
    runs: list[list[Segment]] = []
    for segment in rising:
        first = segment.columns()[0][0]
        run = next((run for run in runs if run[-1].columns()[0][-1] < first), None)
        if run is None:
            runs.append([segment])
        else:
            run.append(segment)
    return runs


class ChunkIndex:
    """What is stored already, and what this run has stored.

    Args:
        segments: those of the repository, the preferred first.
    """

    __slots__ = ("_delta", "_fresh", "_own", "_runs")

    def __init__(self, segments: Sequence[Segment] = ()) -> None:
        self._runs = _runs(segments)
        self._own: list[Segment] = []
        self._fresh: list[Segment] = []
        self._delta: dict[ChunkId, Location] = {}

    def find(self, chunk: ChunkId) -> Location | None:
        """Where a chunk is stored, or None."""
        place = self._delta.get(chunk)
        if place is not None or not (self._runs or self._own or self._fresh):
            return place
        high, low = int.from_bytes(chunk[:8]), int.from_bytes(chunk[8:16])
        for parts in (self._fresh, self._own, self._runs):
            for part in parts:
                place = part.find(high, low)
                if place is not None:
                    return place
        return None

    def places(self, chunk: ChunkId) -> Iterator[Location]:
        """Everywhere that a chunk is stored, in the order of the segments; for a run that adds nothing."""
        high, low = int.from_bytes(chunk[:8]), int.from_bytes(chunk[8:16])
        told = set[Location]()
        parts: list[Segment | _Run] = [*self._own, *self._runs]
        for part in parts:
            for place in part.places(high, low):
                if place not in told:
                    told.add(place)
                    yield place

    def find_many(self, ids: bytes) -> Places:
        """Where each of some chunks is stored, whose ids stand one behind the other; for a run that adds nothing."""
        halves = np.frombuffer(ids, ">u8").reshape(-1, CHUNK_ID // 8)
        high, low = halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)
        found = np.full((4, len(high)), -1, np.int64)
        left = np.arange(len(high))
        segments = [*self._own, *(segment for run in self._runs for segment in run.segments)]
        names: list[bytes] = []
        for segment in segments:
            if not len(left):
                break
            rows = segment.rows(high[left], low[left])
            hits = rows >= 0
            at, rows = left[hits], rows[hits]
            pack, offset, frame = (column[rows] for column in segment.columns()[2:])
            # Each segment may name all packs that there are: only those are told in which something was found.
            used, number = np.unique(pack, return_inverse=True)
            found[0, at] = number + len(names)
            found[1, at], found[2, at], found[3, at] = offset, frame >> 8, (frame & 0xFF) * _BLOCK
            names += [bytes(segment.packs[each]) for each in used.tolist()]
            left = left[~hits]
        return Places(names, *found)

    def add(self, pack: bytes, stored: Iterable[Stored]) -> None:
        """Take in what a pack (16 bytes of id) that is stored now holds."""
        for chunk, offset, length, inside, _ in stored:
            self._delta[chunk] = Location(pack, offset, length, inside)
        if len(self._delta) >= DELTA:
            self._settle()

    def take(self) -> Segment | None:
        """What was added since the last call, as one segment that is found from here on too; None: nothing was."""
        self._settle()
        if not self._fresh:
            return None
        whole = merge(self._fresh)
        self._fresh = []
        self._own.append(whole)
        _merge_alike(self._own)
        return whole

    def _settle(self) -> None:
        if not self._delta:
            return
        self._fresh.append(build(self._delta.items()))
        self._delta = {}
        _merge_alike(self._fresh)


def _merge_alike(segments: list[Segment]) -> None:
    """Merge the last segments as long as those behind are together half as large as the one before."""
    first, size = len(segments) - 1, len(segments[-1])
    while first and 2 * size >= len(segments[first - 1]):
        first -= 1
        size += len(segments[first])
    if first < len(segments) - 1:
        segments[first:] = [merge(segments[first:])]


def _sorted(
    packs: Sequence[bytes], columns: Sequence[Column], every: bool = False, spare: bool = False
) -> tuple[Segment, Segment]:
    """The first row of each chunk, sorted by id, and, where `spare`, the others."""
    keys = [columns[at] for at in ((0, 1, 2) if every else (0, 1))]
    # Sorted rows one behind the other are put together in one go by the first key; it is rare that others matter.
    order = np.argsort(keys[0], kind="stable")
    high = keys[0][order]
    same = high[1:] == high[:-1]
    if any((same & (key[order[1:]] != key[order[:-1]])).any() for key in keys[1:]):
        order = np.lexsort(keys[::-1])
    first = np.ones(len(order), bool)
    first[1:] = False
    for key in keys:
        ordered = key[order]
        first[1:] |= ordered[1:] != ordered[:-1]
    rest = order[~first] if spare else order[:0]
    order = order[first]
    return Segment(packs, [column[order] for column in columns]), Segment(packs, [column[rest] for column in columns])


def _columns(view: memoryview, count: int, place: int) -> list[Column]:
    """The columns of so many rows that stand at a place."""
    columns = []
    for kind in _kinds():
        columns.append(np.frombuffer(view, kind, count, place))
        place += columns[-1].nbytes
    return columns


def _kinds() -> tuple[str, ...]:
    return ("<u8", "<u8", "<u4", "<u4", "<u4")


def _crc(data: bytes | memoryview) -> bytes:
    check = one_shot("crc64")
    assert check is not None
    return check(data)


def _damaged(where: str, what: str) -> DunlinError:
    hint = "dunlin repo rebuild-index makes it anew from the packs"
    return DunlinError("read the chunk index", where, ErrorKind.CORRUPT, f"it {what}", hint)
