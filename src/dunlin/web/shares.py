"""What each tenant gets of what the service shares: jobs at a time, tasks and bytes over all workers.

The configuration says it, and may be read again at any time. Who claims jobs asks for `claims` each time; a run gets
what is its tenant's when it begins; caps and rates are put into the queue, where they hold for runs that go on as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dunlin.jobs.options import Spread, SyncOptions
from dunlin.pace.schedule import Schedule, within
from dunlin.queue import caps
from dunlin.queue.ledger.words import Job, Share

if TYPE_CHECKING:
    from dunlin.config.service import Service, Tenant
    from dunlin.queue.base import Queue


class Shares:
    """Divides what there is.

    Args:
        settings: asked for at each step.
    """

    def __init__(self, settings: Callable[[], Service]) -> None:
        self._settings = settings

    def claims(self) -> Share:
        """What a tenant may have of the service's jobs: one place is left for others, where there are others."""
        now = self._settings()
        most = {each.name: each.jobs for each in now.tenants.values() if each.jobs}
        return Share(most, max(1, now.jobs - 1) if len(now.tenants) > 1 else 0)

    def fit(self, options: SyncOptions, tenant: Tenant, job: Job) -> SyncOptions:
        """The options of a run, with what is its tenant's and its job's.

        A run over the queue draws its bytes from its tenant's account. One that is done here alone does not: it has an
        equal part of what the tenant may have, as if all the jobs that may go on at a time did.
        """
        if options.spread is not None:
            return options._replace(spread=self.spread(options.spread, tenant, job))
        return options._replace(bandwidth=self.limited(options.bandwidth, tenant))

    def spread(self, how: Spread, tenant: Tenant, job: Job) -> Spread:
        """How a run goes to workers, for its tenant and with the urgency of its job."""
        return how._replace(tenant=tenant.name if self._settings().tenants else "", priority=job.priority)

    def limited(self, schedule: Schedule | None, tenant: Tenant) -> Schedule | None:
        """The timetable of one that is done here alone; see `fit`."""
        if not tenant.bandwidth:
            return schedule
        return within(schedule, max(1, tenant.bandwidth // (tenant.jobs or self._settings().jobs)))


class Keeper:
    """Has the queue hold to the caps and rates of the configuration.

    Args:
        settings: asked for at each step.
    """

    def __init__(self, queue: Queue, settings: Callable[[], Service]) -> None:
        self._queue, self._settings = queue, settings
        self._due = True

    def put(self) -> None:
        """Put what the configuration says. Raises what the queue raises; `look` tries again then."""
        self._due = True
        caps.put(self._queue, self._settings().shares)
        self._due = False

    def look(self) -> None:
        """Put it again where the queue has lost it, or was away. Raises what the queue raises."""
        if self._due:
            self.put()
        else:
            caps.keep(self._queue, self._settings().shares)
