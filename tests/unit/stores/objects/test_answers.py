"""What headers mean, whatever stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import gcs_json, s3_headers
from dunlin.stores.objects.answers import count, retry_after
from dunlin.stores.objects.azure import AzureService
from dunlin.stores.objects.azure_login import Access
from dunlin.stores.objects.azure_sign import shared_access
from dunlin.stores.objects.gcs import GcsService
from dunlin.stores.objects.metadata import facts_of
from dunlin.stores.objects.service import Object

DATE = "Wed, 09 Sep 2009 09:20:02 GMT"
NAMES = (
    "content-length", "content-range", "last-modified", "etag", "x-ms-request-id", "x-ms-meta-mtime", "x-ms-meta-a",
    "x-ms-meta-hdi_isfolder", "content-md5", "x-ms-blob-content-md5", "x-ms-access-tier", "x-amz-meta-mtime",
    "x-amz-meta-a", "x-amz-storage-class", "x-amz-restore", "x-amz-checksum-crc64nvme", "x-amz-checksum-type",
    "x-goog-hash", "x-goog-generation", "x-goog-stored-content-length", "x-goog-stored-content-encoding",
    "retry-after", "retry-after-ms", "x-ms-retry-after-ms",
)  # fmt: skip
VALUES = (
    st.text(st.characters(max_codepoint=255), max_size=40)
    | st.text("0123456789\u00b2\u00b3\u00b9 -:,/=%?+.GMTWed", max_size=40)
    | st.sampled_from(
        ["0", "5", "9" * 400, "bytes 0-4/5", "bytes */\u00b2", DATE, "Mon, 01 Jan 0001 00:00:00 -0000", "true",
         "Wed, 09 Sep 99999 09:20:02 GMT", "=?UTF-8?B?6Q?=", "crc32c=\u00e9", "md5==", '"v"', "FULL_OBJECT"]
    )
)  # fmt: skip
TOLD = {"content-length": "5", "last-modified": DATE, "etag": '"v"', "x-ms-request-id": "1", "x-goog-generation": "7"}
ODD = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
HEADERS = ODD | ODD.map(lambda odd: {**TOLD, **odd})

BLOBS = AzureService("c-1", Access("http://127.0.0.1:1/acc", "acc", shared_access("sig=x"), lambda: None))


def of_azure(headers: Mapping[str, str]) -> Object:
    return BLOBS._object("k", headers, "read")


def of_gcs(headers: Mapping[str, str]) -> Object:
    service = GcsService("b", Login({"endpoint": "http://127.0.0.1:1", "anonymous": "true"}))
    service._client.stream = lambda *_: (_Told(200, headers), _Told(200, {}))  # type: ignore[method-assign,assignment,return-value]
    return service.get("k", etag="7")[0]


class _Told:
    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers, self.body = status, headers, b""

    def close(self) -> None: ...


@pytest.mark.parametrize("read", [lambda headers: s3_headers.described("k", headers), of_azure, of_gcs])
@given(headers=HEADERS)
def test_whatever_headers_say_an_object_or_an_error_comes_of_it(
    read: Callable[[Mapping[str, str]], Object], headers: dict[str, str]
) -> None:
    try:
        found = read(headers)
    except DunlinError as error:
        kind = error.kind
    else:
        kind = None
    if kind is not None:
        assert kind in (ErrorKind.NETWORK, ErrorKind.NOT_FOUND, ErrorKind.CHANGED, ErrorKind.IO)
        return
    assert found.etag
    assert 0 <= found.size < 10**18
    assert facts_of(found)


@given(headers=HEADERS)
def test_a_wait_is_a_time_or_nothing(headers: dict[str, str]) -> None:
    wait = retry_after(headers, now=0.0)
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("0", 0), ("", None), (None, None), ("\u00b2", None), ("\u0665", None), ("-1", None), ("1_0", None),
     (" 1", None), ("9" * 18, 10**18 - 1), ("9" * 19, None)],
)  # fmt: skip
def test_numbers_are_plain_digits(text: str | None, number: int | None) -> None:
    assert count(text) == number


def test_an_odd_wait_is_none() -> None:
    for value in ("\u00b2", "9" * 400, "Wed, 09 Sep 99999 09:20:02 GMT", "soon"):
        assert retry_after({"retry-after": value}) is None
    assert retry_after({"retry-after-ms": "\u00b2", "retry-after": "3"}) == 3.0


def test_content_of_google_says_its_size() -> None:
    with pytest.raises(DunlinError, match="no size"):
        gcs_json.described("k", "7", {"content-length": "\u00b2"})
