"""How many requests a process may have under way: fewer when the service pushes back, slowly more again.

A service that answers 429 or 503, or not in time, asks for less. The gate then lets half as many through at a time
(additive increase, multiplicative decrease: the rule by which TCP shares a link, Chiu and Jain 1989). Requests that
were under way when the limit fell will be refused as well, so it falls at most once in `CALM` seconds; for each such
time without a refusal it rises by one, up to the number that the user allows.

The machine may bear less than the service does (`pace.throttle`), or fewer may bring as much (`pace.climb`): `cap`
keeps the gate below that, and what the service bears is remembered beside it. What has gone through, and how many were
inside at a time, is counted for whoever sets that cap.

Waiting at the gate ends when the run is stopped: `enter` asks `stopped` now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind

CALM = 1.0
"""Seconds between two changes of the limit."""

PRESSED = frozenset({ErrorKind.BUSY, ErrorKind.TIMEOUT})
"""What a service says that has too much to do: that it has, or nothing."""

_LOOK = 0.25


class Passed(NamedTuple):
    """What went through a gate since it was made, as plain numbers.

    Attributes:
        time: seconds, by the gate's clock, at which this was so.
        left: how many have left it.
        moved: bytes that they told (`Gate.moved`).
        inside: seconds that all of them were inside, those that still are included.
        refusals: requests by which the service asked for less.
        limit: how many may be inside now.
    """

    time: float
    left: int
    moved: int
    inside: float
    refusals: int
    limit: int


class Gate:
    """At most `limit` holders at a time, between 1 and `most`. Safe to use from many threads.

    Args:
        most: what the user allows.
        stopped: whether waiting makes no sense any more.
        clock: seconds that never go back.
    """

    def __init__(
        self, most: int, stopped: Callable[[], bool] = lambda: False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if most < 1:
            raise ValueError(f"a gate cannot let {most} through")
        self.most = most
        self._stopped = stopped
        self._clock = clock
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._waiting = 0
        self._inside = 0
        self._limit = most  # the smaller of the next two
        self._borne = most  # what the service bears
        self._cap = most  # what the machine bears
        self._changed = float("-inf")
        self._refused = float("-inf")
        self.refusals = 0
        self._left = self._moved = 0
        self._stayed = 0.0  # seconds inside, of all, up to the last time that somebody came or left
        self._seen = clock()

    @property
    def limit(self) -> int:
        """How many may be inside now."""
        return self._limit

    def __enter__(self) -> Gate:
        # Passed for every file: the lock itself costs a tenth of the condition around it.
        with self._lock:
            if self._inside >= self._limit:
                self._wait()
            self._pass_time()
            self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._pass_time()
            self._inside -= 1
            self._left += 1
            self._rise()
            if self._waiting:
                self._free.notify()

    def _wait(self) -> None:
        self._waiting += 1
        try:
            while self._inside >= self._limit:
                if self._stopped():
                    raise DunlinError("wait", "", ErrorKind.INTERRUPTED, "the run was stopped")
                self._free.wait(_LOOK)
                self._rise()
        finally:
            self._waiting -= 1

    def _pass_time(self) -> None:
        now = self._clock()
        self._stayed += self._inside * (now - self._seen)
        self._seen = now

    def moved(self, size: int) -> None:
        """Take note of so many bytes that somebody inside has moved."""
        with self._lock:
            self._moved += size

    def passed(self) -> Passed:
        """What went through so far."""
        with self._lock:
            self._pass_time()
            return Passed(self._seen, self._left, self._moved, self._stayed, self.refusals, self._limit)

    def cap(self, most: int) -> None:
        """Let at most `most` through from now on, but one at least, and never more than the user allows."""
        with self._free:
            self._cap = max(1, min(most, self.most))
            self._limit = min(self._borne, self._cap)
            self._free.notify_all()

    def note(self, error: DunlinError, attempt: int = 1, wait: float = 0.0) -> None:
        """A request failed with `error`; only those by which a service asks for less count (a hook of `retry`)."""
        if error.kind not in PRESSED:
            return
        with self._free:
            self.refusals += 1
            now = self._refused = self._clock()
            if now - self._changed >= CALM:
                self._borne = max(1, min(self._borne, self._cap) // 2)
                self._limit = min(self._borne, self._cap)
                self._changed = now

    def sleep(self, seconds: float) -> None:
        """Wait before a request is made again. Raises INTERRUPTED soon after a stop."""
        until = self._clock() + seconds
        while True:
            if self._stopped():
                raise DunlinError("wait", "", ErrorKind.INTERRUPTED, "the run was stopped")
            if (left := until - self._clock()) <= 0:
                return
            time.sleep(min(left, _LOOK))

    def _rise(self) -> None:
        if self._borne < self.most:
            now = self._clock()
            # Else a success that ends right when the time is over would raise it in the midst of refusals.
            if now - max(self._changed, self._refused) >= CALM:
                self._borne += 1
                self._limit = min(self._borne, self._cap)
                self._changed = now
                self._free.notify()
