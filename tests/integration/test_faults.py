"""The fault proxy does what it says: each fault is seen by a plain client, by the SDKs, and in the proxy's record."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import obstore
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.exceptions import ClientError

from tests.acceptance.trouble import until
from tests.integration.test_servers import obstore_s3
from tests.servers.azurite import Azurite
from tests.servers.faults import Proxy, Rules, faults
from tests.servers.gcs import Gcs
from tests.servers.kinds import kind_of
from tests.servers.s3 import S3

BODY = bytes(range(256)) * 400


class Shelf:
    """A bucket of moto with one object, behind a proxy, and a client that repeats nothing."""

    def __init__(self, server: S3, proxy: Proxy) -> None:
        self.bucket = server.bucket()
        self.direct, self.proxied = server.client(), server.at(proxy.origin).client()
        self.direct.put_object(Bucket=self.bucket, Key="k", Body=BODY)
        self.proxy = proxy
        self.target = f"/{self.bucket}/k"

    def get(self) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers of a GET whose connection is its own; unsigned, which moto does not mind."""
        connection = http.client.HTTPConnection(urlsplit(self.proxy.origin).netloc, timeout=30)
        try:
            connection.request("GET", self.target, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x/y/z"})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()


@pytest.fixture
def proxy(moto_s3: S3) -> Iterator[Proxy]:
    """A proxy in front of moto that does nothing yet."""
    with faults(moto_s3.url) as made:
        yield made


@pytest.fixture
def shelf(moto_s3: S3, proxy: Proxy) -> Iterator[Shelf]:
    """Something to fetch."""
    made = Shelf(moto_s3, proxy)
    yield made
    made.direct.close()
    made.proxied.close()


def test_without_rules_everything_passes_and_is_counted(shelf: Shelf) -> None:
    shelf.proxied.put_object(Bucket=shelf.bucket, Key="new", Body=BODY)
    assert shelf.proxied.get_object(Bucket=shelf.bucket, Key="new")["Body"].read() == BODY
    assert shelf.proxied.head_object(Bucket=shelf.bucket, Key="new")["ContentLength"] == len(BODY)
    assert shelf.proxied.list_objects_v2(Bucket=shelf.bucket)["KeyCount"] == 2
    shelf.proxied.delete_object(Bucket=shelf.bucket, Key="new")
    seen = shelf.proxy.seen()
    assert [(r.method, r.kind, r.fault) for r in seen] == [
        ("PUT", "write", ""), ("GET", "read", ""), ("HEAD", "stat", ""), ("GET", "list", ""), ("DELETE", "delete", ""),
    ]  # fmt: skip
    assert seen[0].sent_bytes >= len(BODY)
    assert seen[1].answered_bytes == len(BODY)
    assert shelf.proxy.count(method="GET") == 2
    assert shelf.proxy.count(kind="list") == 1
    shelf.proxy.forget()
    assert shelf.proxy.count() == 0


def test_host_reaches_the_server_as_the_client_sent_it(shelf: Shelf) -> None:
    shelf.get()
    assert shelf.proxy.seen()[0].headers["host"] == urlsplit(shelf.proxy.origin).netloc


def test_reset_comes_before_the_server_has_seen_anything(shelf: Shelf) -> None:
    shelf.proxy.next("reset")
    with pytest.raises(ConnectionResetError):
        shelf.get()
    shelf.proxy.next("reset")
    with pytest.raises(obstore.exceptions.GenericError):
        obstore.put(obstore_s3(S3(shelf.proxy.origin, "a", "b"), shelf.bucket), "other", b"")
    assert [r.fault for r in shelf.proxy.seen()] == ["reset", "reset"]
    assert shelf.direct.list_objects_v2(Bucket=shelf.bucket)["KeyCount"] == 1
    assert shelf.get()[:2] == (200, BODY)


def test_lost_answer_leaves_the_work_done(shelf: Shelf) -> None:
    shelf.proxy.next("lost", kind="write")
    with pytest.raises(obstore.exceptions.GenericError):
        obstore.put(obstore_s3(S3(shelf.proxy.origin, "a", "b"), shelf.bucket), "other", b"there")
    assert shelf.direct.get_object(Bucket=shelf.bucket, Key="other")["Body"].read() == b"there"
    assert [(r.fault, r.status) for r in shelf.proxy.seen()] == [("lost", 0)]


@pytest.mark.parametrize(
    ("fault", "status", "code"), [("busy", 503, "SlowDown"), ("throttled", 429, "TooManyRequests")]
)
def test_refusal_has_a_status_a_code_and_retry_after(shelf: Shelf, fault: str, status: int, code: str) -> None:
    shelf.proxy.rules = Rules(retry_after_s=7)
    shelf.proxy.next(fault, fault)
    got, body, headers = shelf.get()
    assert (got, headers["Retry-After"]) == (status, "7")
    assert code.encode() in body
    with pytest.raises(ClientError, match=code):
        shelf.proxied.put_object(Bucket=shelf.bucket, Key="k", Body=b"other")
    assert shelf.proxy.count(fault=fault) == 2
    # The connection is still good, and nothing was written.
    assert shelf.proxied.get_object(Bucket=shelf.bucket, Key="k")["Body"].read() == BODY


def test_refusal_without_retry_after(shelf: Shelf) -> None:
    shelf.proxy.rules = Rules(retry_after_s=None)
    shelf.proxy.next("busy")
    assert "Retry-After" not in shelf.get()[2]


def test_truncated_body_promises_more_than_it_brings(shelf: Shelf) -> None:
    shelf.proxy.next("truncated")
    with pytest.raises(http.client.IncompleteRead) as raised:
        shelf.get()
    assert raised.value.partial == BODY[: len(BODY) // 2]
    assert [(r.status, r.answered_bytes) for r in shelf.proxy.seen(fault="truncated")] == [(200, len(BODY) // 2)]
    assert shelf.get()[:2] == (200, BODY)


def test_a_stalled_request_gets_nothing_until_its_client_leaves(shelf: Shelf) -> None:
    shelf.proxy.next("stalled")
    with socket.create_connection(("127.0.0.1", urlsplit(shelf.proxy.origin).port or 0), timeout=0.3) as client:
        client.sendall(f"GET {shelf.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            client.recv(1)
    until(shelf.proxy.seen)  # the proxy may not have come to it yet
    assert [(r.fault, r.status) for r in shelf.proxy.seen()] == [("stalled", 0)]
    assert shelf.get()[:2] == (200, BODY)


def test_latency_holds_each_request(shelf: Shelf) -> None:
    shelf.proxy.rules = Rules(latency_s=0.2)
    began = time.monotonic()
    shelf.get()
    assert time.monotonic() - began >= 0.2


def test_bandwidth_is_shared_by_all_connections(shelf: Shelf) -> None:
    shelf.proxy.rules = Rules(bytes_per_second=4 * len(BODY))
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        assert [f.result()[1] == BODY for f in [pool.submit(shelf.get) for _ in range(2)]] == [True, True]
    assert time.monotonic() - began >= 0.4


def test_away_refuses_connections_and_comes_back_on_the_same_port(shelf: Shelf) -> None:
    for _ in range(3):
        shelf.proxied.head_object(Bucket=shelf.bucket, Key="k")
        shelf.proxy.away = True
        with pytest.raises(ConnectionRefusedError):
            shelf.get()
        shelf.proxy.away = False
        assert shelf.get()[0] == 200


def test_away_ends_answers_that_are_on_their_way(shelf: Shelf) -> None:
    shelf.proxy.rules = Rules(bytes_per_second=len(BODY) / 4)
    address = urlsplit(shelf.proxy.origin)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(f"GET {shelf.target} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        connection.recv(1)
        shelf.proxy.away = True
        received = 0
        try:
            while piece := connection.recv(1 << 16):
                received += len(piece)
        except ConnectionResetError:
            pass
    assert received < len(BODY)


def outcomes(proxy: Proxy, shelf: Shelf, rules: Rules, threads: int) -> dict[str, list[str]]:
    """Which faults 60 requests to 20 targets met, by target."""
    proxy.rules = rules

    def ask(key: int) -> list[str]:
        met = []
        for _ in range(3):
            connection = http.client.HTTPConnection(urlsplit(proxy.origin).netloc, timeout=30)
            try:
                connection.request("GET", f"/{shelf.bucket}/{key}")
                met.append(str(connection.getresponse().status))
            except ConnectionResetError:
                met.append("reset")
            finally:
                connection.close()
        return met

    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(map(str, range(20)), pool.map(ask, range(20)), strict=True))


def test_chance_depends_on_the_seed_and_not_on_the_order(moto_s3: S3, shelf: Shelf) -> None:
    rules = Rules(resets=0.25, busy=0.25, seed=1)
    results = []
    for seed, threads in ((1, 1), (1, 4), (2, 4)):
        with faults(moto_s3.url) as proxy:
            results.append(outcomes(proxy, shelf, replace(rules, seed=seed), threads))
            counted = [proxy.count(fault=fault) for fault in ("reset", "busy", "")]
            assert sum(counted) == 60
            assert all(6 <= n <= 40 for n in counted), counted
    assert results[0] == results[1] != results[2]


def test_rules_for_kinds_spare_the_others(shelf: Shelf) -> None:
    shelf.proxy.rules = Rules(busy=1, kinds=frozenset({"list"}))
    assert shelf.get()[0] == 200
    with pytest.raises(ClientError, match="SlowDown"):
        shelf.proxied.list_objects_v2(Bucket=shelf.bucket)


def test_azure_sdk_sees_the_faults(azurite: Azurite) -> None:
    name = azurite.container()
    with faults(azurite.url) as proxy, BlobServiceClient.from_connection_string(
        azurite.at(proxy.origin).connection_string, retry_total=0
    ) as service:  # fmt: skip
        container = service.get_container_client(name)
        container.upload_blob("a//b", BODY, metadata={"mtime": "1"})
        assert container.download_blob("a//b").readall() == BODY
        assert [blob.metadata for blob in container.list_blobs(include=["metadata"])] == [{"mtime": "1"}]
        proxy.next("busy", kind="list")
        with pytest.raises(Exception, match="ServerBusy"):
            list(container.list_blobs())
        assert [r.kind for r in proxy.seen()] == ["write", "read", "list", "list"]


def test_upload_that_the_gcs_emulator_continues_elsewhere_stays_behind_the_proxy(gcs: Gcs) -> None:
    with faults(gcs.url) as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.origin).netloc, timeout=30)
        connection.request("POST", f"/upload/storage/v1/b/{gcs.bucket()}/o?uploadType=resumable&name=a", b"{}",
                           {"Content-Type": "application/json"})  # fmt: skip
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.headers["Location"].startswith(proxy.origin)
        assert [r.kind for r in proxy.seen()] == ["begin"]


def test_chunked_and_empty_answers_and_early_refusals_pass() -> None:
    """Against a server of five lines, since none of ours sends all of these."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
    answers = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", chunked,
               b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"]  # fmt: skip
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        client, _ = listener.accept()
        with client:
            for text in answers:
                client.recv(1 << 16)
                client.sendall(text)

    server = threading.Thread(target=answer)
    server.start()
    with listener, faults(f"http://127.0.0.1:{listener.getsockname()[1]}") as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.origin).netloc, timeout=30)
        got = []
        for _ in answers:
            connection.request("GET", "/b/k")
            received = connection.getresponse()
            got.append((received.status, received.read()))
        connection.close()
        server.join()
        assert got == [(204, b""), (200, b"abcde"), (200, b"to the end")]
        assert [r.answered_bytes for r in proxy.seen()] == [0, len(chunked.partition(b"\r\n\r\n")[2]), 10]


AZURE = {"x-ms-version": "2025-01-05"}


@pytest.mark.parametrize(
    ("method", "target", "headers", "kind"),
    [
        ("GET", "/b?list-type=2&prefix=x", {}, "list"),
        ("GET", "/b/?list-type=2", {}, "list"),
        ("GET", "/b?location", {}, "other"),
        ("PUT", "/b", {}, "other"),
        ("POST", "/b?delete", {}, "delete"),
        ("GET", "/b/k/o/x", {}, "read"),
        ("GET", "/b//", {}, "read"),
        ("HEAD", "/b/k", {}, "stat"),
        ("PUT", "/b/k", {}, "write"),
        ("PUT", "/b/k", {"x-amz-copy-source": "b/j"}, "copy"),
        ("POST", "/b/k?uploads", {}, "begin"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "part"),
        ("POST", "/b/k?uploadId=u", {}, "commit"),
        ("GET", "/b/k?uploadId=u", {}, "list"),
        ("DELETE", "/b/k", {}, "delete"),
        ("GET", "/a/c?restype=container&comp=list", AZURE, "list"),
        ("PUT", "/a/c?restype=container", AZURE, "other"),
        ("GET", "/a/c/k", AZURE, "read"),
        ("HEAD", "/a/c/k", AZURE, "stat"),
        ("PUT", "/a/c/k", AZURE, "write"),
        ("PUT", "/a/c/k?comp=block&blockid=x", AZURE, "part"),
        ("PUT", "/a/c/k?comp=blocklist", AZURE, "commit"),
        ("PUT", "/a/c/k?comp=metadata", AZURE, "other"),
        ("PUT", "/a/c/k", {**AZURE, "x-ms-copy-source": "x"}, "copy"),
        ("DELETE", "/a/c/k", AZURE, "delete"),
        ("GET", "/storage/v1/b/b/o?prefix=x", {}, "list"),
        ("GET", "/storage/v1/b/b/o/k", {}, "stat"),
        ("GET", "/download/storage/v1/b/b/o/k?alt=media", {}, "read"),
        ("POST", "/upload/storage/v1/b/b/o?uploadType=media&name=k", {}, "write"),
        ("POST", "/upload/storage/v1/b/b/o?uploadType=resumable&name=k", {}, "begin"),
        ("PUT", "/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=u", {}, "part"),
        ("POST", "/storage/v1/b/b/o/k/rewriteTo/b/b/o/j", {}, "copy"),
        ("DELETE", "/storage/v1/b/b/o/k", {}, "delete"),
    ],
)
def test_kinds(method: str, target: str, headers: dict[str, str], kind: str) -> None:
    assert kind_of(method, target, headers) == kind
