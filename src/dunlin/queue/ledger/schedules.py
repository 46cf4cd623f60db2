"""Schedules: jobs that are started again and again. `timing` says when.

`due` looks, claims and queues in one transaction: a schedule that came due gets its next time in the same moment in
which its job is queued. Of two services that look at the same time one finds it, and a service that dies has either
done both or nothing. While the job before has not ended, the time is passed over and counted, unless the schedule says
`overlap`: a sync that takes longer than its interval must not pile up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.accounts import known_tenant, name_of
from dunlin.queue.ledger.database import Base, Rows, first, line
from dunlin.queue.ledger.ids import number_of, text_of
from dunlin.queue.ledger.jobs import Jobs, json_text
from dunlin.queue.ledger.timing import check, next_run
from dunlin.queue.ledger.words import Due, Job, JobStatus, NewJob, NewSchedule, Schedule
from dunlin.queue.rules import meant, stored

_ACTIVE = frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED})
AT_ONCE = 100
"""Schedules that are started in one transaction."""


class Schedules:
    """The schedules of a ledger."""

    def __init__(self, base: Base, clock: Callable[[], float], jobs: Jobs) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock
        self._jobs = jobs

    def put(self, new: NewSchedule, created_by: str = "") -> Schedule:
        """Add a schedule, or change the one of that name; the time it is due next stays when nothing moves it.

        Raises:
            DunlinError: USAGE (name, cron, interval, zone, options), NOT_FOUND (tenant).
        """
        now = self._clock()
        name_of(new.name, "schedule")
        check(new, now)
        options = json_text(new.options, "options")
        with self._base.writing() as rows:
            known_tenant(rows, self._sql["tenant_get"], new.tenant)
            old = self._one(rows, new.name, new.tenant)
            planned = next_run(new, now) if new.enabled else None
            if old is not None and new.enabled and old.next_run is not None and _times(old.new) == _times(new):
                planned = old.next_run
            rows.execute(
                self._sql["schedule_put"],
                (
                    *(stored(new.tenant), stored(new.name), stored(new.kind), options),
                    *(stored(new.cron), float(new.interval), new.zone, int(new.enabled), int(new.overlap)),
                    *(stored(line(new.label)), new.priority, stored(created_by), now, planned, stored(new.host)),
                ),
            )
            return self._known(rows, new.name, new.tenant)

    def get(self, name: str, tenant: str = "") -> Schedule | None:
        """The schedule of that name."""
        with self._base.reading() as rows:
            sql = self._sql["schedule_columns"] + " WHERE tenant = $1 AND name = $2"
            found = first(rows.query(sql, (stored(tenant), stored(name))))
        return None if found is None else _schedule(found)

    def all(self, tenant: str | None = None) -> list[Schedule]:
        """Schedules of one tenant, or all; by tenant and name."""
        which = " WHERE tenant = $1" if tenant is not None else ""
        bindings = (stored(tenant),) if tenant is not None else ()
        with self._base.reading() as rows:
            found = rows.query(self._sql["schedule_columns"] + which + " ORDER BY tenant, name", bindings)
        return [_schedule(row) for row in found]

    def remove(self, name: str, tenant: str = "") -> bool:
        """Remove a schedule; False when there is none. Its jobs go on."""
        with self._base.writing() as rows:
            return rows.execute(self._sql["schedule_drop"], (stored(tenant), stored(name))) == 1

    def enable(self, name: str, enabled: bool, tenant: str = "") -> Schedule | None:
        """Switch a schedule on or off; None when there is none. What was missed while it was off is not made up for."""
        with self._base.writing() as rows:
            old = self._one(rows, name, tenant)
            if old is None:
                return None
            if old.new.enabled != enabled:
                planned = next_run(old.new, self._clock()) if enabled else None
                rows.execute(self._sql["schedule_next"], (stored(tenant), stored(name), int(enabled), planned))
            return self._known(rows, name, tenant)

    def due(self) -> list[Due]:
        """Queue a job for each schedule that has come due, and say when it is due next, at once (see the module)."""
        now = self._clock()
        with self._base.writing() as rows:
            found = [_schedule(row) for row in rows.query(self._sql["schedule_due"], (now, AT_ONCE))]
            return [self._start(rows, schedule, now) for schedule in found]

    def run(self, name: str, tenant: str = "", created_by: str = "") -> Job | None:
        """Queue a job of a schedule now, whenever it is due; None when there is no such schedule."""
        with self._base.writing() as rows:
            old = self._one(rows, name, tenant)
            if old is None:
                return None
            job = self._jobs.submit_within(rows, _job(old.new, created_by)).job
            self._ran(rows, old, old.next_run, self._clock(), job.id, old.passed_over)
            return job

    def _start(self, rows: Rows, schedule: Schedule, now: float) -> Due:
        at = schedule.next_run or now
        try:
            planned = next_run(schedule.new, now, at)
        except DunlinError:  # a zone that this machine does not know any more: it is not due until somebody mends it
            planned = None
        if not schedule.new.overlap and self._active(rows, schedule.last_job):
            self._ran(rows, schedule, planned, schedule.last_run, schedule.last_job, schedule.passed_over + 1)
            return Due(self._known(rows, schedule.new.name, schedule.new.tenant), at, None)
        job = self._jobs.submit_within(rows, _job(schedule.new, f"schedule {schedule.new.name}")).job
        self._ran(rows, schedule, planned, now, job.id, schedule.passed_over)
        return Due(self._known(rows, schedule.new.name, schedule.new.tenant), at, job)

    def _active(self, rows: Rows, job: str) -> bool:
        found = first(rows.query("SELECT status FROM job WHERE id = $1", (number_of(job),))) if job else None
        return found is not None and found[0] in _ACTIVE

    def _ran(
        self, rows: Rows, schedule: Schedule, planned: float | None, ran: float | None, job: str, passed_over: int
    ) -> None:
        key = stored(schedule.new.tenant), stored(schedule.new.name)
        number = number_of(job) if job else None
        rows.execute(self._sql["schedule_ran"], (*key, planned, ran, number, passed_over))

    def _one(self, rows: Rows, name: str, tenant: str) -> Schedule | None:
        found = first(rows.query(self._sql["schedule_lock"], (stored(tenant), stored(name))))
        return None if found is None else _schedule(found)

    def _known(self, rows: Rows, name: str, tenant: str) -> Schedule:
        found = self._one(rows, name, tenant)
        if found is None:
            raise DunlinError("read the schedule", name, ErrorKind.INTERNAL, "it is gone")
        return found


def _times(new: NewSchedule) -> tuple[str, float, str]:
    return new.cron, new.interval, new.zone


def _job(new: NewSchedule, created_by: str) -> NewJob:
    label = new.label or new.name
    return NewJob(new.kind, new.options, new.tenant, created_by, label, new.priority, host=new.host)


def _schedule(row: Sequence[Any]) -> Schedule:
    name, kind, options, tenant, cron, span, zone, enabled, overlaps, label, priority, by, created, *rest = row
    last_run, last_job, planned, passed_over, host = rest
    new = NewSchedule(
        meant(name), meant(kind), options.encode(), meant(tenant), meant(cron), span, zone, bool(enabled),
        bool(overlaps), meant(label), priority, meant(host),
    )  # fmt: skip
    return Schedule(
        new, meant(by), created, last_run, "" if last_job is None else text_of(last_job), planned, passed_over
    )
