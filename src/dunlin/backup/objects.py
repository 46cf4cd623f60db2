"""The objects of a repository: put, get, list and remove by key, over whatever store holds them.

A key is a path below the repository's location. Everything here is one request to a store, or one for each directory
that is not there yet; what a repository means by its objects stands in `repository`.

The store's clock is the only one by which leases and marks are measured: each object's time is what the store
says, and "now" is the time of an object that was written this moment (`written`).
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, MTIME, SIZE, Entry, Facts, is_directory, is_file, join
from dunlin.stores.base import Body, Data, Fetches, HasSpace, MakesDirs, Meta, Store, Syncs, Walks, find_file, power

_NO_META = Meta()
_BLOCK = 1 << 20
_MOST = 256 << 10
"""Bytes of an object that is asked for whole in one request, where the store can do that."""


class Found(NamedTuple):
    """A listed object: its key, bytes, and when the store took it, ns since 1970."""

    key: str
    size: int
    time: int


class Objects:
    """The objects below a store's root. Threads may share it.

    Args:
        store: where they lie; closed with this.
        append_only: nothing but leases is removed, whoever asks.
    """

    def __init__(self, store: Store, *, append_only: bool = False) -> None:
        self._store = store
        self.append_only = append_only
        self._makes = power(store, MakesDirs) if store.caps.directories else None
        self._made: set[str] = {""}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where they lie, without credentials."""
        return self._store.url

    @property
    def far(self) -> bool:
        """Whether what takes time is waiting for them."""
        return self._store.caps.far

    @property
    def limited(self) -> bool:
        """Whether they lie where there may be no room for more."""
        return power(self._store, HasSpace) is not None

    def put(self, key: str, data: bytes | bytearray | memoryview, *, if_absent: bool = False) -> Found:
        """Store an object, whole or not at all. Raises EXISTS with `if_absent` where there is one."""
        view = memoryview(data)

        def rest(start: int) -> Iterator[Data]:
            yield view[start:]

        self._make_directory(key.rpartition("/")[0])
        return self._taken(self._store.write(key, Body(len(view), rest), meta=_NO_META, if_absent=if_absent))

    def put_file(self, key: str, path: Path, *, replace: bool = False) -> Found:
        """Store the content of a local file as an object. Raises EXISTS, unless what is there is to be replaced."""

        def rest(start: int) -> Iterator[Data]:
            with open(path, "rb") as file:
                file.seek(start)
                while block := file.read(_BLOCK):
                    yield block

        self._make_directory(key.rpartition("/")[0])
        body = Body(path.stat().st_size, rest)
        return self._taken(self._store.write(key, body, meta=_NO_META, if_absent=not replace))

    def get(self, key: str) -> bytes:
        """The whole of an object. Raises NOT_FOUND."""
        return b"".join(self.pieces(key))

    def pieces(self, key: str) -> Iterator[Data]:
        """The whole of an object as it comes, whatever its size. Raises NOT_FOUND."""
        fetches = power(self._store, Fetches)
        fetched = fetches.fetch(key, _MOST) if fetches is not None else None
        if fetched is not None:
            yield fetched[1]
            return
        yield from self._store.read(self._entry(key))

    def reader(self, key: str) -> tuple[int, Callable[[int, int], bytes]]:
        """The bytes of an object, and a function that reads so many of them from a start. Raises NOT_FOUND."""
        entry = self._entry(key)
        return entry.size, lambda start, length: b"".join(self._store.read(entry, start, length))

    def find(self, key: str) -> Found | None:
        """The object under a key, or None."""
        entry = find_file(self._store, key)
        return _found(entry) if entry is not None else None

    def list(self, directory: str) -> list[Found]:
        """The objects right below `directory`; none where it does not exist. Our temporary files are left out."""
        return [*self.each(directory)]

    def each(self, directory: str) -> Iterator[Found]:
        """The same one after the other, as they are listed."""
        yield from _objects(directory, self._listed(directory))

    def below(self, directory: str) -> Iterator[Found]:
        """The objects below `directory`, however deep, one after the other; in one listing where the store can that."""
        walks = power(self._store, Walks)
        if walks is None:
            inner: builtins.list[str] = []
            yield from _objects(directory, _noting(self._listed(directory), inner))
            for name in inner:
                yield from self.below(join(directory, name))
            return
        yield from _objects(directory, _there(walks.walk(directory)))

    def leftovers(self, directory: str) -> builtins.list[Found]:
        """Temporary files right below `directory`: of writings that go on, and of those that were cut short."""
        return [
            Found(join(directory, name), int(facts[SIZE]), _time(facts) or 0)
            for name, facts in self._listed(directory)
            if is_file(facts) and name.startswith(".dunlin-") and name.endswith(".tmp")
        ]

    def directories(self, directory: str) -> builtins.list[str]:
        """The names of what lies below `directory` and holds objects."""
        return [name for name, facts in self._listed(directory) if is_directory(facts)]

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; absence is no error. Raises DENIED where the repository only takes."""
        if self.append_only and any("/leases/" not in key for key in keys):
            reason = "the repository is append-only"
            raise DunlinError("remove objects from", self.url, ErrorKind.DENIED, reason)
        self._store.delete(list(keys))

    def sync(self) -> None:
        """Return when everything that was put before is on stable storage."""
        syncs = power(self._store, Syncs)
        if syncs is not None:
            syncs.checkpoint()

    def close(self) -> None:
        """Give back what the store holds."""
        self._store.close()

    def _taken(self, written: Entry) -> Found:
        """What was written; S3 tells the time at which it took it only to who asks for that."""
        return _found(written if _time(written.facts) is not None else self._entry(written.path))

    def _entry(self, key: str) -> Entry:
        entry = find_file(self._store, key)
        if entry is None:
            raise DunlinError("read the object", key, ErrorKind.NOT_FOUND, "it is not in the repository")
        return entry

    def _listed(self, directory: str) -> Iterator[tuple[str, Facts]]:
        return _there(self._store.list(directory))

    def _make_directory(self, directory: str) -> None:
        if self._makes is None or directory in self._made:
            return
        with self._lock:
            self._make_directory_alone(directory)

    def _make_directory_alone(self, directory: str) -> None:
        if directory in self._made or self._makes is None:
            return
        self._make_directory_alone(directory.rpartition("/")[0])
        self._makes.make_directory(directory, 0o700)
        self._made.add(directory)


def _there(listing: Iterator[builtins.list[tuple[str, Facts]]]) -> Iterator[tuple[str, Facts]]:
    begun = False
    try:
        for batch in listing:
            begun = True
            yield from batch
    except DunlinError as error:
        # "There is none" is an answer only to the first question. Later it is a store that went away for a moment,
        # and half a list of snapshots would let a prune remove what the other half needs.
        if begun or error.kind is not ErrorKind.NOT_FOUND:
            raise


def _objects(directory: str, listing: Iterable[tuple[str, Facts]]) -> Iterator[Found]:
    """The objects in a listing of a directory."""
    for name, facts in listing:
        if is_file(facts) and not name.rpartition("/")[2].startswith("."):
            yield Found(join(directory, name), int(facts[SIZE]), _time(facts) or 0)


def _noting(listing: Iterable[tuple[str, Facts]], directories: builtins.list[str]) -> Iterator[tuple[str, Facts]]:
    """A listing, whose directories are noted as they come: it is a request, and one is enough."""
    for name, facts in listing:
        if is_directory(facts):
            directories.append(name)
        yield name, facts


def _found(entry: Entry) -> Found:
    return Found(entry.path, entry.size, _time(entry.facts) or 0)


def _time(facts: Facts) -> int | None:
    """When the store took an object. S3 lists no mtime, which may stand in metadata; its own time is the ctime."""
    found = facts[CTIME] if facts[MTIME] is None else facts[MTIME]
    return int(found) if found is not None else None
