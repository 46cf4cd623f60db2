"""Requests and errors of Google Cloud Storage, against a server that says what the emulator cannot."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects.gcs import GRAIN, GcsService, open_service
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Object, Part
from tests.unit.stores.objects.scripted import HANG_UP, Asked, Scripted, answer, scripted

MD5 = bytes(range(16))
MD5_TEXT = base64.b64encode(MD5).decode()
ABOUT = {"name": "k", "size": "9", "timeCreated": "2023-11-14T22:13:20.5Z", "generation": "7"}
LISTED = {"kind": "storage#objects"}
ORIGIN = Object("from", 5, 0, "9", {"a": "1"})


def js(content: object, status: int = 200, **headers: str) -> bytes:
    return answer(status, json.dumps(content), content_type="application/json", **headers)


def no(status: int, message: str = "No.", reason: str = "", **headers: str) -> bytes:
    return js({"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}, status, **headers)


@contextmanager
def serving(*answers: bytes, **login: str) -> Iterator[tuple[Scripted, GcsService]]:
    with scripted(*answers) as server:
        made = open_service("b-1", Login({"endpoint": server.url, **login}))
        assert isinstance(made, GcsService)
        try:
            yield server, made
        finally:
            made.close()


def query(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}


def path(asked: Asked) -> str:
    return urlsplit(asked.target).path


def refused(act: Callable[[GcsService], object], *answers: bytes, **login: str) -> DunlinError:
    with serving(*answers, **login) as (server, it), pytest.raises(DunlinError) as caught:
        act(it)
    assert server.answers == []
    return caught.value


# ---- errors ----


@pytest.mark.parametrize(
    ("status", "message", "reason", "kind"),
    [
        (401, "Invalid Credentials", "authError", ErrorKind.AUTH),
        (403, "x does not have storage.objects.get access", "forbidden", ErrorKind.DENIED),
        (403, "Slow down", "rateLimitExceeded", ErrorKind.BUSY),
        (403, "Slow down", "userRateLimitExceeded", ErrorKind.BUSY),
        (403, "Slow down", "usageLimits.rateLimitExceeded", ErrorKind.BUSY),
        (429, "Slow down", "rateLimitExceeded", ErrorKind.BUSY),
        (503, "Backend Error", "backendError", ErrorKind.BUSY),
        (500, "Internal Error", "internalError", ErrorKind.NETWORK),
        (502, "", "", ErrorKind.NETWORK),
        (408, "", "", ErrorKind.TIMEOUT),
        (412, "At least one of the pre-conditions", "conditionNotMet", ErrorKind.CHANGED),
        (412, "Constraint", "orgPolicyConstraintFailed", ErrorKind.DENIED),
        (400, "Provided MD5 hash \"x\" doesn't match calculated MD5 hash \"y\".", "invalid", ErrorKind.CHECKSUM),
        (400, "Invalid argument.", "invalid", ErrorKind.USAGE),
    ],
)
def test_what_errors_mean(status: int, message: str, reason: str, kind: ErrorKind) -> None:
    error = refused(lambda it: it.put("k", b"x", {}), no(status, message, reason))
    assert (error.kind, error.where) == (kind, "gs://b-1/k")
    assert error.reason == (message or f"HTTP status {status}")


def test_how_long_a_busy_service_wants_to_be_left_alone() -> None:
    error = refused(lambda it: it.page(""), no(429, "Slow down", retry_after="17"))
    assert (error.kind, error.retry_after, error.where) == (ErrorKind.BUSY, 17.0, "gs://b-1")


def test_a_login_that_nobody_gave_is_hinted_at() -> None:
    error = refused(lambda it: it.head("k"), no(401, "Anonymous caller does not have access"))
    assert "--gcs-service-account" in error.hint


def test_a_missing_bucket_is_told_from_a_missing_object() -> None:
    gone = "The specified bucket does not exist."
    for act in (lambda it: it.head("k"), lambda it: it.get("k"), lambda it: it.put("k", b"", {}),
                lambda it: it.delete(["k"]), lambda it: it.page("")):  # fmt: skip
        error = refused(act, no(404, gone, "notFound"))
        assert (error.kind, error.where) == (ErrorKind.NOT_FOUND, "gs://b-1")
    absent = no(404, "No such object: bucket-of-mine/k", "notFound")
    error = refused(lambda it: it.head("k"), absent)
    assert (error.kind, error.where) == (ErrorKind.NOT_FOUND, "gs://b-1/k")


def test_deleting_what_is_not_there_is_no_error_and_all_are_tried() -> None:
    absent, done = no(404, "No such object: my-bucket/k", "notFound"), answer(204)
    with serving(absent, no(403, "Retention", "forbidden"), done) as (server, it):
        with pytest.raises(DunlinError) as caught:
            it.delete(["a", "b", "c"])
        assert (caught.value.kind, caught.value.where) == (ErrorKind.DENIED, "gs://b-1/b")
        assert [path(asked)[-4:] for asked in server.asked] == ["/o/a", "/o/b", "/o/c"]


@pytest.mark.parametrize(
    ("body", "words"), [("nonsense", "is not JSON"), ("{}", "no generation"), ("[]", "no generation")]
)
def test_an_answer_that_makes_no_sense_is_asked_for_again(body: str, words: str) -> None:
    error = refused(lambda it: it.put("k", b"x", {}), answer(200, body))
    assert (error.kind, words in error.reason) == (ErrorKind.NETWORK, True)


# ---- who pays ----


PAYS = no(400, "Bucket is a requester pays bucket but no user project provided.", "required")


def test_the_project_is_named_to_a_bucket_that_asks_for_it_and_to_no_other() -> None:
    with serving(js(ABOUT), PAYS, js(LISTED), js(ABOUT), project="p-1") as (server, it):
        it.head("k")
        it.page("")
        it.head("k")
    assert [asked.headers.get("x-goog-user-project") for asked in server.asked] == [None, None, "p-1", "p-1"]


def test_content_is_paid_for_too() -> None:
    with serving(PAYS, answer(200, b"content", x_goog_generation="7"), project="p-1") as (server, it):
        assert b"".join(it.get("k", etag="7")[1]) == b"content"
    assert server.asked[1].headers["x-goog-user-project"] == "p-1"


def test_without_a_project_the_error_says_how_to_name_one() -> None:
    error = refused(lambda it: it.page(""), PAYS)
    assert (error.kind, "--gcs-project" in error.hint) == (ErrorKind.USAGE, True)


def test_a_project_that_does_not_help_is_named_once() -> None:
    assert refused(lambda it: it.page(""), PAYS, PAYS, project="p-1").kind is ErrorKind.USAGE


# ---- looking ----


def test_what_a_listing_asks_for() -> None:
    listed = js({**LISTED, "items": [ABOUT], "prefixes": ["a/"], "nextPageToken": "t"})
    with serving(listed, js(LISTED)) as (server, it):
        page = it.page("a b/&", delimiter="/", token="2!x=", most=7)
        assert ([one.key for one in page.objects], page.prefixes, page.token) == (["k"], ["a/"], "t")
        assert it.page("").objects == []
    assert query(server.asked[0]) == {
        "fields": "kind,items(name,size,timeCreated,generation,md5Hash,metadata),prefixes,nextPageToken",
        "maxResults": "7", "prefix": "a b/&", "delimiter": "/", "pageToken": "2!x=",
    }  # fmt: skip
    assert query(server.asked[1]).keys() == {"fields", "maxResults"}


def test_a_listing_that_begins_behind_a_key_leaves_that_key_out() -> None:
    with serving(js({**LISTED, "items": [{**ABOUT, "name": "k"}, {**ABOUT, "name": "k\0"}]})) as (server, it):
        assert [one.key for one in it.page("", after="k").objects] == ["k\0"]
    assert query(server.asked[0])["startOffset"] == "k"


# ---- reading ----


def test_a_pinned_read_is_one_request() -> None:
    headers = {"x_goog_generation": "7", "x_goog_hash": f"crc32c=AAAAAA==,md5={MD5_TEXT}"}
    with serving(answer(206, b"cde", content_range="bytes 2-4/9", **headers)) as (server, it):
        found, body = it.get("k", 2, 3, "7")
        assert (b"".join(body), found) == (b"cde", Object("k", 9, 0, "7", None, MD5, sums=(("crc32c", bytes(4)),)))
    asked = server.asked[0]
    assert query(asked) == {"alt": "media", "ifGenerationMatch": "7"}
    assert (asked.headers["range"], asked.headers["accept-encoding"]) == ("bytes=2-4", "gzip")


def test_a_read_that_is_not_pinned_asks_for_the_object_and_then_for_that_generation() -> None:
    about = {**ABOUT, "metadata": {"mtime": "1.5"}}
    with serving(js(about), answer(200, b"123456789", x_goog_generation="7")) as (server, it):
        found, body = it.get("k")
        assert (b"".join(body), found.metadata) == (b"123456789", {"mtime": "1.5"})
    assert query(server.asked[1])["ifGenerationMatch"] == "7"
    assert "range" not in server.asked[1].headers


@pytest.mark.parametrize(
    "other", [no(412, "Precondition", "conditionNotMet"), answer(200, b"x", x_goog_generation="8")]
)
def test_another_generation_is_refused(other: bytes) -> None:
    assert refused(lambda it: it.get("k", etag="7"), other).kind is ErrorKind.CHANGED


def test_what_ends_where_it_begins() -> None:
    with serving(no(416), js(ABOUT), js(ABOUT), js(ABOUT)) as (_, it):
        assert list(it.get("k", 9, None, "7")[1]) == []
        assert list(it.get("k", 4, 0, "7")[1]) == []
        found, body = it.get("k", 9)
        assert (found.size, list(body)) == (9, [])
    assert refused(lambda it: it.get("k", 10, None, "7"), no(416), js(ABOUT)).kind is ErrorKind.CHANGED
    assert refused(lambda it: it.get("k", 9, None, "6"), no(416), js(ABOUT)).kind is ErrorKind.CHANGED
    assert refused(lambda it: it.get("k", 10), js(ABOUT)).kind is ErrorKind.CHANGED


def test_a_compressed_object_is_read_as_it_is_stored() -> None:
    stored = {"x_goog_stored_content_encoding": "gzip", "x_goog_stored_content_length": "3"}
    with serving(answer(200, b"\x1f\x8b!", content_encoding="gzip", **stored)) as (_, it):
        found, body = it.get("k", etag="7")
        assert (b"".join(body), found.size) == (b"\x1f\x8b!", 3)
    undone = answer(200, b"decompressed", **stored)
    assert "as it is stored" in refused(lambda it: it.get("k", etag="7"), undone).reason


def test_content_that_was_compressed_on_the_way_is_refused() -> None:
    added = answer(200, b"\x1f\x8b!", content_encoding="gzip", x_goog_stored_content_encoding="identity")
    assert "as it is stored" in refused(lambda it: it.get("k", etag="7"), added).reason


@pytest.mark.parametrize(
    "wrong",
    [
        answer(200, b"123456789", x_goog_generation="7"),
        answer(206, b"3456789", content_range="bytes 0-8/9", x_goog_generation="7"),
    ],
)
def test_another_range_than_the_one_asked_for_is_refused(wrong: bytes) -> None:
    assert "range" in refused(lambda it: it.get("k", 2, None, "7"), wrong).reason


# ---- writing ----


def test_a_put_is_metadata_and_content_in_one_request() -> None:
    with serving(js({"generation": "8"})) as (server, it):
        assert it.put("k/\u00e9", b"con\r\n--tent", {"mtime": "1.5"}, md5=MD5) == "8"
    asked = server.asked[0]
    assert path(asked) == "/upload/storage/v1/b/b-1/o"
    assert query(asked) == {"uploadType": "multipart", "fields": "generation"}
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    _, about, content, end = asked.body.split(b"--" + boundary)
    assert json.loads(about.partition(b"\r\n\r\n")[2]) == {
        "name": "k/\u00e9", "metadata": {"mtime": "1.5"}, "md5Hash": MD5_TEXT
    }  # fmt: skip
    assert content.partition(b"\r\n\r\n")[2] == b"con\r\n--tent\r\n"
    assert end == b"--\r\n"


def test_two_puts_have_two_boundaries() -> None:
    with serving(js({"generation": "8"}), js({"generation": "9"})) as (server, it):
        it.put("k", b"", {})
        it.put("k", b"", {})
    assert len({asked.headers["content-type"] for asked in server.asked}) == 2


def test_if_absent_is_a_condition_and_answered_by_exists() -> None:
    with serving(js({"generation": "8"}), no(412, "Precondition", "conditionNotMet")) as (server, it):
        it.put("k", b"", {}, if_absent=True)
        with pytest.raises(DunlinError) as caught:
            it.put("k", b"", {}, if_absent=True)
    assert caught.value.kind is ErrorKind.EXISTS
    assert [query(asked)["ifGenerationMatch"] for asked in server.asked] == ["0", "0"]


@pytest.mark.parametrize("key", ["a\nb", "a\rb", ".", "..", ".well-known/acme-challenge/x", "k" * 1025, "\u00e9" * 513])
def test_names_that_the_service_does_not_take_are_refused_before_anything_is_sent(key: str) -> None:
    with serving() as (server, it):
        assert not it.storable(key)
        for act in (lambda: it.put(key, b"", {}), lambda: it.begin(key, {}), lambda: it.copy(it, ORIGIN, key, {})):
            with pytest.raises(DunlinError) as caught:
                act()
            assert caught.value.kind is ErrorKind.NAME
        assert server.asked == []
        assert it.storable("../x")
        assert it.storable("k" * 1024)


# ---- uploads in parts ----

PIECES = [bytes([n]) * (GRAIN + 5) for n in (1, 2, 3)]
WHOLE = b"".join(PIECES)


class Session:
    """The upload that `uploading` has begun, and what was sent to it."""

    def __init__(self, server: Scripted, it: GcsService, upload: str) -> None:
        self.server = server
        self.it = it
        self.upload = upload
        self.parts: list[Part] = []

    def part(self, data: bytes) -> None:
        self.parts.append(self.it.part("k", self.upload, len(self.parts) + 1, data, b""))

    def complete(self, **how: Any) -> str:
        return self.it.complete("k", self.upload, self.parts, {}, **how)

    @property
    def sent(self) -> list[tuple[str, int]]:
        """Content-Range and length of every request to the upload."""
        return [
            (asked.headers["content-range"], len(asked.body)) for asked in self.server.asked if asked.method == "PUT"
        ]


@contextmanager
def uploading(*answers: bytes) -> Iterator[Session]:
    location = "https://elsewhere/upload/storage/v1/b/b-1/o?uploadType=resumable&upload_id=s3cret"
    with serving(answer(200, location=location), *answers) as (server, it):
        yield Session(server, it, it.begin("k", {"mtime": "1.5"}))


def has(count: int) -> bytes:
    return answer(308, **({"range": f"bytes=0-{count - 1}"} if count else {}))


def made(data: bytes = WHOLE) -> bytes:
    crc = hashing.stated("crc32c")
    crc.update(data)
    return js({"generation": "8", "crc32c": base64.b64encode(crc.digest()).decode()})


def test_parts_are_sent_in_multiples_and_the_rest_at_the_end() -> None:
    with uploading(has(GRAIN), has(2 * GRAIN), has(3 * GRAIN), made()) as it:
        for piece in PIECES:
            it.part(piece)
        assert it.complete() == "8"
        assert it.sent == [
            (f"bytes 0-{GRAIN - 1}/*", GRAIN),
            (f"bytes {GRAIN}-{2 * GRAIN - 1}/*", GRAIN),
            (f"bytes {2 * GRAIN}-{3 * GRAIN - 1}/*", GRAIN),
            (f"bytes {3 * GRAIN}-{3 * GRAIN + 14}/{3 * GRAIN + 15}", 15),
        ]
        begin = it.server.asked[0]
        assert (query(begin)["uploadType"], json.loads(begin.body)) == (
            "resumable", {"name": "k", "metadata": {"mtime": "1.5"}}
        )  # fmt: skip
        assert b"".join(asked.body for asked in it.server.asked[1:]) == WHOLE
        assert path(it.server.asked[1]) == "/upload/storage/v1/b/b-1/o"


def test_the_last_request_carries_bytes_even_of_a_round_size() -> None:
    with uploading(has(GRAIN), made(bytes(2 * GRAIN))) as it:
        it.part(bytes(GRAIN))
        it.part(bytes(GRAIN))
        it.complete()
        assert [size for _, size in it.sent] == [GRAIN, GRAIN]
        assert it.sent[-1][0] == f"bytes {GRAIN}-{2 * GRAIN - 1}/{2 * GRAIN}"


def test_what_the_service_did_not_keep_is_sent_again() -> None:
    data = bytes(4 * GRAIN + 1)
    with uploading(has(GRAIN), has(4 * GRAIN), made(data)) as it:
        it.part(data)
        it.complete()
        end = 4 * GRAIN - 1
        assert it.sent[:2] == [(f"bytes 0-{end}/*", 4 * GRAIN), (f"bytes {GRAIN}-{end}/*", 3 * GRAIN)]


def test_a_service_that_takes_nothing_is_asked_again_later() -> None:
    with uploading(has(0)) as it:
        with pytest.raises(DunlinError) as caught:
            it.part(PIECES[0])
        assert caught.value.kind is ErrorKind.NETWORK


@pytest.mark.parametrize("kept", [0, GRAIN])
def test_after_a_lost_answer_the_service_is_asked_how_far_it_is(kept: int) -> None:
    rest = (has(GRAIN),) if not kept else ()
    with uploading(HANG_UP, has(kept), *rest, made(PIECES[0])) as it:
        with pytest.raises(DunlinError) as caught:
            it.part(PIECES[0])
        assert caught.value.kind is ErrorKind.NETWORK
        it.part(PIECES[0])
        assert it.complete() == "8"
        first, asks, *others = it.sent
        assert (first[0], asks) == (f"bytes 0-{GRAIN - 1}/*", ("bytes */*", 0))
        assert [size for _, size in others] == [*([GRAIN] if not kept else []), 5]


def test_a_lost_answer_to_the_last_bytes() -> None:
    with uploading(HANG_UP, made(b"tail")) as it:
        it.part(b"tail")
        with pytest.raises(DunlinError):
            it.complete()
        assert it.complete(if_absent=True) == "8"
        assert it.sent == [("bytes 0-3/4", 4), ("bytes */4", 0)]


def test_last_bytes_that_never_arrived_are_sent_again() -> None:
    with uploading(HANG_UP, has(0), made(b"tail")) as it:
        it.part(b"tail")
        with pytest.raises(DunlinError):
            it.complete()
        assert it.complete() == "8"
        assert it.sent[2] == ("bytes 0-3/4", 4)


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_the_service_has_dropped_begins_anew(status: int) -> None:
    with uploading(answer(status)) as it:
        with pytest.raises(DunlinError) as caught:
            it.part(PIECES[0])
        # CHANGED: the file is tried again as a whole.
        assert (caught.value.kind, caught.value.where) == (ErrorKind.CHANGED, "gs://b-1/k")
        assert "s3cret" not in str(caught.value)


def test_a_service_that_has_lost_what_it_had() -> None:
    with uploading(has(GRAIN), HANG_UP, has(0)) as it:
        it.part(PIECES[0])
        with pytest.raises(DunlinError):
            it.part(PIECES[1])
        with pytest.raises(DunlinError) as caught:
            it.part(PIECES[1])
        assert caught.value.kind is ErrorKind.CHANGED


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_is_gone_when_it_should_be_complete_is_looked_for(status: int) -> None:
    about = {**ABOUT, "size": "4", "generation": "8"}
    with uploading(HANG_UP, answer(status), js(about)) as it:
        it.part(b"tail")
        service = RetryingService(it.it, sleep=lambda seconds: None)
        assert service.complete("k", it.upload, it.parts, {}) == "8"


def test_if_absent_is_a_look_before_the_last_bytes() -> None:
    with uploading(js(ABOUT)) as it:
        it.part(b"tail")
        with pytest.raises(DunlinError) as caught:
            it.complete(if_absent=True)
        assert (caught.value.kind, it.sent) == (ErrorKind.EXISTS, [])
    with uploading(no(404, "No such object: b-1/k", "notFound"), made(b"tail")) as it:
        it.part(b"tail")
        assert it.complete(if_absent=True) == "8"


def test_an_object_that_is_not_what_was_sent_is_deleted() -> None:
    with uploading(made(b"else"), answer(204)) as it:
        it.part(b"tail")
        with pytest.raises(DunlinError) as caught:
            it.complete()
        assert caught.value.kind is ErrorKind.CHECKSUM
        last = it.server.asked[-1]
        assert (last.method, query(last)) == ("DELETE", {"ifGenerationMatch": "8"})


def test_an_object_without_a_stated_checksum_is_taken_as_it_is() -> None:
    with uploading(js({"generation": "8"})) as it:
        it.part(b"tail")
        assert it.complete() == "8"


@pytest.mark.parametrize("status", [204, 404, 410, 499])
def test_an_aborted_upload_is_forgotten(status: int) -> None:
    with uploading(answer(status)) as it:
        it.it.abort("k", it.upload)
        with pytest.raises(DunlinError) as caught:
            it.part(b"tail")
        assert caught.value.kind is ErrorKind.NOT_FOUND


def test_an_abort_that_fails_is_told() -> None:
    with uploading(no(503)) as it:
        with pytest.raises(DunlinError) as caught:
            it.it.abort("k", it.upload)
        assert caught.value.kind is ErrorKind.BUSY


def test_uploads_that_nobody_goes_on_with_are_forgotten() -> None:
    begun = [answer(200, location=f"/upload?upload_id={n}") for n in range(5)]
    with scripted(*begun) as server:
        it = open_service("b-1", Login({"endpoint": server.url}), connections=2)
        uploads = [it.begin(f"k{n}", {}) for n in range(4)]
        it.part("k0", uploads[0], 1, b"x", b"")
        it.begin("k4", {})
        # The first was used after the second.
        assert it.part("k0", uploads[0], 2, b"x", b"").size == 1
        with pytest.raises(DunlinError, match="no such upload"):
            it.part("k1", uploads[1], 1, b"x", b"")
        it.close()


def test_an_upload_without_an_address() -> None:
    assert refused(lambda it: it.begin("k", {}), answer(200)).kind is ErrorKind.NETWORK


# ---- copies and metadata ----


def test_a_copy_with_the_metadata_of_its_origin_says_nothing_of_it() -> None:
    with serving(js({"done": True, "resource": {"generation": "8"}})) as (server, it):
        assert it.copy(it, ORIGIN, "to/x", {"a": "1"}) == "8"
    asked = server.asked[0]
    assert (asked.body, query(asked)["ifSourceGenerationMatch"]) == (b"", "9")
    assert path(asked) == "/storage/v1/b/b-1/o/from/rewriteTo/b/b-1/o/to%2Fx"


def test_a_copy_with_other_metadata_keeps_what_is_said_of_the_content() -> None:
    dress = {"contentType": "text/plain", "contentEncoding": "gzip"}
    with serving(js(dress), js({"done": True, "resource": {"generation": "8"}})) as (server, it):
        assert it.copy(it, ORIGIN, "to", {"a": "2"}) == "8"
    assert json.loads(server.asked[1].body) == {**dress, "metadata": {"a": "2"}}


def test_a_copy_takes_as_many_requests_as_the_service_wants() -> None:
    answers = [js({"done": False, "rewriteToken": token}) for token in ("t1", "t2")]
    with serving(*answers, js({"done": True, "resource": {"generation": "8"}})) as (server, it):
        assert it.copy(it, ORIGIN, "to", {"a": "1"}) == "8"
    assert [query(asked).get("rewriteToken") for asked in server.asked] == [None, "t1", "t2"]


def test_a_copy_that_is_neither_done_nor_goes_on() -> None:
    assert refused(lambda it: it.copy(it, ORIGIN, "to", {"a": "1"}), js({"done": False})).kind is ErrorKind.NETWORK


def test_an_origin_that_changed() -> None:
    error = refused(lambda it: it.copy(it, ORIGIN, "to", {"a": "1"}), no(412, "Precondition", "conditionNotMet"))
    assert error.kind is ErrorKind.CHANGED


def test_no_copy_from_another_login() -> None:
    with serving() as (server, it), serving() as (_, other):
        for source in (other, RetryingService(it)):
            with pytest.raises(DunlinError) as caught:
                it.copy(source, ORIGIN, "to", {})
            assert caught.value.kind is ErrorKind.UNSUPPORTED
        assert server.asked == []


def test_metadata_is_replaced_by_nulls_for_what_goes_whatever_its_case() -> None:
    there = {"generation": "7", "metadata": {"Goes": "1", "Stays": "2", "x": "3"}}
    with serving(js(there), js({"generation": "7"})) as (server, it):
        assert it.set_metadata("k", {"stays": "4", "x": "3", "new": "5"}, "7") == "7"
    patch = server.asked[1]
    assert (patch.method, query(patch)["ifGenerationMatch"]) == ("PATCH", "7")
    assert json.loads(patch.body) == {"metadata": {"Goes": None, "Stays": "4", "x": "3", "new": "5"}}


def test_metadata_of_another_generation_is_left_alone() -> None:
    error = refused(lambda it: it.set_metadata("k", {}, "6"), js({"generation": "7"}))
    assert error.kind is ErrorKind.CHANGED
    error = refused(lambda it: it.set_metadata("k", {}), js({"generation": "7"}), no(412, "", "conditionNotMet"))
    assert error.kind is ErrorKind.CHANGED


# ---- answers that are not the service's ----

PORTAL = answer(200, "<html>Log in to this network</html>", content_type="text/html")


@pytest.mark.parametrize("strange", [PORTAL, js({}), js([]), js("x"), answer(200, "[" * 100_000)])
@pytest.mark.parametrize(
    "act",
    [
        lambda it: it.page(""),
        lambda it: it.head("k"),
        lambda it: it.put("k", b"x", {}),
        lambda it: it.begin("k", {}),
        lambda it: it.copy(it, ORIGIN, "k", {"a": "1"}),
        lambda it: it.set_metadata("k", {}),
        lambda it: it.get("k", etag="7"),
        lambda it: it.delete(["k"]),
    ],
)
def test_an_answer_of_somebody_else_is_none(strange: bytes, act: Callable[[GcsService], object]) -> None:
    assert refused(act, strange).kind is ErrorKind.NETWORK


@pytest.mark.parametrize(
    "told",
    [
        {"name": "other"},
        {"generation": None},
        {"size": "\u00b2"},
        {"size": -1},
        {"size": "9" * 40},
        {"timeCreated": "yesterday"},
        {"md5Hash": "?"},
        {"metadata": "x"},
    ],
)
def test_an_odd_description_is_no_fault_of_ours(told: dict[str, Any]) -> None:
    odd = {name: value for name, value in {**ABOUT, **told}.items() if value is not None}
    assert refused(lambda it: it.head("k"), js(odd)).kind is ErrorKind.NETWORK
    if "name" not in told:
        assert refused(lambda it: it.page(""), js({**LISTED, "items": [odd]})).kind is ErrorKind.NETWORK


@pytest.mark.parametrize("page", [{"items": ["x"]}, {"items": 5}, {"prefixes": [5]}, {"nextPageToken": 5}])
def test_an_odd_page_is_no_fault_of_ours(page: dict[str, Any]) -> None:
    assert refused(lambda it: it.page(""), js({**LISTED, **page})).kind is ErrorKind.NETWORK


def test_content_without_a_size_is_not_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-goog-generation: 7\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    error = refused(lambda it: it.get("k", etag="7"), chunked)
    assert (error.kind, error.reason) == (ErrorKind.NETWORK, "the answer tells no size")
