"""The GCS service against the emulator: every method, odd keys, paging, uploads in parts, faults."""

from __future__ import annotations

import hashlib
import random

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MTIME, SIZE
from dunlin.stores.base import Body, Meta
from dunlin.stores.login import Login
from dunlin.stores.objects.gcs import GRAIN, GcsService, open_service
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Object
from dunlin.stores.objects.store import ObjectStore
from tests.servers.faults import Rules, faults
from tests.servers.gcs import Gcs

ODD = [
    "a",
    "a/b",
    "a//b",
    "./x",
    "/lead",
    "trail/",
    "\u00e9",
    "e\u0301",
    "%2F",
    "a b+c&d",
    "..dots",
    "\U0001f426",
    "k" * 1024,
]
# The emulator drops the connection when it is asked for a key with a component "..".


def opened(gcs: Gcs, bucket: str = "") -> GcsService:
    service = open_service(bucket or gcs.bucket(), Login({"endpoint": gcs.url}))
    assert isinstance(service, GcsService)
    return service


@pytest.fixture
def service(gcs: Gcs):
    made = opened(gcs)
    yield made
    made.close()


def listed(service: GcsService, prefix: str = "", **how) -> list[Object]:
    found, token = [], ""
    while True:
        page = service.page(prefix, token=token, **how)
        found += page.objects
        token = page.token
        if not token:
            return found


def content(service: GcsService, key: str, *where) -> bytes:
    return b"".join(service.get(key, *where)[1])


@pytest.mark.parametrize("key", ODD)
def test_every_key_survives(service: GcsService, key: str):
    service.put(key, key.encode(), {"mtime": "1.5"})
    found, pieces = service.get(key)
    assert b"".join(pieces) == key.encode()
    assert (found.key, found.metadata, found.size) == (key, {"mtime": "1.5"}, len(key.encode()))
    assert [one.key for one in listed(service)] == [key]
    service.delete([key])
    assert listed(service) == []


def test_listings_come_in_pages_with_metadata_and_order(service: GcsService):
    keys = sorted((f"{n % 3}/{n}" for n in range(23)), key=str.encode)
    for key in keys:
        service.put(key, b"x", {"n": key})
    found = listed(service, most=4)
    assert [(one.key, one.metadata) for one in found] == [(key, {"n": key}) for key in keys]
    page = service.page("", delimiter="/")
    assert (page.objects, page.prefixes) == ([], ["0/", "1/", "2/"])
    assert [one.key for one in listed(service, after=keys[10])] == keys[11:]


def test_ranges(service: GcsService):
    service.put("k", b"0123456789", {})
    etag = service.head("k").etag
    assert content(service, "k", 3) == b"3456789"
    assert content(service, "k", 3, 4, etag) == b"3456"
    assert content(service, "k", 10, None, etag) == b""
    assert content(service, "k", 4, 0, etag) == b""
    assert service.get("k", 2, 3, etag)[0].size == 10


def test_the_digest_is_checked_by_the_service(service: GcsService):
    with pytest.raises(DunlinError):
        service.put("k", b"content", {}, md5=hashlib.md5(b"other").digest())
    service.put("k", b"content", {}, md5=hashlib.md5(b"content").digest())
    assert service.head("k").md5 == hashlib.md5(b"content").digest()


def test_metadata_is_replaced_and_the_version_stays(service: GcsService):
    etag = service.put("k", b"x", {"a": "1", "b": "2"})
    assert service.set_metadata("k", {"b": "3", "c": "4"}, etag) == etag
    left = service.head("k").metadata or {}
    assert left == {"b": "3", "c": "4"}  # the emulator keeps the null that "a" was set to


def test_a_copy_within_the_service(service: GcsService):
    service.put("k", b"content", {"a": "1"})
    service.copy(service, service.head("k"), "new", {"a": "2"})
    assert content(service, "new") == b"content"


@pytest.mark.parametrize("size", [0, 1, GRAIN - 1, GRAIN, 3 * GRAIN + 5, 5 * GRAIN])
def test_uploads_in_parts(service: GcsService, size: int):
    data = random.Random(size).randbytes(size)
    upload = service.begin("k", {"a": "1"})
    cut = [data[at : at + GRAIN + 7] for at in range(0, size, GRAIN + 7)] or [b""]
    parts = [service.part("k", upload, number, piece, b"") for number, piece in enumerate(cut, 1)]
    service.complete("k", upload, parts, {"a": "1"})
    assert content(service, "k") == data
    assert service.head("k").metadata == {"a": "1"}


def test_a_store_writes_and_reads_large_objects(service: GcsService):
    store = ObjectStore(service, part_size=300_000, write_part=GRAIN)
    data = random.Random(1).randbytes(5 * GRAIN + 3)
    store.write("big", Body(len(data), lambda start: iter([data[start:]])), meta=Meta(mtime=1_500_000_000_123_456_789))
    entry = store.stat("big")
    assert (entry.facts[SIZE], entry.facts[MTIME]) == (len(data), 1_500_000_000_123_456_789)
    assert b"".join(store.read(entry)) == data


def test_a_missing_bucket_and_a_missing_object(gcs: Gcs, service: GcsService):
    with pytest.raises(DunlinError) as caught:
        service.head("absent")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    with pytest.raises(DunlinError) as caught:
        opened(gcs, "no-such-bucket-here").page("")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    service.delete(["absent"])


def test_every_byte_is_right_through_faults(gcs: Gcs):
    bucket = gcs.bucket()
    with faults(gcs.url, Rules(resets=0.1, busy=0.1, truncated=0.05, seed=4)) as proxy:
        service = RetryingService(opened(gcs.at(proxy.origin), bucket), sleep=lambda seconds: None)
        store = ObjectStore(service, write_part=GRAIN, retry=service.again)
        data = random.Random(2).randbytes(3 * GRAIN + 11)
        for n in range(20):
            size = len(data) if n % 5 == 0 else n
            store.write(f"k{n}", Body(size, lambda start, size=size: iter([data[start:size]])), meta=Meta())
        for n in range(20):
            size = len(data) if n % 5 == 0 else n
            assert b"".join(store.read(store.stat(f"k{n}"))) == data[:size]
        assert proxy.count(fault="busy") + proxy.count(fault="reset") > 0
