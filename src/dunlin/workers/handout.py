"""Units that wait at a mover, and how many of its threads take them.

Theory. The number of threads goes up and down while the run goes on, and each of them may be in the midst of a unit
that takes long. So nobody is told to end: before a thread takes its next unit it looks whether there are more of them
than are wanted, and is the one that ends if so. Threads that are wanted again before they have ended simply stay, so
there are never more of them than were wanted at any one time.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

Unit = tuple[int, tuple[Any, ...], bool]
"""Its number, the packed task, and whether it is announced."""


class Handout:
    """The units that wait, and a count of the threads that take them. Safe to use from many threads."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._units: deque[Unit] = deque()
        self._threads = self._wanted = 0

    def want(self, threads: int) -> int:
        """Have so many threads take units from now on; returns how many of them are to be started."""
        with self._news:
            self._wanted = threads
            missing = max(0, threads - self._threads)
            self._threads += missing
            if self._threads > threads:
                self._news.notify_all()
            return missing

    def put(self, units: Iterable[Unit]) -> None:
        """Units that are to be done, after those that wait."""
        with self._news:
            before = len(self._units)
            self._units.extend(units)
            self._news.notify(len(self._units) - before)

    def take(self, wait: bool = True) -> Unit | None:
        """The next unit; None: the thread that asks is one too many, counts no more, and has to end.

        Raises `queue.Empty` where there is none and the thread is not to wait for one.
        """
        with self._news:
            while True:
                if self._threads > self._wanted:
                    self._threads -= 1
                    return None
                if self._units:
                    return self._units.popleft()
                if not wait:
                    raise queue.Empty
                self._news.wait()

    def clear(self) -> None:
        """Forget the units that wait."""
        with self._news:
            self._units.clear()
