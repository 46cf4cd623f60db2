"""A share in memory to which little backups go, for tests of the pieces of its index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from dunlin.backup import marks, pieces, repository
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.lease import Lease
from dunlin.backup.objects import Objects
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Settings
from dunlin.stores.memory import MemoryStore


class Tenant:
    """A share in memory to which little backups go; it counts what is read of the index."""

    def __init__(self, *, append_only: bool = False) -> None:
        ticks = itertools.count(10**18, 10**6)
        self.store = MemoryStore(clock=lambda: next(ticks))
        self.objects = Objects(self.store)
        self.area = repository.init(self.objects, None, Settings(append_only=append_only)).area("t", "s")
        self.fetched: list[str] = []
        self.contents: list[bytes] = []
        real = self.objects.pieces

        def counted(key: str) -> Iterator[Any]:
            if "/chunks/" in key:
                self.fetched.append(key)
            return real(key)

        self.objects.pieces = counted  # type: ignore[method-assign]

    def lease(self, share: str = "s") -> Lease:
        return Lease(self.objects, "t", share, "somebody")

    def back_up(self, content: bytes | None = None) -> None:
        content = content or b"content %d" % len(self.contents)
        self.contents.append(content)
        lease = self.lease()
        lease.pin("")
        try:
            shelf = Shelf(self.area, True, ChunkIndex(marks.segments(self.area, True, frozenset())))
            shelf.put(content)
            shelf.finish()
            marks.tidy(self.area)
        finally:
            lease.release()

    def leases(self) -> list[str]:
        return [each.key for each in self.objects.list("t/leases")]

    def listed(self) -> pieces.Listed:
        return pieces.listed(self.area, True)

    def found(self) -> list[bool]:
        """Whether who reads finds each content that was ever backed up."""
        index = ChunkIndex(marks.for_reading(self.area, True))
        return [index.find(self.area.identify(content)) is not None for content in self.contents]
