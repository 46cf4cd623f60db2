"""What the service tells Prometheus of backups: when each share was last backed up, and what that cost.

What an alert wants to know, the age of the last good backup, must survive a restart, and be the same from each of
several services. So it is read from the ledger, which knows the jobs of all of them and how they ended: much of it at
the first scrape, then now and then what is new, and at once when a job of this service has ended. How many jobs have
ended is counted by each service for itself, as counters are.

There is a series for each share that was backed up, so their number is that of shares; names of tenants and shares are
of few letters (`backup.words`). Those of repositories that the configuration does not know any more are not told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import msgspec

from dunlin.queue.ledger.words import Job, JobStatus
from dunlin.web.exposition import (
    BACKUP_BYTES,
    BACKUP_DAMAGED,
    BACKUP_FILES,
    BACKUP_JOBS,
    BACKUP_NEW,
    BACKUP_SECONDS,
    BACKUP_STORED,
    BACKUP_SUCCESS,
    BACKUP_VERIFIED,
    ServiceMetric,
)
from dunlin.web.kinds import KEEPS
from dunlin.web.outcome import Done

OFTEN = 30.0
"""Seconds after which the ledger is asked again what other services did."""

FIRST, LATER = 5_000, 200
"""Jobs that are read at the first time, and at each further one."""

_SIZES = {BACKUP_FILES: "files", BACKUP_BYTES: "bytes", BACKUP_NEW: "new_bytes", BACKUP_STORED: "stored_bytes"}
Labels = tuple[str, ...]
Samples = dict[ServiceMetric, list[tuple[Labels, float]]]


class Pages(Protocol):
    """The jobs of the ledger (`queue.ledger.jobs.Jobs.page`)."""

    def __call__(
        self, tenant: str | None = None, kind: str = "", statuses: Collection[JobStatus] = (), search: str = "",
        after: str = "", count: int = 100,
    ) -> list[Job]: ...  # fmt: skip


class BackupMetrics:
    """Figures of backups and verifications. Safe from several threads.

    Args:
        jobs: those of the ledger. known: names of the repositories of the configuration. clock: monotonic seconds.
    """

    def __init__(
        self, jobs: Pages, known: Callable[[], Collection[str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs, self._known, self._clock = jobs, known, clock
        self._lock = threading.Lock()
        self._read = float("-inf")
        self._stale = False
        self._ended: dict[Labels, int] = {}
        self._last: dict[Labels, tuple[float, dict[ServiceMetric, float]]] = {}
        self._looked: dict[Labels, tuple[float, float]] = {}
        self._whole: dict[Labels, float] = {}

    def ended(self, job: Job, done: Done) -> None:
        """A job of this service has ended."""
        if job.kind in KEEPS:
            status = "cancelled" if done.status == "interrupted" else "completed" if done.good else "failed"
            with self._lock:
                self._ended[job.kind, status] = self._ended.get((job.kind, status), 0) + 1
                self._stale = True

    def __call__(self) -> Samples:
        """Samples by metric. Raises what the ledger raises."""
        with self._lock:
            now = self._clock()
            if self._stale or now - self._read >= OFTEN:
                count = FIRST if self._read == float("-inf") else LATER
                self._take(self._pages("backup", count), self._backup)
                self._take(self._pages("verify", count), self._verification)
                self._read, self._stale = now, False
            return self._told(self._known())

    def _pages(self, kind: str, count: int) -> list[Job]:
        return self._jobs(None, kind, (JobStatus.COMPLETED, JobStatus.FAILED), "", "", count)

    def _take(self, jobs: list[Job], take: Callable[[Job, Mapping[str, Any]], None]) -> None:
        for job in jobs:
            result = msgspec.json.decode(job.result) if job.result else None
            if isinstance(result, dict) and job.ended is not None:
                take(job, result)

    def _backup(self, job: Job, result: Mapping[str, Any]) -> None:
        made = result.get("snapshot")
        if job.status is not JobStatus.COMPLETED or not isinstance(made, dict) or job.ended is None:
            return
        labels = (str(result.get("repository", "")), str(made.get("tenant", "")), str(made.get("share", "")))
        if self._last.get(labels, (0.0, {}))[0] <= job.ended:
            totals = result.get("totals") or {}
            figures = {metric: float(totals.get(name, 0)) for metric, name in _SIZES.items()}
            self._last[labels] = job.ended, {
                BACKUP_SUCCESS: job.ended, BACKUP_SECONDS: float(result.get("seconds", 0)), **figures
            }  # fmt: skip

    def _verification(self, job: Job, result: Mapping[str, Any]) -> None:
        found = result.get("found")
        if not isinstance(found, dict) or job.ended is None:
            return
        labels = str(result.get("repository", "")), job.tenant
        if self._looked.get(labels, (0.0, 0.0))[0] <= job.ended:
            self._looked[labels] = job.ended, float(found.get("damages", 0))
        if result.get("whole"):
            self._whole[labels] = max(job.ended, self._whole.get(labels, 0.0))

    def _told(self, known: Collection[str]) -> Samples:
        found: Samples = {BACKUP_JOBS: [(labels, float(n)) for labels, n in sorted(self._ended.items())]}
        for labels, (_, figures) in sorted(self._last.items()):
            if labels[0] in known:
                for metric, value in figures.items():
                    found.setdefault(metric, []).append((labels, value))
        for labels, (_, damaged) in sorted(self._looked.items()):
            if labels[0] in known:
                found.setdefault(BACKUP_DAMAGED, []).append((labels, damaged))
        for labels, when in sorted(self._whole.items()):
            if labels[0] in known:
                found.setdefault(BACKUP_VERIFIED, []).append((labels, when))
        return found
