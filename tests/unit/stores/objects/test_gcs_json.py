"""What Google Cloud Storage writes, and what is made of it."""

from __future__ import annotations

import base64
import json

import pytest

from dunlin.errors import DunlinError
from dunlin.stores.objects.answers import Answer
from dunlin.stores.objects.gcs_json import described, object_of, quoted, said, target_of, wants_payer
from dunlin.stores.objects.service import Object

MD5 = bytes(range(16))
MD5_TEXT = base64.b64encode(MD5).decode()


def refusal(message: object, reason: str = "invalid", status: int = 400) -> Answer:
    body = {"error": {"code": status, "message": message, "errors": [{"domain": "global", "reason": reason}]}}
    return Answer(status, {"content-type": "application/json"}, json.dumps(body).encode())


def test_an_object() -> None:
    item = {
        "name": "a/b", "size": "5", "timeCreated": "2023-11-14T22:13:20.123Z", "updated": "2024-01-01T00:00:00Z",
        "generation": "1700000000123456", "md5Hash": MD5_TEXT, "metadata": {"Mode": "100644", "gone": None},
    }  # fmt: skip
    made = Object("a/b", 5, 1_700_000_000_123_000_000, "1700000000123456", {"mode": "100644"}, MD5)
    assert object_of(item) == made


@pytest.mark.parametrize("md5", [{}, {"md5Hash": None}, {"md5Hash": ""}])
def test_a_composed_object_has_no_md5(md5: dict[str, str | None]) -> None:
    found = object_of({"name": "a", "size": "5", "generation": "1", "crc32c": "AAAAAA==", **md5})
    assert (found.md5, found.metadata, found.modified) == (None, {}, 0)
    assert found.sums == (("crc32c", bytes(4)),)


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"content-length": "3"}, 3),
        ({"content-length": "3", "content-range": "bytes 2-4/9"}, 9),
        ({"content-length": "3", "content-range": "bytes 2-4/*", "x-goog-stored-content-length": "9"}, 9),
        ({"transfer-encoding": "chunked", "x-goog-stored-content-length": "7"}, 7),
    ],
)
def test_the_size_of_an_object_whose_content_comes(headers: dict[str, str], size: int) -> None:
    assert described("k", "5", headers) == Object("k", size, 0, "5")


def test_content_without_any_size_is_refused() -> None:
    with pytest.raises(DunlinError, match="tells no size"):
        described("k", "5", {"content-range": "bytes 0-1/*"})


@pytest.mark.parametrize(
    ("header", "md5"),
    [(f"crc32c=AAAAAA==,md5={MD5_TEXT}", MD5), (f"md5={MD5_TEXT}, crc32c=AAAAAA==", MD5), ("crc32c=AAAAAA==", None)],
)
def test_the_md5_of_content(header: str, md5: bytes | None) -> None:
    found = described("k", "5", {"content-length": "1", "x-goog-hash": header})
    assert (found.md5, found.sums) == (md5, (("crc32c", bytes(4)),))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal("Not\nfound.  ", "notFound"), ("Not found.", "notFound")),
        (refusal(None), ("", "invalid")),
        (Answer(400, {}, b'{"error": "invalid_grant"}'), ("", "")),
        (Answer(400, {}, b'{"error": {"message": "Only that.", "errors": []}}'), ("Only that.", "")),
        (Answer(400, {}, b"[]"), ("", "")),
        (Answer(502, {"content-type": "text/html"}, b"<html>a page</html>"), ("", "")),
        (Answer(404, {"content-type": "text/plain; charset=utf-8"}, b"Upload\n gone"), ("Upload gone", "")),
        (Answer(404, {}, b""), ("", "")),
    ],
)
def test_what_a_refusal_says(answer: Answer, words: tuple[str, str]) -> None:
    assert said(answer) == words


def test_a_long_message_is_cut() -> None:
    assert said(refusal("x" * 1000))[0] == "x" * 300


@pytest.mark.parametrize(
    ("answer", "wants"),
    [
        (refusal("Bucket is a requester pays bucket but no user project provided.", "required"), True),
        (refusal("No.", "userProjectMissing"), True),
        (refusal("Invalid bucket name."), False),
    ],
)
def test_who_pays(answer: Answer, wants: bool) -> None:
    assert wants_payer(answer) is wants


@pytest.mark.parametrize(
    ("key", "path"),
    [("a/b", "a%2Fb"), ("..", "%2E%2E"), (".", "%2E"), ("a/../b", "a%2F..%2Fb"), ("%2F", "%252F"),
     ("\u00e9 ?#+", "%C3%A9%20%3F%23%2B")],
)  # fmt: skip
def test_keys_are_one_component(key: str, path: str) -> None:
    assert quoted(key) == path


def test_an_address_without_its_host() -> None:
    assert target_of("https://host:1/upload/b?uploadType=resumable&upload_id=x%2F") == (
        "/upload/b?uploadType=resumable&upload_id=x%2F"
    )
    assert target_of("https://host/p") == "/p"
