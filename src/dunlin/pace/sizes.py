"""Sizes, rates, durations, ages, moments, numbers and curves as people write them.

    sizes      100  100B  20K  1.5G        K M G T P E are powers of 1024, as in rsync and rclone
               20KiB  1GiB                 so are KiB MiB GiB TiB PiB EiB
               20KB  1.5GB                 KB MB GB TB PB EB are powers of 1000
    rates      as sizes, per second; 20M/s is the same as 20M; 0 and off mean: no limit
    durations  90s  2m  1h30m  1.5d  500ms  2w  1y; a bare number is seconds; m is a minute, y is 365 days
    ages       a duration before now, or a date: 2026-01-31, 2026-01-31T18:00, 2026-01-31T18:00+02:00

Upper and lower case mean the same everywhere. Bits are never meant.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from dunlin.errors import usage

_LETTERS = "kmgtpe"
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate(_LETTERS, 1):
    _UNITS[_letter] = _UNITS[_letter + "ib"] = 1024**_power
    _UNITS[_letter + "b"] = 1000**_power

_NS = 10**9
_LEVELS = "▁▂▃▄▅▆▇█"  # block elements, one cell wide everywhere
_DURATIONS = {
    "ms": _NS // 1000,
    "s": _NS,
    "m": 60 * _NS,
    "min": 60 * _NS,
    "h": 3600 * _NS,
    "d": 86400 * _NS,
    "w": 7 * 86400 * _NS,
    "y": 365 * 86400 * _NS,
}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([a-z]*)")
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([a-z]+) ?")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_LIMIT = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_size(text: str, what: str = "size") -> int:
    """Bytes. `what` names the value in the message of the USAGE error that anything else raises."""
    match = _SIZE.fullmatch(text.strip().lower())
    if not match or match[2] not in _UNITS:
        raise usage(f"{text!r} is no {what}", "write a number and a unit: 500K, 20M, 1.5G, 2GB")
    size = _times(match[1], _UNITS[match[2]])
    if not size and match[1].strip("0."):
        raise usage(f"{text!r} is less than one byte", f"write a {what} of at least 1")
    if size >= _LIMIT:
        raise usage(f"{text!r} is too large for a {what}")
    return size


def parse_rate(text: str, what: str = "rate") -> int:
    """Bytes per second; 0 (no limit) for ``off`` and ``0``. Raises USAGE."""
    word = text.strip().lower()
    return 0 if word == "off" else parse_size(word.removesuffix("/s"), what)


def parse_duration(text: str, what: str = "duration") -> float:
    """Seconds. Raises USAGE."""
    duration = _duration(text)
    if duration is None:
        raise usage(f"{text!r} is no {what}", "write numbers with units: 90s, 2m, 1h30m, 7d, 2w, 1y")
    return duration / _NS


def _duration(text: str) -> int | None:
    """Nanoseconds, None for anything else."""
    word = text.strip().lower()
    if _NUMBER.fullmatch(word):
        return _times(word, _NS)
    total, at = 0, 0
    while (match := _PART.match(word, at)) and match[2] in _DURATIONS:
        total += _times(match[1], _DURATIONS[match[2]])
        at = match.end()
    return total if word and at == len(word) else None


def _times(number: str, unit: int) -> int:
    """A decimal number times `unit`, exactly, rounded down."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole + fraction) * unit // scale


def parse_age(text: str, now: int, zone: tzinfo | None = None, what: str = "age") -> int:
    """The moment that lies a duration before `now`, or at a date; both in ns since 1970. Raises USAGE.

    A date without an offset is in `zone`, by default in the local time of this machine.
    """
    word = text.strip()
    if re.match(r"[0-9]{4}-", word):
        try:
            date = datetime.fromisoformat(word)
            if date.tzinfo is None:
                date = date.replace(tzinfo=zone) if zone else date.astimezone()
            return (date - _EPOCH) // timedelta(microseconds=1) * 1000
        except (ValueError, OverflowError, OSError):
            raise usage(f"{text!r} is no date", "write 2026-01-31 or 2026-01-31T18:00") from None
    duration = _duration(word)
    if duration is None:
        raise usage(f"{text!r} is no {what}", "write 90s, 2m, 1h30m, 7d, or a date: 2026-01-31")
    return now - duration


def format_size(size: float) -> str:
    """Bytes for people: ``1.5 GiB``, powers of 1024, four characters of number at most."""
    if abs(size) < 1000:
        return f"{size:.0f} B"
    value = float(size)
    for letter in "KMGTPE":
        value /= 1024
        if abs(value) < 999.5 or letter == "E":
            break
    return f"{value:.{1 if abs(value) < 99.95 else 0}f} {letter}iB"


def format_rate(rate: float) -> str:
    """Bytes per second for people: ``20.0 MiB/s``."""
    return f"{format_size(rate)}/s"


def format_duration(seconds: float) -> str:
    """Seconds for people: ``0.35s``, ``12.0s``, ``2m05s``, ``1h02m``, ``3d04h``."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def format_span(seconds: float) -> str:
    """Seconds for a figure that changes all the time, whole ones: ``7s``, ``2m05s``."""
    return f"{seconds:.0f}s" if seconds < 59.5 else format_duration(round(seconds))


def format_share(share: float, digits: int = 0) -> str:
    """A share from 0 to 1 as percent, rounded down: ``100%`` is all of it, ``<1%`` something; ``99.9%`` has a digit."""
    unit = 10**digits
    steps = int(round(max(0.0, min(1.0, share)) * 100 * unit, 6))
    least = "<" if not steps and share > 0 else ""
    return f"{least}{(steps or bool(least)) / unit:.{digits}f}%"


def format_number(number: float, one: str, many: str = "") -> str:
    """How many there are of something: ``1 file``, ``12,345 files``; `many`: where no s makes the plural."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"


def format_count(count: float) -> str:
    """A number for people, in few characters: ``0.4``, ``999``, ``1.5K``, ``7.8M``, ``2G``; powers of 1000."""
    if abs(count) < 999.5:
        return f"{count:.{1 if abs(count) < 9.95 else 0}f}".removesuffix(".0")
    value = float(count)
    for letter in "KMGT":
        value /= 1000
        if abs(value) < 999.5 or letter == "T":
            break
    text = f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
    return text.removesuffix(".0") + letter


def format_moment(time_ns: int, seconds: bool = False) -> str:
    """``2026-01-31 18:05``, local time; with `seconds` ``2026-01-31 18:05:59``. `time_ns` since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M", time.localtime(time_ns / _NS))


def sparkline(values: Sequence[float | None], width: int) -> str:
    """One cell per value, scaled to the largest; more values than cells are averaged, a gap stays empty."""
    if len(values) > width > 0:
        parts = [values[at * len(values) // width : (at + 1) * len(values) // width] for at in range(width)]
        values = [_mean(part) for part in parts]
    top = max((value for value in values if value is not None), default=0.0)
    return "".join(" " if value is None else _level(value / top if top > 0 else 0.0) for value in values)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _level(share: float) -> str:
    return _LEVELS[min(len(_LEVELS) - 1, max(0, round(share * (len(_LEVELS) - 1))))]
