"""How busy the machine's disks are.

    moved     bytes read and written per second, over all disks (not their partitions, which would count twice)
    busy      the share of the time in which the busiest one had something to do; Linux alone tells it

Where nothing tells (a container without /proc/diskstats) there is no reading. psutil is loaded by the first look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Disk(NamedTuple):
    """Bytes that a disk has moved, and milliseconds that it was busy (-1: not known), since the machine started."""

    moved: int
    busy: int


class Used(NamedTuple):
    """Bytes per second over all disks; the share of the time that the busiest was, 0 to 1, None: not known."""

    moved: float
    busy: float | None


class Disks:
    """Looks at the disks.

    Args:
        read: by disk; None: psutil. clock: seconds that never go back.
    """

    def __init__(
        self, read: Callable[[], Mapping[str, Disk]] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read or disks
        self._clock = clock
        self._before = self._read(), clock()

    def look(self) -> Used | None:
        """What they did since the last look, or since this was made; None where nobody tells."""
        before, then = self._before
        after, now = self._before = self._read(), self._clock()
        seconds = max(now - then, 1e-3)
        both = [(before[name], disk) for name, disk in after.items() if name in before]
        if not both:
            return None
        moved = sum(max(0, new.moved - old.moved) for old, new in both) / seconds
        busy = [(new.busy - old.busy) / 1000 / seconds for old, new in both if old.busy >= 0 and new.busy >= 0]
        return Used(moved, min(1.0, max(0.0, *busy, 0.0)) if busy else None)


def disks() -> Mapping[str, Disk]:
    """The disks of this machine."""
    import psutil

    try:
        counters = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    except (OSError, RuntimeError):  # no such counters here (a container, another system): the load of disks is unknown
        return {}
    # A partition's name is that of its disk with a number behind it.
    whole = [name for name in counters if not any(name != other and name.startswith(other) for other in counters)]
    return {
        name: Disk(
            int(counters[name].read_bytes + counters[name].write_bytes), int(getattr(counters[name], "busy_time", -1))
        )
        for name in whole
    }
