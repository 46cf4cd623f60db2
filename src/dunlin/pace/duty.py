"""A share of the processors: how much of a second each of its processes a run may compute.

A limit on processor time is a limit on a rate, seconds per second, so it is kept by the one token bucket
(`pace.bucket`), which counts microseconds here instead of bytes. It is shared by all movers, so that one that is busy
uses what another leaves.

    * A mover pays for what it has used: after each unit, and after each block of a large file, it takes from the
      bucket the processor time that it spent since it last paid, of all its threads, and waits if that was too much.
    * The parent cannot wait at its own bucket: whoever waits for it would wait as well. What it uses is taken off the
      rate that is left for the movers, and what all of them together used more than they might (start-up, long units)
      is taken off as well, over the next `SETTLE` seconds. So the average is right, whatever the single errors.

Less than they might have used is forgotten after `SAVED` seconds: a run that waited for an hour must not compute for
the next one as if there were no limit.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from dunlin.errors import DunlinError
from dunlin.pace.bucket import Bucket

LEAST = 2_000
"""us: less is not worth asking for."""

SETTLE = 2.0
SAVED = 2.0
MILLION = 1_000_000

FLOOR = 0.05
"""What is left for the movers of the limit in any case, so that a run always goes on."""


class Duty:
    """A mover's side: waits where it has computed too much. Threads may share it.

    Args:
        quota: the bucket, in microseconds of processor time.
        used: ns of processor time that this process has spent.
    """

    def __init__(self, quota: Bucket, used: Callable[[], int] = time.process_time_ns) -> None:
        self._quota = quota
        self._used = used
        self._lock = threading.Lock()
        self._paid = 0  # us; what starting the process took is owed as well
        self._local = threading.local()

    @property
    def owes(self) -> bool:
        """Whether `pay` would ask for anything."""
        return bool(self._quota.rate) and self._used() // 1000 - self._paid >= LEAST

    def pay(self) -> None:
        """Wait until what was computed since the last call is within the limit; not at all once the run is stopped."""
        with self._lock:
            used = self._used() // 1000
            owed = used - self._paid
            if owed < LEAST:
                return
            self._paid = used
        begin = time.perf_counter()
        with contextlib.suppress(DunlinError):  # stopped: what is under way ends by itself
            self._quota.take(owed)
        self._local.waited = getattr(self._local, "waited", 0.0) + time.perf_counter() - begin

    def waited(self) -> float:
        """Seconds that this thread has waited since it last asked."""
        waited: float = getattr(self._local, "waited", 0.0)
        self._local.waited = 0.0
        return waited


class Ration:
    """The parent's side: the rate of the movers' bucket by which the whole run keeps to its share.

    Args:
        limit: seconds of processor time per second, for all processes together.
        used: seconds of processor time that the parent has spent.
        clock: seconds that never go back.
    """

    def __init__(
        self, limit: float, used: Callable[[], float] = time.process_time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if limit <= 0:
            raise ValueError(f"nothing can be done in {limit} seconds per second")
        self.limit = limit
        self._used = used
        self._clock = clock
        self._time = clock()
        self._own = used()
        self._own_rate = 0.0
        self._paid = 0
        self._balance = -min(self._own, SAVED * limit)  # what it took to get here

    @property
    def debt(self) -> float:
        """Seconds of processor time that were used too much."""
        return max(0.0, -self._balance)

    @property
    def pause(self) -> float:
        """Seconds that the parent should wait: none, unless it alone uses more than the limit."""
        return min(0.2, self.debt / self.limit) if self._own_rate > self.limit * (1 - FLOOR) else 0.0

    def rate(self, granted: int) -> int:
        """The rate for the movers' bucket from now on, in us per second.

        Args:
            granted: us that all movers have paid for since the run began.
        """
        now, own = self._clock(), self._used()
        seconds = now - self._time
        if seconds > 0:
            spent = own - self._own
            self._own_rate += (spent / seconds - self._own_rate) * min(1.0, seconds)
            self._balance += self.limit * seconds - spent - (granted - self._paid) / MILLION
            self._balance = min(self._balance, SAVED * self.limit)
            self._time, self._own, self._paid = now, own, granted
        left = self.limit - self._own_rate + self._balance / SETTLE
        return max(1, int(max(left, FLOOR * self.limit) * MILLION))
