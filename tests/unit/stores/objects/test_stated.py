"""Which checksum is compared, and what comes of it."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.service import Object
from dunlin.stores.objects.stated import SMALL, cheapest, proof

DATA = b"content" * 10_000
DIGEST = hashlib.md5(DATA, usedforsecurity=False).digest()
SHA = hashlib.sha256(DATA).digest()


def told(size: int = len(DATA), md5: bytes | None = DIGEST, **sums: bytes) -> Object:
    return Object("k", size, 0, "v", None, md5, sums=tuple(sums.items()))


def test_of_many_the_cheapest_is_compared() -> None:
    every = {"sha256": SHA, "crc32c": b"cccc", "crc32": b"3333", "crc64": b"66666666"}
    order = ["crc64", "crc32c", "crc32", "sha256", "md5"]
    for name in order:
        found = cheapest(told(**every))
        assert found is not None
        assert found[0] == name
        every.pop(name, None)
    assert cheapest(told(md5=None)) is None
    assert cheapest(Object("k", 1, 0, "v", sums=None)) is None


def test_small_objects_need_no_library_where_there_is_an_md5() -> None:
    for size, name in ((SMALL, "md5"), (SMALL + 1, "crc64")):
        found = cheapest(told(size, crc64=bytes(8)))
        assert found is not None
        assert found[0] == name
    assert cheapest(told(5, None, crc64=bytes(8))) == ("crc64", bytes(8))


def test_a_value_of_another_length_is_none() -> None:
    assert cheapest(told(crc64=b"3333")) == ("md5", DIGEST)
    assert cheapest(told(md5=None, crc64=b"3333")) is None


@pytest.mark.parametrize(
    ("name", "right"), [("crc32", zlib.crc32(DATA).to_bytes(4, "big")), ("sha256", SHA), ("md5", DIGEST)]
)
def test_content_that_differs_is_a_checksum_error(name: str, right: bytes) -> None:
    found = told(md5=None, **{name: right}) if name != "md5" else told()
    comparison = proof(found)
    assert comparison is not None
    comparison.update(DATA[:500])
    comparison.update(memoryview(DATA)[500:])
    comparison.check("s3://b/k")
    comparison.update(b"!")
    with pytest.raises(DunlinError) as caught:
        comparison.check("s3://b/k")
    assert (caught.value.kind, caught.value.where) == (ErrorKind.CHECKSUM, "s3://b/k")
    assert right.hex() in caught.value.reason


def test_without_a_statement_nothing_is_compared() -> None:
    assert proof(told(md5=None)) is None
