"""What a worker's report is: word of large files under way, for the coordinator, now and then."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from dunlin.errors import DunlinError
from dunlin.queue.base import Queue
from dunlin.report import NullReport, Task
from dunlin.workers import packing
from dunlin.workers.fence import current

EVERY = 1.0
"""Seconds between two words about one file; what takes less is not mentioned."""


class SentProgress(NullReport):
    """Tells the coordinator, with the lease of the unit that moves the file."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def task(self, name: str, total: int | None) -> Task:
        return _SentTask(self._queue, name, total or 0)


class _SentTask:
    def __init__(self, queue: Queue, name: str, total: int) -> None:
        self._queue = queue
        self._head = (threading.get_ident() & 0xFFFFFFFFFFFF, name, total)
        self._done = 0
        self._told = False
        self._next = time.monotonic() + EVERY

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            self._told = True
            self._tell(self._done)

    def end(self) -> None:
        if self._told:
            self._tell(-1)

    def _tell(self, done: int) -> None:
        held = current()
        if held is not None and not held.lost:
            with suppress(DunlinError):
                self._queue.tell(held.lease, packing.pack_progress([(*self._head, done)]))
