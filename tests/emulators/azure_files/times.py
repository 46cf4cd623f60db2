"""Times as Windows has them: ticks of 100 ns since 1601, written with seven digits, and HTTP dates beside them.

`x-ms-file-creation-time` and its like carry all seven digits ("2019-04-10T17:35:06.1234567Z", reference page "File
attributes and timestamps"); Last-Modified has whole seconds only.
"""

from __future__ import annotations

import functools
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

from tests.emulators.azure_files.wire import Refused

TICKS = 10_000_000
"""Ticks in a second."""
UNIX_EPOCH = 11_644_473_600
"""Seconds from 1601 to 1970."""
_FORM = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?Z")
_START = datetime(1601, 1, 1, tzinfo=UTC)


def now() -> int:
    """This moment in ticks."""
    return time.time_ns() // 100 + UNIX_EPOCH * TICKS


def written(ticks: int) -> str:
    """Seven digits and a Z."""
    second, rest = divmod(ticks, TICKS)
    return f"{_second(second)}.{rest:07d}Z"


@functools.lru_cache(4096)
def _second(second: int) -> str:
    return (_START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


def read(text: str) -> int:
    """Ticks of a written time. Raises Refused for another form, more than seven digits, or a year before 1601."""
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        whole = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC) - _START
        if whole < timedelta(0):
            raise ValueError(text)
    except ValueError:
        raise Refused("InvalidHeaderValue") from None
    return (whole.days * 86_400 + whole.seconds) * TICKS + int((match[2] or "").ljust(7, "0"))


@functools.lru_cache(4096)
def _http(second: int) -> str:
    return formatdate(second - UNIX_EPOCH, usegmt=True)


def http(ticks: int) -> str:
    """An HTTP date."""
    return _http(ticks // TICKS)
