"""The content of one entry on its way into packs: read in one version, cut, checked, stored.

Small files are read for a whole directory at a time where the store can do that (`stores.base.ReadsBatch`). What
changes while it is read is read again from a fresh look; the last attempt takes what it gets, and says so: half of it
may be of another moment, but a log that is always written to is worth more than no log.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple

from dunlin.backup import attributes
from dunlin.backup.chunker import Chunker
from dunlin.backup.packing import Shelf
from dunlin.backup.tree.columns import TICK
from dunlin.backup.words import ChunkId
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import new, one_shot
from dunlin.model import CTIME, IDENT, MTIME, SIZE, Entry, Facts
from dunlin.stores.base import Data, FetchesDressed, Gathered, MakesLinks, ReadsBatch, SetsMeta, Store, power

SPACE = ("user.", "security.", "system.posix_acl_", "trusted.")
"""Extended attributes that belong to a backup."""


AHEAD = 32
"""Small files of one directory that are under way at the same time."""


LATEST = ((1 << 63) - 1) * TICK
"""ns since 1970, in the year 31,197: what the tree's 64 bits of ticks hold. Some file systems go further."""


class Content(NamedTuple):
    """What was stored of a file.

    Attributes:
        facts: of the version that was read.
        chunks: ids and bytes of its chunks, in order.
        check: CRC-64/NVME of the content.
        attributes: chunk of its attributes, or None.
        torn: it changed while it was read, each time.
    """

    facts: Facts
    chunks: list[tuple[ChunkId, int]]
    check: int
    attributes: ChunkId | None
    torn: bool = False


class Reader:
    """Reads entries of a source and stores their content; one for each thread or process.

    Args:
        store: the source.
        small, large: where content goes.
        least: bytes from which a file is cut into chunks.
        chunker: of the repository.
        xattrs: attributes are kept.
        attempts: times that a file is read which changes meanwhile.
        advance: told of bytes that were read, as they are.
        pool: threads that read small files where the store cannot hand over a directory's at a time.
    """

    def __init__(
        self,
        store: Store,
        small: Shelf,
        large: Shelf,
        least: int,
        chunker: Chunker,
        *,
        xattrs: bool = True,
        attempts: int = 3,
        advance: Callable[[int], object] = lambda n: None,
        pool: Executor | None = None,
    ) -> None:
        self._store, self._small, self._large = store, small, large
        self._least, self._chunker = least, chunker
        self._attempts, self._advance = attempts, advance
        self._pool, self._cutting = pool, threading.Lock()
        self._batch = power(store, ReadsBatch)
        self._links = power(store, MakesLinks)
        self._meta = power(store, SetsMeta) if xattrs and store.caps.xattrs else None
        self._space = SPACE if self._meta is not None else ()
        self._dressed = power(store, FetchesDressed) if self._meta is not None else None
        check = one_shot("crc64")
        assert check is not None
        self._check = check

    def is_small(self, facts: Facts) -> bool:
        """Whether a file is one chunk in a bundle."""
        return bool(facts[SIZE] < self._least)

    def small_files(
        self, directory: str, rows: Sequence[tuple[str, Facts]], path: Callable[[str], str]
    ) -> Iterator[Content | DunlinError]:
        """The small files of one directory, in their order, each stored or an error. `path`: of a name in it."""
        if self._batch is None:
            yield from self._several(Entry(path(name), facts) for name, facts in rows)
            return
        found = self._gathered(self._batch, directory, rows)
        for (name, facts), each in zip(rows, found, strict=True):
            if each.error is not None:
                again = each.error.kind in (ErrorKind.CHANGED, ErrorKind.NOT_FOUND)
                yield self.file(Entry(path(name), facts), attempt=2) if again else each.error
                continue
            self._advance(len(each.data))
            yield self._stored(facts, each.data, each.xattrs)

    def _several(self, entries: Iterable[Entry]) -> Iterator[Content | DunlinError]:
        """Files in their order, some of them under way at the same time: each costs a request or two of waiting."""
        if self._pool is None:
            yield from map(self.file, entries)
            return
        under_way: deque[Future[Content | DunlinError]] = deque()
        for entry in entries:
            under_way.append(self._pool.submit(self.file, entry))
            if len(under_way) >= AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def file(self, entry: Entry, attempt: int = 1) -> Content | DunlinError:
        """One regular file, stored or an error."""
        while True:
            try:
                return self._file(entry if attempt == 1 else self._store.stat(entry.path), attempt)
            except DunlinError as error:
                if error.fatal:
                    raise
                if error.kind is ErrorKind.NOT_FOUND and not self._is_there(entry.path):
                    return DunlinError("read", error.where, ErrorKind.VANISHED, "it is gone")
                if error.kind not in (ErrorKind.CHANGED, ErrorKind.NOT_FOUND) or attempt >= self._attempts:
                    return _unsure(error)
            attempt += 1

    def target(self, path: str) -> str:
        """Where a symbolic link leads. Raises."""
        return self._links.read_link(path) if self._links is not None else ""

    def attributes(self, path: str) -> ChunkId | None:
        """The chunk of the attributes of what stands at a path; None: it has none. Raises."""
        return self._attributes(self._meta.get_xattrs(path, self._space)) if self._meta is not None else None

    def _file(self, entry: Entry, attempt: int) -> Content:
        torn = attempt == self._attempts and attempt > 1
        pinned = Entry(entry.path, _any_version(entry.facts)) if torn else entry
        if self._dressed is not None and self.is_small(entry.facts) and not torn:
            return self._at_once(self._dressed, entry)
        found = self._meta.get_xattrs(entry.path, self._space) if self._meta is not None else None
        if self.is_small(entry.facts):
            data = b"".join(self._read(pinned))
            return self._stored(bounded(entry.facts), data, found)._replace(torn=torn)
        hasher = new("crc64")
        assert hasher is not None
        chunks: list[tuple[ChunkId, int]] = []
        with self._cutting:  # the chunker has one buffer, and a small file may have grown in a thread of the pool
            for chunk in self._chunker.cut(_Filling(self._read(pinned))):
                hasher.update(chunk)
                chunks.append((self._large.put(chunk), len(chunk)))
        facts = _of_size(bounded(entry.facts), sum(size for _, size in chunks))
        return Content(facts, chunks, int.from_bytes(hasher.digest()), self._attributes(found), torn)

    def _at_once(self, store: FetchesDressed, entry: Entry) -> Content:
        """A small file that is far away, in one request for its content, its attributes, and what no listing tells."""
        found = store.fetch_dressed(entry.path, self._least, self._space)
        if found is None or found[0].facts[IDENT] != entry.facts[IDENT]:
            raise DunlinError("read", entry.path, ErrorKind.CHANGED, "another version stands there")
        there, data, xattrs = found
        self._advance(len(data))
        return self._stored(bounded(there.facts), data, xattrs)

    def _stored(self, facts: Facts, data: bytes, found: dict[str, bytes] | None) -> Content:
        chunks = [(self._small.put(data), len(data))] if data else []
        check = int.from_bytes(self._check(data)) if data else 0
        return Content(_of_size(facts, len(data)), chunks, check, self._attributes(found) if found else None)

    def _attributes(self, found: dict[str, bytes] | None) -> ChunkId | None:
        return self._small.put(attributes.pack(found)) if found else None

    def _is_there(self, path: str) -> bool:
        """Whether what was not found is there after all: a gateway or an automounter may say so for a moment."""
        try:
            self._store.stat(path)
        except DunlinError as error:
            if error.fatal:
                raise
            return error.kind is not ErrorKind.NOT_FOUND
        return True

    def _read(self, entry: Entry) -> Iterator[Data]:
        for data in self._store.read(entry):
            self._advance(len(data))
            yield data

    def _gathered(self, batch: ReadsBatch, directory: str, rows: Sequence[tuple[str, Facts]]) -> Iterator[Gathered]:
        try:
            yield from batch.read_batch(directory, rows, self._space)
        except DunlinError as error:
            if error.fatal:
                raise
            gone = error.kind is ErrorKind.NOT_FOUND and not self._is_there(directory)
            each = DunlinError("read", error.where, ErrorKind.VANISHED, "its directory is gone") if gone else error
            yield from (Gathered(b"", None, each) for _ in rows)


def _unsure(error: DunlinError) -> DunlinError:
    """An error of what is there: it is not taken for what is gone."""
    if error.kind is not ErrorKind.NOT_FOUND:
        return error
    return DunlinError("read", error.where, ErrorKind.IO, "it is there, and was not found when it was read")


class _Filling:
    """Hands blocks of any length on in the lengths that a chunker asks for."""

    def __init__(self, blocks: Iterator[Data]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def __call__(self, space: memoryview, /) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        count = min(len(space), len(self._left))
        space[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _any_version(facts: Facts) -> Facts:
    """Facts that a file of any version has, as long as it is the same file."""
    known = list(facts)
    for at in (SIZE, MTIME, CTIME):
        known[at] = None
    return tuple(known) if isinstance(facts[IDENT], int) else facts


def _of_size(facts: Facts, size: int) -> Facts:
    return facts if facts[SIZE] == size else (*facts[:SIZE], size, *facts[SIZE + 1 :])


def bounded(facts: Facts) -> Facts:
    """Facts whose time of modification is the nearest that the formats can hold."""
    time = facts[MTIME] or 0
    return (
        facts if -LATEST <= time <= LATEST else (*facts[:MTIME], LATEST if time > 0 else -LATEST, *facts[MTIME + 1 :])
    )
