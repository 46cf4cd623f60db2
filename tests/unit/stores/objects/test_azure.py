"""Requests and errors of Azure Blob, against a stub that says what Azurite cannot."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Order
from dunlin.stores.login import Login
from dunlin.stores.objects.azure import UPLOAD, AzureService, open_service, parse_url
from dunlin.stores.objects.azure_login import Access
from dunlin.stores.objects.azure_sign import shared_access
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Object, Part
from dunlin.stores.objects.store import ObjectStore
from tests.unit.stores.objects.azure_stub import Asked, Reply, Stub, stub

DATE = "Wed, 09 Sep 2009 09:20:02 GMT"
FACTS = {"Last-Modified": DATE, "Etag": '"0x1"'}
MD5 = bytes(range(16))
MD5_TEXT = base64.b64encode(MD5).decode()


def written(asked: Asked) -> Reply:
    """A write is done."""
    return Reply(200 if "comp=metadata" in asked.target else 201, b"", FACTS)


def service(server: Stub, sleeps: list[float] | None = None) -> AzureService:
    found = Access(f"{server.url}/acc", "acc", shared_access("sig=s3cret"), lambda: None)
    waited: list[float] = [] if sleeps is None else sleeps
    made = AzureService("c-1", found, sleep=waited.append, clock=lambda: sum(waited))
    server.closing.append(made.close)
    return made


def refusing(status: int, code: str = "", message: str = "No.", **headers: str) -> Callable[[Asked], Reply]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}\nRequestId:1</Message></Error>".encode()
    return lambda asked: Reply(status, body if code else b"", headers)


def refused(answer: Callable[[Asked], Reply], act: Callable[[AzureService], object]) -> DunlinError:
    with stub(answer) as server, pytest.raises(DunlinError) as caught:
        act(service(server))
    assert "s3cret" not in f"{caught.value}{caught.value.__cause__}"
    return caught.value


# ---- URLs ----


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("az://c", ("", "", "c", "", "")),
        ("az://c/", ("", "", "c", "", "")),
        ("az://c/p/q/", ("", "", "c", "p/q/", "")),
        ("az://c/a%20b?c#d", ("", "", "c", "a%20b?c#d", "")),
        ("az://c//p", ("", "", "c", "/p", "")),
        ("https://acc.blob.core.windows.net/c/p", ("https://acc.blob.core.windows.net", "acc", "c", "p", "")),
        ("https://acc.blob.core.windows.net/c/a%20b%3F?sv=1&sig=x%3D",
         ("https://acc.blob.core.windows.net", "acc", "c", "a b?", "sv=1&sig=x%3D")),
        ("https://acc.blob.core.chinacloudapi.cn/c", ("https://acc.blob.core.chinacloudapi.cn", "acc", "c", "", "")),
        ("http://127.0.0.1:10000/devstoreaccount1/c/p",
         ("http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1", "c", "p", "")),
        ("http://azurite:10000/acc/c/p?sig=x", ("http://azurite:10000/acc", "acc", "c", "p", "sig=x")),
    ],
)  # fmt: skip
def test_urls(url: str, parts: tuple[str, ...]) -> None:
    assert parse_url(url) == parts


@pytest.mark.parametrize(
    "url", ["https:///c", "https://me:s3cret@acc.blob.core.windows.net/c", "https://acc.blob.core.windows.net/c?s3cret"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(DunlinError) as caught:
        parse_url(url)
    assert caught.value.kind is ErrorKind.USAGE
    assert "?s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "C", "ab", "a--b", "-ab", "a_b", "a" * 64, "$other"])
def test_names_that_no_container_has(name: str) -> None:
    with pytest.raises(DunlinError, match="no name of a container"):
        open_service(name, Login({"account_name": "acc", "sas_token": "sig=x"}))


def test_nothing_is_sent_before_it_is_wanted() -> None:
    made = open_service("$web", Login({"account_name": "acc", "sas_token": "sig=s3cret"}))
    assert made.url == "https://acc.blob.core.windows.net/$web"
    made.close()


# ---- errors ----


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AuthenticationFailed", ErrorKind.AUTH),
        (401, "InvalidAuthenticationInfo", ErrorKind.AUTH),
        (401, "", ErrorKind.AUTH),
        (403, "AuthorizationFailure", ErrorKind.DENIED),
        (403, "AuthorizationPermissionMismatch", ErrorKind.DENIED),
        (403, "", ErrorKind.DENIED),
        (404, "ContainerNotFound", ErrorKind.NOT_FOUND),
        (404, "BlobNotFound", ErrorKind.NOT_FOUND),
        (409, "BlobArchived", ErrorKind.DENIED),
        (409, "BlobBeingRehydrated", ErrorKind.DENIED),
        (409, "SnapshotsPresent", ErrorKind.DENIED),
        (412, "LeaseIdMissing", ErrorKind.DENIED),
        (503, "ServerBusy", ErrorKind.BUSY),
        (429, "", ErrorKind.BUSY),
        (500, "OperationTimedOut", ErrorKind.TIMEOUT),
        (500, "InternalError", ErrorKind.NETWORK),
        (502, "", ErrorKind.NETWORK),
        (408, "", ErrorKind.TIMEOUT),
        (400, "Md5Mismatch", ErrorKind.CHECKSUM),
        (412, "ConditionNotMet", ErrorKind.CHANGED),
        (400, "InvalidBlockList", ErrorKind.CHANGED),
        (400, "InvalidHeaderValue", ErrorKind.USAGE),
    ],
)
def test_what_errors_mean(status: int, code: str, kind: ErrorKind) -> None:
    error = refused(refusing(status, code), lambda it: it.put("k", b"x", {}))
    assert error.kind is kind
    assert error.reason == (f"{code}: No." if code else f"HTTP status {status}")


def test_the_code_of_an_answer_without_a_body() -> None:
    headers = {"x-ms-error-code": "BlobArchived"}
    error = refused(lambda asked: Reply(409, b"", headers), lambda it: it.get("k"))
    assert (error.kind, error.reason) == (ErrorKind.DENIED, "BlobArchived")
    assert "set-tier" in error.hint


def test_how_long_a_busy_service_wants_to_be_left_alone() -> None:
    error = refused(refusing(503, "ServerBusy", **{"Retry-After": "17"}), lambda it: it.page(""))
    assert (error.kind, error.retry_after) == (ErrorKind.BUSY, 17.0)


def test_a_missing_container_is_named_and_a_missing_blob_too() -> None:
    with stub(refusing(404, "ContainerNotFound")) as server:
        it = service(server)
        for act in (lambda: it.page(""), lambda: it.get("k"), lambda: it.delete(["k"]), lambda: it.unfinished("k")):
            with pytest.raises(DunlinError) as caught:
                act()
            assert (caught.value.kind, caught.value.where) == (ErrorKind.NOT_FOUND, f"{server.url}/acc/c-1")
    with stub(refusing(404, "BlobNotFound")) as server:
        it = service(server)
        with pytest.raises(DunlinError) as caught:
            it.get("k")
        assert caught.value.where == f"{server.url}/acc/c-1/k"
        it.delete(["k"])
        assert it.unfinished("k") == ""


@pytest.mark.parametrize(("status", "code"), [(409, "BlobAlreadyExists"), (412, "ConditionNotMet"), (412, "")])
def test_if_absent_is_answered_by_exists(status: int, code: str) -> None:
    assert refused(refusing(status, code), lambda it: it.put("k", b"", {}, if_absent=True)).kind is ErrorKind.EXISTS
    error = refused(refusing(status, code), lambda it: it.complete("k", UPLOAD, [], {}, if_absent=True))
    assert error.kind is ErrorKind.EXISTS


# ---- requests ----


def empty_page(asked: Asked) -> Reply:
    return Reply(200, b"<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>")


def test_what_a_listing_asks_for() -> None:
    with stub(empty_page) as server:
        it = service(server)
        it.page("")
        it.page("a b/&", delimiter="/", token="2!x=", most=7)
    first, second = (asked.query for asked in server.asked)
    fixed = {"restype": "container", "comp": "list", "include": "metadata", "sig": "s3cret"}
    assert first == fixed
    assert second == {**fixed, "prefix": "a b/&", "delimiter": "/", "marker": "2!x=", "maxresults": "7"}


def test_a_listing_cannot_begin_behind_a_name() -> None:
    assert refused(empty_page, lambda it: it.page("", after="k")).kind is ErrorKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("headers", "ordered"),
    [({}, True), ({"x-ms-is-hns-enabled": "true"}, False), ({"x-ms-is-hns-enabled": "false"}, True)],
)
def test_a_hierarchical_namespace_has_no_order(headers: dict[str, str], ordered: bool) -> None:
    with stub(lambda asked: Reply(200, b"", headers)) as server:
        it = service(server)
        assert it.ordered is it.ordered is ordered
        assert [asked.query["restype"] for asked in server.asked] == ["account"]


@pytest.mark.parametrize(
    ("status", "code", "ordered"),
    [(403, "AuthorizationPermissionMismatch", True), (401, "InvalidAuthenticationInfo", True), (400, "Odd", False)],
)
def test_who_may_not_ask_has_a_flat_namespace_until_a_listing_says_otherwise(
    status: int, code: str, ordered: bool
) -> None:
    with stub(refusing(status, code)) as server:
        assert service(server).ordered is ordered


def test_the_question_about_the_namespace_is_asked_again_until_there_is_an_answer() -> None:
    answers = iter([Reply(503), Reply(200, own=False), Reply(200, b"", {"x-ms-is-hns-enabled": "false"})])
    with stub(lambda asked: next(answers)) as server:
        it = RetryingService(service(server), sleep=lambda seconds: None)
        assert ObjectStore(it).caps.order is Order.PROVEN
        assert it.ordered
        assert len(server.asked) == 3


@pytest.mark.parametrize("key", ["a\\b", "\\"])
def test_a_backslash_would_be_another_key(key: str) -> None:
    with stub(empty_page) as server:
        it = service(server)
        for act in (lambda: it.put(key, b"", {}), lambda: it.head(key), lambda: it.delete([key]), lambda: it.get(key)):
            with pytest.raises(DunlinError, match="no backslashes") as caught:
                act()
            assert caught.value.kind is ErrorKind.NAME
        assert server.asked == []


def test_control_characters_are_read_but_not_written() -> None:
    with stub(lambda asked: written(asked) if asked.method == "PUT" else Reply(200, b"", FACTS)) as server:
        it = service(server)
        assert it.head("a\x01").key == "a\x01"
        with pytest.raises(DunlinError, match="control characters"):
            it.put("a\x01", b"", {})
        assert it.put("a\n\t\r", b"", {}) == "0x1"


@pytest.mark.parametrize(
    ("key", "path"),
    [("a/b", "a%2Fb"), ("..", "%2E%2E"), ("a/../b", "a%2F..%2Fb"), ("/a//", "%2Fa%2F%2F"), ("%2F", "%252F"),
     ("é ?#+", "%C3%A9%20%3F%23%2B")],
)  # fmt: skip
def test_keys_are_one_segment(key: str, path: str) -> None:
    with stub(written) as server:
        service(server).put(key, b"", {})
    assert server.asked[0].target == f"/acc/c-1/{path}?sig=s3cret"


def test_metadata_is_escaped_where_it_must_be() -> None:
    with stub(written) as server:
        service(server).put("k", b"", {"mtime": "1.5", "Content-Owner": "Zoë"})
    sent = server.asked[0].headers
    assert sent["x-ms-meta-mtime"] == "1.5"
    assert sent["x-ms-meta-content_x002d_owner"] == "Zo%C3%AB"


def test_everything_about_a_blob() -> None:
    headers = {
        **FACTS,
        "Content-Length": "5",
        "Content-MD5": MD5_TEXT,
        "x-ms-meta-Mode": "644",
        "x-ms-access-tier": "Archive",
    }
    with stub(lambda asked: Reply(200, b"", headers)) as server:
        found = service(server).head("k")
    assert found == Object("k", 5, 1_252_488_002_000_000_000, "0x1", {"mode": "644"}, MD5, True)


def test_a_part_of_a_blob_tells_of_the_whole() -> None:
    headers = {
        **FACTS,
        "Content-Range": "bytes 2-4/9",
        "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==",
        "x-ms-blob-content-md5": MD5_TEXT,
    }
    with stub(lambda asked: Reply(206, b"cde", headers)) as server:
        found, body = service(server).get("k", 2, 3, "0x1")
        assert b"".join(body) == b"cde"
    assert (found.size, found.md5) == (9, MD5)
    sent = server.asked[0].headers
    assert (sent["x-ms-range"], sent["if-match"]) == ("bytes=2-4", '"0x1"')


def test_a_range_without_its_whole_md5_has_none() -> None:
    headers = {**FACTS, "Content-Range": "bytes 0-2/9", "Content-MD5": MD5_TEXT}
    with stub(lambda asked: Reply(206, b"abc", headers)) as server:
        assert service(server).get("k", 0, 3)[0].md5 is None


def test_a_body_that_breaks_off() -> None:
    with stub(lambda asked: Reply(200, b"abc", FACTS, length=9)) as server:
        found, body = service(server).get("k")
        assert found.size == 9
        with pytest.raises(DunlinError) as caught:
            list(body)
    assert caught.value.kind is ErrorKind.NETWORK


def end_of_blob(asked: Asked) -> Reply:
    if asked.method == "HEAD":
        return Reply(200, b"", {**FACTS, "Content-Length": "3"})
    return Reply(416, b"<Error><Code>InvalidRange</Code><Message>No.</Message></Error>")


def test_a_read_at_the_end_gives_nothing_and_one_behind_it_is_an_error() -> None:
    with stub(end_of_blob) as server:
        it = service(server)
        found, body = it.get("k", 3, etag="0x1")
        assert (found.size, list(body)) == (3, [])
        assert list(it.get("k", 1, 0)[1]) == []
        for start, etag in ((4, "0x1"), (3, "0x2")):
            with pytest.raises(DunlinError) as caught:
                it.get("k", start, etag=etag)
            assert caught.value.kind is ErrorKind.CHANGED


def test_a_blob_that_stands_for_a_directory_is_none() -> None:
    headers = {**FACTS, "Content-Length": "0", "x-ms-meta-hdi_isfolder": "true"}
    assert refused(lambda asked: Reply(200, b"", headers), lambda it: it.head("d")).kind is ErrorKind.NOT_FOUND
    assert refused(lambda asked: Reply(200, b"", headers), lambda it: it.get("d")).kind is ErrorKind.NOT_FOUND


# ---- uploads and copies ----


def test_blocks_of_others_are_left_out() -> None:
    with stub(empty_page) as server:
        tag = service(server).part_tag(12, MD5)
    others = [base64.b64encode(raw).decode() for raw in (b"dunlin00012", b"x" * 27, b"dunlinxxxxx" + MD5)]
    names = "".join(f"<Block><Name>{name}</Name><Size>7</Size></Block>" for name in ["?", *others, tag])
    body = f"<BlockList><UncommittedBlocks>{names}</UncommittedBlocks></BlockList>".encode()
    with stub(lambda asked: Reply(200, body)) as server:
        it = service(server)
        assert it.parts("k", UPLOAD) == [Part(12, 7, tag)]
        assert it.unfinished("k") == UPLOAD


def test_a_block_goes_with_its_crc64_and_no_md5() -> None:
    with stub(lambda asked: Reply(201)) as server:
        it = service(server)
        digest = it.part_digest(b"123456789")
        sent = it.part("k", UPLOAD, 3, b"123456789", digest)
    headers = server.asked[0].headers
    assert base64.b64decode(headers["x-ms-content-crc64"]).hex() == "8898790a86148bae"
    assert "content-md5" not in headers
    assert sent == Part(3, 9, it.part_tag(3, digest))
    assert digest != it.part_digest(b"123456780")


def test_tags_tell_number_and_content_and_have_one_length() -> None:
    with stub(empty_page) as server:
        it = service(server)
        tags = {it.part_tag(number, digest) for number in (1, 50_000) for digest in (MD5, bytes(16))}
    assert len(tags) == 4
    assert {len(tag) for tag in tags} == {36}


def test_beginning_and_giving_up_ask_nothing() -> None:
    with stub(empty_page) as server:
        it = service(server)
        it.abort("k", it.begin("k", {}))
        assert server.asked == []


def copying(*states: str) -> Callable[[Asked], Reply]:
    left = iter(states)
    return lambda asked: Reply(
        202 if asked.method == "PUT" and not asked.query.get("comp") else 200, b"",
        {**FACTS, "x-ms-copy-id": "1", "x-ms-copy-status": next(left),
         "Content-Length": "0" if asked.method == "PUT" else "5"},
    )  # fmt: skip


ORIGIN = Object("from", 5, 0, "0x9", {})


def test_a_copy_that_takes_its_time_is_waited_for() -> None:
    sleeps: list[float] = []
    with stub(copying("pending", "pending", "success")) as server:
        it = service(server, sleeps)
        assert it.copy(it, ORIGIN, "to", {"a": "1"}) == "0x1"
    assert [asked.method for asked in server.asked] == ["PUT", "HEAD", "HEAD"]
    assert sleeps == [0.05, 0.1]
    sent = server.asked[0].headers
    assert sent["x-ms-copy-source"] == f"{server.url}/acc/c-1/from?sig=s3cret"
    assert sent["x-ms-source-if-match"] == '"0x9"'


def test_a_copy_that_fails_or_never_ends() -> None:
    assert refused(copying("pending", "aborted"), lambda it: it.copy(it, ORIGIN, "to", {})).kind is ErrorKind.IO
    assert refused(copying(*["pending"] * 999), lambda it: it.copy(it, ORIGIN, "to", {})).kind is ErrorKind.TIMEOUT


def test_a_copy_within_an_account_only() -> None:
    with stub(empty_page) as here, stub(empty_page) as there:
        with pytest.raises(DunlinError) as caught:
            service(here).copy(service(there), ORIGIN, "to", {})
        assert caught.value.kind is ErrorKind.UNSUPPORTED
        assert here.asked == there.asked == []


def test_a_copy_without_metadata_does_not_take_over_the_sources() -> None:
    with stub(copying("success", "success")) as server:
        it = service(server)
        it.copy(it, ORIGIN._replace(metadata={"a": "1"}), "to", {})
    assert [asked.query.get("comp", "") for asked in server.asked] == ["", "metadata"]
    assert server.asked[1].headers["if-match"] == '"0x1"'


# ---- answers that are not the service's ----

PAGE = b"<html><body>Log in to this network</body></html>"
ORIGINAL = Object("from", 5, 0, "0x9", {})


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    "act",
    [
        lambda it: it.page(""),
        lambda it: it.head("k"),
        lambda it: it.get("k"),
        lambda it: it.put("k", b"x", {}),
        lambda it: it.part("k", UPLOAD, 1, b"x", MD5),
        lambda it: it.complete("k", UPLOAD, [], {}),
        lambda it: it.parts("k", UPLOAD),
        lambda it: it.copy(it, ORIGINAL, "k", {}),
        lambda it: it.set_metadata("k", {}),
        lambda it: it.delete(["k"]),
    ],
)
def test_a_login_page_is_no_answer(status: int, act: Callable[[AzureService], object]) -> None:
    page = Reply(status, PAGE, {**FACTS, "Content-Type": "text/html"}, own=False)
    error = refused(lambda asked: page, act)
    assert (error.kind, "does not come from" in error.reason) == (ErrorKind.NETWORK, True)


@pytest.mark.parametrize(
    ("status", "act"),
    [
        (200, lambda it: it.put("k", b"x", {})),
        (200, lambda it: it.part("k", UPLOAD, 1, b"x", MD5)),
        (200, lambda it: it.complete("k", UPLOAD, [], {})),
        (200, lambda it: it.copy(it, ORIGINAL, "k", {})),
        (200, lambda it: it.delete(["k"])),
        (201, lambda it: it.set_metadata("k", {})),
    ],
)
def test_what_was_done_has_its_own_status(status: int, act: Callable[[AzureService], object]) -> None:
    assert refused(lambda asked: Reply(status, b"", FACTS), act).kind is ErrorKind.NETWORK


@pytest.mark.parametrize("missing", ["Last-Modified", "Etag", "Content-Length"])
def test_an_answer_that_leaves_out_what_it_must_say_is_asked_for_again(missing: str) -> None:
    def answer(asked: Asked) -> Reply:
        told = {name: value for name, value in FACTS.items() if name != missing}
        chunked = {"Transfer-Encoding": "chunked"} if missing == "Content-Length" else {}
        return Reply(200, b"content of 26 characters..", {**told, **chunked})

    assert refused(answer, lambda it: it.get("k")).kind is ErrorKind.NETWORK


@pytest.mark.parametrize("name", ["Last-Modified", "Content-Length"])
@pytest.mark.parametrize("value", ["\u00b2", "-1", "9" * 30, "", "\u00b2" * 29])
def test_an_odd_header_is_no_fault_of_ours(name: str, value: str) -> None:
    error = refused(lambda asked: Reply(200, b"", {**FACTS, name: value}), lambda it: it.head("k"))
    assert error.kind is ErrorKind.NETWORK
