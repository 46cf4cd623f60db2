import os
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from dunlin.backup import keys, repository
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.fetching import Frames
from dunlin.backup.objects import Objects
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Area, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.memory import MemoryStore


@pytest.fixture
def area(monkeypatch: pytest.MonkeyPatch) -> Area:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    return repository.init(Objects(MemoryStore()), b"word", Settings()).area("t", "s")


def packs(area: Area) -> list[str]:
    return [each.key for each in area.objects.list(area.root)]


class Later(Executor):
    """A thread that gets to its work when somebody waits for it."""

    def __init__(self) -> None:
        self.waited = 0

    def submit(self, call: Any, /, *rest: Any, **named: Any) -> Future[Any]:
        later = self

        class Pending(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                if not self.done():
                    later.waited += 1
                    self.set_result(call(*rest, **named))
                return super().result()

        return Pending()


def test_a_full_pack_is_stored_while_the_next_is_filled(area: Area) -> None:
    sender = Later()
    shelf = Shelf(area, True, ChunkIndex(), full=10_000, sender=sender)
    first = shelf.put(os.urandom(10_000))
    assert (packs(area), sender.waited) == ([], 0)
    shelf.put(os.urandom(10_000))
    assert (len(packs(area)), sender.waited) == (1, 1)
    shelf.finish()
    assert len(packs(area)) == 2
    ((_, segment),) = area.chunk_segments(True)
    place = ChunkIndex([segment]).find(first)
    assert place is not None
    assert len(Frames(area).chunk(first, (place, True))) == 10_000


def test_what_is_on_its_way_is_not_stored_again(area: Area) -> None:
    shelf = Shelf(area, True, ChunkIndex(), full=10_000, sender=Later())
    content = os.urandom(10_000)
    assert shelf.put(content) == shelf.put(content)
    shelf.finish()
    assert (len(packs(area)), shelf.new_bytes) == (1, 10_000)


def test_a_pack_that_could_not_be_stored_is_told_and_not_in_the_index(
    area: Area, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DunlinError("write", "x", ErrorKind.IO, "no space")

    shelf = Shelf(area, True, ChunkIndex(), full=10_000, sender=Later())
    shelf.put(os.urandom(10_000))
    monkeypatch.setattr(area.objects, "put", full)
    with pytest.raises(DunlinError, match="no space"):
        shelf.finish()
    monkeypatch.undo()
    assert area.chunk_segments(True) == []


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, ErrorKind.BUSY, ErrorKind.DENIED, ErrorKind.EXISTS, ErrorKind.IO])
@pytest.mark.parametrize("sender", [False, True])
def test_a_pack_that_cannot_be_stored_ends_the_run_and_nothing_more_is_taken(
    area: Area, monkeypatch: pytest.MonkeyPatch, kind: ErrorKind, sender: bool
) -> None:
    """It holds chunks of other files than the one that filled it: no file's failure may be made of it."""
    shelf = Shelf(area, True, ChunkIndex(), full=10_000, sender=Later() if sender else None)
    put = area.objects.put
    refused = [True]

    def once(key: str, data: Any, **more: Any) -> None:
        if refused and refused.pop():
            raise DunlinError("write", key, kind, "once")
        put(key, data, **more)

    monkeypatch.setattr(area.objects, "put", once)

    def fill() -> None:
        for _ in range(7):
            shelf.put(os.urandom(5_000))

    with pytest.raises(DunlinError, match="once") as found:
        fill()
    assert found.value.fatal
    with pytest.raises(DunlinError, match="once"):
        shelf.put(b"another")
    with pytest.raises(DunlinError, match="once"):
        shelf.finish()


def test_who_ends_in_the_middle_names_what_is_stored_and_no_half_pack(area: Area) -> None:
    shelf = Shelf(area, True, ChunkIndex(), full=10_000)
    shelf.put(os.urandom(10_000))
    shelf.put(os.urandom(500))
    shelf.end()
    assert len(packs(area)) == 1
    ((_, segment),) = area.chunk_segments(True)
    assert len(segment) == 1
    shelf.end()
    assert len(area.chunk_segments(True)) == 1


@pytest.mark.parametrize("kind", [ErrorKind.NO_SPACE, ErrorKind.NETWORK])
def test_what_no_index_names_goes_only_where_it_is_certain_that_none_does(
    area: Area, monkeypatch: pytest.MonkeyPatch, kind: ErrorKind
) -> None:
    shelf = Shelf(area, True, ChunkIndex(), full=10_000)
    shelf.put(os.urandom(10_000))

    def refused(key: str, data: Any, **more: Any) -> None:
        raise DunlinError("write", key, kind, "not now")

    monkeypatch.setattr(area.objects, "put", refused)
    shelf.end()
    assert len(packs(area)) == (0 if kind is ErrorKind.NO_SPACE else 1)


def test_packs_are_on_stable_storage_before_an_index_names_them(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a power cut leaves an index that the next backup counts on, and no pack."""
    done: list[str] = []
    put, sync = area.objects.put, area.objects.sync

    def noted(key: str, data: Any, **more: Any) -> Any:
        done.append("index" if "/chunks/" in key else "pack")
        return put(key, data, **more)

    monkeypatch.setattr(area.objects, "put", noted)
    monkeypatch.setattr(area.objects, "sync", lambda: (done.append("sync"), sync()))
    shelf = Shelf(area, True, ChunkIndex(), full=1000)
    for _ in range(3):
        shelf.put(os.urandom(1000))
    shelf.finish()
    assert done == ["pack", "pack", "pack", "sync", "index"]
