"""Frames of packs on their way back: those that lie side by side in one read, each opened once, the last ones kept.

Files that were saved together lie together: a frame holds some thirty small files, and those of one directory stand in
a few frames that follow each other. So whoever wants many chunks says so at once (`fetch`): the frames that hold
them are read in the order in which they lie, neighbours in one request, and opened once.

Frames at the edge of a directory hold files of the next one, so the last frames are kept. Threads that want the same
frame at a time take turns by it: the second finds it opened.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dunlin.backup.frames import Codec
from dunlin.backup.pack import member
from dunlin.backup.repository import Area
from dunlin.backup.words import ChunkId, Location
from dunlin.errors import DunlinError, ErrorKind

KEPT = 24 << 20
"""Bytes of opened frames that are kept."""

GAP = 32 << 10
"""Bytes between two frames that are read along rather than asked for apart."""

MOST = 4 << 20
"""Bytes of one read."""

PACKS = 64
"""Packs that are kept open: each has a decompressor of its own, 25 KB."""

_TURNS = 64

Place = tuple[Location, bool]
"""Where a chunk lies, and whether in a bundle."""

Frame = tuple[bytes, int]
"""A pack, and the offset of a frame in it."""


class _Pack(NamedTuple):
    """An open pack. `turn`: held while a frame is opened, for a decompressor serves one thread at a time."""

    codec: Codec
    read: Callable[[int, int], bytes]
    turn: threading.Lock


class Frames:
    """Reads chunks of one share's snapshots. Threads may share it.

    Args:
        area: of the share.
    """

    def __init__(self, area: Area) -> None:
        self._area = area
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(_TURNS)]
        self._kept: OrderedDict[Frame, bytes] = OrderedDict()
        self._bytes = 0
        self._packs: OrderedDict[bytes, _Pack] = OrderedDict()

    def chunk(self, chunk: ChunkId, place: Place) -> memoryview:
        """The content of a chunk, checked. Raises CORRUPT, NOT_FOUND."""
        raw = self._frame(place)
        data = member(self._pack(place[0].pack, place[1]).codec, raw, place[0].inside, chunk)
        if self._area.identify(data) != chunk:
            raise self._other(chunk, place)
        return data

    def fetch(self, places: Iterable[Place]) -> dict[Frame, bytes | DunlinError]:
        """The opened frames that hold some chunks, or for each what is wrong with it."""
        found: dict[Frame, bytes | DunlinError] = {}
        wanted: dict[tuple[bytes, bool], dict[int, int]] = {}
        with self._lock:
            for location, small in places:
                frame = (location.pack, location.offset)
                if frame in found:
                    continue
                raw = self._kept.get(frame)
                if raw is not None:
                    self._kept.move_to_end(frame)
                    found[frame] = raw
                else:
                    wanted.setdefault((location.pack, small), {})[location.offset] = location.length
        for (pack, small), frames in wanted.items():
            for group in _groups(sorted(frames.items())):
                self._read(pack, small, group, found)
        return found

    def _frame(self, place: Place) -> bytes:
        frame = (place[0].pack, place[0].offset)
        with self._turns[hash(frame) % _TURNS]:
            raw = self.fetch([place])[frame]
        if isinstance(raw, DunlinError):
            raise raw
        return raw

    def _read(
        self, pack: bytes, small: bool, group: list[tuple[int, int]], found: dict[Frame, bytes | DunlinError]
    ) -> None:
        begin = group[0][0]
        size = group[-1][0] + group[-1][1] - begin
        try:
            known = self._pack(pack, small)
            data = memoryview(known.read(begin, size))
        except DunlinError as error:
            if error.kind is ErrorKind.INTERRUPTED:
                raise
            found.update({(pack, offset): error for offset, _ in group})
            return
        for offset, length in group:
            frame = (pack, offset)
            try:
                with known.turn:
                    raw = known.codec.open(data[offset - begin : offset - begin + length], offset)
            except DunlinError as error:
                found[frame] = error
                continue
            found[frame] = raw
            self._keep(frame, raw)

    def _pack(self, pack: bytes, small: bool) -> _Pack:
        with self._lock:
            known = self._packs.get(pack)
            if known is not None:
                self._packs.move_to_end(pack)
        if known is None:
            key = self._area.pack_key(pack.hex(), small)
            known = _Pack(self._area.codec(key), self._area.objects.reader(key)[1], threading.Lock())
            with self._lock:
                self._packs[pack] = known
                while len(self._packs) > PACKS:
                    self._packs.popitem(last=False)
        return known

    def _keep(self, frame: Frame, raw: bytes) -> None:
        with self._lock:
            before = self._kept.pop(frame, b"")
            self._kept[frame] = raw
            self._bytes += len(raw) - len(before)
            while self._bytes > KEPT and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def _other(self, chunk: ChunkId, place: Place) -> DunlinError:
        key = self._area.pack_key(place[0].pack.hex(), place[1])
        return DunlinError("read the chunk", chunk.hex(), ErrorKind.CORRUPT, f"its content in {key} is another")


def _groups(frames: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Frames (offset, length), sorted, in groups that are read at once."""
    group: list[tuple[int, int]] = []
    for offset, length in frames:
        if group and (offset > group[-1][0] + group[-1][1] + GAP or offset + length - group[0][0] > MOST):
            yield group
            group = []
        group.append((offset, length))
    if group:
        yield group
