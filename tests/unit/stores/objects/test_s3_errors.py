"""What S3's refusals become."""

from __future__ import annotations

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects import s3_errors

URL, WHERE = "s3://b", "s3://b/k"


def error(status: int, code: str = "", where: str = WHERE, message: str = "", **headers: str) -> DunlinError:
    fields = {"": "Error", "Code": code, "Message": message, "StringToSign": "secret"} if code else {}
    return s3_errors.error(status, {k.replace("_", "-"): v for k, v in headers.items()}, fields, "read", URL, where)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "InvalidAccessKeyId", ErrorKind.AUTH),
        (403, "SignatureDoesNotMatch", ErrorKind.AUTH),
        (400, "ExpiredToken", ErrorKind.AUTH),
        (400, "InvalidToken", ErrorKind.AUTH),
        (403, "RequestTimeTooSkewed", ErrorKind.AUTH),
        (401, "", ErrorKind.AUTH),
        (403, "AccessDenied", ErrorKind.DENIED),
        (403, "", ErrorKind.DENIED),
        (403, "InvalidObjectState", ErrorKind.DENIED),
        (404, "NoSuchKey", ErrorKind.NOT_FOUND),
        (404, "", ErrorKind.NOT_FOUND),
        (412, "PreconditionFailed", ErrorKind.CHANGED),
        (400, "InvalidPart", ErrorKind.CHANGED),
        (409, "OperationAborted", ErrorKind.BUSY),
        (503, "SlowDown", ErrorKind.BUSY),
        (503, "", ErrorKind.BUSY),
        (429, "TooManyRequests", ErrorKind.BUSY),
        (500, "InternalError", ErrorKind.NETWORK),
        (502, "", ErrorKind.NETWORK),
        (400, "RequestTimeout", ErrorKind.TIMEOUT),
        (408, "", ErrorKind.TIMEOUT),
        (400, "BadDigest", ErrorKind.CHECKSUM),
        (400, "KeyTooLongError", ErrorKind.NAME),
        (400, "SomethingNew", ErrorKind.IO),
        (501, "", ErrorKind.UNSUPPORTED),
        (405, "MethodNotAllowed", ErrorKind.UNSUPPORTED),
        (507, "XMinioStorageFull", ErrorKind.NO_SPACE),
    ],
)
def test_kinds(status: int, code: str, kind: ErrorKind) -> None:
    assert error(status, code).kind is kind


def test_a_missing_bucket_is_named_and_not_its_object() -> None:
    found = error(404, "NoSuchBucket")
    assert (found.kind, found.where) == (ErrorKind.NOT_FOUND, URL)


def test_a_refusal_of_the_bucket_itself_is_for_the_command_line() -> None:
    assert error(400, "SomethingNew", where=URL).kind is ErrorKind.USAGE


def test_code_and_message_are_shown_and_nothing_else() -> None:
    found = error(403, "AccessDenied", message="Access\n  Denied")
    assert found.reason == "Access Denied (AccessDenied)"
    assert "secret" not in str(found)


def test_the_hint_of_an_archived_object_says_what_to_do() -> None:
    assert "restore" in error(403, "InvalidObjectState").hint


@pytest.mark.parametrize("code", ["SlowDown", "", "Unheard"])
def test_retry_after_is_passed_on(code: str) -> None:
    assert error(503, code, retry_after="7").retry_after == 7.0
    assert error(503, code).retry_after is None
