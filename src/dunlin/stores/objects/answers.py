"""What HTTP answers mean to all object stores: their parts, and the one translation of statuses into errors."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind

CONNECT = 10.0
IDLE = 30.0
"""Seconds without a byte after which a request is given up."""
TOTAL = 300.0
"""Seconds that a request may keep us waiting, from its head to the last byte of its answer, for up to `SHARE` bytes."""
SHARE = 100_000_000
"""Bytes that a request may carry and ask for within the total; more of them have more time in proportion."""

CHUNK = 262_144

_BY_STATUS = {
    400: ErrorKind.USAGE,
    401: ErrorKind.AUTH,
    403: ErrorKind.DENIED,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    409: ErrorKind.EXISTS,
    412: ErrorKind.CHANGED,
    416: ErrorKind.CHANGED,
    429: ErrorKind.BUSY,
    503: ErrorKind.BUSY,
    507: ErrorKind.NO_SPACE,
}


class Timeouts(NamedTuple):
    """How long a service is waited for, in seconds; 0: for ever.

    Attributes:
        idle: without a byte.
        total: for a request and its answer, see `TOTAL`.
    """

    idle: float = IDLE
    total: float = TOTAL


TIMEOUTS = Timeouts()


class Answer(NamedTuple):
    """A response that was read to its end; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


FOREIGN = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What reading an answer raises that does not say what it should: whoever sent it, the service did not."""


def stranger(operation: str, where: str, what: str = "") -> DunlinError:
    """The error for an answer that is not the service's own, as the page of a proxy or of a hotel's login is none."""
    reason = f"the answer does not come from {what or 'the service'}"
    return DunlinError(operation, where, ErrorKind.NETWORK, reason, "does a proxy or a login page stand in between?")


def count(text: str | None) -> int | None:
    """The number that a header's value is, in ASCII digits and of up to 18; None for any other value."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait as the server says (RFC 9110 10.2.3: seconds or a date); None when it does not."""
    milliseconds = count(headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if (seconds := count(value)) is not None:
        return float(seconds)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except FOREIGN:
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def refusal(
    status: int, headers: Mapping[str, str], operation: str, where: str, reason: str, hint: str = ""
) -> DunlinError:
    """The error for an answer with a status of 300 or more.

    `reason` is the service's own code and message, without anything secret. Statuses of 500 and above that no
    table names are NETWORK: the same request may succeed.
    """
    kind = _BY_STATUS.get(status, ErrorKind.NETWORK if status >= 500 else ErrorKind.IO)
    error = DunlinError(operation, where, kind, reason or f"HTTP status {status}", hint)
    error.retry_after = retry_after(headers)
    return error
