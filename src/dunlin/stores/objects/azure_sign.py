"""How a request to Azure Blob is authorised: by the account's key, by a SAS, or by a token.

A signer is a function from an `Unsigned` request to what is sent: the target (path and query, escaped) and the
headers. It reads the clock itself and is safe to use from many threads.

**Shared Key** (the service's page "Authorize with Shared Key", for versions from 2015-02-21 on). The signature is
HMAC-SHA256, with the account's key, over lines:

    the method
    eleven headers in a fixed order, empty where they are absent (a Content-Length of 0 counts as absent; Date is
        left empty because x-ms-date is sent instead)
    all x-ms- headers as name:value, sorted
    "/" + account + the path exactly as it is sent
    all query parameters as name:value, unescaped, sorted by name

The page says that headers are sorted "lexicographically"; the service in truth sorts as a dictionary does: hyphens do
not count and "_" stands before digits (Microsoft's own libraries sort so, and a test compares with theirs). It matters
for metadata whose names hold underscores.

**SAS**: the signature is part of a query that somebody else made; it is appended as it is. **Token**: an OAuth
token in one header.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote

VERSION = "2023-11-03"
"""x-ms-version, where the request names none. Not the newest: emulators refuse versions that are younger than they
are, and blobs need nothing newer."""

_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


class Unsigned(NamedTuple):
    """A request before it is authorised.

    Attributes:
        method: as in HTTP. path: escaped, with the account in front where the endpoint has it there.
        query: names and values, not escaped. headers: lower-case names. length: bytes of the body.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    length: int = 0


Signer = Callable[[Unsigned], tuple[str, dict[str, str]]]
"""From a request to its target and headers as they are sent. Raises AUTH when there is no login to be had."""


def shared_key(account: str, key: bytes, clock: Callable[[], float] = time.time) -> Signer:
    """Sign with the account's key.

    Args:
        account: the account's name. key: the decoded key.
        clock: seconds since 1970; the service refuses dates more than 15 minutes off.
    """

    def sign(request: Unsigned) -> tuple[str, dict[str, str]]:
        headers = _dated(request.headers, clock())
        digest = hmac.digest(key, _text(request, headers, account).encode(), hashlib.sha256)
        headers["authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
        return _target(request), headers

    return sign


def shared_access(query: str, clock: Callable[[], float] = time.time) -> Signer:
    """Append a SAS, a query without its question mark."""

    def sign(request: Unsigned) -> tuple[str, dict[str, str]]:
        target = _target(request)
        return f"{target}{'&' if request.query else '?'}{query}", _dated(request.headers, clock())

    return sign


def bearer(token: Callable[[], str], clock: Callable[[], float] = time.time) -> Signer:
    """Send the token that `token()` returns; that function caches it and gets a new one in time."""

    def sign(request: Unsigned) -> tuple[str, dict[str, str]]:
        headers = _dated(request.headers, clock())
        headers["authorization"] = f"Bearer {token()}"
        return _target(request), headers

    return sign


def _text(request: Unsigned, headers: Mapping[str, str], account: str) -> str:
    """What the signature of Shared Key covers."""
    fixed = dict.fromkeys(_SIGNED, "")
    own = []
    for name, value in headers.items():
        if name in fixed:
            fixed[name] = value
        elif name.startswith("x-ms-"):
            own.append(name)
    if request.length:
        fixed["content-length"] = str(request.length)
    own.sort(key=_collation)
    lines = [request.method, *fixed.values(), *[f"{name}:{headers[name]}" for name in own], f"/{account}{request.path}"]
    lines += [f"{name}:{value}" for name, value in sorted(request.query)]
    return "\n".join(lines)


def _collation(name: str) -> str:
    return name.replace("-", "").replace("_", " ")


def _dated(headers: Mapping[str, str], now: float) -> dict[str, str]:
    return {"x-ms-version": VERSION, **headers, "x-ms-date": _date(int(now))}


@functools.lru_cache(2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _target(request: Unsigned) -> str:
    if not request.query:
        return request.path
    return request.path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in request.query)
