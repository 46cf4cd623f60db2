"""The service as one process: what it is made of, in which order it begins, and how it ends.

Beginning. The socket is bound first, because an address that is taken should be known before anything is touched; then
queue and ledger are opened, then everything that works by itself is begun, and at last requests are answered. A queue
that is away at the start ends the service with one line: what restarts services will try again. Later it may go away
and come back: requests that need it are answered with 503, jobs wait.

Ending. The first signal: no more connections, requests under way are finished, runs stop at the next safe point and
their jobs go back to the queue, units of the embedded worker are finished or given back; then 0. The second signal
ends the process where it stands, which costs what `kill -9` would: the next start goes on.

What changes while it runs is in one place, `_Holder`: whoever needs a setting asks for it each time. A configuration
that does not pass all checks changes nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dunlin import __version__
from dunlin.config.logins import Located
from dunlin.config.service import DEFAULT_TENANT, Service, Tenant, changed, kept, shown
from dunlin.errors import DunlinError
from dunlin.jobs.outward import usage as process_usage
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import JobStatus
from dunlin.queue.ledger.words import Tenant as TenantRow
from dunlin.queue.open import open_queue
from dunlin.report import Event, Level
from dunlin.report.logs import Log
from dunlin.report.prometheus import Metrics
from dunlin.web.app import make_service
from dunlin.web.clockwork import Chore, Clockwork
from dunlin.web.exposition import ServiceMetrics
from dunlin.web.forms import job_shown
from dunlin.web.hub import PAUSE, Hub, Watcher
from dunlin.web.limits import Failures, Rates
from dunlin.web.listener import Listener, listen
from dunlin.web.monitor import routes as monitor
from dunlin.web.monitor.depth import EVERY, Depth
from dunlin.web.problems import Refused
from dunlin.web.publish_api import PUBLISH_LATER, publish_later
from dunlin.web.ready import Ready
from dunlin.web.reload import Reloads
from dunlin.web.runner import Ask, Runner
from dunlin.web.services import Calls, Services

if TYPE_CHECKING:
    from dunlin.queue.base import Queue
    from dunlin.queue.ledger.ledger import Ledger
    from dunlin.report.endpoint import Endpoint

GOING = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.INTERRUPTED)
SHUTDOWN = 20.0
"""Seconds that runs have to stop in."""

LOOKUPS = 64
"""Threads that wait for answers to /check; the store is asked by fewer (cache.max_concurrent_s3_checks)."""

SCHEDULES = 1.0
THINNING = 3600.0
LEVELS = {"debug": Level.DEBUG, "info": Level.INFO, "warn": Level.WARN, "error": Level.ERROR, "fatal": Level.FATAL}


class Given(NamedTuple):
    """What the command line hands to the service.

    Attributes:
        service: the settings to begin with. reload: reads them again; raises `DunlinError` where they are no good.
        file: the configuration file, "" for none.
        queue, ledger: places for those whose settings name none. states: the state file of its runs.
        ask: from the words of a job to options. resolve: from a place's name to where it lies.
        log: where events go.
    """

    service: Service
    reload: Callable[[], Service]
    file: str
    queue: str
    ledger: str
    states: str
    ask: Ask
    resolve: Callable[[str], Located]
    log: Log


class _Holder:
    """The settings that hold now."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self.now = given.service

    def __call__(self) -> Service:
        return self.now

    def tenant(self, name: str) -> Tenant | None:
        """What is a tenant's now."""
        return self.now.tenant(name)

    def reload(self) -> bool:
        """Read the settings again and take them, as far as they do not need a restart; whether they are good."""
        log = self._given.log
        try:
            found = self._given.reload()
        except DunlinError as error:
            log.event(Event(Level.ERROR, "configuration.refused", f"the configuration stays as it was: {error}"))
            return False
        left = changed(self.now, found)
        self.now = kept(self.now, found)
        log.level = LEVELS[self.now.log_level]
        log.event(Event(Level.INFO, "configuration.reloaded", "the configuration was read again"))
        for key in left:
            log.event(Event(Level.WARN, "configuration.restart", f"{key} holds after a restart", {"key": key}))
        return True


def serve(given: Given, wait: Callable[[Callable[[], bool], Callable[[], object]], None]) -> int:
    """Serve until `wait` returns; 0, or 2 where the server ended by itself. Raises what makes a start impossible.

    Args:
        wait: called with whether the service is alive and with what reads the configuration again, when everything
            goes on; returns when the service shall end.
    """
    listening = listen(given.service.address)
    try:
        process = _Process(given, listening)
    except BaseException:
        listening.close()
        raise
    try:
        process.start()
        wait(lambda: process.listener.alive, process.reload)
        return 0 if process.listener.alive else 2
    finally:
        process.close()


def take_over(ledger: Ledger) -> None:
    """Interrupt at once the jobs of services of this machine that were killed, instead of when their leases run out."""
    import psutil

    here = socket.gethostname()
    for owner in {job.owner for job in ledger.jobs.page(statuses=(JobStatus.RUNNING,), count=500)}:
        host, _, rest = owner.partition(":")
        pid = rest.partition(":")[0]
        if host == here and pid.isdecimal() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            ledger.jobs.sweep(owner)


class _Process:
    """Everything that goes on while the service does."""

    def __init__(self, given: Given, listening: socket.socket) -> None:
        self.given = given
        self.holder = holder = _Holder(given)
        service, log = given.service, given.log
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(3).hex()}"
        self.queue: Queue = open_queue(service.queue or given.queue)
        self.ledger: Ledger = open_ledger(service.ledger or given.ledger)
        self.put_tenants()
        take_over(self.ledger)
        runs = Metrics(__version__, 1, process_usage)
        self.metrics = ServiceMetrics(runs, self.queue.stats, self.queue.workers, self._job_counts)
        self.publishing = self._publishing()
        from dunlin.jobs.sync import run

        self.runner = Runner(
            self.ledger.jobs, given.ask, run, holder.tenant, service.jobs, self.owner, runs, log.event, time.monotonic
        )
        self.hub = Hub()
        self.watcher = Watcher(
            self.hub,
            lambda: self.ledger.jobs.page(statuses=GOING, count=500),
            self.ledger.jobs.get,
            lambda job: job_shown(job, whole=False),
            lambda: self.ledger.jobs.page(count=50),
        )
        depth = Depth(self.queue.stats, time.monotonic)
        self.chores = Clockwork(
            [
                Chore("depth", EVERY, depth.look),
                Chore("news", PAUSE, self.watcher.look),
                Chore("schedules", SCHEDULES, self._start_due),
                Chore("thinning", THINNING, self.ledger.thin),
            ],
            log.event,
        )
        self.ready = Ready(self._parts())
        self.calls, self.lookups = Calls(), Calls(LOOKUPS)
        self.services = Services(
            ledger=self.ledger,
            queue=self.queue,
            publisher=self.publishing,
            existence=self.publishing,
            runner=self.runner,
            settings=holder,
            states=lambda: given.states,
            hub=self.hub,
            metrics=self.metrics,
            calls=self.calls,
            lookups=self.lookups,
            rates=Rates(),
            failures=Failures(),
            clock=time.time,
            version=__version__,
            ready=self.ready,
            fault=self._fault,
        )
        pages = monitor(self.services, depth)
        self.listener = Listener(make_service(self.services, pages), listening, log.event)
        self.endpoint = self._endpoint()
        self.reloads = Reloads(given.file, self.reload) if given.file else None

    def _publishing(self) -> Any:
        given = self.given
        if given.service.destination is None:
            return None
        from dunlin.web.publishing import Publishing

        own = [path for path in (given.queue, given.ledger, given.states) if "://" not in path]
        return Publishing(
            self.ledger, self.queue, self.holder, given.service.destination, given.resolve, self.owner, own, given.log
        )

    def _endpoint(self) -> Endpoint | None:
        address = self.given.service.metrics
        if address is None:
            return None
        from dunlin.report.endpoint import Endpoint

        return Endpoint(self.metrics, address)

    def _parts(self) -> Mapping[str, Callable[[], object]]:
        parts: dict[str, Callable[[], object]] = {
            "ledger": self.ledger.ping,
            "queue": lambda: self.queue.read("ready"),
        }
        if self.publishing is not None:
            parts["store"] = self.publishing.look
        return parts

    def _job_counts(self) -> dict[str, int]:
        return {status.value: number for status, number in self.ledger.jobs.counts().items()}

    def _start_due(self) -> None:
        for due in self.ledger.schedules.due():
            name = due.schedule.new.name
            if due.job is None:
                message = f"schedule {name} is due, and its last job still runs"
                self.given.log.event(Event(Level.WARN, "schedule.passed_over", message, {"schedule": name}))
                continue
            fields = {"schedule": name, "job": due.job.id}
            self.given.log.event(Event(Level.INFO, "schedule.due", f"schedule {name} starts a job", fields))
            self.runner.wake()
        self._publish_due()

    def _publish_due(self) -> None:
        """Publish what schedules ask for. One that was begun by a service that died is begun again."""
        jobs, kind = self.ledger.jobs, PUBLISH_LATER
        for job in jobs.page(kind=kind, statuses=(JobStatus.INTERRUPTED,)):
            jobs.move(job.id, JobStatus.QUEUED, (JobStatus.INTERRUPTED,))
        while (job := jobs.claim(f"{self.owner}:later", 30.0, (kind,))) is not None:  # type: ignore[assignment]
            try:
                if self.publishing is None:
                    raise Refused(503, "there is nowhere to publish to: publish.destination is not set")
                made = publish_later(self.publishing, job, self.holder.tenant(job.tenant))
                jobs.move(job.id, JobStatus.COMPLETED, result=msgspec.json.encode({"job": made.id}))
            except (Refused, DunlinError) as error:
                words = error.detail if isinstance(error, Refused) else str(error)
                jobs.move(job.id, JobStatus.FAILED, error=words)
                self.given.log.event(Event(Level.WARN, "schedule.failed", f"{job.label}: {words}", {"job": job.id}))

    def put_tenants(self) -> None:
        """Have the ledger know the tenants of the configuration: keys and users belong to them."""
        now = self.holder.now
        for tenant in (*now.tenants.values(), Tenant(DEFAULT_TENANT, now.roots, now.prefixes)):
            self.ledger.accounts.put_tenant(TenantRow(tenant.name, tenant.roots, tenant.prefixes))

    def reload(self) -> None:
        """The configuration may have changed."""
        if self.holder.reload():
            try:
                self.put_tenants()
            except DunlinError as error:
                self.given.log.event(Event(Level.WARN, "configuration.tenants", str(error)))

    def _fault(self, error: Exception) -> None:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" in {os.path.basename(where[0].filename)}:{where[0].lineno}" if where else ""
        words = " ".join(str(error).split())
        self.given.log.event(Event(Level.ERROR, "fault", f"{type(error).__name__}: {words}{place}"))

    def start(self) -> None:
        """Begin."""
        log, service = self.given.log, self.given.service
        self.runner.start()
        if self.publishing is not None:
            self.publishing.start()
        self.watcher.look()  # what is asked for from now on is news, however soon it is over
        self.chores.start()
        self.listener.start()
        if self.reloads is not None:
            self.reloads.start()
        places = {
            "queue": shown(service.queue or self.given.queue), "ledger": shown(service.ledger or self.given.ledger)
        }  # fmt: skip
        url = f"http://{self.listener.address}"
        keys = "keys are needed" if service.guarded else "this machine alone, without keys"
        log.event(Event(Level.INFO, "service.listening", f"listening at {url} ({keys})", {"url": url, **places}))
        if self.endpoint is not None:
            log.event(Event(Level.INFO, "metrics.served", f"metrics are at {self.endpoint.url}"))

    def close(self) -> None:
        """End."""
        log = self.given.log
        log.event(Event(Level.INFO, "service.stopping", "stopping: saving what is done"))
        self.hub.close()
        if self.reloads is not None:
            self.reloads.close()
        ending = [threading.Thread(target=self.listener.close), threading.Thread(target=self._close_runs)]
        if self.publishing is not None:
            ending.append(threading.Thread(target=self.publishing.close))
        for thread in ending:
            thread.start()
        self.chores.close()
        for thread in ending:
            thread.join()
        if self.endpoint is not None:
            self.endpoint.close()
        self.calls.close()
        self.lookups.close()
        self.ready.close()
        self.queue.close()
        self.ledger.close()
        log.event(Event(Level.INFO, "service.stopped", "stopped"))

    def _close_runs(self) -> None:
        if not self.runner.close(SHUTDOWN):
            words = f"runs did not stop within {SHUTDOWN:g} seconds; they are continued by the next start"
            self.given.log.event(Event(Level.WARN, "runs.left", words))
