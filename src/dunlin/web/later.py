"""Publish jobs that schedules ask for: rows of a kind of their own, each of which becomes a publish job when it is due.

What is asked for is checked at that moment. A check that refuses it fails the row for good, as it would a request;
what may pass (a ledger that is away or locked, a mount that says it does not answer) puts it back into the queue, where
it is begun again with the next look. To begin twice makes one job: the row is its idempotency key.

The check looks at paths, and a look at a share whose server is gone ends when that is back, or never. So each row is
begun in a thread of its own (`pace.aside`), and whoever looks for rows waits for none of them. One that hangs holds no
place: it stays this service's, so that no other service hangs on it as well, and becomes a job when the share is back.
The next times of its schedule are passed over until then, as for any job that still runs; so of each schedule one
thread hangs at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.aside import Aside
from dunlin.queue.ledger.words import JobStatus, Wish
from dunlin.report import Event, Level
from dunlin.web.problems import Refused
from dunlin.web.publish_api import PUBLISH_LATER, publish_later

if TYPE_CHECKING:
    from dunlin.config.service import Tenant
    from dunlin.queue.ledger.jobs import Jobs
    from dunlin.queue.ledger.words import Job
    from dunlin.web.services import Publishes

HELD = 30.0
"""Seconds after which another service may take it that this one, and with it what it had begun, is gone."""

PLACES = 8
"""Rows that are begun at a time."""
PATIENCE = 10.0
"""Seconds after which one that is still being begun makes room for others."""
HUNG = 200
"""Those that may hang; from then on none is begun."""


class Later:
    """Begins what waits, a look at a time.

    Args:
        publisher: None: there is nowhere to publish to. tenant: what is a tenant's, now.
        owner: names this process in the ledger; nobody else's.
        host: the label of this machine, whose rows it takes; "": all.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        jobs: Jobs,
        publisher: Publishes | None,
        tenant: Callable[[str], Tenant | None],
        owner: str,
        log: Callable[[Event], None],
        host: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs, self._publisher, self._tenant = jobs, publisher, tenant
        self._owner, self._log, self._host, self._clock = owner, log, host, clock
        self._begun = Aside("publish-due", PLACES, PATIENCE, PLACES + HUNG, clock)
        self._labels: dict[str, str] = {}
        self._back: list[tuple[Job, DunlinError]] = []
        self._renewed = float("-inf")

    def look(self) -> None:
        """Begin all that waits. Raises what the ledger raises, and why the first has to wait that may be begun later.

        Begun does not mean done: why one has to wait is told by the next look.
        """
        why: DunlinError | None = None
        while self._back:  # before anything is claimed: once with each look is often enough
            job, error = self._back[0]
            self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.RUNNING,), owner=self._owner)
            why = why or error
            del self._back[0]
        self._keep()
        for job in self._jobs.page(kind=PUBLISH_LATER, statuses=(JobStatus.INTERRUPTED,)):
            self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.INTERRUPTED,))
        while self._begun.room:
            claimed = self._jobs.claim(self._owner, HELD, (PUBLISH_LATER,), host=self._host())
            if claimed is None:
                break
            if not self._begun.going(claimed.id):  # else it was lost and has come back: it goes on
                self._labels[claimed.id] = claimed.label
                try:
                    self._begun.begin(claimed.id, partial(self._do, claimed))
                except DunlinError as error:
                    self._back.append((claimed, error))
                    break
        if why is not None:
            raise why

    def _keep(self) -> None:
        """Say that what hangs goes on, and do what is wanted of it."""
        going, now = self._begun.keys, self._clock()
        self._labels = {id: label for id, label in self._labels.items() if id in going}
        for id in self._begun.silent():
            label = self._labels.get(id, id)
            words = f"{label}: what is to be published has not answered for {PATIENCE:g} seconds; it waits for it"
            self._log(Event(Level.WARN, "schedule.hung", words, {"job": id}))
        if not going:
            return
        if now - self._renewed >= HELD / 3:
            self._jobs.renew(self._owner, HELD)
            self._renewed = now
        for id, wish in self._jobs.wishes(self._owner).items():
            if wish is Wish.CANCEL:
                self._jobs.move(id, JobStatus.CANCELLED, (JobStatus.RUNNING,), owner=self._owner)

    def wait(self, seconds: float) -> bool:
        """Wait for what is being begun; whether all of it has ended."""
        return self._begun.wait(seconds)

    def _do(self, job: Job) -> None:
        """Begin one. Raises nothing."""
        try:
            self._end(job, self._made(job))
        except DunlinError as error:
            if error.retryable or error.kind is ErrorKind.LOCKED:
                self._back.append((job, error))
            else:
                self._fail(job, str(error))
        except Refused as error:
            self._fail(job, error.detail)
        except Exception as error:
            words = " ".join(str(error).split())
            self._log(Event(Level.ERROR, "fault", f"job {job.id}: {type(error).__name__}: {words}"))
            self._fail(job, f"a fault of dunlin itself: {type(error).__name__}")

    def _made(self, job: Job) -> Job:
        if self._publisher is None:
            raise Refused(503, "there is nowhere to publish to: publish.destination is not set")
        return publish_later(self._publisher, job, self._tenant(job.tenant))

    def _end(self, job: Job, made: Job) -> None:
        result = msgspec.json.encode({"job": made.id})
        if self._jobs.move(job.id, JobStatus.COMPLETED, (JobStatus.RUNNING,), "", result, self._owner) is not None:
            return
        now = self._jobs.get(job.id)
        if now is not None and now.status is JobStatus.CANCELLED and self._publisher is not None:
            self._publisher.cancel(made)  # somebody did not want to wait for it any longer

    def _fail(self, job: Job, words: str) -> None:
        try:
            self._jobs.move(job.id, JobStatus.FAILED, (JobStatus.RUNNING,), words, owner=self._owner)
        except DunlinError as away:
            self._back.append((job, away))
        self._log(Event(Level.WARN, "schedule.failed", f"{job.label}: {words}", {"job": job.id}))
