from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup.objects import Objects
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, MTIME, Entry, Facts
from dunlin.stores.local import LocalStore
from dunlin.stores.memory import MemoryStore


class LikeS3:
    """A store whose answer to a write tells no time, and whose listings tell the service's own alone."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, *rest: Any, **named: Any) -> Entry:
        entry = self._store.write(*rest, **named)
        return Entry(entry.path, without(entry.facts, (MTIME, CTIME)))

    def stat(self, path: str) -> Entry:
        return Entry(path, without(self._store.stat(path).facts, (MTIME,)))

    def list(self, directory: str) -> Any:
        for batch in self._store.list(directory):
            yield [(name, without(facts, (MTIME,))) for name, facts in batch]


def without(facts: Facts, unknown: Sequence[int]) -> Facts:
    return tuple(None if at in unknown else value for at, value in enumerate(facts))


def test_the_time_of_an_object_is_the_service_s_own_where_no_other_is_told() -> None:
    store = MemoryStore()
    objects = Objects(LikeS3(store))  # type: ignore[arg-type]
    made = objects.put("a/b", b"content")
    taken = store.stat("a/b").facts[CTIME]
    assert (made.time, made.size) == (taken, 7)
    assert objects.list("a") == [made]
    assert objects.find("a/b") == made


def test_a_store_that_goes_away_in_the_middle_of_a_listing_does_not_end_it() -> None:
    """Half a list of snapshots looks like a reason to remove what the other half needs."""

    class Leaving(LikeS3):
        def list(self, directory: str) -> Any:
            for batch in super().list(directory):
                yield batch[:1]
                raise DunlinError("list", directory, ErrorKind.NOT_FOUND, "404")

    store = MemoryStore()
    for name in "bc":
        Objects(store).put(f"a/{name}", b"content")
    with pytest.raises(DunlinError) as found:
        Objects(Leaving(store)).list("a")  # type: ignore[arg-type]
    assert found.value.kind is ErrorKind.NOT_FOUND
    assert Objects(store).list("nowhere") == []


@pytest.mark.parametrize("far", [False, True])
def test_what_lies_below_is_listed_however_deep(tmp_path: Path, far: bool) -> None:
    objects = Objects(MemoryStore() if far else LocalStore(str(tmp_path)))
    for key in ("a/x/1", "a/x/2", "a/3", "a/y/z/4", "b/5", "a/x/.dunlin-1-1.tmp"):
        objects.put(key, key.encode())
    assert {each.key: each.size for each in objects.below("a")} == {"a/x/1": 5, "a/x/2": 5, "a/3": 3, "a/y/z/4": 7}
    assert list(objects.below("none")) == []
