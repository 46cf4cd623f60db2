"""What the S3 service asks, and what it makes of the answers; the server is scripted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects.s3 import GIB, S3Service, open_service
from dunlin.stores.objects.service import Object, Part
from tests.unit.stores.objects.scripted import Scripted, answer, scripted

KEYS = {"access_key_id": "id", "secret_access_key": "quite-secret"}
LAST = "Mon, 12 Oct 2009 17:50:30 GMT"


def service(server: Scripted, bucket: str = "bucket", **login: str) -> S3Service:
    made = open_service(bucket, Login({**KEYS, "endpoint": server.url, **login}))
    assert isinstance(made, S3Service)
    return made


def refused(act: Callable[[], Any]) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        act()
    return caught.value


def head(size: int, **headers: str) -> bytes:
    """An answer to HEAD of an object of that size."""
    return answer(200, b"", **{"content_length": str(size), "etag": '"v"', "last_modified": LAST, **headers})


def failure(status: int, code: str, more: str = "", **headers: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>why</Message>{more}</Error>", **headers)


def scope(asked: Any) -> str:
    return str(asked.headers["authorization"].split("/")[2])


LISTED = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def test_a_page_is_one_request_with_everything_in_its_query() -> None:
    with scripted(answer(200, LISTED), answer(200, LISTED)) as server:
        s3 = service(server)
        s3.page("a b/", delimiter="/", token="t+/", most=7)
        s3.page("", after="x\ny")
        s3.close()
    assert [asked.target for asked in server.asked] == [
        "/bucket?encoding-type=url&list-type=2&prefix=a%20b%2F&delimiter=%2F&continuation-token=t%2B%2F&max-keys=7",
        "/bucket?encoding-type=url&list-type=2&prefix=&start-after=x%0Ay",
    ]


def test_checksums_are_asked_for_with_the_whole_and_by_who_compares() -> None:
    whole = answer(200, b"ab", etag='"v"', last_modified=LAST, x_amz_checksum_crc64nvme="rosUhgp5mIg=")
    piece = answer(206, b"b", etag='"v"', last_modified=LAST, content_range="bytes 1-1/2")
    told = head(2, x_amz_checksum_crc64nvme="rosUhgp5mIg=", x_amz_checksum_type="FULL_OBJECT")
    sums = (("crc64", bytes.fromhex("ae8b14860a799888")),)
    with scripted(whole, piece, head(2), told) as server:
        s3 = service(server)
        for at, expected in ((0, sums), (1, None)):
            found, pieces = s3.get("k", at)
            assert (b"".join(pieces), found.sums) == (b"ab"[at:], expected)
        assert (s3.head("k").sums, s3.stated("k").sums) == (None, sums)
        s3.close()
    asked = [(one.method, one.headers.get("x-amz-checksum-mode")) for one in server.asked]
    # A plain look does not ask: of encrypted content the answer needs the right to decrypt.
    assert asked == [("GET", "ENABLED"), ("GET", None), ("HEAD", None), ("HEAD", "ENABLED")]
    assert "x-amz-checksum-mode" in server.asked[0].headers["authorization"]


def test_another_region_is_followed_once_and_kept() -> None:
    moved = failure(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    with scripted(moved, answer(200, LISTED), head(1)) as server:
        s3 = service(server)
        s3.page("")
        s3.head("a")
        s3.close()
    assert [scope(asked) for asked in server.asked] == ["us-east-1", "eu-west-1", "eu-west-1"]


def test_a_head_that_is_refused_without_a_word_finds_its_region_too() -> None:
    moved = failure(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    first = answer(206, b"x", etag='"v"', content_range="bytes 0-0/9", connection="close")
    with scripted(answer(400), moved, first, head(9)) as server:
        s3 = service(server)
        assert s3.head("a").size == 9
        s3.close()
    assert [(asked.method, scope(asked)) for asked in server.asked] == [
        ("HEAD", "us-east-1"), ("GET", "us-east-1"), ("GET", "eu-west-1"), ("HEAD", "eu-west-1"),
    ]  # fmt: skip


def test_a_redirect_names_the_region_in_its_header() -> None:
    with scripted(answer(301, b"", x_amz_bucket_region="sa-east-1", content_length="0"), head(1)) as server:
        s3 = service(server)
        s3.head("a")
        s3.close()
    assert [scope(asked) for asked in server.asked] == ["us-east-1", "sa-east-1"]


def test_regions_are_not_followed_in_circles() -> None:
    one, two = (failure(400, "AuthorizationHeaderMalformed", f"<Region>{name}</Region>") for name in ("one", "two"))
    with scripted(one, two, *[one] * 5) as server:
        s3 = service(server)
        error = refused(lambda: s3.page(""))
        s3.close()
    assert error.kind is ErrorKind.AUTH
    assert len(server.asked) == 2


def test_addresses_at_amazon() -> None:
    def place(bucket: str, **login: str) -> tuple[str, str]:
        s3 = open_service(bucket, Login({**KEYS, **login}))
        assert isinstance(s3, S3Service)
        return s3._route.client.endpoint, s3._route.base

    assert place("bucket") == ("https://bucket.s3.us-east-1.amazonaws.com", "")
    assert place("bucket", region="eu-west-1") == ("https://bucket.s3.eu-west-1.amazonaws.com", "")
    assert place("bucket", region="cn-north-1") == ("https://bucket.s3.cn-north-1.amazonaws.com.cn", "")
    assert place("dotted.bucket") == ("https://s3.us-east-1.amazonaws.com", "/dotted.bucket")


def test_all_but_directory_buckets_are_in_order() -> None:
    with scripted() as server:
        assert service(server).ordered
        assert not service(server, "name--use1-az4--x-s3").ordered
        assert not service(server).metadata_listed
        assert service(server).url == "s3://bucket"


def test_anonymous_requests_are_not_signed() -> None:
    with scripted(head(1)) as server:
        s3 = open_service("bucket", Login({"anonymous": "true", "endpoint": server.url}))
        s3.head("a")
        s3.close()
    assert "authorization" not in server.asked[0].headers


def test_why_a_head_was_refused_is_learnt_from_a_get() -> None:
    with scripted(answer(403, b"", connection="close"), failure(403, "InvalidAccessKeyId")) as server:
        s3 = service(server)
        error = refused(lambda: s3.head("a"))
        s3.close()
    assert (error.kind, error.reason) == (ErrorKind.AUTH, "why (InvalidAccessKeyId)")
    assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


def test_a_secret_in_a_message_of_the_server_is_masked() -> None:
    body = "<Error><Code>X</Code><Message>the key quite-secret is bad</Message></Error>"
    with scripted(answer(403, body)) as server:
        s3 = service(server)
        error = refused(lambda: s3.page(""))
        s3.close()
    assert error.reason == "the key *** is bad (X)"


def test_get_is_one_request_pinned_to_the_version() -> None:
    part = answer(206, b"cde", etag='"v"', content_range="bytes 2-4/9", last_modified=LAST, x_amz_meta_mtime="1")
    with scripted(part) as server:
        s3 = service(server)
        found, pieces = s3.get("k", 2, 3, etag="v")
        assert b"".join(pieces) == b"cde"
        s3.close()
    assert (found.size, found.metadata, found.etag) == (9, {"mtime": "1"}, "v")
    assert (server.asked[0].headers["range"], server.asked[0].headers["if-match"]) == ("bytes=2-4", '"v"')


def test_another_version_is_seen_although_the_server_knows_no_conditions() -> None:
    with scripted(answer(200, b"x" * 9, etag='"w"'), failure(412, "PreconditionFailed")) as server:
        s3 = service(server)
        assert refused(lambda: s3.get("k", etag="v")).kind is ErrorKind.CHANGED
        assert refused(lambda: s3.get("k", etag="v")).kind is ErrorKind.CHANGED
        s3.close()


def test_a_server_that_gives_no_parts_is_not_believed() -> None:
    with scripted(answer(200, b"x" * 9, etag='"v"')) as server:
        s3 = service(server)
        assert refused(lambda: s3.get("k", 2)).kind is ErrorKind.UNSUPPORTED
        s3.close()


def test_the_end_of_an_object_is_nothing_and_beyond_is_another_version() -> None:
    beyond = failure(416, "InvalidRange")
    with scripted(beyond, head(9), beyond, head(8), beyond, head(10), head(9)) as server:
        s3 = service(server)
        found, pieces = s3.get("k", 9)
        assert (found.size, list(pieces)) == (9, [])
        assert refused(lambda: s3.get("k", 9)).kind is ErrorKind.CHANGED
        assert refused(lambda: s3.get("k", 9)).kind is ErrorKind.CHANGED
        assert list(s3.get("k", 3, 0)[1]) == []
        s3.close()


def test_an_archived_object_is_refused_with_a_hint() -> None:
    with scripted(failure(403, "InvalidObjectState")) as server:
        s3 = service(server)
        error = refused(lambda: s3.get("k"))
        s3.close()
    assert error.kind is ErrorKind.DENIED
    assert "restore" in error.hint


def test_put_sends_metadata_and_digest() -> None:
    with scripted(answer(200, etag='"v"')) as server:
        s3 = service(server)
        assert s3.put("k", b"data", {"mtime": "1"}, md5=b"0" * 16, if_absent=True) == "v"
        s3.close()
    headers = server.asked[0].headers
    assert headers["content-md5"] == base64.b64encode(b"0" * 16).decode()
    assert (headers["x-amz-meta-mtime"], headers["if-none-match"]) == ("1", "*")
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"data").hexdigest()


def test_if_absent_raises_exists_and_asks_again_later_about_a_conflict() -> None:
    with scripted(failure(412, "PreconditionFailed"), failure(409, "ConditionalRequestConflict")) as server:
        s3 = service(server)
        assert refused(lambda: s3.put("k", b"", {}, if_absent=True)).kind is ErrorKind.EXISTS
        assert refused(lambda: s3.put("k", b"", {}, if_absent=True)).kind is ErrorKind.BUSY
        s3.close()


UPLOADS = "<ListMultipartUploadsResult>{}</ListMultipartUploadsResult>"
UPLOAD = "<Upload><Key>{}</Key><UploadId>{}</UploadId><Initiated>2020-01-0{}T00:00:00Z</Initiated></Upload>"


def test_the_newest_upload_of_just_this_key_is_found_over_pages() -> None:
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>"
    first = UPLOADS.format(UPLOAD.format("k", "u1", 2) + more)
    more = more.replace(">k<", ">kk<")
    second = UPLOADS.format(UPLOAD.format("k", "u2", 1) + UPLOAD.format("kk", "u3", 9) + more)
    with scripted(answer(200, first), answer(200, second)) as server:
        s3 = service(server)
        assert s3.unfinished("k") == "u1"
        s3.close()
    assert server.asked[1].target.endswith("&key-marker=k&upload-id-marker=u1")


def test_a_server_without_a_list_of_uploads_has_none() -> None:
    with scripted(failure(501, "NotImplemented")) as server:
        s3 = service(server)
        assert s3.unfinished("k") == ""
        s3.close()


def test_parts_over_pages() -> None:
    body = """<ListPartsResult><IsTruncated>{}</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>
      <Part><PartNumber>{}</PartNumber><ETag>t</ETag><Size>5</Size></Part></ListPartsResult>"""
    with scripted(answer(200, body.format("true", 1)), answer(200, body.format("false", 2))) as server:
        s3 = service(server)
        assert s3.parts("k", "u") == [Part(1, 5, "t"), Part(2, 5, "t")]
        s3.close()
    assert server.asked[1].target == "/bucket/k?part-number-marker=1&uploadId=u"


@pytest.mark.parametrize("code", ["InternalError", "SomethingNew"])
def test_an_error_in_an_answer_that_began_well(code: str) -> None:
    late = answer(200, f'<?xml version="1.0"?>\n  <Error><Code>{code}</Code><Message>why</Message></Error>')
    with scripted(late, late) as server:
        s3 = service(server)
        assert refused(lambda: s3.complete("k", "u", [Part(1, 5, "t")], {})).kind is ErrorKind.NETWORK
        assert refused(lambda: s3.copy(s3, Object("a", 5, 0, "v", {}), "k", {})).kind is ErrorKind.NETWORK
        s3.close()


def test_giving_up_an_upload_that_is_gone_is_no_error() -> None:
    with scripted(failure(404, "NoSuchUpload"), failure(403, "AccessDenied")) as server:
        s3 = service(server)
        s3.abort("k", "u")
        assert refused(lambda: s3.abort("k", "u")).kind is ErrorKind.DENIED
        s3.close()


COPIED = answer(200, "<CopyObjectResult><ETag>&quot;new&quot;</ETag></CopyObjectResult>")


def test_a_copy_with_the_same_metadata_is_one_request() -> None:
    with scripted(COPIED) as server:
        s3 = service(server)
        assert s3.copy(s3, Object("a b/\u00e9+", 5, 0, "v", {"x": "1"}), "k", {"x": "1"}) == "new"
        s3.close()
    headers = server.asked[0].headers
    assert headers["x-amz-copy-source"] == "/bucket/a%20b/%C3%A9%2B"
    assert (headers["x-amz-copy-source-if-match"], headers["x-amz-metadata-directive"]) == ('"v"', "COPY")


def test_a_copy_with_other_metadata_keeps_the_content_type() -> None:
    with scripted(head(5, content_type="text/x", x_amz_meta_x="1"), COPIED) as server:
        s3 = service(server)
        s3.copy(s3, Object("a", 5, 0, "v"), "k", {"x": "2"})
        s3.close()
    headers = server.asked[1].headers
    assert (headers["content-type"], headers["x-amz-meta-x"]) == ("text/x", "2")
    assert headers["x-amz-metadata-directive"] == "REPLACE"


def test_what_cannot_be_copied_here() -> None:
    with scripted() as server, scripted() as other:
        s3 = service(server)
        small, large = Object("a", 5, 0, "v", {}), Object("a", 5 * GIB + 1, 0, "v", {})
        assert refused(lambda: s3.copy(service(other), small, "k", {})).kind is ErrorKind.UNSUPPORTED
        me = service(server, access_key_id="me")
        assert refused(lambda: s3.copy(me, small, "k", {})).kind is ErrorKind.UNSUPPORTED
        assert refused(lambda: s3.copy(s3, large, "k", {})).kind is ErrorKind.UNSUPPORTED
        assert server.asked == other.asked == []


def test_new_metadata_leave_storage_class_and_encryption() -> None:
    kept = {"x_amz_storage_class": "STANDARD_IA", "x_amz_server_side_encryption": "AES256", "cache_control": "no-cache"}
    with scripted(head(5, **kept), COPIED, head(5), head(5, x_amz_storage_class="GLACIER")) as server:
        s3 = service(server)
        assert s3.set_metadata("k", {"x": "2"}, etag="v") == "new"
        assert refused(lambda: s3.set_metadata("k", {}, etag="other")).kind is ErrorKind.CHANGED
        assert refused(lambda: s3.set_metadata("k", {})).kind is ErrorKind.DENIED
        s3.close()
    sent = server.asked[1].headers
    assert {name: sent[name.replace("_", "-")] for name in kept} == kept
    assert sent["x-amz-copy-source-if-match"] == '"v"'


DELETED = answer(200, "<DeleteResult></DeleteResult>")


def test_many_keys_are_deleted_in_one_request_but_for_those_that_xml_cannot_hold() -> None:
    with scripted(DELETED, answer(204)) as server:
        s3 = service(server)
        s3.delete(["a", "b&\r", "\x01"])
        s3.close()
    assert [asked.method for asked in server.asked] == ["POST", "DELETE"]
    assert [asked.target for asked in server.asked] == ["/bucket?delete", "/bucket/%01"]
    body = server.asked[0].body
    assert server.asked[0].headers["content-md5"] == base64.b64encode(hashlib.md5(body).digest()).decode()
    assert b"<Key>b&#38;&#13;</Key>" in body


def test_a_key_that_could_not_be_deleted_is_an_error() -> None:
    body = "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    with scripted(answer(200, body), answer(200, body.replace("AccessDenied", "NoSuchKey"))) as server:
        s3 = service(server)
        error = refused(lambda: s3.delete(["a", "b"]))
        s3.delete(["a", "b"])
        s3.close()
    assert (error.kind, error.where) == (ErrorKind.DENIED, "s3://bucket/b")


def test_without_deletes_of_many_they_go_one_by_one() -> None:
    with scripted(failure(501, "NotImplemented"), answer(204), failure(404, "NoSuchKey"), *[answer(204)] * 2) as server:
        s3 = service(server)
        s3.delete(["a", "b"])
        s3.delete(["c", "d"])
        s3.close()
    assert [asked.method for asked in server.asked] == ["POST", *["DELETE"] * 4]


def test_deleting_in_a_bucket_that_is_not_there_is_an_error() -> None:
    with scripted(failure(404, "NoSuchBucket")) as server:
        s3 = service(server)
        assert refused(lambda: s3.delete(["a"])).kind is ErrorKind.NOT_FOUND
        s3.close()


def test_what_is_no_s3_server_is_said() -> None:
    with scripted(answer(200, "<html>Welcome</html>")) as server:
        s3 = service(server)
        error = refused(lambda: s3.page(""))
        s3.close()
    assert "is this an S3 server?" in str(error)


def test_busy_passes_on_how_long_to_wait() -> None:
    with scripted(failure(503, "SlowDown", retry_after="3")) as server:
        s3 = service(server)
        error = refused(lambda: s3.put("k", b"x", {}))
        s3.close()
    assert (error.kind, error.retry_after) == (ErrorKind.BUSY, 3.0)


PORTAL = answer(200, "<html>Log in to this network</html>", content_type="text/html")
ORIGIN = Object("a", 5, 0, "v", {})


@pytest.mark.parametrize(
    "act",
    [
        lambda it: it.page(""),
        lambda it: it.head("k"),
        lambda it: it.get("k"),
        lambda it: it.put("k", b"x", {}),
        lambda it: it.begin("k", {}),
        lambda it: it.part("k", "u", 1, b"x", bytes(16)),
        lambda it: it.complete("k", "u", [Part(1, 5, "t")], {}),
        lambda it: it.copy(it, ORIGIN, "k", {}),
        lambda it: it.delete(["k"]),
        lambda it: it.delete(["k", "l"]),
        lambda it: it.abort("k", "u"),
    ],
)
def test_a_login_page_is_no_answer(act: Callable[[S3Service], object]) -> None:
    # Another answer would make a success of it: nothing more is asked.
    with scripted(PORTAL.split(b"<html>")[0] if "head" in act.__code__.co_names else PORTAL, head(5)) as server:
        s3 = service(server)
        error = refused(lambda: act(s3))
        s3.close()
    assert error.kind is ErrorKind.NETWORK
    assert len(server.asked) == 1


def test_content_without_a_size_is_not_read() -> None:
    chunked = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\netag: "v"\r\n\r\n3\r\nabc\r\n0\r\n\r\n'
    with scripted(chunked) as server:
        s3 = service(server)
        error = refused(lambda: s3.get("k", etag="v"))
        s3.close()
    assert (error.kind, error.reason, error.where) == (ErrorKind.NETWORK, "the answer tells no size", "s3://bucket/k")


@pytest.mark.parametrize("encoding", ["utf-99", "big5"])
def test_an_odd_encoding_is_no_fault_of_ours(encoding: str) -> None:
    body = f"<?xml version='1.0' encoding='{encoding}'?><a/>"
    with scripted(answer(200, body), answer(500, body)) as server:
        s3 = service(server)
        assert refused(lambda: s3.page("")).kind is ErrorKind.NETWORK
        assert refused(lambda: s3.page("")).kind is ErrorKind.NETWORK
        s3.close()
