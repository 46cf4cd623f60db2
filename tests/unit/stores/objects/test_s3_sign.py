"""Signatures against Amazon's published examples and against botocore's."""

from __future__ import annotations

import calendar
import hashlib
import time

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.stores.objects import s3_sign
from dunlin.stores.objects.s3_sign import COVERED, EMPTY, UNSIGNED, Credentials, Query, escaped

# The examples of "Signature Calculations for the Authorization Header" in the Amazon S3 API reference.
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = "examplebucket.s3.amazonaws.com"
THEN = calendar.timegm((2013, 5, 24, 0, 0, 0))


def signature(method: str, path: str, query: Query, headers: dict[str, str], payload: str = EMPTY) -> str:
    sent = s3_sign.signed(method, HOST, path, query, headers, EXAMPLE, "us-east-1", payload, THEN)
    return sent["authorization"].partition("Signature=")[2]


def test_published_examples() -> None:
    assert signature("GET", "/test.txt", (), {"range": "bytes=0-9"}) == (
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    put = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    welcome = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
    assert signature("PUT", "/" + escaped("test$file.text"), (), put, welcome) == (
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )
    assert signature("GET", "/", (("lifecycle", None),), {}) == (
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
    assert signature("GET", "/", (("max-keys", "2"), ("prefix", "J")), {}) == (
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUE = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)


@settings(max_examples=60)
@given(key=TEXT, prefix=TEXT, value=VALUE, token=st.sampled_from(["", "session"]), body=st.binary(max_size=20))
def test_as_botocore_signs(key: str, prefix: str, value: str, token: str, body: bytes) -> None:
    path = "/bucket/" + escaped(key, "/")
    query: Query = (("uploads", None), ("prefix", prefix), ("delimiter", "/"))
    headers = {"x-amz-meta-name": value, "content-md5": "AAAA"}
    theirs = AWSRequest("PUT", "http://127.0.0.1:9000" + s3_sign.target(path, query), dict(headers), body)
    theirs.context["client_config"] = None
    S3SigV4Auth(TheirCredentials("id", "secret", token or None), "s3", "eu-north-1").add_auth(theirs)
    now = calendar.timegm(time.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    payload = theirs.headers["X-Amz-Content-SHA256"]
    ours = s3_sign.signed(
        "PUT", "127.0.0.1:9000", path, query, headers, Credentials("id", "secret", token), "eu-north-1", payload, now
    )
    assert payload == s3_sign.digest(body, secure=False)
    assert ours["authorization"].replace(",S", ", S") == theirs.headers["Authorization"]


def test_what_of_a_body_is_signed() -> None:
    assert s3_sign.digest(b"", secure=True) == EMPTY
    assert s3_sign.digest(b"x", secure=True) == UNSIGNED
    assert s3_sign.digest(b"x", secure=False) == hashlib.sha256(b"x").hexdigest()
    assert s3_sign.digest(bytes(COVERED), secure=False) == hashlib.sha256(bytes(COVERED)).hexdigest()
    assert s3_sign.digest(bytes(COVERED + 1), secure=False) == UNSIGNED


def test_the_query_is_sent_as_it_was_signed() -> None:
    assert s3_sign.target("/b", (("uploads", None), ("prefix", "a b/é&"))) == "/b?uploads&prefix=a%20b%2F%C3%A9%26"
    assert s3_sign.target("/b", ()) == "/b"


@pytest.mark.parametrize("shown", [repr(EXAMPLE), str(EXAMPLE), f"{EXAMPLE}"])
def test_credentials_do_not_show_themselves(shown: str) -> None:
    assert shown == "Credentials(***)"
