"""Behaviour added to a store by putting another store around it.

    Counted(store, report)   counts calls and bytes
    Paced(store, bucket)     asks for every block before it passes
    Retrying(store, retry)   makes failed requests again; goes on reading where a read broke off
    ReadOnly(store)          refuses whatever would change something
    Guarded(store, guard)    asks before everything that changes something, and again before content becomes final
    UnlessThere(store)       has the service refuse content where something stands by now, and only then asks once more

Each has all verbs and all powers, and forwards those that the wrapped store really has: `powers`
tells which (see `base.power`). Two properties say whether a power that works directly on the store
underneath may pass the wrapper by: `inner_for_reading`, `inner_for_writing`. Where bytes must be
seen, as in `Paced`, they are None and such powers are not forwarded.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import SIZE, Entry, Facts, Row
from dunlin.report import Report
from dunlin.stores.base import (
    Begun,
    Body,
    Caps,
    Contents,
    Copies,
    CopiesBatch,
    Data,
    DropsMarkers,
    Fetches,
    FetchesDressed,
    Finds,
    Gathered,
    HasSpace,
    KeepsBegun,
    KnowsBirths,
    Listing,
    LooksAt,
    MakesDirs,
    MakesLinks,
    MakesMeta,
    Meta,
    Moves,
    Parts,
    ReadsBatch,
    RemovesDirs,
    SetsMeta,
    StatesDigests,
    Store,
    Syncs,
    Walks,
    WalksPages,
    WritesBatch,
    power,
)
from dunlin.stores.buffers import Buffers

T = TypeVar("T")
P = TypeVar("P")

POWERS: frozenset[type] = frozenset(
    {
        *(Walks, WalksPages, Fetches, Finds, StatesDigests, MakesDirs, RemovesDirs, DropsMarkers, MakesLinks),
        *(SetsMeta, LooksAt, KeepsBegun, Parts, Moves, HasSpace, Syncs, KnowsBirths, Copies, CopiesBatch, ReadsBatch),
        *(WritesBatch, FetchesDressed),
    }
)
"""Every power that wrappers know how to forward."""


class _Wrapper:
    """A store that passes every verb and every power on to another; the wrappers below change some."""

    withheld: frozenset[type] = frozenset()

    def __init__(self, store: Store) -> None:
        self._store = store

    def powers(self) -> frozenset[type]:
        """The powers of the wrapped store that this wrapper forwards."""
        return frozenset(one for one in POWERS - self.withheld if power(self._store, one) is not None)

    @property
    def inner_for_reading(self) -> Store | None:
        return self._store

    @property
    def inner_for_writing(self) -> Store | None:
        return self._store

    @property
    def caps(self) -> Caps:
        return self._store.caps

    @property
    def url(self) -> str:
        return self._store.url

    def _through(self, verb: str, path: str, act: Callable[[], T], writes: bool = False) -> T:
        """Every request of a wrapper passes here, once per call, with the name of its verb."""
        return act()

    def _having(self, wanted: type[P]) -> P:
        found = power(self._store, wanted)
        if found is None or wanted in self.withheld:
            reason = "the store has no such power"
            raise DunlinError(f"use {wanted.__name__} of", self.url, ErrorKind.UNSUPPORTED, reason)
        return found

    # ---- verbs ----

    def list(self, directory: str) -> Listing:
        return self._through("list", directory, lambda: self._store.list(directory))

    def stat(self, path: str) -> Entry:
        return self._through("stat", path, lambda: self._store.stat(path))

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        return self._through("read", entry.path, lambda: self._store.read(entry, start, length, into))

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        return self._through(
            "write", path, lambda: self._store.write(path, body, meta=meta, if_absent=if_absent), writes=True
        )

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        first = paths[0] if paths else ""
        return self._through("delete", first, lambda: self._store.delete(paths), writes=True)

    def close(self) -> None:
        self._store.close()

    # ---- powers ----

    def walk(self, directory: str) -> Listing:
        return self._through("walk", directory, lambda: self._having(Walks).walk(directory))

    def fetch(self, path: str, most: int) -> tuple[Entry, bytes] | None:
        return self._through("fetch", path, lambda: self._having(Fetches).fetch(path, most))

    def fetch_dressed(
        self, path: str, most: int, space: tuple[str, ...]
    ) -> tuple[Entry, bytes, dict[str, bytes]] | None:
        there = self._having(FetchesDressed)
        return self._through("fetch", path, lambda: there.fetch_dressed(path, most, space))

    def find(self, path: str) -> Entry | None:
        return self._through("find", path, lambda: self._having(Finds).find(path))

    def stated_digest(self, entry: Entry) -> tuple[str, bytes] | None:
        return self._through("stated_digest", entry.path, lambda: self._having(StatesDigests).stated_digest(entry))

    def walk_pages(self, directory: str, token: str = "") -> Iterator[tuple[builtins.list[tuple[str, Facts]], str]]:
        return self._through("walk", directory, lambda: self._having(WalksPages).walk_pages(directory, token))

    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        there = self._having(MakesDirs)
        return self._through("make_directory", path, lambda: there.make_directory(path, mode, like), writes=True)

    def remove_directory(self, path: str) -> bool:
        there = self._having(RemovesDirs)
        return self._through("remove_directory", path, lambda: there.remove_directory(path), writes=True)

    def keep_begun(self, path: str) -> bool:
        there = self._having(KeepsBegun)
        return self._through("keep_begun", path, lambda: there.keep_begun(path), writes=True)

    def begin_parts(self, path: str, body: Body, *, meta: Meta, token: str) -> Begun:
        there = self._having(Parts)
        return self._through(
            "begin_parts", path, lambda: there.begin_parts(path, body, meta=meta, token=token), writes=True
        )

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        there = self._having(Parts)
        return self._through("put_part", path, lambda: there.put_part(path, begun, start, body), writes=True)

    def completed_parts(self, path: str, begun: Begun, *, meta: Meta) -> Entry | None:
        there = self._having(Parts)
        return self._through("completed_parts", path, lambda: there.completed_parts(path, begun, meta=meta))

    def complete_parts(self, path: str, begun: Begun, tags: Sequence[str], *, meta: Meta) -> Entry:
        there = self._having(Parts)
        return self._through(
            "complete_parts", path, lambda: there.complete_parts(path, begun, tags, meta=meta), writes=True
        )

    def drop_parts(self, path: str, begun: Begun) -> None:
        there = self._having(Parts)
        self._through("drop_parts", path, lambda: there.drop_parts(path, begun), writes=True)

    def drop_marker(self, directory: str) -> bool:
        there = self._having(DropsMarkers)
        return self._through("drop_marker", directory, lambda: there.drop_marker(directory), writes=True)

    def read_link(self, path: str) -> str:
        return self._through("read_link", path, lambda: self._having(MakesLinks).read_link(path))

    def make_link(self, path: str, target: str, meta: Meta) -> None:
        there = self._having(MakesLinks)
        self._through("make_link", path, lambda: there.make_link(path, target, meta), writes=True)

    def make_hard_link(self, existing: str, path: str) -> None:
        there = self._having(MakesLinks)
        self._through("make_hard_link", path, lambda: there.make_hard_link(existing, path), writes=True)

    def make_special(self, path: str, mode: int, rdev: int, meta: Meta) -> None:
        there = self._having(MakesLinks)
        self._through("make_special", path, lambda: there.make_special(path, mode, rdev, meta), writes=True)

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        return self._through("get_xattrs", path, lambda: self._having(SetsMeta).get_xattrs(path, space))

    def set_meta(self, path: str, meta: Meta) -> None:
        there = self._having(SetsMeta)
        self._through("set_meta", path, lambda: there.set_meta(path, meta), writes=True)

    def look_at(self, path: str, space: tuple[str, ...]) -> tuple[Entry, dict[str, bytes]]:
        return self._through("look_at", path, lambda: self._having(LooksAt).look_at(path, space))

    def move(self, path: str, new: str) -> None:
        there = self._having(Moves)
        self._through("move", path, lambda: there.move(path, new), writes=True)

    def free_space(self) -> int:
        return self._through("free_space", "", lambda: self._having(HasSpace).free_space())

    def birth_times(self, directory: str, names: Sequence[str]) -> builtins.list[int | None]:
        there = self._having(KnowsBirths)
        return self._through("birth_times", directory, lambda: there.birth_times(directory, names))

    def read_batch(
        self, directory: str, rows: Sequence[tuple[str, Facts]], space: tuple[str, ...]
    ) -> Iterator[Gathered]:
        there = self._having(ReadsBatch)
        return self._through("read_batch", directory, lambda: there.read_batch(directory, rows, space))

    def checkpoint(self) -> None:
        there = self._having(Syncs)
        self._through("checkpoint", "", there.checkpoint, writes=True)

    def copy_into(self, entry: Entry, target: Any, path: str, *, meta: Meta, report: Report) -> Entry:
        there = self._having(Copies)
        return self._through(
            "copy_into", entry.path, lambda: there.copy_into(entry, target, path, meta=meta, report=report)
        )

    def copy_batch(
        self,
        source: object,
        source_directory: str,
        directory: str,
        rows: Sequence[Row],
        options: Any,
        bucket: Any,
        worker: Any,
        fresh: bool = False,
    ) -> Any:
        there = self._having(CopiesBatch)
        return self._through(
            "copy_batch",
            directory,
            lambda: there.copy_batch(source, source_directory, directory, rows, options, bucket, worker, fresh),
            writes=True,
        )


    def write_batch(
        self,
        directory: str,
        rows: Sequence[Row],
        contents: Contents,
        meta: MakesMeta,
        options: Any,
        bucket: Any,
        worker: Any,
        above: Facts | None = None,
    ) -> Any:
        there = self._having(WritesBatch)
        return self._through(
            "write_batch",
            directory,
            lambda: there.write_batch(directory, rows, contents, meta, options, bucket, worker, above),
            writes=True,
        )


class Counted(_Wrapper):
    """Counts requests and bytes into a report.

    Args:
        report: gets ``store.<verb>`` for every request, ``store.bytes_read`` and ``store.bytes_written``
            for content as it passes, and that of `copy_into` as read when it is done. What a batch copies
            is counted by its result.
    """

    def __init__(self, store: Store, report: Report) -> None:
        super().__init__(store)
        self._report = report

    def _through(self, verb: str, path: str, act: Callable[[], T], writes: bool = False) -> T:
        self._report.count(f"store.{verb}")
        return act()

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        for data in super().read(entry, start, length, into):
            self._report.count("store.bytes_read", len(data))
            yield data

    def fetch(self, path: str, most: int) -> tuple[Entry, bytes] | None:
        found = super().fetch(path, most)
        if found is not None:
            self._report.count("store.bytes_read", len(found[1]))
        return found

    def fetch_dressed(
        self, path: str, most: int, space: tuple[str, ...]
    ) -> tuple[Entry, bytes, dict[str, bytes]] | None:
        found = super().fetch_dressed(path, most, space)
        if found is not None:
            self._report.count("store.bytes_read", len(found[1]))
        return found

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        seen = _observed(body, lambda n: self._report.count("store.bytes_written", n))
        return super().write(path, seen, meta=meta, if_absent=if_absent)

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        seen = _observed(body, lambda n: self._report.count("store.bytes_written", n))
        return super().put_part(path, begun, start, seen)

    def copy_into(self, entry: Entry, target: Any, path: str, *, meta: Meta, report: Report) -> Entry:
        made = super().copy_into(entry, target, path, meta=meta, report=report)
        self._report.count("store.bytes_read", int(made.facts[SIZE]))
        return made


class Takes(Protocol):
    """A token bucket, as far as stores know it."""

    def take(self, n: int) -> object:
        """Wait until `n` more bytes may pass."""


class Paced(_Wrapper):
    """Asks a token bucket for every block of content, read or written, before it passes.

    Powers that move content without showing it are not forwarded.
    """

    withheld: frozenset[type] = frozenset({Copies, CopiesBatch, ReadsBatch, WritesBatch})

    def __init__(self, store: Store, bucket: Takes) -> None:
        super().__init__(store)
        self._bucket = bucket

    @property
    def inner_for_reading(self) -> Store | None:
        return None

    @property
    def inner_for_writing(self) -> Store | None:
        return None

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        for data in super().read(entry, start, length, into):
            try:
                self._bucket.take(len(data))
            except BaseException:
                if into is not None:
                    into.give(data)
                raise
            yield data

    def fetch(self, path: str, most: int) -> tuple[Entry, bytes] | None:
        found = super().fetch(path, most)
        if found is not None:
            self._bucket.take(len(found[1]))
        return found

    def fetch_dressed(
        self, path: str, most: int, space: tuple[str, ...]
    ) -> tuple[Entry, bytes, dict[str, bytes]] | None:
        found = super().fetch_dressed(path, most, space)
        if found is not None:
            self._bucket.take(len(found[1]))
        return found

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        return super().write(path, _observed(body, self._bucket.take), meta=meta, if_absent=if_absent)

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        return super().put_part(path, begun, start, _observed(body, self._bucket.take))


class Retry(Protocol):
    """The retry policy: calls, waits and calls again as it sees fit; raises the last error when it gives up."""

    def __call__(self, act: Callable[[], T], /) -> T: ...


class Retrying(_Wrapper):
    """Makes failed requests again, as often as the policy wants.

    A write is replayed from its `Body`; a read goes on after the last byte that arrived, of the same
    version, and progress starts the policy anew. A listing is made again only if nothing of it was
    handed out yet: afterwards the receiver must begin again, for nobody knows which names it had.
    """

    def __init__(self, store: Store, retry: Retry) -> None:
        super().__init__(store)
        self._retry = retry

    def _through(self, verb: str, path: str, act: Callable[[], T], writes: bool = False) -> T:
        return self._retry(act)

    def list(self, directory: str) -> Listing:
        return self._stream(lambda: self._store.list(directory))

    def walk(self, directory: str) -> Listing:
        there = self._having(Walks)
        return self._stream(lambda: there.walk(directory))

    def walk_pages(self, directory: str, token: str = "") -> Iterator[tuple[builtins.list[tuple[str, Facts]], str]]:
        there = self._having(WalksPages)
        return self._stream(lambda: there.walk_pages(directory, token))

    def _stream(self, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
        def first() -> tuple[Iterator[T], T | None]:
            items = begin()
            return items, next(items, None)

        items, item = self._retry(first)
        while item is not None:
            yield item
            item = next(items, None)

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        done = 0
        blocks: Iterator[Data] | None = None

        def step() -> Data | None:
            nonlocal blocks
            if blocks is None:
                blocks = self._store.read(entry, start + done, None if length is None else length - done, into)
            try:
                return next(blocks, None)
            except DunlinError:
                blocks = None
                raise

        while (data := self._retry(step)) is not None:
            done += len(data)
            yield data


class ReadOnly(_Wrapper):
    """Refuses, with READ_ONLY, every request that would change something: a source stays as it is."""

    withheld: frozenset[type] = frozenset(
        {MakesDirs, RemovesDirs, DropsMarkers, Moves, Syncs, CopiesBatch, WritesBatch, Parts}
    )

    @property
    def inner_for_writing(self) -> Store | None:
        return None

    def _through(self, verb: str, path: str, act: Callable[[], T], writes: bool = False) -> T:
        if writes:
            where = f"{self.url}/{path}"
            raise DunlinError(verb.replace("_", " "), where, ErrorKind.READ_ONLY, "the source is never changed")
        return act()


def refuses(guard: Callable[[], None]) -> bool:
    """Whether a guard raises: what waits to ask a service once more asks that first (`pace.gate`)."""
    try:
        guard()
    except DunlinError:
        return True
    return False


class Guarded(_Wrapper):
    """Calls `guard` before each request that changes something; what it raises is raised in place of the request.

    Content is asked about twice: before it is written, and when its last byte has been read and nothing but the end of
    the write is left. Of a part of a file each block is asked about, after it was read and before it is written
    (`transfer.ranges` says why). A batch of local files asks for each of them (`BatchOptions.commit`), as does a local
    store (`WriteOptions.commit`).
    """

    def __init__(self, store: Store, guard: Callable[[], None]) -> None:
        super().__init__(store)
        self._guard = guard

    def _through(self, verb: str, path: str, act: Callable[[], T], writes: bool = False) -> T:
        if writes:
            self._guard()
        return act()

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        def open_at(start: int) -> Iterator[Data]:
            blocks = body.open(start)
            try:
                yield from blocks
                self._guard()
            finally:
                close = getattr(blocks, "close", None)
                if close is not None:
                    close()

        return super().write(path, replace(body, open=open_at), meta=meta, if_absent=if_absent)

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        return super().put_part(path, begun, start, _observed(body, lambda _: self._guard()))


class UnlessThere(_Wrapper):
    """For content of names that were not there: writes on the condition that they still are not (`if_absent`).

    Around a `Guarded` store this closes the last gap for such names: whoever was stopped after the guard let it pass,
    for so long that somebody else wrote there meanwhile, is refused by the service itself. What is refused is written
    without the condition, so the guard is asked again: if all is well, somebody else's content is replaced, as always.
    So it is where a service does not know the condition.
    """

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        try:
            return super().write(path, body, meta=meta, if_absent=True)
        except DunlinError as error:
            if if_absent or error.kind not in (ErrorKind.EXISTS, ErrorKind.UNSUPPORTED):
                raise
        return super().write(path, body, meta=meta)


def _observed(body: Body, see: Callable[[int], object]) -> Body:
    """`body`, with the size of each block told before it is handed on."""

    def open_at(start: int) -> Iterator[Data]:
        blocks = body.open(start)
        try:
            for data in blocks:
                see(len(data))
                yield data
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    return replace(body, open=open_at)
