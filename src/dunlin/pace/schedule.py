"""Which limit holds when: a timetable of rates over the week.

    20M                              one limit, always
    08:00,5M 19:00,off               every day: 5 MiB/s from 8 to 19 o'clock, no limit at night
    Mon-08:00,5M Fri-18:00,off       from Monday morning to Friday evening; the weekend has no limit
    08:00,5M 19:00,off Sun-08:00,1M  both may be mixed: an entry without a weekday is on every day, except where
                                     an entry with a weekday stands at the same time

An entry holds until the next one, around the end of the week if need be. The form is rclone's. Times are what
the clock on the wall shows: when an hour is skipped in spring, an entry inside it begins when the skipped hour
would have; when an hour is repeated in autumn, its entries hold twice.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import datetime
from typing import NamedTuple

from dunlin.errors import usage
from dunlin.pace.sizes import parse_rate

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60
_ENTRY = re.compile(r"(?:([a-z]+)-)?([0-9]{1,2}):([0-9]{2}),(.+)")
_HINT = 'write "20M", "08:00,5M 19:00,off" or "Mon-08:00,5M Sat-00:00,off"'


class Schedule(NamedTuple):
    """A timetable. `entries` are (minute of the week, bytes per second; 0 = no limit), sorted; Monday 00:00 is 0."""

    entries: tuple[tuple[int, int], ...]

    def rate_at(self, moment: datetime) -> int:
        """The limit in bytes per second at a local time; 0 = none."""
        minute = moment.weekday() * _DAY + moment.hour * 60 + moment.minute
        return self.entries[bisect_right(self.entries, minute, key=lambda entry: entry[0]) - 1][1]


def parse_schedule(text: str) -> Schedule:
    """The timetable that `text` describes. Raises USAGE naming the entry that does not fit."""
    parts = text.split()
    if not parts:
        raise usage("the bandwidth limit is empty", _HINT)
    if len(parts) == 1 and "," not in text:
        return Schedule(((0, parse_rate(parts[0], "bandwidth limit")),))
    entries: dict[int, int] = {}
    weekly: dict[int, int] = {}
    for part in parts:
        day, minute, rate = _parse_entry(part)
        target, days = (entries, range(7)) if day is None else (weekly, range(day, day + 1))
        for each in days:
            if target.setdefault(each * _DAY + minute, rate) != rate:
                raise usage(f"bandwidth limit {text!r}: {part!r} gives a time that has another rate already")
    return Schedule(tuple(sorted((entries | weekly).items())))


def within(schedule: Schedule | None, rate: int) -> Schedule:
    """The timetable with no limit above `rate`, bytes per second; None: one that has no limits."""
    entries = schedule.entries if schedule is not None else ((0, 0),)
    return Schedule(tuple((minute, min(each or rate, rate)) for minute, each in entries))


def _parse_entry(part: str) -> tuple[int | None, int, int]:
    match = _ENTRY.fullmatch(part.lower())
    if not match:
        raise usage(f"bandwidth limit: {part!r} is no entry of a timetable", _HINT)
    day, hour, minute, rate = match.groups()
    # The first three letters or the whole English name.
    number = next((n for n, short in enumerate(_DAYS) if day in (short, _FULL[n])), None)
    if day is not None and number is None:
        raise usage(f"bandwidth limit: {part!r}: {day!r} is no weekday", "write Mon Tue Wed Thu Fri Sat Sun")
    if int(hour) > 23 or int(minute) > 59:
        raise usage(f"bandwidth limit: {part!r}: there is no such time of day", "write 00:00 to 23:59")
    return number, int(hour) * 60 + int(minute), parse_rate(rate, "bandwidth limit")


_FULL = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
