"""Puts chunks into packs and packs into the repository: what one thread or process stores in a backup.

Small files go into bundles of the share, chunks of larger ones into packs of the tenant. A pack is stored when it is
full; what it holds then joins the index, and what this run has stored is written as segments of the index now and
then, so that an interrupted backup finds it again. What is still in memory when a process dies was not promised to
anybody: no manifest names it.

What cannot be stored ends the run, whatever the reason. It would otherwise look as if the file that filled the pack
could not be read, while the pack holds chunks of many others whose rows are on their way already. So such an error is
one of our own files (`Place.STATE`), and a shelf that met one takes nothing more and does not finish.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from typing import Protocol

from dunlin.backup.chunks import Segment
from dunlin.backup.pack import PackWriter, Pool
from dunlin.backup.repository import Area
from dunlin.backup.words import BUNDLE, PACK, ChunkId, Location, Stored, new_id
from dunlin.errors import DunlinError, ErrorKind, Place

FLUSHED_PACKS = 64
FLUSHED_SECONDS = 60.0
"""Packs, or seconds, after which what was stored since becomes a segment of the stored index."""


MOST_CHUNKS = 1 << 15
"""Chunks of a pack: 700 bytes each while it is made, so 23 MB. Only where they are tiny it is not full before."""


class Places(Protocol):
    """What a shelf asks of an index: see `chunks.ChunkIndex`. Asked by one thread at a time."""

    def find(self, chunk: ChunkId) -> Location | None: ...

    def add(self, pack: bytes, stored: Iterable[Stored]) -> None: ...

    def take(self) -> Segment | None: ...


class Shelf:
    """One kind of pack: bundles of small files, or packs of larger ones. Threads may share it.

    Args:
        area: of the share.
        small: bundles.
        index: what is stored already; what is stored here joins it.
        full: bytes at which a pack is closed.
        clock: seconds, monotonic.
        pool: threads that compress; see `PackWriter`.
        sender: a thread that stores a full pack while the next one is filled; None: whoever fills it does.
    """

    def __init__(
        self,
        area: Area,
        small: bool,
        index: Places,
        full: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        pool: Pool | None = None,
        sender: Executor | None = None,
    ) -> None:
        self._area, self._small, self._clock = area, small, clock
        self._pool, self._sender = pool, sender
        self._sent: Future[None] | None = None
        self._full = full or (BUNDLE if small else PACK)
        self._index = index
        self._lock = threading.Lock()
        self._writer: PackWriter | None = None
        self._pack = ""
        self._waiting: set[ChunkId] = set()
        self._flushed = clock()
        self._unnamed: list[str] = []
        self._error: DunlinError | None = None
        self.stored_bytes = 0
        self.new_bytes = 0

    def put(self, data: bytes | memoryview) -> ChunkId:
        """The id of a chunk, which will be stored if it is not there yet; `data` may be overwritten afterwards.

        Raises what is fatal for the run, whatever its kind.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._put(data)
        except DunlinError as error:
            self._broken(error)
            raise

    def _put(self, data: bytes | memoryview) -> ChunkId:
        chunk = self._area.identify(data)
        with self._lock:
            if chunk in self._waiting or self._index.find(chunk) is not None:
                return chunk
            if self._writer is None:
                self._pack = new_id()
                codec = self._area.codec(self._area.pack_key(self._pack, self._small))
                self._writer = PackWriter(codec, self._area.repository.settings.group, self._pool)
            self._writer.add(chunk, data)
            self._waiting.add(chunk)
            self.new_bytes += len(data)
            is_full = self._writer.size >= self._full or self._writer.chunks >= MOST_CHUNKS
            full = self._taken() if is_full else None
        if full is not None:
            self._store(*full)
        return chunk

    def finish(self) -> None:
        """Store what is left, and the index of everything that was stored. Raises as `put`."""
        if self._error is not None:
            raise self._error
        try:
            with self._lock:
                left = self._taken()
            if left is not None:
                self._store(*left)
            if self._sent is not None:
                self._sent.result()
            self._flush()
        except DunlinError as error:
            self._broken(error)
            raise

    def _broken(self, error: DunlinError) -> None:
        """The first error ends everything: what was put before it may be lost with the pack that it met."""
        error.place = Place.STATE
        self._error = self._error or error

    def end(self) -> None:
        """The run ends in the middle: write the index of what is stored, so that the next one finds it.

        Where there is no room for that, what no index names goes: nobody will ever know of it, and it takes up room.
        """
        if self._sent is not None:
            wait([self._sent])
        try:
            self._flush()
        except DunlinError as error:
            if error.kind is ErrorKind.NO_SPACE:
                self.give_up()

    def give_up(self) -> None:
        """Remove what was stored and no index names, as far as that can be done.

        Only for who knows that: an answer that was lost says nothing of what was written.
        """
        with self._lock:
            keys, self._unnamed = self._unnamed, []
        with suppress(DunlinError):
            self._area.objects.remove(keys)

    def _taken(self) -> tuple[str, PackWriter] | None:
        """The pack in the making, which others do not add to any more."""
        writer, self._writer = self._writer, None
        return (self._pack, writer) if writer is not None else None

    def _store(self, pack: str, writer: PackWriter) -> None:
        """Store a pack, or let it be stored when the one before is; other threads go on meanwhile."""
        data, places = writer.finish()
        if self._sender is None:
            self._keep(pack, data, places)
            return
        if self._sent is not None:
            self._sent.result()
        self._sent = self._sender.submit(self._keep, pack, data, places)

    def _keep(self, pack: str, data: bytearray, places: list[Stored]) -> None:
        key = self._area.pack_key(pack, self._small)
        self._area.objects.put(key, data, if_absent=True)
        with self._lock:
            self._index.add(bytes.fromhex(pack), places)
            self._waiting.difference_update([place.chunk for place in places])
            self.stored_bytes += len(data)
            self._unnamed.append(key)
            due = len(self._unnamed) >= FLUSHED_PACKS or self._clock() - self._flushed >= FLUSHED_SECONDS
        if due:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            segment = self._index.take()
            named, self._unnamed = self._unnamed, []
            self._flushed = self._clock()
        if segment is None:
            return
        try:
            # Else a power cut may keep the index, and not the packs that it names: the next backup would count on them.
            self._area.objects.sync()
            self._area.put_chunk_segment(segment, self._small)
        except DunlinError:
            with self._lock:
                self._unnamed += named
            raise
