"""How many requests a process may have under way: fewer when the service pushes back, slowly more again.

A service that answers 429 or 503 asks for less. The gate then lets half as many through at a time (additive
increase, multiplicative decrease: the rule by which TCP shares a link, Chiu and Jain 1989). Requests that were
under way when the limit fell will be refused as well, so it falls at most once in `CALM` seconds; for each such
time without a refusal it rises by one, up to the number that the user allows.

Waiting at the gate ends when the run is stopped: `enter` asks `stopped` now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind

CALM = 1.0
"""Seconds between two changes of the limit."""

_LOOK = 0.25


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
        self._most = most
        self._stopped = stopped
        self._clock = clock
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._waiting = 0
        self._inside = 0
        self._limit = most
        self._changed = float("-inf")
        self.refusals = 0

    @property
    def limit(self) -> int:
        """How many may be inside now."""
        return self._limit

    def __enter__(self) -> Gate:
        # Passed for every file: the lock itself costs a tenth of the condition around it.
        with self._lock:
            if self._inside >= self._limit:
                self._wait()
            self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
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

    def note(self, error: DunlinError, attempt: int = 1, wait: float = 0.0) -> None:
        """A request failed with `error`; only those by which a service asks for less count (a hook of `retry`)."""
        if error.kind is not ErrorKind.BUSY:
            return
        with self._free:
            self.refusals += 1
            now = self._clock()
            if now - self._changed >= CALM:
                self._limit = max(1, self._limit // 2)
                self._changed = now

    def sleep(self, seconds: float) -> None:
        """Wait before a request is made again. Raises INTERRUPTED soon after a stop."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            if self._stopped():
                raise DunlinError("wait", "", ErrorKind.INTERRUPTED, "the run was stopped")
            time.sleep(min(left, _LOOK))

    def _rise(self) -> None:
        if self._limit < self._most:
            now = self._clock()
            if now - self._changed >= CALM:
                self._limit += 1
                self._changed = now
                self._free.notify()
