"""Content in order and whole, whatever breaks off."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, Entry
from dunlin.pace.retry import REQUEST, retry
from dunlin.stores.base import Data
from dunlin.stores.buffers import Buffers
from dunlin.stores.objects import reading
from dunlin.stores.objects.keys import path_of
from dunlin.stores.objects.metadata import DIRECTORY
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Object
from dunlin.stores.objects.store import ObjectStore
from tests.contract.support import content, refused
from tests.unit.stores.objects.fake_service import LIMITS, FakeService, network

DATA = bytes(range(256)) * 8


def patient(act: Callable[[], Any]) -> Any:
    """The usual policy without its waits."""
    return retry(act, REQUEST, sleep=lambda seconds: None)


def stored(data: bytes = DATA, chunk: int = 100, **options: Any) -> tuple[FakeService, Entry, ObjectStore]:
    service = FakeService(chunk=chunk)
    service.fill("k", data=data)
    store = ObjectStore(service, retry=patient, **options)
    entry = store.stat("k")
    service.requests.clear()
    service.calls.clear()
    return service, entry, store


@given(
    data=st.binary(max_size=600),
    chunk=st.integers(1, 200),
    breaks=st.lists(st.integers(0, 150), max_size=7),
    start=st.integers(0, 700),
    length=st.none() | st.integers(0, 700),
    part=st.integers(10, 300),
    parallel=st.integers(1, 3),
    buffers=st.none() | st.tuples(st.integers(1, 300), st.integers(1, 20)),
)
def test_every_byte_arrives_once_and_in_order(
    data: bytes,
    chunk: int,
    breaks: list[int],
    start: int,
    length: int | None,
    part: int,
    parallel: int,
    buffers: tuple[int, int] | None,
) -> None:
    service, entry, store = stored(data, chunk, part_size=part, parallel=parallel)
    service.breaks = list(breaks)
    into = None if buffers is None else Buffers(*buffers)
    got = bytearray()
    for block in store.read(entry, start, length, into):
        assert len(block)
        got += block
        if into is not None:
            into.give(block)
    assert bytes(got) == data[start:][: len(data) if length is None else length]
    assert service.open_bodies == 0


def test_a_broken_body_costs_only_what_did_not_arrive() -> None:
    service, entry, store = stored()
    service.breaks = [250, 30, 0]
    assert content(store, entry) == DATA
    assert [call[2:] for call in service.calls] == [(0, None), (250, 1798), (280, 1768), (280, 1768)]


def test_progress_begins_the_policy_anew_and_no_progress_ends_it() -> None:
    service, entry, store = stored()
    service.breaks = [10] * 30
    assert content(store, entry) == DATA
    service.breaks = [0] * REQUEST.attempts
    refused(ErrorKind.NETWORK, lambda: content(store, entry))
    assert service.breaks == []
    assert service.open_bodies == 0


def test_an_answer_that_could_not_be_had_is_not_asked_for_by_two_policies() -> None:
    fake, entry, _ = stored()
    service = RetryingService(fake, sleep=lambda seconds: None)
    store = ObjectStore(service)
    fake.breaks = [100]
    fake.faults["get"] = [None, *[network()] * 50]
    refused(ErrorKind.NETWORK, lambda: content(store, entry))
    assert fake.requests["get"] == 1 + REQUEST.attempts


def test_without_a_policy_of_its_own_a_store_reads_on_as_its_service_retries() -> None:
    fake, entry, _ = stored()
    waits: list[float] = []
    fake.breaks = [100, 0]
    store = ObjectStore(RetryingService(fake, sleep=waits.append))
    assert content(store, entry) == DATA
    assert len(waits) == 2


def test_another_version_is_never_mixed_in() -> None:
    service, entry, store = stored(parallel=1)
    service.breaks = [250]
    blocks = store.read(entry)
    got = [next(blocks)]
    service.fill("k", data=DATA[::-1])
    refused(ErrorKind.CHANGED, lambda: got.extend(blocks))
    assert DATA.startswith(b"".join(bytes(block) for block in got))


@pytest.mark.parametrize("part", [500, 1 << 20])
def test_a_version_that_is_gone_or_another(part: int) -> None:
    service, entry, store = stored(part_size=part)
    service.fill("k", data=b"other")
    refused(ErrorKind.CHANGED, lambda: content(store, entry))
    service.delete(["k"])
    refused(ErrorKind.VANISHED, lambda: content(store, entry))
    assert service.open_bodies == 0


def test_an_empty_object_is_asked_for_too() -> None:
    service, entry, store = stored(b"")
    assert content(store, entry) == b""
    assert service.requests["get"] == 1
    service.delete(["k"])
    refused(ErrorKind.VANISHED, lambda: content(store, entry))


class AtOnce:
    """An executor that does the work when it is submitted, so that what was submitted can be counted."""

    def __init__(self, workers: int, name: str) -> None:
        pass

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments))
        return future


def test_each_buffer_gets_a_range_of_its_own_and_bounds_what_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ThreadPoolExecutor", AtOnce)
    service, entry, store = stored(part_size=256, parallel=8)
    pool = Buffers(256, 3)
    ahead: list[int] = []
    got = b""
    for block in store.read(entry, into=pool):
        ahead.append(service.requests["get"] * 256 - len(got))
        got += block
        pool.give(block)
    assert got == DATA
    assert set(ahead[:-2]) == {3 * 256}
    assert [call[2:] for call in service.calls] == [(at, 256) for at in range(0, 2048, 256)]


def test_a_receiver_that_keeps_its_buffers_is_not_waited_for_while_there_is_something_to_give() -> None:
    _, entry, store = stored(part_size=256)
    pool = Buffers(256, 3)
    kept = []
    got = b""
    for block in store.read(entry, into=pool):
        got += block
        kept.append(block)
        if len(kept) == 3:  # nothing is left to be read into: now everything comes back at once
            for one in kept:
                pool.give(one)
            kept = []
    assert got == DATA


@pytest.mark.parametrize(("size", "parallel"), [(255, 8), (2048, 8), (256, 1)])
def test_small_buffers_and_small_objects_take_one_request(size: int, parallel: int) -> None:
    service, entry, store = stored(part_size=256, parallel=parallel)
    pool = Buffers(size, 2)
    got = b""
    for block in store.read(entry, into=pool):
        got += block
        pool.give(block)
    assert got == DATA
    assert service.requests == {"get": 1}


def taken(store: ObjectStore, entry: Entry, pool: Buffers) -> bytes:
    got = b""
    for block in store.read(entry, into=pool):
        got += block
        pool.give(block)
    return got


def test_small_buffers_share_a_range_where_there_are_enough_for_three_of_them() -> None:
    service, entry, store = stored(part_size=100, parallel=8)  # pieces of 100 bytes end where no buffer does
    assert taken(store, entry, Buffers(64, 12)) == DATA
    assert sorted(call[2:] for call in service.calls) == [(at, 256) for at in range(0, 2048, 256)]
    service.calls.clear()
    assert taken(store, entry, Buffers(64, 4)) == DATA
    assert sorted(call[2:] for call in service.calls) == [(at, 128) for at in range(0, 2048, 128)], "two as least"
    service.calls.clear()
    assert taken(store, entry, Buffers(64, 3)) == DATA
    assert len(service.calls) == 1, "not enough for two ranges that are worth a request"


def test_no_range_is_larger_than_is_good_however_many_buffers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RANGE", 512)
    service, entry, store = stored(part_size=100)
    assert taken(store, entry, Buffers(64, 64)) == DATA
    assert sorted(call[2:] for call in service.calls) == [(at, 512) for at in range(0, 2048, 512)]


def test_a_buffer_is_handed_out_before_its_range_has_arrived() -> None:
    """What it brings from byte 200 on is held up; the buffers before come."""
    held = threading.Event()

    class Held(FakeService):
        def get(self, key: str, start: int = 0, length: int | None = None, etag: str = "") -> Any:
            found, body = super().get(key, start, length, etag)

            def slow() -> Iterator[Data]:
                for number, piece in enumerate(body):
                    if start == 0 and number == 2:
                        assert held.wait(10)
                    yield piece

            return found, slow()

    service = Held(chunk=100)
    service.fill("k", data=DATA)
    store = ObjectStore(service, retry=patient, part_size=256, verify=False)
    pool = Buffers(64, 12)
    blocks = store.read(store.stat("k"), into=pool)
    try:
        assert b"".join(next(blocks) for _ in range(3)) == DATA[:192]
    finally:
        held.set()
        blocks.close()  # type: ignore[attr-defined]


def test_a_shared_range_that_breaks_off_costs_only_what_did_not_arrive() -> None:
    service, entry, store = stored(part_size=1024)
    service.breaks = [300]
    assert taken(store, entry, Buffers(512, 4)) == DATA
    assert sum(length or 0 for _, _, _, length in service.calls) == len(DATA) + 724
    assert len(service.calls) == 3


def test_a_shared_range_that_fails_gives_all_buffers_back() -> None:
    service, entry, store = stored(part_size=256)
    service.faults["get"] = [None, DunlinError("read", "k", ErrorKind.DENIED)]
    pool = Buffers(64, 12)
    refused(ErrorKind.DENIED, lambda: taken(store, entry, pool))
    assert [len(pool.take()) for _ in range(12)] == [64] * 12
    assert not pool.ready
    assert service.open_bodies == 0


def test_a_reader_that_stops_within_a_shared_range_leaves_nothing_open() -> None:
    service, entry, store = stored(part_size=256)
    pool = Buffers(64, 12)
    blocks = store.read(entry, into=pool)
    pool.give(next(blocks))
    blocks.close()  # type: ignore[attr-defined]
    assert service.open_bodies == 0
    assert [len(pool.take()) for _ in range(12)] == [64] * 12


def test_a_range_that_breaks_off_costs_only_what_did_not_arrive() -> None:
    service, entry, store = stored(part_size=1024)
    service.breaks = [300]
    pool = Buffers(1024, 1)
    got = b""
    for block in store.read(entry, into=pool):
        got += block
        pool.give(block)
    assert got == DATA
    assert [call[2:] for call in service.calls] == [(0, 1024), (300, 724), (1024, 1024)]


def test_a_range_that_fails_gives_all_buffers_back() -> None:
    service, entry, store = stored(part_size=256)
    service.faults["get"] = [None, None, DunlinError("read", "k", ErrorKind.DENIED)]
    pool = Buffers(256, 3)

    def receive() -> None:
        for block in store.read(entry, into=pool):
            pool.give(block)

    refused(ErrorKind.DENIED, receive)
    assert [len(pool.take()) for _ in range(3)] == [256] * 3
    assert not pool.ready
    assert service.open_bodies == 0


def test_the_stated_digest_is_that_of_the_listed_version() -> None:
    service, entry, store = stored()
    assert store.stated_digest(entry) == ("md5", hashlib.md5(DATA).digest())
    assert ObjectStore(service, verify=False).stated_digest(entry) is None
    service.fill("k", data=b"other")
    refused(ErrorKind.CHANGED, lambda: store.stated_digest(entry))
    service.delete(["k"])
    refused(ErrorKind.VANISHED, lambda: store.stated_digest(entry))


class Apart(FakeService):
    """States a CRC-64 as S3 does: with the whole object, and to whoever asks for it, but not with a range."""

    crc: bytes | None = None

    def _crc(self, data: bytes) -> bytes:
        hasher = hashing.stated("crc64")
        hasher.update(data)
        return hasher.digest() if self.crc is None else self.crc

    def get(self, key: str, start: int = 0, length: int | None = None, etag: str = "") -> Any:
        found, body = super().get(key, start, length, etag)
        sums = (("crc64", self._crc(self.objects[key].data)),) if start == 0 and length is None else None
        return found._replace(sums=sums), body

    def stated(self, key: str) -> Object:
        return super().stated(key)._replace(sums=(("crc64", self._crc(self.objects[key].data)),))


def apart(**options: Any) -> tuple[Apart, Entry, ObjectStore]:
    service = Apart(chunk=50_000, states_md5=False)
    service.fill("k", data=DATA * 50)
    store = ObjectStore(service, retry=patient, **options)
    entry = store.stat("k")
    service.requests.clear()
    return service, entry, store


def received(store: ObjectStore, entry: Entry, start: int = 0) -> bytes:
    pool = Buffers(10_000, 3)
    got = bytearray()
    for block in store.read(entry, start, None, pool):
        got += block
        pool.give(block)
    return bytes(got)


def test_a_checksum_that_no_range_tells_is_asked_for_once() -> None:
    service, entry, store = apart(part_size=10_000)
    assert received(store, entry) == DATA * 50
    assert service.requests == {"get": 11, "stated": 1}
    assert received(store, entry, 5) == (DATA * 50)[5:]
    unwilling = ObjectStore(service, verify=False, part_size=10_000)
    assert received(unwilling, entry) == DATA * 50
    assert service.requests["stated"] == 1


@pytest.mark.parametrize("part", [10_000, 1 << 20])
def test_a_wrong_checksum_is_seen_however_the_object_is_read(part: int) -> None:
    service, entry, store = apart(part_size=part)
    service.crc = bytes(8)
    with pytest.raises(DunlinError, match="CRC64") as caught:
        received(store, entry)
    assert caught.value.kind is ErrorKind.CHECKSUM
    refused(ErrorKind.CHECKSUM, lambda: store.fetch("k", 1 << 20))
    assert store.stated_digest(entry) == ("crc64", bytes(8))


def test_a_checksum_of_another_version_is_not_compared() -> None:
    class Replaced(Apart):
        def stated(self, key: str) -> Object:
            return super().stated(key)._replace(etag="other", sums=(("crc64", bytes(8)),))

    service = Replaced(chunk=50_000, states_md5=False)
    service.fill("k", data=DATA * 50)
    store = ObjectStore(service, retry=patient, part_size=10_000)
    assert received(store, store.stat("k")) == DATA * 50


def test_without_an_etag_nothing_is_put_together_from_two_requests() -> None:
    service, entry, store = stored(part_size=256)
    untagged = Entry(entry.path, (*entry.facts[:IDENT], 0, *entry.facts[IDENT + 1 :]))
    assert content(store, untagged) == DATA
    assert service.requests["get"] == 1
    service.fill("k", data=b"of another size")
    refused(ErrorKind.CHANGED, lambda: content(store, untagged))
    assert service.open_bodies == 0


def test_a_body_that_ends_early_without_an_error_is_continued_and_closed() -> None:
    closed: list[int] = []

    class Short:
        """The first half of what was asked for; nothing says that it is not all."""

        def __init__(self, body: Iterator[Data], number: int) -> None:
            self.pieces = iter([bytes(piece) for piece in body][:10])
            self.number = number

        def __iter__(self) -> Iterator[Data]:
            return self

        def __next__(self) -> Data:
            return next(self.pieces)

        def close(self) -> None:
            closed.append(self.number)

    class Shortening(FakeService):
        def get(self, key: str, start: int = 0, length: int | None = None, etag: str = "") -> Any:
            found, body = super().get(key, start, length, etag)
            return found, Short(body, self.requests["get"])

    service = Shortening(LIMITS, chunk=100)
    service.fill("k", data=DATA)
    store = ObjectStore(service, retry=patient)
    assert content(store, store.stat("k")) == DATA
    assert sorted(closed) == [1, 2, 3]


def test_what_cannot_be_read_is_said_before_a_request() -> None:
    service, entry, _ = stored()
    store = ObjectStore(service, begin="other", retry=patient)
    refused(ErrorKind.VANISHED, lambda: content(store, entry))
    refused(ErrorKind.NOT_FOUND, lambda: store.fetch("k", 10))
    refused(ErrorKind.CHANGED, lambda: content(ObjectStore(service), Entry("k", DIRECTORY)))
    assert list(ObjectStore(service).read(entry, 5, 0)) == []
    assert service.requests == {}


def test_a_hidden_marker_is_not_fetched() -> None:
    service, _, store = stored()
    service.fill("d/", data=b"")
    refused(ErrorKind.NOT_FOUND, lambda: store.fetch(path_of("d/"), 10))
    assert service.open_bodies == 0
    assert ObjectStore(service, markers=True).fetch(path_of("d/"), 10) is not None


def test_a_reader_that_stops_leaves_nothing_open() -> None:
    for part in (256, 1 << 20):
        service, entry, store = stored(part_size=part, parallel=2)
        pool = Buffers(256, 2)
        blocks = store.read(entry, into=pool)
        pool.give(next(blocks))
        blocks.close()  # type: ignore[attr-defined]
        assert service.open_bodies == 0
        assert len(pool.take()) == len(pool.take()) == 256


@pytest.mark.parametrize("part", [256, 1 << 20])
@pytest.mark.parametrize("into", [None, 300])
def test_a_wrong_digest_is_seen_before_the_last_piece(part: int, into: int | None) -> None:
    service, entry, store = stored(part_size=part)
    service.wrong_md5.add("k")
    pool = None if into is None else Buffers(into, 1)
    got = bytearray()

    def receive() -> None:
        for block in store.read(entry, into=pool):
            got.extend(block)
            if pool is not None:
                pool.give(block)

    refused(ErrorKind.CHECKSUM, receive)
    assert len(got) < len(DATA)
    if pool is not None:
        assert len(pool.take()) == 300
    assert b"".join(store.read(entry, 1)) == DATA[1:]
    assert content(ObjectStore(service, verify=False, part_size=part), entry) == DATA
    refused(ErrorKind.CHECKSUM, lambda: store.fetch("k", 1 << 20))


def test_an_archived_object_says_what_to_do() -> None:
    service, entry, store = stored()
    service.archived.add("k")
    with pytest.raises(DunlinError) as error:
        content(store, entry)
    assert error.value.kind is ErrorKind.DENIED
    assert error.value.hint


def test_a_fetch_is_one_request_also_of_what_is_too_large() -> None:
    service, entry, store = stored()
    assert store.fetch("k", len(DATA)) == (entry, DATA)
    assert service.requests == {"get": 1}
    assert store.fetch("k", len(DATA) - 1) is None
    assert service.requests == {"get": 2}
    assert service.open_bodies == 0


def test_a_fetch_goes_on_where_it_broke_off() -> None:
    service, entry, store = stored()
    service.breaks = [300]
    assert store.fetch("k", 1 << 20) == (entry, DATA)
    assert [call[2:] for call in service.calls] == [(0, None), (300, 1748)]


def test_a_service_that_sends_too_much_is_not_believed() -> None:
    class Generous(FakeService):
        def get(self, key: str, start: int = 0, length: int | None = None, etag: str = "") -> Any:
            found, body = super().get(key, start, None, etag)
            return found, body

    service = Generous(LIMITS)
    service.fill("k", data=DATA)
    store = ObjectStore(service)
    refused(ErrorKind.IO, lambda: list(store.read(store.stat("k"), 0, 10)))


def test_a_service_that_only_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    late = DunlinError("reach", "fake", ErrorKind.TIMEOUT, "no byte for 30 s")
    monkeypatch.setattr("tests.unit.stores.objects.fake_service.network", lambda reason: late)
    service, entry, store = stored(chunk=1)
    service.breaks = [1] * 500
    refused(ErrorKind.TIMEOUT, lambda: content(store, entry))
    assert service.requests["get"] == reading.LATE
    assert service.open_bodies == 0


def test_bytes_worth_a_request_earn_the_patience_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    late = DunlinError("reach", "fake", ErrorKind.TIMEOUT, "no end after 300 s")
    monkeypatch.setattr("tests.unit.stores.objects.fake_service.network", lambda reason: late)
    monkeypatch.setattr(reading, "PROGRESS", 100)
    service, entry, store = stored(chunk=10)
    service.breaks = [100] * 30
    assert content(store, entry) == DATA
    assert service.requests["get"] == 21
