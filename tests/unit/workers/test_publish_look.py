"""What stands at the keys of a unit, in few requests."""

from __future__ import annotations

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry
from dunlin.pace.bucket import Bucket
from dunlin.stores.base import Body, Meta
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.workers.publish_look import PAGE, Keys, make_parents, same_content, store_path
from tests.unit.stores.objects.fake_service import LIMITS, FakeService


def bucket(*keys: str, ordered: bool = True) -> tuple[FakeService, ObjectStore]:
    service = FakeService(ordered=ordered)
    for key in keys:
        service.put(key, b"x" * 3, {})
    service.requests.clear()
    return service, ObjectStore(service, list_parallel=1)


def test_a_listing_instead_of_many_looks() -> None:
    service, store = bucket("d/1", "d/3", "d/3/deeper", "d/9")
    keys = Keys(store, [f"d/{n}" for n in range(8)])
    found = [keys.find(f"d/{n}") for n in range(5)]
    assert [entry and entry.size for entry in found] == [None, 3, None, 3, None]
    assert service.requests == {"page": 1}


def test_few_keys_are_looked_at() -> None:
    service, store = bucket("d/1")
    keys = Keys(store, ["d/1", "d/2", "e/1"])
    assert [keys.find(path) is not None for path in ("d/1", "d/2", "e/1")] == [True, False, False]
    assert service.requests == {"head": 3}


def test_a_directory_that_is_not_there_has_none_of_them() -> None:
    service, store = bucket()
    keys = Keys(store, [f"d/{n}" for n in range(8)])
    assert not any(keys.find(f"d/{n}") for n in range(5))
    assert service.requests == {"page": 1}


def test_a_long_listing_is_broken_off() -> None:
    others = [f"d/a{n:05}" for n in range(30 * PAGE)]
    service, store = bucket(*others, "d/z")
    wanted = ["d/a00001", "d/a00001x", *(f"d/x{n}" for n in range(7)), "d/z"]
    keys = Keys(store, wanted)
    listed = service.requests["page"]
    found = [path for path in wanted if keys.find(path) is not None]
    assert found == ["d/a00001", "d/z"]
    # Names before the last one seen are known not to be there; the others are looked at.
    assert service.requests["head"] == 8
    assert service.requests["page"] == listed <= 3


def test_a_listing_in_no_order_proves_nothing_before_its_end() -> None:
    others = [f"d/a{n:05}" for n in range(30 * PAGE)]
    service, store = bucket(*others, "d/z", ordered=False)
    wanted = ["d/a00001", "d/a00001x", *(f"d/x{n}" for n in range(7)), "d/z"]
    keys = Keys(store, wanted)
    assert [path for path in wanted if keys.find(path) is not None] == ["d/a00001", "d/z"]
    assert service.requests["page"] <= 3


def test_a_listing_that_is_refused_leaves_looks() -> None:
    service, store = bucket("d/1")
    denied = DunlinError("list", "d", ErrorKind.DENIED)
    service.faults["page"] = [denied]
    keys = Keys(store, [f"d/{n}" for n in range(8)])
    assert keys.find("d/1") is not None
    service.faults["head"] = [denied]
    with pytest.raises(DunlinError):
        keys.find("d/2")


def test_the_root_is_listed_like_any_directory() -> None:
    service, store = bucket("1")
    keys = Keys(store, list("01234567"))
    assert [keys.find(path) is not None for path in "0123"] == [False, True, False, False]
    assert service.requests == {"page": 1}
    assert LIMITS.page == PAGE


def test_paths_of_keys() -> None:
    _, store = bucket()
    assert store_path(store, "a/.dunlin-1.tmp") != "a/.dunlin-1.tmp"
    assert store_path(MemoryStore(), "a/.dunlin-1.tmp") == "a/.dunlin-1.tmp"


def test_directories_are_made_once() -> None:
    store = MemoryStore()
    made: set[str] = set()
    make_parents(store, "a/b/f", made)
    make_parents(store, "a/b/g", made)
    assert store.stat("a/b").path == "a/b"
    assert made == {"", "a", "a/b"}
    put(store, "file", b"")
    with pytest.raises(DunlinError) as caught:
        make_parents(store, "file/x", made)
    assert caught.value.kind is ErrorKind.CLASH


def put(store: MemoryStore | ObjectStore, path: str, data: bytes) -> Entry:
    return store.write(path, Body(len(data), lambda start: iter([data[start:]])), meta=Meta())


@pytest.mark.parametrize("states", [True, False])
def test_same_content(states: bool) -> None:
    source, target = MemoryStore(), ObjectStore(FakeService(states_md5=states))
    here = put(source, "f", b"12345")
    for data, same in ((b"12345", True), (b"12346", False), (b"123456", False)):
        assert same_content(source, here, target, put(target, "k", data), Bucket.create()) is same
