"""News of jobs for browsers and programs that listen: a short memory with numbers.

News is made by looking: a thread reads the jobs that are not over from the ledger every `PAUSE` seconds and tells what
differs from the look before. So it does not matter which process does a job, and the rate of news is bounded however
fast files move. Numbers grow by one; the first part of an id names the start of this service, so that a listener who
comes back after a restart is not told that it missed nothing. One who was away for longer than the memory reaches is
told `reset`, and asks for the jobs anew.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from dunlin.errors import DunlinError
from dunlin.queue.ledger.words import ENDED, Job

KEPT = 2000
PAUSE = 0.5
"""Seconds between two looks at the ledger."""


class News(NamedTuple):
    """One piece: `body` is JSON, `tenant` whose it is; "" of nobody, so that only who sees all tenants gets it."""

    number: int
    event: str
    body: bytes
    tenant: str


class Hub:
    """The memory. Safe from several threads."""

    def __init__(self, kept: int = KEPT) -> None:
        self.epoch = os.urandom(4).hex()
        self.closed = False
        self._kept: deque[News] = deque(maxlen=kept)
        self._number = 0
        self._lock = threading.Lock()

    def tell(self, event: str, value: Any, tenant: str = "") -> None:
        """Remember a piece of news."""
        body = msgspec.json.encode(value)
        with self._lock:
            self._number += 1
            self._kept.append(News(self._number, event, body, tenant))

    def since(self, number: int) -> list[News] | None:
        """The news after a number; None: some of it is forgotten."""
        with self._lock:
            if number >= self._number:
                return []
            if not self._kept or self._kept[0].number > number + 1:
                return None
            return [each for each in self._kept if each.number > number]

    @property
    def latest(self) -> int:
        """The last number."""
        return self._number

    def place(self, id: str) -> int | None:
        """The number that the id of an event stands for; None where it is of another start, or none at all."""
        epoch, _, number = id.partition("-")
        if epoch != self.epoch or not number.isdecimal() or int(number) > self._number:
            return None
        return int(number)

    def id(self, number: int) -> str:
        """The id of an event."""
        return f"{self.epoch}-{number}"

    def close(self) -> None:
        """Listeners are let go."""
        self.closed = True


class Watcher:
    """Looks at the jobs that are not over, and tells the hub what changed.

    Args:
        active: the jobs that are not over. job: one of them by its id; None: it is gone.
        shown: a job as it is told.
        newest: the last that were asked for, over or not: one may begin and end between two looks.
    """

    def __init__(
        self,
        hub: Hub,
        active: Callable[[], Sequence[Job]],
        job: Callable[[str], Job | None],
        shown: Callable[[Job], Any],
        newest: Callable[[], Sequence[Job]] = tuple,
    ) -> None:
        self._hub, self._active, self._newest, self._job, self._shown = hub, active, newest, job, shown
        self._seen: dict[str, Job] = {}
        self._last: str | None = None

    def look(self) -> int:
        """One look; how many pieces of news there were. A ledger that is away is looked at again later."""
        try:
            newest = self._newest()
            # One that is not over now, and is a moment later, is found missing by the next look.
            now = {job.id: job for job in (*newest, *self._active()) if job.status not in ENDED}
            over = [job for job in newest if self._missed(job)]
            over += [found for id in self._seen.keys() - now.keys() if (found := self._job(id)) is not None]
        except DunlinError:
            return 0
        told = 0
        for job in (*now.values(), *over):
            before = self._seen.get(job.id)
            if before is None or (before.status, before.counts, before.error) != (job.status, job.counts, job.error):
                self._hub.tell("job", self._shown(job), job.tenant)
                told += 1
        self._seen = now
        self._last = max((job.id for job in newest), default="")
        return told

    def _missed(self, job: Job) -> bool:
        """Whether a job began and ended since the look before. Ids sort by the time of their submission."""
        return self._last is not None and job.id > self._last and job.status in ENDED and job.id not in self._seen
