"""The headers of S3's objects: what they say of one, and how metadata travels in them.

Metadata are headers ``x-amz-meta-NAME``, and a header holds printable ASCII only. Other values are written as one
encoded word of RFC 2047 (``=?UTF-8?B?...?=``): that is what S3 itself answers for a value that was sent as UTF-8,
so a value reads the same whoever wrote it. boto3 refuses such values and rclone passes encoded words on as they
are. A value that only looks like an encoded word is encoded, so that it comes back as it was.
"""

from __future__ import annotations

import base64
import email.utils
import re
from collections.abc import Mapping
from functools import lru_cache

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.answers import FOREIGN, count, stranger
from dunlin.stores.objects.s3_xml import ARCHIVED
from dunlin.stores.objects.service import Object

META = "x-amz-meta-"
KEPT = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
)
"""Headers that a copy with new metadata loses unless they are sent again."""

SUMS = {"x-amz-checksum-mode": "ENABLED"}
"""Asks for the checksums of an object in the answer to GET or HEAD; not told with a range."""

_SUMS = (
    ("crc64", "x-amz-checksum-crc64nvme"),
    ("crc32c", "x-amz-checksum-crc32c"),
    ("crc32", "x-amz-checksum-crc32"),
    ("sha1", "x-amz-checksum-sha1"),
    ("sha256", "x-amz-checksum-sha256"),
)
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*|")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_WORD = "=?"
_DIGEST = re.compile(r"[0-9a-f]{32}")


def described(key: str, headers: Mapping[str, str], *, digests: bool = True) -> Object:
    """What the headers of an answer to GET or HEAD say of the whole object.

    `digests`: the service's etags are MD5s where nothing says otherwise: not those of parts, nor of content
    that is encrypted with a key of the customer.

    Raises NETWORK for an answer without an etag, which is not S3's, or without a size: nobody could tell whether the
    content is whole.
    """
    metadata = {name[len(META) :]: decoded(value) for name, value in headers.items() if name.startswith(META)}
    etag = etag_of(headers, "read", key)
    told = digests and _DIGEST.fullmatch(etag) is not None and not _has_own_key(headers)
    return Object(
        key,
        _size(headers, key),
        _moment(headers.get("last-modified", "")),
        etag,
        metadata,
        bytes.fromhex(etag) if told else None,
        _archived(headers),
        # An answer without any may be one to a question without `SUMS`.
        (() if "content-range" in headers else _sums(etag, told, headers)) or None,
    )


def _sums(etag: str, told: bool, headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """The checksums of the whole content. Of an object of parts they may be composed of those of the parts.

    The type says so, and a number of parts behind the value. A server that says no type may only repeat what it was
    sent (`rclone serve s3` does, unchecked): it is believed where the etag is no MD5 (`told`), and then of objects of
    one part, and of the one checksum that is never composed.
    """
    kind = headers.get("x-amz-checksum-type", "")
    found = []
    for name, header in _SUMS:
        value = headers.get(header, "")
        if value and (kind == "FULL_OBJECT" or (not kind and not told and (name == "crc64" or "-" not in etag))):
            try:
                found.append((name, base64.b64decode(value, validate=True)))
            except ValueError:
                continue  # with -N behind it
    return tuple(found)


def _has_own_key(headers: Mapping[str, str]) -> bool:
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return True
    return headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")


def _archived(headers: Mapping[str, str]) -> bool:
    if headers.get("x-amz-archive-status"):
        return True
    if headers.get("x-amz-storage-class") not in ARCHIVED:
        return False
    return 'ongoing-request="false"' not in headers.get("x-amz-restore", "")


def etag_of(headers: Mapping[str, str], operation: str, where: str) -> str:
    """The etag in an answer about an object or a part. Raises NETWORK without one: S3 tells it with each of them."""
    etag = headers.get("etag", "").strip('"')
    if not etag:
        raise stranger(operation, where, "an S3 server: it has no etag")
    return etag


def _size(headers: Mapping[str, str], key: str) -> int:
    whole = count(headers.get("content-range", "").rpartition("/")[2])
    size = count(headers.get("content-length")) if whole is None else whole
    if size is None:
        raise DunlinError("read", key, ErrorKind.NETWORK, "the answer tells no size")
    return size


@lru_cache(maxsize=4096)
def _moment(text: str) -> int:
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except FOREIGN:
        return 0


def metadata_headers(metadata: Mapping[str, str], where: str) -> dict[str, str]:
    """`metadata` as headers. Raises NAME for a name that no header can have."""
    headers = {}
    for name, value in metadata.items():
        if not _NAME.fullmatch(name):
            raise DunlinError("store", where, ErrorKind.NAME, f"S3 cannot hold metadata named {name!r}")
        headers[META + name] = encoded(value)
    return headers


def encoded(value: str) -> str:
    """`value` as a header can hold it; see the module docstring."""
    if _PLAIN.fullmatch(value) and _WORD not in value:
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode('utf-8', 'surrogateescape')).decode()}?="


def decoded(value: str) -> str:
    """The reverse of `encoded`, which also reads the encoded words of others, and UTF-8 sent as it is."""
    if value.isascii():
        return _words(value) if _WORD in value else value
    try:
        # http.client reads headers as Latin-1.
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _words(value: str) -> str:
    if value.startswith("=?UTF-8?B?") and value.endswith("?=") and value.count("?") == 4:
        try:
            return base64.b64decode(value[10:-2], validate=True).decode("utf-8", "surrogateescape")
        except ValueError:
            return value
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value
