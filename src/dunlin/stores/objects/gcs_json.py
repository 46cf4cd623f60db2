"""What Google Cloud Storage writes: objects as JSON, headers of content, refusals. Pure: no I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.answers import Answer, count
from dunlin.stores.objects.service import Object

FIELDS = "name,size,timeCreated,generation,md5Hash,metadata"
"""What is asked of the objects of a listing."""
ALL = f"{FIELDS},crc32c"
"""What is asked of one object."""


def said(answer: Answer) -> tuple[str, str]:
    """The service's message, on one line, and its reason; "" for what it does not say."""
    try:
        error = json.loads(answer.body)["error"]
        message, why = str(error.get("message") or ""), str((error.get("errors") or [{}])[0].get("reason", ""))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return _plain(answer), ""
    return " ".join(message.split())[:300], why


def _plain(answer: Answer) -> str:
    """The message of an answer that is a short text, as those of uploads are; not a page that some proxy made."""
    if not answer.headers.get("content-type", "").startswith("text/plain"):
        return ""
    return " ".join(answer.body[:2000].decode("utf-8", "replace").split())[:300]


def wants_payer(answer: Answer) -> bool:
    """Whether a bucket wants to know which project pays for the request."""
    message, why = said(answer)
    return why.lower() == "userprojectmissing" or "requester pays" in message.lower()


def quoted(key: str) -> str:
    """A key as one component of a path, which nobody takes for a relative one."""
    return key.replace(".", "%2E") if key in (".", "..") else quote(key, safe="")


def target_of(url: str) -> str:
    """Path and query of a URL."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def object_of(item: Mapping[str, Any]) -> Object:
    """The object that an item of a listing, or a resource, describes."""
    metadata: Mapping[str, Any] = item.get("metadata") or {}
    return Object(
        key=str(item["name"]),
        size=_counted(item.get("size", "0")),
        # "updated" would be the time of the last change of metadata.
        modified=_moment(str(item.get("timeCreated", ""))),
        etag=str(item["generation"]),
        metadata={name.lower(): str(value) for name, value in metadata.items() if value is not None},
        md5=digest_of(item.get("md5Hash")),
        sums=_sums(item.get("crc32c")),
    )


def described(key: str, generation: str, headers: Mapping[str, str]) -> Object:
    """What the headers of content tell: all but the metadata."""
    told = (
        headers.get("content-range", "").rpartition("/")[2],
        headers.get("x-goog-stored-content-length", ""),
        headers.get("content-length", ""),
    )
    size = next((size for text in told if (size := count(text)) is not None), None)
    if size is None:
        raise DunlinError("read", key, ErrorKind.NETWORK, "the answer tells no size")
    hashes = dict(part.strip().partition("=")[::2] for part in headers.get("x-goog-hash", "").split(","))
    return Object(key, size, 0, generation, None, digest_of(hashes.get("md5")), sums=_sums(hashes.get("crc32c")))


def _counted(size: Any) -> int:
    """A size, which the service writes as a text. Raises ValueError."""
    found = count(str(size))
    if found is None:
        raise ValueError(f"its size is {size!r}")
    return found


def _sums(crc32c: str | None) -> tuple[tuple[str, bytes], ...]:
    told = digest_of(crc32c)
    return () if told is None else (("crc32c", told),)


def digest_of(text: str | None) -> bytes | None:
    """An MD5 or CRC32C, the latter big-endian. Composed objects have no MD5: None."""
    return base64.b64decode(text, validate=True) if text else None


def _moment(text: str) -> int:
    """ns since 1970 of an RFC 3339 time with a fraction of a second."""
    if not text:
        return 0
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
