"""Signature Version 4: what S3 and servers that speak its protocol want to see on every request.

A request is signed by a chain of HMAC-SHA256:

    canonical request = method, path, query, headers, names of these headers, SHA-256 of the body   (a line each)
    string to sign    = "AWS4-HMAC-SHA256", time, scope, SHA-256 of the canonical request
    scope             = day/region/s3/aws4_request
    key               = HMAC over day, region, "s3", "aws4_request", the one before as key; first "AWS4" + secret

The path is signed once escaped, as it is sent: S3 is the one service that neither escapes it a second time nor
resolves "." and "..". The query is signed in the order of its escaped names, where a name without a value has
an empty one. The key changes once a day, so it is kept; the rest costs some 15 µs.

The body's digest may be replaced by ``UNSIGNED-PAYLOAD``. Over TLS that gives nothing away. Over plain HTTP small
bodies are covered; large ones are not, because SHA-256 would cost more than the transfer, and Content-MD5, which is
signed, covers them as well as it can.

From the "Signature Version 4" pages of the Amazon S3 API reference. Checked against their examples and botocore.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY = hashlib.sha256(b"").hexdigest()
COVERED = 1 << 20
"""Bodies up to this many bytes are covered by the signature over plain HTTP."""

Query = tuple[tuple[str, str | None], ...]


class Credentials(NamedTuple):
    """An access key, its secret, and the token of a temporary one or ""."""

    key_id: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(***)"


def escaped(text: str, safe: str = "") -> str:
    """`text` as UTF-8 with everything but letters, digits, ``-._~`` and `safe` percent-encoded."""
    return quote(text, safe=safe)


def target(path: str, query: Query) -> str:
    """Path and query as they are sent; `path` is escaped already. A value of None is a name without ``=``."""
    if not query:
        return path
    return f"{path}?" + "&".join(
        escaped(name) if value is None else f"{escaped(name)}={escaped(value)}" for name, value in query
    )


def digest(body: bytes | memoryview, secure: bool) -> str:
    """What the header ``x-amz-content-sha256`` says of `body`, sent over TLS or not."""
    if not body:
        return EMPTY
    if secure or len(body) > COVERED:
        return UNSIGNED
    return hashlib.sha256(body).hexdigest()


def signed(
    method: str,
    host: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    credentials: Credentials,
    region: str,
    payload: str,
    now: float | None = None,
    service: str = "s3",
) -> dict[str, str]:
    """`headers` with those added that sign the request.

    Args:
        host: as in the header ``Host``: with the port where it is not the scheme's own.
        path: escaped, as it is sent. query: unescaped.
        headers: lower-case names. All are signed but those that a proxy may change.
        payload: from `digest`.
        now: seconds since 1970.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = {**headers, "host": host, "x-amz-content-sha256": payload, "x-amz-date": moment}
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    names = sorted(name for name in sent if name.startswith("x-amz-") or name in _SIGNED)
    listed = ";".join(names)
    lines = [method, path, _canonical(query)]
    lines += [f"{name}:{' '.join(sent[name].split())}" for name in names]
    lines += ["", listed, payload]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashed}"
    key = _key(credentials.secret, moment[:8], region, service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope},SignedHeaders={listed},Signature={signature}"
    )
    return sent


_SIGNED = frozenset({"host", "content-md5", "content-type", "range", "date"})


def _canonical(query: Query) -> str:
    return "&".join(sorted(f"{escaped(name)}={escaped(value or '')}" for name, value in query))


@lru_cache(maxsize=16)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
