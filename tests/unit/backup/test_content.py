import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dunlin.backup import keys, repository
from dunlin.backup.chunker import Chunker
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.content import Content, Reader
from dunlin.backup.objects import Objects
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Area, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry, Facts
from dunlin.stores.base import Body, Caps, Data, Meta
from dunlin.stores.memory import MemoryStore

NAMES = [f"f{n}" for n in range(100)]


@pytest.fixture
def area(monkeypatch: pytest.MonkeyPatch) -> Area:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    return repository.init(Objects(MemoryStore()), b"word", Settings()).area("t", "s")


def filled() -> MemoryStore:
    store = MemoryStore()
    for name in NAMES:
        store.write(name, Body(len(name), lambda start, name=name: iter([name.encode()[start:]])), meta=Meta())  # type: ignore[misc]
    return store


def rows(store: MemoryStore) -> list[tuple[str, Facts]]:
    return [(name, store.stat(name).facts) for name in NAMES]


def reader(store: Any, area: Area, pool: ThreadPoolExecutor | None = None) -> Reader:
    shelves = [Shelf(area, small, ChunkIndex()) for small in (True, False)]
    return Reader(store, *shelves, 1000, Chunker(1), xattrs=False, pool=pool)


class Together:
    """A store whose every read waits until three are under way."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._three = threading.Barrier(3)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, entry: Entry, *rest: Any, **named: Any) -> Iterator[Data]:
        if int(entry.path[1:]) < 99:
            self._three.wait(10)
        return self._store.read(entry, *rest, **named)


def test_small_files_of_a_store_far_away_are_read_several_at_a_time_and_stay_in_order(area: Area) -> None:
    store = filled()
    with ThreadPoolExecutor(3) as pool:
        found = list(reader(Together(store), area, pool).small_files("", rows(store), str))
    identified = [area.identify(name.encode()) for name in NAMES]
    assert [each.chunks for each in found if isinstance(each, Content)] == [
        [(chunk, len(name))] for chunk, name in zip(identified, NAMES, strict=True)
    ]


@pytest.mark.parametrize("threads", [0, 3])
def test_a_file_that_is_gone_is_told_in_its_place(area: Area, threads: int) -> None:
    store = filled()
    wanted = rows(store)
    store.delete(["f7"])
    pool = ThreadPoolExecutor(threads) if threads else None
    found = list(reader(store, area, pool).small_files("", wanted, str))
    errors = {at: each for at, each in enumerate(found) if isinstance(each, DunlinError)}
    assert {at: each.kind for at, each in errors.items()} == {7: ErrorKind.VANISHED}
    assert len(found) == 100
    if pool is not None:
        pool.shutdown()


class Dressed:
    """A store whose small files come with their attributes, in one request; `changed`: another version stands there."""

    caps = Caps(far=True, xattrs=True)

    def __init__(self, changed: int = 0) -> None:
        self.asked: list[str] = []
        self._changed = changed

    def facts(self, etag: str) -> Facts:
        return (0o100640, 7, 5, 1, 2, 6, 1, 0, etag, 5, 0)

    def stat(self, path: str) -> Entry:
        self.asked.append("stat")
        return Entry(path, self.facts("new"))

    def fetch_dressed(self, path: str, most: int, space: tuple[str, ...]) -> tuple[Entry, bytes, dict[str, bytes]]:
        self.asked.append("fetch")
        self._changed -= 1
        return Entry(path, self.facts("new" if self._changed < 0 else "newer")), b"content", {"user.a": b"1"}

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        self.asked.append("look")
        return {}

    def set_meta(self, path: str, meta: Meta) -> None:
        raise AssertionError

    def read(self, entry: Entry) -> Iterator[Data]:
        self.asked.append("read")
        yield b"half of each"


def dressed(area: Area, store: Any) -> Content | DunlinError:
    shelves = [Shelf(area, small, ChunkIndex()) for small in (True, False)]
    listed = (0o100000, 7, 5, None, None, 6, 1, 0, "new", None, 0)
    return Reader(store, *shelves, 1000, Chunker(1)).file(Entry("f", listed))


def test_a_small_file_far_away_takes_one_request_which_tells_what_no_listing_does(area: Area) -> None:
    store = Dressed()
    found = dressed(area, store)
    assert isinstance(found, Content)
    assert store.asked == ["fetch"]
    assert found.facts == store.facts("new")
    assert found.chunks == [(area.identify(b"content"), 7)]
    assert found.attributes is not None


def test_another_version_is_asked_for_again_and_taken_as_it_is_in_the_end(area: Area) -> None:
    store = Dressed(changed=1)
    found = dressed(area, store)
    assert isinstance(found, Content)
    assert (store.asked, found.torn) == (["fetch", "stat", "fetch"], False)
    store = Dressed(changed=5)
    found = dressed(area, store)
    assert isinstance(found, Content)
    assert (store.asked, found.torn) == (["fetch", "stat", "fetch", "stat", "look", "read"], True)


@pytest.mark.parametrize("times", [1, 9])
def test_a_file_that_is_there_and_was_not_found_is_no_deleted_one(area: Area, times: int) -> None:
    """A gateway or an automounter says so for a moment: it is read again, and fails if that goes on."""
    store = filled()
    left = [times]

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def read(self, entry: Entry, *rest: Any, **named: Any) -> Iterator[Data]:
            if entry.path == "f7" and left[0]:
                left[0] -= 1
                raise DunlinError("read", entry.path, ErrorKind.NOT_FOUND, "404")
            return store.read(entry, *rest, **named)

    found = list(reader(Away(), area).small_files("", rows(store), str))[7]
    if times == 1:
        assert isinstance(found, Content)
        assert found.chunks == [(area.identify(b"f7"), 2)]
    else:
        assert isinstance(found, DunlinError)
        assert (found.kind, found.where) == (ErrorKind.IO, "f7")
