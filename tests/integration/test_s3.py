"""The S3 service against moto (S3's rules for keys and conditions) and `rclone serve s3` (signatures, Content-MD5).

Neither is Amazon. moto checks no signature and no Content-MD5 and ignores the condition of a copy; rclone knows no
conditions, and keeps keys as names of files.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from awscrt import checksums

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import Retry
from dunlin.stores.buffers import Buffers
from dunlin.stores.login import Login
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.s3 import open_service
from dunlin.stores.objects.s3_login import identity
from dunlin.stores.objects.service import Object, Service
from dunlin.stores.objects.store import ObjectStore
from tests.servers.faults import Rules, faults
from tests.servers.s3 import S3

ODD = [
    "a", "a-b", "a.txt", "a/", "a0", "a b", "\u00e9", "e\u0301", "a//b", "//", "//two", "/lead", "../x", "./x",
    "x/../y", "..", ".", "trail.", "dir/", "pct%2Fx", "a+b", "q?x#y&z=1;", "back\\slash", "quote'\"<>",
    "new\nline", "tab\tx", "cr\rx", "\x01ctl", "nul\0x", "\x7f", "\ufffe", "\u201b_", "\U0001f426", "*(!)'~",
    "\u8a9e" * 85, "k" * 1024,
]  # fmt: skip
"""What a key may be: any 1 to 1,024 bytes of UTF-8."""

PART = 5 << 20


def login(server: S3, **more: str) -> Login:
    keys = {"access_key_id": server.key_id, "secret_access_key": server.secret, "endpoint": server.url}
    return Login({**keys, **more})


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def kind(act: Callable[[], Any]) -> ErrorKind:
    with pytest.raises(DunlinError) as caught:
        act()
    return caught.value.kind


def everything(service: Service, prefix: str = "", most: int = 0) -> list[Object]:
    found, token = [], ""
    while True:
        page = service.page(prefix, token=token, most=most)
        found += page.objects
        token = page.token
        if not token:
            return found


def body(service: Service, key: str, *where: Any, **more: Any) -> bytes:
    return b"".join(service.get(key, *where, **more)[1])


@pytest.fixture
def moto(moto_s3: S3) -> Iterator[Service]:
    service = open_service(moto_s3.bucket(), login(moto_s3))
    yield service
    service.close()


@pytest.fixture
def rclone(rclone_s3: S3) -> Iterator[Service]:
    service = open_service(rclone_s3.bucket(), login(rclone_s3))
    yield service
    service.close()


@pytest.fixture(params=["moto", "rclone"])
def s3(request: pytest.FixtureRequest) -> Service:
    service: Service = request.getfixturevalue(request.param)
    return service


def test_odd_keys_survive_every_verb(moto: Service) -> None:
    for key in ODD:
        data = key.encode() * 2
        etag = moto.put(key, data, {"key": key}, md5=md5(data))
        found = moto.head(key)
        assert (found.key, found.size, found.etag, found.md5) == (key, len(data), etag, md5(data))
        assert found.metadata == {"key": key}
        assert moto.get(key)[0] == found
        assert body(moto, key, 1, 3) == data[1:4]
        assert moto.copy(moto, found, f"copy/{key}x", {"x": "y"}) == etag
    assert [found.key for found in everything(moto, "copy/")] == sorted((f"copy/{key}x" for key in ODD), key=str.encode)
    moto.delete([found.key for found in everything(moto, "copy/")])
    assert [found.key for found in everything(moto, most=7)] == sorted(ODD, key=str.encode)
    moto.delete(ODD)
    assert everything(moto) == []


def test_listed_and_looked_at_are_the_same(s3: Service) -> None:
    s3.put("a", b"data", {})
    listed, looked = everything(s3)[0], s3.head("a")
    assert listed == looked._replace(metadata=None, md5=None)


def test_prefix_delimiter_and_start(moto: Service) -> None:
    for key in ("a", "a/b", "a/c/d", "ab", "b"):
        moto.put(key, b"", {})
    page = moto.page("", delimiter="/")
    assert ([found.key for found in page.objects], page.prefixes) == (["a", "ab", "b"], ["a/"])
    assert moto.page("a/", delimiter="/").prefixes == ["a/c/"]
    assert [found.key for found in moto.page("a").objects] == ["a", "a/b", "a/c/d", "ab"]
    assert [found.key for found in moto.page("", after="a/c/d").objects] == ["ab", "b"]


def test_a_listing_of_3000_keys_is_three_requests(rclone_s3: S3) -> None:
    bucket = rclone_s3.bucket()
    whole = open_service(bucket, login(rclone_s3))
    with ThreadPoolExecutor(8) as threads:
        etags = list(threads.map(lambda number: whole.put(f"k{number:04d}", b"", {"mtime": "1"}), range(3000)))
    whole.close()
    assert len(etags) == 3000
    with faults(rclone_s3.url) as proxy:
        service = open_service(bucket, login(rclone_s3.at(proxy.origin)))
        assert len(everything(service)) == 3000
        service.close()
        assert [(asked.method, asked.kind) for asked in proxy.seen()] == [("GET", "list")] * 3


def test_pieces_of_an_object(s3: Service) -> None:
    data = bytes(range(256)) * 4000
    etag = s3.put("k", data, {"mtime": "1.5"}, md5=md5(data))
    end = len(data)
    for start, length in ((0, None), (5, None), (1_000_000, None), (100, 5), (0, 1), (end - 1, 10), (end, None)):
        stop = end if length is None else start + length
        assert body(s3, "k", start, length, etag=etag) == data[start:stop]
    assert s3.get("k", 5, 1)[0] == s3.head("k")
    assert kind(lambda: s3.get("k", end + 1)) is ErrorKind.CHANGED


def fetched(store: ObjectStore, key: str) -> bytes:
    """The object in ranges, as a large one is fetched."""
    pool = Buffers(1 << 20, 4)
    got = bytearray()
    for block in store.read(store.stat(key), into=pool):
        got += block
        pool.give(block)
    return bytes(got)


def parted(server: S3, bucket: str, *parts: bytes) -> None:
    """Upload `k` in parts and ask for a CRC-64: moto makes none by itself, as Amazon does."""
    client = server.client()
    where = {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**where, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    where["UploadId"] = upload["UploadId"]
    made = [
        {"PartNumber": number, "ETag": client.upload_part(**where, PartNumber=number, Body=part)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": made})
    client.close()


def test_an_object_of_parts_is_compared_with_the_crc64_that_is_stated_of_it(moto_s3: S3) -> None:
    bucket, data = moto_s3.bucket(), os.urandom(PART + 1000)
    with faults(moto_s3.url) as proxy:
        store = ObjectStore(open_service(bucket, login(moto_s3.at(proxy.origin))))
        parted(moto_s3, bucket, data[:PART], data[PART:])
        found = store.service.stated("k")
        # That there are parts is what leaves nothing else to compare.
        assert (found.md5, found.etag[-2:]) == (None, "-2")
        assert dict(found.sums or ())["crc64"] == checksums.crc64nvme(data).to_bytes(8, "big")
        before = len(proxy.seen())
        assert fetched(store, "k") == data
        methods = [asked.method for asked in proxy.seen()[before:]]
        assert (methods.count("GET"), methods.count("HEAD")) == (6, 2)
        store.close()


def test_a_checksum_that_a_server_only_repeats_is_not_compared(rclone_s3: S3) -> None:
    """`rclone serve s3` checks no CRC-64 and keeps it as it was sent; its etag is a digest of its own."""
    bucket, data = rclone_s3.bucket(), os.urandom(3 << 20)
    client = rclone_s3.client()
    value = base64.b64encode(checksums.crc64nvme(data[1:]).to_bytes(8, "big")).decode()
    client.put_object(Bucket=bucket, Key="k", Body=data, ChecksumCRC64NVME=value)
    client.close()
    store = ObjectStore(open_service(bucket, login(rclone_s3)))
    assert fetched(store, "k") == data
    assert store.stated_digest(store.stat("k")) == ("md5", md5(data))
    store.close()


def test_an_empty_object(s3: Service) -> None:
    s3.put("empty", b"", {})
    assert body(s3, "empty") == body(s3, "empty", 0, 10) == body(s3, "empty", 0, 0) == b""


def test_another_version_is_not_read(s3: Service) -> None:
    old = s3.put("k", b"old", {})
    s3.put("k", b"new", {})
    assert kind(lambda: s3.get("k", etag=old)) is ErrorKind.CHANGED


def test_absence(s3: Service) -> None:
    assert kind(lambda: s3.get("nothing")) is ErrorKind.NOT_FOUND
    assert kind(lambda: s3.head("nothing")) is ErrorKind.NOT_FOUND
    s3.delete(["nothing"])
    s3.delete(["nothing", "neither"])


def test_a_missing_bucket_is_named(moto_s3: S3) -> None:
    service = open_service("no-such-bucket", login(moto_s3))
    for act in (lambda: service.page(""), lambda: service.put("k", b"", {})):
        with pytest.raises(DunlinError) as caught:
            act()
        assert (caught.value.kind, caught.value.where) == (ErrorKind.NOT_FOUND, "s3://no-such-bucket")
    service.close()


def test_only_where_nothing_is(moto: Service) -> None:
    moto.put("k", b"1", {}, if_absent=True)
    assert kind(lambda: moto.put("k", b"2", {}, if_absent=True)) is ErrorKind.EXISTS
    assert body(moto, "k") == b"1"


def test_content_that_is_not_what_its_digest_says_is_refused(rclone: Service) -> None:
    assert kind(lambda: rclone.put("k", b"data", {}, md5=md5(b"date"))) is ErrorKind.CHECKSUM
    assert kind(lambda: rclone.head("k")) is ErrorKind.NOT_FOUND


@pytest.mark.parametrize("size", [10, (1 << 20) + 1])
def test_signatures_are_good_for_small_and_large_bodies(rclone: Service, size: int) -> None:
    rclone.put("a b/\u00e9%+~(x)", bytes(size), {"who": "J\u00f6rg  and =?more?="}, md5=md5(bytes(size)))
    found = rclone.head("a b/\u00e9%+~(x)")
    assert (found.size, found.metadata) == (size, {"who": "J\u00f6rg  and =?more?="})


@pytest.mark.parametrize("wrong", [{"secret_access_key": "wrong"}, {"access_key_id": "wrong"}])
def test_a_refused_login_is_one_line(rclone_s3: S3, wrong: dict[str, str]) -> None:
    service = open_service(rclone_s3.bucket(), login(rclone_s3, **wrong))
    for act in (lambda: service.page(""), lambda: service.head("k"), lambda: service.put("k", b"x", {})):
        with pytest.raises(DunlinError) as caught:
            act()
        assert caught.value.kind is ErrorKind.AUTH
        assert "\n" not in str(caught.value)
        assert rclone_s3.secret not in str(caught.value)
    service.close()


def test_nobody_is_let_in_by_a_server_that_wants_to_know(rclone_s3: S3) -> None:
    service = open_service(rclone_s3.bucket(), Login({"anonymous": "true", "endpoint": rclone_s3.url}))
    assert kind(lambda: service.page("")) is ErrorKind.AUTH
    service.close()


def test_a_role_is_assumed(moto_s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_s3.url)
    who = identity(login(moto_s3, role_arn="arn:aws:iam::123456789012:role/reader"), "s3://b").provider()
    assert who is not None
    assert who.token
    assert who.key_id != moto_s3.key_id


def test_an_upload_in_parts_goes_on_where_it_stopped(s3: Service) -> None:
    first, second = bytes(PART), b"the end"
    upload = s3.begin("big", {"mtime": "5"})
    sent = s3.part("big", upload, 1, first, md5(first))
    assert sent.tag == s3.part_tag(1, md5(first))
    # As after a crash: only the key is known.
    again = s3.unfinished("big")
    assert again == upload
    assert s3.parts("big", again) == [sent]
    last = s3.part("big", again, 2, memoryview(second), md5(second))
    s3.complete("big", again, [sent, last], {"mtime": "5"})
    found = s3.head("big")
    assert (found.size, found.metadata) == (PART + len(second), {"mtime": "5"})
    assert body(s3, "big", PART - 1) == b"\0" + second
    assert s3.unfinished("big") == ""


def test_an_object_of_parts_states_no_md5(moto: Service) -> None:
    upload = moto.begin("big", {})
    part = moto.part("big", upload, 1, b"x", md5(b"x"))
    etag = moto.complete("big", upload, [part], {})
    assert etag.endswith("-1")
    assert (moto.head("big").etag, moto.head("big").md5) == (etag, None)


def test_an_upload_is_given_up(s3: Service) -> None:
    upload = s3.begin("big", {})
    s3.abort("big", upload)
    s3.abort("big", upload)
    assert s3.unfinished("big") == ""
    assert s3.unfinished("bi") == ""


def test_metadata_are_replaced(moto: Service) -> None:
    moto.put("k", b"data", {"mtime": "1", "old": "1"})
    etag = moto.set_metadata("k", {"mtime": "2"}, etag=moto.head("k").etag)
    assert moto.head("k").metadata == {"mtime": "2"}
    assert (moto.head("k").etag, body(moto, "k")) == (etag, b"data")
    assert kind(lambda: moto.set_metadata("k", {}, etag="other")) is ErrorKind.CHANGED


def test_an_archived_object_is_listed_and_refused(moto_s3: S3) -> None:
    bucket = moto_s3.bucket()
    client = moto_s3.client()
    client.put_object(Bucket=bucket, Key="cold", Body=b"x", StorageClass="DEEP_ARCHIVE")
    client.put_object(Bucket=bucket, Key="warm", Body=b"x", StorageClass="STANDARD_IA")
    client.close()
    service = open_service(bucket, login(moto_s3))
    assert {found.key: found.archived for found in everything(service)} == {"cold": True, "warm": False}
    assert service.head("cold").archived
    with pytest.raises(DunlinError) as caught:
        service.get("cold")
    assert caught.value.kind is ErrorKind.DENIED
    assert "restore" in caught.value.hint
    service.close()


def test_waits_are_what_the_server_wants(rclone_s3: S3) -> None:
    waits: list[float] = []
    with faults(rclone_s3.url, Rules(retry_after_s=7)) as proxy:
        inner = open_service(rclone_s3.bucket(), login(rclone_s3.at(proxy.origin)))
        service = RetryingService(inner, Retry(jitter=0), sleep=waits.append)
        proxy.next("busy", "throttled")
        service.put("k", b"data", {})
        assert waits == [7.0, 7.0]
        proxy.rules = Rules(retry_after_s=None)
        proxy.next("reset", "busy", "lost")
        assert service.head("k").size == 4
        assert waits[2:] == [0.2, 0.4, 0.8]
        service.close()


def test_a_body_that_breaks_off_is_a_network_error(rclone_s3: S3) -> None:
    with faults(rclone_s3.url) as proxy:
        service = open_service(rclone_s3.bucket(), login(rclone_s3.at(proxy.origin)))
        service.put("k", bytes(1 << 20), {})
        proxy.next("truncated", kind="read")
        found, pieces = service.get("k")
        assert found.size == 1 << 20
        assert kind(lambda: list(pieces)) is ErrorKind.NETWORK
        assert len(body(service, "k", 1 << 19)) == 1 << 19
        proxy.away = True
        assert kind(lambda: service.head("k")) is ErrorKind.NETWORK
        proxy.away = False
        assert service.head("k").size == 1 << 20
        service.close()
