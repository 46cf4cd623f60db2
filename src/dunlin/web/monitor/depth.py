"""How many tasks waited, were leased and were dead: looks every few seconds, kept for an hour in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from dunlin.queue.base import QueueStats

EVERY = 5.0
"""Seconds between two looks."""

KEPT = 720
"""Looks that are kept: an hour."""


class Look(NamedTuple):
    """From `begin` to `end`, in seconds since the first look that is kept. `rate`: tasks done per second."""

    begin: float
    end: float
    waiting: int
    leased: int
    dead: int
    rate: float
    errors: int = 0


class Depth:
    """The looks. Safe from several threads.

    Args:
        stats: of the queue. clock: seconds, monotonic.
    """

    def __init__(self, stats: Callable[[], Sequence[QueueStats]], clock: Callable[[], float], kept: int = KEPT) -> None:
        self._stats, self._clock = stats, clock
        self._kept: deque[tuple[float, int, int, int, int]] = deque(maxlen=kept)
        self._lock = threading.Lock()

    def look(self) -> None:
        """Take one."""
        found = self._stats()
        row = (
            self._clock(),
            sum(each.waiting + each.delayed for each in found),
            sum(each.leased for each in found),
            sum(each.dead for each in found),
            sum(each.done for each in found),
        )
        with self._lock:
            self._kept.append(row)

    def looks(self) -> list[Look]:
        """Those of the last hour, oldest first; each lasts until the next, so the newest row ends the last."""
        with self._lock:
            rows = list(self._kept)
        if len(rows) < 2:
            return []
        first = rows[0][0]
        found = []
        for (at, waiting, leased, dead, done), (then, *_, later) in pairwise(rows):
            # A queue that was dropped takes its count of done tasks with it.
            rate = max(0, later - done) / max(then - at, 1e-9)
            found.append(Look(at - first, then - first, waiting, leased, dead, rate))
        return found
