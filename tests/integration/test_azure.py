"""Azure Blob against Azurite: every request of the service, and the keys that others lose."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
from collections.abc import Iterator

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerClient,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects.azure import AzureService, open_service, parse_url
from dunlin.stores.objects.azure_login import access
from dunlin.stores.objects.service import Part
from tests.servers.azurite import Azurite
from tests.servers.faults import faults

ODD = [
    "a//b", "./x", "../x", "/lead", "trail/", "//", "///", ".", "..", "a/./b", "a/../b", "...", "x.", " lead", "trail ",
    "a/ ", "a", "a/b", "a-b", "a.txt", "a0", "a b", "A", "é", "e\u0301", "日本語",
    "😀", "\uffe0", "\u2028", "\x7f", "\x85",
    "new\nline", "tab\tx", "cr\rx", "pct%2Fx", "%", "%41", "q?x", "h#x", "plus+x", "~t", "semi;x&y=z",
    "\"quote'", "<xml>&amp;",
    "k" * 1024, "é" * 512, "deep/" * 200 + "x",
]  # fmt: skip


def digest(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def connect(server: Azurite, container: str) -> AzureService:
    login = Login({"connection_string": server.connection_string})
    return AzureService(container, access(login), sleep=lambda seconds: None)


@pytest.fixture
def container(azurite: Azurite) -> str:
    return azurite.container()


@pytest.fixture
def service(azurite: Azurite, container: str) -> Iterator[AzureService]:
    made = connect(azurite, container)
    yield made
    made.close()


def content(service: AzureService, key: str, start: int = 0, length: int | None = None, etag: str = "") -> bytes:
    _, body = service.get(key, start, length, etag)
    return b"".join(bytes(piece) for piece in body)


def keys(service: AzureService, prefix: str = "", **options: object) -> list[str]:
    return [found.key for found in service.page(prefix, **options).objects]  # type: ignore[arg-type]


def sdk(server: Azurite, container: str) -> ContainerClient:
    return ContainerClient.from_connection_string(server.connection_string, container)


# ---- keys ----


def test_every_key_is_stored_found_and_removed_verbatim(service: AzureService) -> None:
    for key in ODD:
        etag = service.put(key, key.encode(), {"mtime": "1.5"})
        found, body = service.get(key)
        assert b"".join(bytes(piece) for piece in body) == key.encode()
        assert found == service.head(key)
        assert (found.key, found.size, found.etag, found.metadata) == (key, len(key.encode()), etag, {"mtime": "1.5"})
    page = service.page("")
    assert sorted(found.key for found in page.objects) == sorted(ODD)
    assert all(found == service.head(found.key) for found in page.objects)
    for key in ODD:
        service.delete([key])
        service.delete([key])
    assert service.page("").objects == []


def test_microsofts_library_sees_the_same_names(azurite: Azurite, container: str, service: AzureService) -> None:
    for key in ODD:
        service.put(key, b"", {})
    with sdk(azurite, container) as client:
        assert sorted(client.list_blob_names()) == sorted(ODD)


def test_names_are_listed_in_the_order_of_their_bytes(service: AzureService) -> None:
    assert service.ordered
    for key in ODD:
        service.put(key, b"", {})
    names = keys(service)
    # Azurite compares UTF-16, where surrogates stand before U+E000: only there it differs from bytes.
    assert names == sorted(names, key=lambda name: name.encode("utf-16-be"))
    plain = [name for name in names if max(name) < "\ue000"]
    assert plain == sorted(plain, key=str.encode)


# ---- listing ----


def test_pages(service: AzureService) -> None:
    wanted = [f"p/{number:02d}" for number in range(25)]
    for key in [*wanted, "q"]:
        service.put(key, b"x", {})
    found, token, pages = [], "", 0
    while pages == 0 or token:
        page = service.page("p/", token=token, most=7)
        found += [item.key for item in page.objects]
        token, pages = page.token, pages + 1
    assert (found, pages) == (wanted, 4)


def test_a_delimiter_folds_what_lies_deeper(service: AzureService) -> None:
    for key in ("a", "a/b", "a/c/d", "a//", "b/", "c"):
        service.put(key, b"", {})
    page = service.page("", delimiter="/")
    assert ([found.key for found in page.objects], page.prefixes) == (["a", "c"], ["a/", "b/"])
    page = service.page("a/", delimiter="/")
    assert ([found.key for found in page.objects], page.prefixes) == (["a/b"], ["a//", "a/c/"])


def test_a_prefix_is_a_plain_string(service: AzureService) -> None:
    for key in ("ab", "abc/d", "abd", "b"):
        service.put(key, b"", {})
    assert keys(service, "ab") == ["ab", "abc/d", "abd"]


@pytest.mark.slow
def test_three_thousand_blobs_are_one_request_metadata_included(azurite: Azurite, container: str) -> None:
    filler = connect(azurite, container)
    for number in range(3000):
        filler.put(f"{number:05d}", b"", {"mtime": f"{number}.000000000"})
    filler.close()
    with faults(azurite.url) as proxy:
        service = connect(azurite.at(proxy.origin), container)
        page = service.page("")
        service.close()
        assert [int(found.key) for found in page.objects] == list(range(3000))
        assert all(found.metadata == {"mtime": f"{int(found.key)}.000000000"} for found in page.objects)
        assert (page.token, proxy.count(), proxy.count(kind="list")) == ("", 1, 1)


def test_snapshots_are_not_listed(azurite: Azurite, container: str, service: AzureService) -> None:
    service.put("a", b"1", {})
    with sdk(azurite, container) as client:
        client.get_blob_client("a").create_snapshot()
        client.get_blob_client("unfinished").stage_block("QUE=", b"1")
    assert keys(service) == ["a"]
    with pytest.raises(DunlinError, match="snapshots"):
        service.delete(["a"])


def test_an_archived_blob_is_listed_as_such_and_cannot_be_read(
    azurite: Azurite, container: str, service: AzureService
) -> None:
    service.put("a", b"1", {})
    with sdk(azurite, container) as client:
        client.get_blob_client("a").set_standard_blob_tier("Archive")
    assert service.page("").objects[0].archived
    assert service.head("a").archived
    with pytest.raises(DunlinError, match="set-tier") as caught:
        service.get("a")
    assert caught.value.kind is ErrorKind.DENIED


def test_a_blob_without_md5(azurite: Azurite, container: str, service: AzureService) -> None:
    with sdk(azurite, container) as client:
        blob = client.get_blob_client("a")
        blob.create_append_blob()
        blob.append_block(b"12345")
    found = service.head("a")
    assert (found.md5, found.size) == (None, 5)
    assert service.page("").objects == [found]
    # (To an answer that holds it whole, Azurite adds the MD5 of what it sends.)
    assert service.get("a", 1)[0] == found
    assert content(service, "a") == b"12345"


# ---- reading and writing ----


def test_content_and_ranges(service: AzureService) -> None:
    data = os.urandom(300_000)
    service.put("k", data, {}, md5=digest(data))
    assert content(service, "k") == data
    assert content(service, "k", 299_999) == data[-1:]
    assert content(service, "k", 1000, 5000) == data[1000:6000]
    assert content(service, "k", 299_000, 5000) == data[299_000:]
    assert content(service, "k", 300_000) == b""
    assert content(service, "k", 5, 0) == b""
    part, body = service.get("k", 10, 10)
    assert list(body) == [data[10:20]]
    assert part == service.head("k")
    assert part.md5 == digest(data)


def test_an_empty_blob(service: AzureService) -> None:
    service.put("k", b"", {}, md5=digest(b""))
    assert content(service, "k") == b""
    assert content(service, "k", 0, 100) == b""
    assert service.head("k").md5 == digest(b"")


def test_a_body_that_is_not_wanted_costs_nothing_but_its_connection(service: AzureService) -> None:
    service.put("k", bytes(5_000_000), {})
    for _ in range(3):
        _, body = service.get("k")
        next(iter(body))
        del body
    service.get("k")
    assert content(service, "k", 0, 5) == bytes(5)


@pytest.mark.parametrize(("sent", "accepted"), [(b"123456789", True), (b"12345678x", False)])
def test_a_block_is_checked_by_its_crc64(service: AzureService, sent: bytes, accepted: bool) -> None:
    """The catalogue's value of the digits 1 to 9, least byte first."""
    headers = {"x-ms-content-crc64": base64.b64encode(bytes.fromhex("ae8b14860a799888")[::-1]).decode()}
    query = (("comp", "block"), ("blockid", service.part_tag(1, bytes(16))))

    def send() -> None:
        service._ask("PUT", service._blob("k"), query, headers, sent, operation="write", where="k", expects=201)

    if accepted:
        send()
    else:
        with pytest.raises(DunlinError) as caught:
            send()
        assert caught.value.kind is ErrorKind.CHECKSUM
    assert bool(service.unfinished("k")) is accepted


def test_a_wrong_md5_is_refused_and_nothing_is_stored(service: AzureService) -> None:
    with pytest.raises(DunlinError) as caught:
        service.put("k", b"data", {}, md5=digest(b"other"))
    assert caught.value.kind is ErrorKind.CHECKSUM
    assert service.page("").objects == []


def test_reads_are_pinned_to_a_version(service: AzureService) -> None:
    old = service.put("k", b"old", {})
    assert content(service, "k", etag=old) == b"old"
    new = service.put("k", b"new", {})
    assert new != old
    for start in (0, 1, 3):
        with pytest.raises(DunlinError) as caught:
            service.get("k", start, etag=old)
        assert caught.value.kind is ErrorKind.CHANGED
    assert content(service, "k", etag=new) == b"new"


def test_if_absent(service: AzureService) -> None:
    service.put("k", b"1", {}, if_absent=True)
    with pytest.raises(DunlinError) as caught:
        service.put("k", b"2", {}, if_absent=True)
    assert caught.value.kind is ErrorKind.EXISTS
    upload = service.begin("k", {})
    part = service.part("k", upload, 1, b"3", digest(b"3"))
    with pytest.raises(DunlinError) as caught:
        service.complete("k", upload, [part], {}, if_absent=True)
    assert caught.value.kind is ErrorKind.EXISTS
    assert content(service, "k") == b"1"


def test_what_is_not_there(service: AzureService) -> None:
    for act in (lambda: service.head("k"), lambda: service.get("k"), lambda: service.set_metadata("k", {})):
        with pytest.raises(DunlinError) as caught:
            act()
        assert caught.value.kind is ErrorKind.NOT_FOUND
    assert service.parts("k", service.begin("k", {})) == []


def test_a_container_that_is_not_there(azurite: Azurite) -> None:
    service = connect(azurite, "nothing-here")
    for act in (lambda: service.page(""), lambda: service.head("k"), lambda: service.put("k", b"", {})):
        with pytest.raises(DunlinError) as caught:
            act()
        assert (caught.value.kind, caught.value.where) == (ErrorKind.NOT_FOUND, f"{azurite.url}/nothing-here")
    service.close()


# ---- metadata ----

METADATA = {
    "mtime": "1700000000.123456789", "mode": "100644", "a_b": "1", "a1": "2", "ab": "3", "_a": "4",
    "content-owner": "Zoë", "9": "nine", "spaces": "  two  spaces ", "percent": "100%", "escape": "%41",
    "newline": "a\nb", "comma": "a, b; c",
}  # fmt: skip


def test_metadata_comes_back_from_listing_and_blob_alike(service: AzureService) -> None:
    service.put("k", b"", METADATA)
    assert service.head("k").metadata == METADATA
    assert service.page("").objects[0].metadata == METADATA
    assert service.get("k")[0].metadata == METADATA


def test_metadata_can_be_replaced_if_the_version_is_right(service: AzureService) -> None:
    old = service.put("k", b"data", {"a": "1"}, md5=digest(b"data"))
    new = service.set_metadata("k", {"b": "2"}, old)
    assert service.head("k")[3:6] == (new, {"b": "2"}, digest(b"data"))
    with pytest.raises(DunlinError) as caught:
        service.set_metadata("k", {}, old)
    assert caught.value.kind is ErrorKind.CHANGED
    service.set_metadata("k", {})
    assert service.head("k").metadata == {}


# ---- blocks ----


def test_an_upload_goes_on_from_the_blocks_that_are_there(
    azurite: Azurite, container: str, service: AzureService
) -> None:
    pieces = [os.urandom(70_000), os.urandom(70_000), b"end"]
    upload = service.begin("k", {"a": "1"})
    assert service.unfinished("k") == ""
    sent = [
        service.part("k", upload, number, piece, digest(piece)) for number, piece in ((2, pieces[1]), (1, pieces[0]))
    ]

    other = connect(azurite, container)
    assert other.unfinished("k") == upload
    there = other.parts("k", upload)
    assert there == [
        Part(1, 70_000, other.part_tag(1, digest(pieces[0]))),
        Part(2, 70_000, other.part_tag(2, digest(pieces[1]))),
    ]
    assert sorted(sent) == there
    there.append(other.part("k", upload, 3, pieces[2], digest(pieces[2])))
    whole = b"".join(pieces)
    etag = other.complete("k", upload, there, {"a": "1"}, md5=digest(whole))
    other.close()

    assert service.head("k")[1:2] + service.head("k")[3:6] == (len(whole), etag, {"a": "1"}, digest(whole))
    assert content(service, "k") == whole
    assert service.unfinished("k") == ""


def test_a_completion_whose_answer_was_lost_can_be_repeated(service: AzureService) -> None:
    upload = service.begin("k", {})
    parts = [service.part("k", upload, 1, b"data", digest(b"data"))]
    service.complete("k", upload, parts, {})
    service.complete("k", upload, parts, {})
    assert content(service, "k") == b"data"


def test_blocks_that_are_gone(service: AzureService) -> None:
    service.put("k", b"whole", {})
    parts = [Part(1, 4, service.part_tag(1, digest(b"data")))]
    with pytest.raises(DunlinError) as caught:
        service.complete("k", service.begin("k", {}), parts, {})
    assert caught.value.kind is ErrorKind.CHANGED
    assert content(service, "k") == b"whole"


def test_blocks_of_another_program(azurite: Azurite, container: str, service: AzureService) -> None:
    """All blocks of a blob must have ids of one length, so another program's unfinished upload stands in the way."""
    with sdk(azurite, container) as client:
        client.get_blob_client("k").stage_block("1", b"theirs")
    assert service.unfinished("k") == ""
    with pytest.raises(DunlinError, match="another program") as caught:
        service.part("k", service.begin("k", {}), 1, b"ours", digest(b"ours"))
    assert caught.value.kind is ErrorKind.EXISTS


# ---- copies ----


def test_a_copy_within_the_account(azurite: Azurite, service: AzureService) -> None:
    service.put("../from", b"data", {"a": "1"}, md5=digest(b"data"))
    there = connect(azurite, azurite.container())
    origin = service.head("../from")
    etag = there.copy(service, origin, "to//", {"b": "2"})
    assert there.head("to//")[3:6] == (etag, {"b": "2"}, digest(b"data"))
    assert content(there, "to//") == b"data"
    etag = there.copy(service, origin, "bare", {})
    assert there.head("bare")[3:5] == (etag, {})
    service.put("../from", b"newer", {})
    with pytest.raises(DunlinError) as caught:
        there.copy(service, origin, "to//", {})
    assert caught.value.kind is ErrorKind.CHANGED
    assert content(there, "to//") == b"data"
    there.close()


# ---- logins ----


def test_a_sas_in_the_url_is_enough(azurite: Azurite, container: str, service: AzureService) -> None:
    service.put("../k", b"data", {"a": "1"})
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    sas = generate_container_sas(
        azurite.account, container, azurite.key, permission=ContainerSasPermissions(read=True, list=True), expiry=until
    )
    endpoint, account, named, prefix, token = parse_url(f"{azurite.url}/{container}/../k?{sas}")
    assert (account, named, prefix) == (azurite.account, container, "../k")
    reader = open_service(named, Login({"endpoint": endpoint, "account_name": account, "sas_token": token}))
    assert [found.key for found in reader.page(prefix).objects] == ["../k"]
    assert b"".join(bytes(piece) for piece in reader.get("../k")[1]) == b"data"
    with pytest.raises(DunlinError) as caught:
        reader.put("new", b"", {})
    assert caught.value.kind in (ErrorKind.DENIED, ErrorKind.AUTH)
    assert "sig=" not in str(caught.value)
    reader.close()


def test_a_copy_by_sas(azurite: Azurite, container: str) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    everything = AccountSasPermissions(read=True, list=True, write=True, create=True, delete=True)
    kinds = ResourceTypes(service=True, container=True, object=True)
    sas = generate_account_sas(azurite.account, azurite.key, kinds, everything, until)
    service = open_service(container, Login({"endpoint": azurite.url, "sas_token": sas}))
    service.put("a b", b"data", {"a": "1"})
    service.copy(service, service.head("a b"), "c", {"a": "1"})
    assert service.head("c").size == 4
    assert service.ordered
    service.close()


def test_a_wrong_key_is_refused_in_one_line(azurite: Azurite, container: str) -> None:
    key = base64.b64encode(os.urandom(64)).decode()
    service = open_service(
        container, Login({"endpoint": azurite.url, "account_name": azurite.account, "account_key": key})
    )
    with pytest.raises(DunlinError) as caught:
        service.page("")
    assert caught.value.kind in (ErrorKind.AUTH, ErrorKind.DENIED)
    assert "\n" not in str(caught.value)
    assert key not in str(caught.value)
    service.close()


def test_a_token_is_sent(azurite: Azurite, container: str) -> None:
    """Azurite takes tokens over https only and says so: it has understood that there was one."""
    from dunlin.stores.objects.azure_login import Access
    from dunlin.stores.objects.azure_sign import bearer

    service = AzureService(container, Access(azurite.url, azurite.account, bearer(lambda: "x.y.z"), lambda: None))
    with pytest.raises(DunlinError) as caught:
        service.page("")
    assert caught.value.kind in (ErrorKind.AUTH, ErrorKind.DENIED)
    service.close()


# ---- faults ----


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset", ErrorKind.NETWORK),
        ("lost", ErrorKind.NETWORK),
        ("busy", ErrorKind.BUSY),
        ("throttled", ErrorKind.BUSY),
    ],
)
def test_faults_of_one_request(azurite: Azurite, container: str, fault: str, kind: ErrorKind) -> None:
    with faults(azurite.url) as proxy:
        service = connect(azurite.at(proxy.origin), container)
        service.put("k", b"data", {})
        for act in (lambda: service.put("k", b"data", {}), lambda: service.get("k"), lambda: service.page("")):
            proxy.next(fault)
            with pytest.raises(DunlinError) as caught:
                act()
            assert caught.value.kind is kind
            assert (caught.value.retry_after is not None) == (kind is ErrorKind.BUSY)
            act()
        assert proxy.count() == 7
        service.close()


def test_an_answer_that_is_cut_short(azurite: Azurite, container: str) -> None:
    with faults(azurite.url) as proxy:
        service = connect(azurite.at(proxy.origin), container)
        service.put("k", bytes(1000), {})
        proxy.next("truncated")
        _, body = service.get("k")
        with pytest.raises(DunlinError) as caught:
            list(body)
        assert caught.value.kind is ErrorKind.NETWORK
        assert content(service, "k") == bytes(1000)
        service.close()
