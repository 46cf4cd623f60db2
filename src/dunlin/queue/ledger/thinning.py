"""What is dropped as it grows old, so that the ledger of a service that runs for years stays small.

`Keep` has the times.

    files      rows of files and units of a job: `Keep.files` after it ended (7 days). Those of failed files stay, with
               the reason, as long as the job; so do the counts of its items
    jobs       that are completed, failed or cancelled: `Keep.jobs` after they ended (30 days), and the oldest ones of a
               tenant that has more than `Keep.most_jobs` of them (10,000). With a job go its idempotency key, items and
               failures. Jobs that have not ended stay, however old
    existence  what has a time to live, after it
    sessions   after they ended
    audit      after `Keep.deeds` (a year)

A transaction drops some 20,000 rows at most, and a call a few hundred thousand: who calls it every minute keeps up
with a service under load, and nobody waits long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dunlin.queue.ledger.database import Base, first
from dunlin.queue.ledger.words import Keep

ROWS = 20_000
"""File numbers that one transaction drops."""
JOBS = 100
"""Jobs that one call drops, and jobs whose files it drops."""
PIECES = 20
"""Transactions that one call needs for files at most."""


class Dropped(NamedTuple):
    """What a call dropped: jobs, jobs whose files went, sessions, rows of the existence cache and of the audit."""

    jobs: int
    files_of: int
    sessions: int
    existence: int
    deeds: int


class Thinning:
    """Thins one ledger."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock
        self._pieces = 0

    def thin(self, keep: Keep = Keep()) -> Dropped:  # noqa: B008 - immutable
        """Drop what is too old by the rules above. Anybody may call it, at any time."""
        now = self._clock()
        self._pieces = PIECES
        with self._base.reading() as rows:
            bare = [row[0] for row in rows.query(self._sql["thin_files"], (now - keep.files, JOBS))]
            old = {row[0] for row in rows.query(self._sql["thin_jobs"], (now - keep.jobs, JOBS))}
            for tenant, count in rows.query(self._sql["thin_tenants"], (keep.most_jobs,)):
                most = min(JOBS, count - keep.most_jobs)
                old |= {row[0] for row in rows.query(self._sql["thin_most"], (tenant, most))}
        jobs = sum(self._job(job) for job in sorted(old))
        files_of = sum(self._files(job, keep_failed=True) for job in bare if job not in old)
        with self._base.writing() as rows:
            sessions = rows.execute(self._sql["thin_sessions"], (now,))
            existence = rows.execute(self._sql["thin_existence"], (now,))
            deeds = rows.execute(self._sql["thin_deeds"], (now - keep.deeds,))
        return Dropped(jobs, files_of, sessions, existence, deeds)

    def _job(self, job: int) -> bool:
        """Drop a job with all that it has; False when that takes longer than this call has."""
        if not self._files(job, keep_failed=False):
            return False
        with self._base.writing() as rows:
            for statement in ("thin_failure", "thin_unit", "thin_item", "thin_job"):
                rows.execute(self._sql[statement], (job,))
        return True

    def _files(self, job: int, keep_failed: bool) -> bool:
        """Drop rows of files in pieces; False when there are more pieces than this call has."""
        begin = 0
        while True:
            with self._base.reading() as rows:
                found = first(rows.query(self._sql["thin_file_left"], (job, begin)))
            if found is None or found[0] is None:
                break
            if not self._pieces:
                return False
            self._pieces -= 1
            begin = int(found[0])
            with self._base.writing() as rows:
                rows.execute(self._sql["thin_file"], (job, begin, begin + ROWS, int(keep_failed)))
            begin += ROWS
        if keep_failed:
            with self._base.writing() as rows:
                rows.execute(self._sql["thin_unit"], (job,))
                rows.execute(self._sql["thin_marked"], (job,))
        return True
