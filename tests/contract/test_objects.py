"""Every legal key has a path and comes back as the same key, through every object service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry, Kind, is_directory, join
from dunlin.stores.base import Body, Meta, Order
from dunlin.stores.objects.keys import EMPTY, path_of
from dunlin.stores.objects.service import Service
from dunlin.stores.objects.store import ObjectStore
from tests.contract.objects import REFUSED
from tests.contract.support import content, names, put, refused
from tests.unit.stores.objects.fake_service import FakeService

KEYS = [
    "a",
    "a-b",
    "a.txt",
    "a/",
    "a/b",
    "a/b/c",
    "a0",
    "a b",
    "a//b",
    "a///c",
    "//",
    "//x",
    "/lead",
    "../x",
    "up/../x",
    "./x",
    "..",
    "dir/",
    "only/marker/",
    "trailing.",
    "\u00e9",
    "e\u0301",
    "new\nline",
    "pct%2Fx",
    "plus+and&?#=;",
    "back\\slash",
    "quote'\"<>",
    "\u201b_",
    "\u201b2e",
    "\U0001f426",
    "\u00e9" * 255,
    "long/" + "k" * 1019,
]


def tree(store: ObjectStore, directory: str = "") -> Iterator[Entry]:
    """Every file, found by listing directory after directory."""
    for batch in store.list(directory):
        for name, what in batch:
            entry = Entry(join(directory, name), what)
            if is_directory(what):
                yield from tree(store, entry.path)
            else:
                yield entry


@pytest.fixture
def keys(service: Service, request: pytest.FixtureRequest) -> list[str]:
    """The keys that this server takes, each an object whose content is its key; markers are empty."""
    wanted = [key for key in KEYS if key not in REFUSED.get(request.node.callspec.params["service"], ())]
    for key in wanted:
        service.put(key, b"" if key.endswith("/") else key.encode(), {})
    return wanted


@pytest.mark.parametrize("markers", [False, True])
def test_every_key_is_found_and_read_under_its_path(service: Service, keys: list[str], markers: bool) -> None:
    store = ObjectStore(service, markers=markers)
    shown = [key for key in keys if markers or not key.endswith("/")]
    found = {entry.path: entry for entry in tree(store)}
    assert sorted(found) == sorted(path_of(key) for key in shown)
    for key in shown:
        entry = found[path_of(key)]
        assert content(store, entry) == (b"" if key.endswith("/") else key.encode())
        assert store.stat(entry.path).size == entry.size
        fetched = store.fetch(entry.path, 2000)
        assert fetched is not None
        assert fetched[1] == content(store, entry)


def test_a_flat_listing_has_them_all(service: Service, keys: list[str]) -> None:
    store = ObjectStore(service)
    walked = [item for batch in store.walk("") for item in batch]
    found = [path for path, what in walked if not is_directory(what)]
    marked = [path for path, what in walked if is_directory(what)]
    assert sorted(marked) == sorted(path_of(key[:-1]) for key in keys if key.endswith("/"))
    shown = [key for key in keys if not key.endswith("/")]
    assert sorted(found) == sorted(path_of(key) for key in shown)
    if store.caps.order is Order.PROVEN:
        plain = [key for key in shown if path_of(key) == key]
        assert [path for path in found if path in plain] == sorted(plain)


def test_from_object_to_object_every_key_stays_what_it_is(service: Service, keys: list[str]) -> None:
    there = FakeService()
    source, target = ObjectStore(service, markers=True), ObjectStore(there, markers=True)
    for entry in tree(source):
        def open_at(start: int, entry: Entry = entry) -> Iterator[bytes | memoryview]:
            return source.read(entry, start)

        target.write(entry.path, Body(entry.size, open_at), meta=Meta())
    assert sorted(there.objects) == sorted(keys)
    assert all(there.objects[key].data in (b"", key.encode()) for key in keys)


def test_every_path_is_written_under_its_key_and_deleted(service: Service, keys: list[str]) -> None:
    store = ObjectStore(service, markers=True)
    paths = [path_of(key) for key in keys]
    for path in paths:
        put(store, path, b"again")
        assert service.head(key_in(service, path)).size == 5
    store.delete(paths)
    assert names(store) == []


def key_in(service: Service, path: str) -> str:
    """The one key that has this path."""
    return next(key for key in KEYS if path_of(key) == path)


def test_a_marker_is_an_empty_directory_until_it_has_content(service: Service) -> None:
    service.put("d/", b"", {})
    store = ObjectStore(service)
    assert names(store) == ["d"]
    assert names(store, "d") == []
    assert store.stat("d").kind is Kind.DIRECTORY
    refused(ErrorKind.NOT_FOUND, lambda: store.stat(f"d/{EMPTY}"))
    assert names(ObjectStore(service, markers=True), "d") == [EMPTY]
    service.put("d/", b"content", {})
    assert names(store, "d") == [EMPTY]
    assert content(store, store.stat(f"d/{EMPTY}")) == b"content"


def test_a_prefix_need_not_end_at_a_slash(service: Service) -> None:
    for key in ("logs/2023/x", "logs/2024/a", "logs/2024/b/c", "logs/20249", "other"):
        service.put(key, b"1", {})
    whole = ObjectStore(service, begin="logs/2024")
    assert names(whole) == ["logs"]
    assert sorted(names(whole, "logs")) == ["2024", "20249"]
    assert sorted(names(whole, "logs/2024")) == ["a", "b"]
    below = ObjectStore(service, root="logs/", begin="logs/2024")
    assert sorted(names(below)) == ["2024", "20249"]
    for path in ("other", "logs/2023/x", "logs/2023"):
        refused(ErrorKind.NOT_FOUND, lambda path=path: whole.stat(path))
    refused(ErrorKind.NAME, lambda: put(whole, "other", b"2"))
    refused(ErrorKind.NAME, lambda: whole.delete(["other"]))
    assert ObjectStore(service).fetch("other", 1) is not None


def test_a_root_is_there_with_its_bucket(service: Service) -> None:
    for store in (ObjectStore(service), ObjectStore(service, root="p/")):
        assert names(store) == []
        assert store.stat("").kind is Kind.DIRECTORY
        with pytest.raises(DunlinError):
            store.stat("p")
