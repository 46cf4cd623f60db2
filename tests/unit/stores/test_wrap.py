"""What each wrapper adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry
from dunlin.report import RecordingReport
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.buffers import Buffers
from dunlin.stores.local.store import LocalStore
from dunlin.stores.local.writing import WriteOptions
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.stores.wrap import Counted, Guarded, Paced, Retrying, UnlessThere
from tests.contract.support import body, content, get, names, put
from tests.unit.stores.objects.fake_service import FakeService

T = TypeVar("T")


def network() -> DunlinError:
    return DunlinError("read", "x", ErrorKind.NETWORK)


class Policy:
    """Tries `attempts` times, without waiting."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.failures = 0

    def __call__(self, act: Callable[[], T], /) -> T:
        for attempt in range(self.attempts):
            try:
                return act()
            except DunlinError as error:
                self.failures += 1
                if attempt == self.attempts - 1 or not error.retryable:
                    raise
        raise AssertionError


class Flaky(MemoryStore):
    """Breaks off the first `failures` reads after one chunk; remembers where reads began."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.starts: list[tuple[int, int | None]] = []

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        self.starts.append((start, length))
        for data in super().read(entry, start, length, into):
            yield data
            if self.failures:
                self.failures -= 1
                raise network()


def test_counted() -> None:
    report = RecordingReport()
    store = Counted(MemoryStore(), report)
    entry = put(store, "f", b"12345")
    assert content(store, entry) == b"12345"
    names(store)
    store.make_directory("d")
    store.delete(["f", "d"])
    assert report.counts == {
        "store.write": 1,
        "store.bytes_written": 5,
        "store.read": 1,
        "store.bytes_read": 5,
        "store.list": 1,
        "store.make_directory": 1,
        "store.delete": 1,
    }


def test_paced_asks_before_each_block_passes() -> None:
    log: list[object] = []

    class Bucket:
        def take(self, n: int) -> None:
            log.append(n)

    inner = MemoryStore()
    store = Paced(inner, Bucket())
    seen = Body(7, lambda start: iter([b"123", b"4567"]), lambda data: log.append(bytes(data)))
    store.write("f", seen, meta=Meta())
    assert log == [3, b"123", 4, b"4567"]
    log.clear()
    pool = Buffers(4, 1)
    for data in store.read(store.stat("f"), into=pool):
        log.append(bytes(data))
        pool.give(data)
    assert log == [4, b"1234", 3, b"567"]


def test_a_fetch_is_counted_and_paced_and_made_again() -> None:
    service = FakeService()
    service.fill("f", data=b"12345")
    report = RecordingReport()
    asked: list[int] = []

    class Bucket:
        def take(self, n: int) -> None:
            asked.append(n)

    policy = Policy(2)
    store = Counted(Paced(Retrying(ObjectStore(service), policy), Bucket()), report)
    service.faults["get"] = [network()]
    fetched = store.fetch("f", 5)
    assert fetched is not None
    assert fetched[1] == b"12345"
    assert store.fetch("f", 4) is None
    assert policy.failures == 1
    assert asked == [5]
    assert report.counts == {"store.fetch": 2, "store.bytes_read": 5}


def test_a_stopped_bucket_loses_no_buffer() -> None:
    class Stopped:
        def take(self, n: int) -> None:
            raise DunlinError("copy", "", ErrorKind.INTERRUPTED)

    inner = MemoryStore()
    entry = put(inner, "f", b"12345")
    pool = Buffers(10, 1)
    with pytest.raises(DunlinError):
        list(Paced(inner, Stopped()).read(entry, into=pool))
    assert len(pool.take()) == 10
    released: list[Data] = []
    with pytest.raises(DunlinError):
        Paced(inner, Stopped()).write("g", Body(1, lambda start: iter([b"x"]), released.append), meta=Meta())
    assert names(inner) == ["f"]


def test_a_read_goes_on_after_the_last_byte() -> None:
    inner = Flaky(failures=3)
    data = bytes(range(256)) * 4000
    entry = put(inner, "f", data)
    policy = Policy(2)
    store = Retrying(inner, policy)
    read = b"".join(bytes(chunk) for chunk in store.read(entry, 100, 1_000_000))
    assert read == data[100:1_000_100]
    assert policy.failures == 3
    assert [start for start, _ in inner.starts] == [100, 262_244, 524_388, 786_532]
    assert all(start + (length or 0) == 1_000_100 for start, length in inner.starts)


def test_a_read_of_another_version_does_not_go_on() -> None:
    inner = Flaky(failures=1)
    entry = put(inner, "f", b"a" * 600_000, mtime=1)
    chunks = Retrying(inner, Policy(3)).read(entry)
    next(chunks)
    put(inner, "f", b"b" * 600_000, mtime=2)
    with pytest.raises(DunlinError) as error:
        list(chunks)
    assert error.value.kind is ErrorKind.CHANGED


def test_the_last_error_comes_through_when_the_policy_gives_up() -> None:
    inner = MemoryStore()
    inner.faults["stat", "f"] = network()
    policy = Policy(3)
    with pytest.raises(DunlinError) as error:
        Retrying(inner, policy).stat("f")
    assert error.value.kind is ErrorKind.NETWORK
    assert policy.failures == 3


def test_a_write_is_replayed_from_its_body() -> None:
    inner = MemoryStore()
    outcomes: Iterator[Any] = iter([network(), network(), None])

    def fault() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    inner.faults["write", "f"] = fault
    opened: list[int] = []
    wanted = body(b"123")
    counted = Body(3, lambda start: (opened.append(start), wanted.open(start))[1])
    Retrying(inner, Policy(3)).write("f", counted, meta=Meta())
    assert get(inner, "f") == b"123"
    assert opened == [0]


def test_a_listing_is_made_again_only_before_its_first_batch() -> None:
    class Lister(MemoryStore):
        begun = 0

        def list(self, directory: str) -> Any:
            self.begun += 1
            if self.begun == 1:
                raise network()
            yield [("a", ())]
            raise network()

    inner = Lister()
    found: list[Any] = []
    with pytest.raises(DunlinError):
        found.extend(Retrying(inner, Policy(5)).list(""))
    assert found == [[("a", ())]]
    assert inner.begun == 2


# ---- guarded ----


class Fence:
    """Lets so many questions pass, and no more."""

    def __init__(self, passes: int) -> None:
        self.left = passes

    def __call__(self) -> None:
        if not self.left:
            raise DunlinError("finish", "", ErrorKind.INTERRUPTED, "its lease ran out")
        self.left -= 1


def test_whoever_may_not_go_on_changes_nothing(tmp_path: Path) -> None:
    inner = LocalStore(str(tmp_path))
    (tmp_path / "f").write_text("as it was")
    (tmp_path / "d").mkdir()
    store = Guarded(inner, Fence(0))
    changes: list[Callable[[], object]] = [
        lambda: store.write("f", Body(3, lambda start: iter([b"new"])), meta=Meta()),
        lambda: store.delete(["f"]),
        lambda: store.make_directory("e"),
        lambda: store.remove_directory("d"),
        lambda: store.move("f", "g"),
        lambda: store.set_meta("f", Meta(mtime=5)),
        lambda: store.make_link("l", "f", Meta()),
    ]
    for change in changes:
        with pytest.raises(DunlinError) as raised:
            change()
        assert raised.value.kind is ErrorKind.INTERRUPTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "f"]
    assert (tmp_path / "f").read_text() == "as it was"
    assert b"".join(store.read(store.stat("f"))) == b"as it was"


def test_content_is_asked_about_again_when_all_of_it_was_read(tmp_path: Path) -> None:
    read: list[int] = []

    def open_at(start: int) -> Iterator[bytes]:
        for n in range(3):
            read.append(n)
            yield b"new"

    (tmp_path / "f").write_text("as it was")
    with pytest.raises(DunlinError) as raised:
        Guarded(LocalStore(str(tmp_path)), Fence(1)).write("f", Body(9, open_at), meta=Meta())
    assert raised.value.kind is ErrorKind.INTERRUPTED
    assert read == [0, 1, 2]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("f", "as it was")]
    Guarded(LocalStore(str(tmp_path)), Fence(2)).write("f", Body(9, open_at), meta=Meta())
    assert (tmp_path / "f").read_text() == "newnewnew"


def test_a_local_store_asks_right_before_the_name_is_given(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def commit() -> None:
        seen.append(sorted(path.name[:7] for path in tmp_path.iterdir()))
        raise DunlinError("finish", "", ErrorKind.INTERRUPTED, "its lease ran out")

    store = LocalStore(str(tmp_path), options=WriteOptions(commit=commit))
    with pytest.raises(DunlinError):
        store.write("f", Body(3, lambda start: iter([b"new"])), meta=Meta())
    assert seen == [[".dunlin"]]
    assert list(tmp_path.iterdir()) == []


# ---- UnlessThere ----


class Conditions(MemoryStore):
    """Notes how it was asked to write; `refuses`: what it says to the condition."""

    def __init__(self, refuses: ErrorKind | None = None) -> None:
        super().__init__()
        self.refuses = refuses
        self.asked: list[bool] = []

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        self.asked.append(if_absent)
        if if_absent and self.refuses is not None:
            raise DunlinError("write", path, self.refuses, "no")
        return super().write(path, body, meta=meta, if_absent=if_absent)


def whole(data: bytes) -> Body:
    return Body(len(data), lambda start: iter((data[start:],)))


def test_content_for_a_vacant_name_is_written_on_that_condition() -> None:
    store = Conditions()
    UnlessThere(store).write("f", whole(b"new"), meta=Meta())
    assert store.asked == [True]


@pytest.mark.parametrize("refuses", [None, ErrorKind.UNSUPPORTED])
def test_what_stands_there_by_now_is_replaced_by_whoever_may(refuses: ErrorKind | None) -> None:
    """Also where the store knows no conditions."""
    store = Conditions(refuses)
    store.write("f", whole(b"old"), meta=Meta())
    store.asked.clear()
    UnlessThere(store).write("f", whole(b"new"), meta=Meta())
    assert store.asked == [True, False]
    assert b"".join(bytes(data) for data in store.read(store.stat("f"))) == b"new"


def test_whoever_may_not_any_more_replaces_nothing() -> None:
    """Stopped after the guard let it pass; a successor wrote there meanwhile."""
    store = Conditions()
    looks: list[bool] = []

    def guard() -> None:
        if len(looks) == 2:
            raise DunlinError("finish", "f", ErrorKind.INTERRUPTED, "its lease ran out")
        looks.append(True)
        if len(looks) == 2:
            store.write("f", whole(b"newer"), meta=Meta())

    with pytest.raises(DunlinError) as raised:
        UnlessThere(Guarded(store, guard)).write("f", whole(b"older"), meta=Meta())
    assert raised.value.kind is ErrorKind.INTERRUPTED
    assert b"".join(bytes(data) for data in store.read(store.stat("f"))) == b"newer"


def test_other_errors_are_told_at_once() -> None:
    store = Conditions(ErrorKind.NETWORK)
    with pytest.raises(DunlinError, match="no"):
        UnlessThere(store).write("f", whole(b"new"), meta=Meta())
    assert store.asked == [True]
