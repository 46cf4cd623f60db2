"""What headers say of an object, and metadata in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects import s3_headers
from dunlin.stores.objects.s3_headers import described

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
PLAIN = {"etag": f'"{MD5}"', "content-length": "5", "last-modified": "Mon, 12 Oct 2009 17:50:30 GMT"}


def test_an_object_with_everything() -> None:
    found = described("k", {**PLAIN, "x-amz-meta-mtime": "1.5", "x-amz-meta-who": "=?UTF-8?B?w6k=?=", "server": "x"})
    assert (found.key, found.size, found.modified, found.etag) == ("k", 5, 1_255_369_830 * 10**9, MD5)
    assert found.metadata == {"mtime": "1.5", "who": "\u00e9"}
    assert found.md5 == bytes.fromhex(MD5)
    assert not found.archived


def test_of_a_part_the_size_is_that_of_the_whole() -> None:
    assert described("k", {**PLAIN, "content-range": "bytes 0-4/12345"}).size == 12345


@pytest.mark.parametrize(
    "more",
    [
        {"etag": f'"{MD5}-2"'},
        {"etag": '"' + "D" * 31 + '"'},
        {"x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-server-side-encryption": "aws:kms:dsse"},
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
    ],
)
def test_an_etag_that_is_no_md5(more: dict[str, str]) -> None:
    assert described("k", {**PLAIN, **more}).md5 is None


CRC = "rosUhgp5mIg="
"""Of the digits 1 to 9, as the catalogue of CRCs has it."""


def test_checksums_of_the_whole_content() -> None:
    more = {"x-amz-checksum-crc64nvme": CRC, "x-amz-checksum-sha1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk="}
    for told in ({"etag": '"other"'}, {"x-amz-checksum-type": "FULL_OBJECT"}):
        found = described("k", {**PLAIN, **more, **told}).sums
        assert found is not None
        assert dict(found)["crc64"].hex() == "ae8b14860a799888"
        assert dict(found)["sha1"].hex() == "da39a3ee5e6b4b0d3255bfef95601890afd80709"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"x-amz-checksum-type": "COMPOSITE", "x-amz-checksum-crc32c": "AAAAAA==-2"},
        {"x-amz-checksum-type": "COMPOSITE", "x-amz-checksum-crc32c": "AAAAAA=="},
        {"etag": f'"{MD5}-2"', "x-amz-checksum-crc32": "AAAAAA=="},
        {"etag": '"other"', "x-amz-checksum-sha1": "AAAAAA==-2"},
        {"x-amz-checksum-crc64nvme": CRC},
        {"content-range": "bytes 0-4/12345", "x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-crc64nvme": CRC},
    ],
)
def test_what_is_no_checksum_of_the_whole_content(more: dict[str, str]) -> None:
    assert described("k", {**PLAIN, **more}).sums is None


def test_a_crc64_of_an_object_of_parts_is_never_composed() -> None:
    assert described("k", {**PLAIN, "etag": f'"{MD5}-2"', "x-amz-checksum-crc64nvme": CRC}).sums is not None


def test_etags_of_directory_buckets_are_no_md5() -> None:
    assert described("k", PLAIN, digests=False).md5 is None
    assert described("k", {**PLAIN, "x-amz-server-side-encryption": "AES256"}).md5 == bytes.fromhex(MD5)


@pytest.mark.parametrize(
    ("headers", "archived"),
    [
        ({"x-amz-storage-class": "STANDARD_IA"}, False),
        ({"x-amz-storage-class": "GLACIER_IR"}, False),
        ({"x-amz-storage-class": "GLACIER"}, True),
        ({"x-amz-storage-class": "DEEP_ARCHIVE"}, True),
        ({"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="true"'}, True),
        ({"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="false", expiry-date="x"'}, False),
        ({"x-amz-storage-class": "INTELLIGENT_TIERING", "x-amz-archive-status": "ARCHIVE_ACCESS"}, True),
    ],
)
def test_archive_classes(headers: dict[str, str], archived: bool) -> None:
    assert described("k", {**PLAIN, **headers}).archived is archived


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_metadata_come_back_as_they_were(value: str) -> None:
    sent = s3_headers.metadata_headers({"x": value}, "s3://b/k")["x-amz-meta-x"]
    assert sent.isascii()
    assert sent.isprintable()
    assert sent == sent.strip()
    assert s3_headers.decoded(sent) == value


def test_plain_values_are_sent_as_they_are() -> None:
    assert s3_headers.encoded("1700000000.123456789") == "1700000000.123456789"
    assert s3_headers.encoded("a b") == "a b"
    assert s3_headers.encoded("\u00e9") == "=?UTF-8?B?w6k=?="


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("=?UTF-8?Q?caf=C3=A9?= au lait", "caf\u00e9 au lait"),
        ("=?iso-8859-1?B?6Q==?=", "\u00e9"),
        ("\u00c3\u00a9", "\u00e9"),
        ("\u00e9", "\u00e9"),
        ("=?no-such-charset?B?6Q==?=", "=?no-such-charset?B?6Q==?="),
        ("is =? that", "is =? that"),
    ],
)
def test_values_written_by_others(value: str, read: str) -> None:
    assert s3_headers.decoded(value) == read


@pytest.mark.parametrize("name", ["", "a b", "a:b", "\u00e9", "a\nb", "A"])
def test_names_that_no_header_can_have(name: str) -> None:
    with pytest.raises(DunlinError) as caught:
        s3_headers.metadata_headers({name: "x"}, "s3://b/k")
    assert caught.value.kind is ErrorKind.NAME
