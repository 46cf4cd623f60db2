"""When a schedule is due next.

Cron
    Five fields as in crontab(5), in the schedule's time zone, by cronsim, which does at the changes of daylight saving
    time what Debian's cron does. A schedule for fixed times (neither the minute nor the hour begins with ``*``) that
    falls into the hour which is left out in spring runs right after it; in the hour that comes twice in autumn it runs
    once. One that runs again and again (``*/15 * * * *``) follows the clock that never jumps: each quarter of an hour
    that really passes, in autumn also in both hours of the same name.

Interval
    Every so many seconds from the time at which the schedule was saved. Whoever comes late does not shift those after.

What was missed while no service ran is made up for once, not as often as it was missed.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.queue.ledger.words import NewSchedule

SHORTEST = 1.0
"""Seconds that an interval has at least."""
LONGEST = 10 * 366 * 86_400.0


def check(new: NewSchedule, now: float) -> None:
    """Raises USAGE when the cron expression, interval or zone cannot be used, or never comes."""
    if bool(new.cron) == bool(new.interval):
        raise usage(f"schedule {new.name!r} needs either a cron expression or an interval")
    if new.cron:
        if next_run(new, now) is None:
            raise usage(f"{new.cron!r} never comes")
    elif not (math.isfinite(new.interval) and SHORTEST <= new.interval <= LONGEST):
        raise usage(f"an interval must have {SHORTEST:.0f} to {LONGEST:.0f} seconds, not {new.interval}")
    else:
        _zone(new.zone)


def next_run(new: NewSchedule, now: float, planned: float | None = None) -> float | None:
    """The first time after `now` at which the schedule is due, UTC seconds; None: never.

    Args:
        now: UTC seconds.
        planned: when it was due last, from which intervals are counted; None: `now`.

    Raises:
        DunlinError: USAGE.
    """
    if not new.cron:
        begin = now if planned is None else planned
        return begin + new.interval * (max(0, math.floor((now - begin) / new.interval)) + 1)
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        reason, hint = "cron expressions need cronsim", "install it with: pip install 'dunlin[web]'"
        raise DunlinError("read the schedule", new.name, ErrorKind.USAGE, reason, hint) from error
    local = datetime.fromtimestamp(now, UTC).astimezone(_zone(new.zone))
    if len(new.cron.split()) != 5:  # cronsim would take a sixth for seconds
        raise usage(f"{new.cron!r} has not five fields", "write minute, hour, day, month, weekday: 30 2 * * *")
    try:
        # In the second of two hours of the same name cronsim begins with what came in the first.
        return next((when for found in CronSim(new.cron.upper(), local) if (when := found.timestamp()) > now), None)
    except CronSimError as error:
        raise usage(f"{new.cron!r} is no cron expression: {str(error).lower()}") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "use an IANA name such as Europe/Berlin; without a system's own list: pip install tzdata"
        raise usage(f"there is no time zone {name!r}", hint) from None
