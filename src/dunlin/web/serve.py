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
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin import __version__
from dunlin.config import runtime_dir
from dunlin.config.logins import Located
from dunlin.config.service import DEFAULT_TENANT, Service, Tenant, changed, kept, shown
from dunlin.errors import DunlinError
from dunlin.jobs.office import Office
from dunlin.jobs.outward import usage as process_usage
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import Job, JobStatus
from dunlin.queue.ledger.words import Tenant as TenantRow
from dunlin.queue.open import open_queue
from dunlin.report import Event, Level
from dunlin.report.logs import Log
from dunlin.report.prometheus import Metrics
from dunlin.web.app import make_service
from dunlin.web.backup_metrics import BackupMetrics
from dunlin.web.backups import Ask as Keep
from dunlin.web.backups import Backups
from dunlin.web.bounded import Bounded
from dunlin.web.clockwork import Chore, Clockwork
from dunlin.web.exposition import ServiceMetrics
from dunlin.web.forms import job_shown
from dunlin.web.hub import PAUSE, Hub, Watcher
from dunlin.web.instance import Instance, ended
from dunlin.web.later import Later
from dunlin.web.limits import Failures, Rates
from dunlin.web.listener import Listener, listen
from dunlin.web.machine import Machine, machine
from dunlin.web.messages import Messages
from dunlin.web.monitor import routes as monitor
from dunlin.web.monitor.depth import EVERY, Depth
from dunlin.web.outcome import Done
from dunlin.web.ready import Ready
from dunlin.web.reload import Reloads
from dunlin.web.runner import Ask, Runner
from dunlin.web.services import Calls, Services
from dunlin.web.shares import Keeper, Shares
from dunlin.web.vaults import Vaults

if TYPE_CHECKING:
    from dunlin.jobs.outward import Options
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
CAPS = 10.0
"""Seconds between two looks whether the queue still has its caps."""

NEIGHBOURS = 5.0
VAULTS = 60.0
LEVELS = {"debug": Level.DEBUG, "info": Level.INFO, "warn": Level.WARN, "error": Level.ERROR, "fatal": Level.FATAL}


class Given(NamedTuple):
    """What the command line hands to the service.

    Attributes:
        service: the settings to begin with. reload: reads them again; raises `DunlinError` where they are no good.
        file: the configuration file, "" for none.
        queue, ledger: places for those whose settings name none. states: the state file of its runs.
        ask: from the words of a job to options; keep: of one with a repository of backups.
        resolve: from a place's name to where it lies.
        log: where events go. messages: to people, about jobs; None: none.
    """

    service: Service
    reload: Callable[[], Service]
    file: str
    queue: str
    ledger: str
    states: str
    ask: Ask
    keep: Keep
    resolve: Callable[[str], Located]
    log: Log
    messages: Options | None = None


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


def take_over(ledger: Ledger, directory: str) -> None:
    """Interrupt at once the jobs of services of this machine that were killed, instead of when their leases run out."""
    running = ledger.jobs.page(statuses=(JobStatus.RUNNING,), count=500)
    for owner in ended({job.owner for job in running}, directory):
        ledger.jobs.sweep(owner)


def meeting_place(queue: Queue, place: str, ledger: str) -> Queue:
    """Where services that share jobs agree on who writes where: the queue, or, where that is a file of one machine's
    and the ledger a server's, the queue in that server's database.

    Args:
        place: where `queue` lies. ledger: where the ledger lies.
    """
    server = ledger.startswith(("postgresql://", "postgres://"))
    return open_queue(ledger) if server and "://" not in place.removeprefix("sqlite://") else queue


class _Process:
    """Everything that goes on while the service does."""

    def __init__(self, given: Given, listening: socket.socket) -> None:
        self.given = given
        self.holder = holder = _Holder(given)
        service, log = given.service, given.log
        self.queue: Queue = open_queue(service.queue or given.queue)
        self.ledger: Ledger = open_ledger(service.ledger or given.ledger)
        self.offices = meeting_place(self.queue, service.queue or given.queue, service.ledger or given.ledger)
        here = runtime_dir()
        self.instance = Instance(here)
        self.owner = self.instance.name
        self.put_tenants()
        self.caps = Keeper(self.queue, holder)
        self.caps.put()
        take_over(self.ledger, here)
        runs = Metrics(__version__, 1, process_usage)
        self.backups = BackupMetrics(self.ledger.jobs.page, lambda: holder.now.repositories)
        self.metrics = ServiceMetrics(runs, self.queue.stats, self.queue.workers, self._job_counts, self.backups)
        self.messages = self._messages()
        self.publishing = self._publishing()
        from dunlin.jobs.apart import apart
        from dunlin.jobs.sync import run

        shares = Shares(holder)
        self.runner = Runner(
            self.ledger.jobs, given.ask, run, holder.tenant, service.jobs, self.owner, runs, log.event, time.monotonic,
            lambda: Office(self.offices), shares, self._machine,
            Backups(given.keep, run, apart, holder, self._machine, shares), self._ended,
        )  # fmt: skip
        self.hub = Hub()
        self.watcher = Watcher(
            self.hub,
            lambda: self.ledger.jobs.page(statuses=GOING, count=500),
            self.ledger.jobs.get,
            lambda job: job_shown(job, whole=False),
            lambda: self.ledger.jobs.page(count=50),
        )
        self.vaults = Vaults(lambda: holder.now.repositories)
        depth = Depth(self.queue.stats, time.monotonic)
        later = Later(
            self.ledger.jobs, self.publishing, holder.tenant, f"{self.owner}:later", log.event,
            lambda: self._machine().label,
        )  # fmt: skip
        self.chores = Clockwork(
            [
                Chore("depth", EVERY, depth.look),
                Chore("news", PAUSE, self.watcher.look),
                Chore("schedules", SCHEDULES, self._start_due),
                Chore("publish-schedules", SCHEDULES, later.look),
                Chore("thinning", THINNING, self.ledger.thin),
                Chore("caps", CAPS, self.caps.look),
                Chore("vaults", VAULTS, self.vaults.look),
                Chore("neighbours", NEIGHBOURS, lambda: take_over(self.ledger, here)),
            ],
            log.event,
        )
        self.ready = Ready(self._parts())
        self.calls, self.lookups, self.publishes = Calls(), Calls(LOOKUPS), Bounded()
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
            publishes=self.publishes,
            rates=Rates(),
            failures=Failures(),
            clock=time.time,
            version=__version__,
            ready=self.ready,
            fault=self._fault,
            vaults=self.vaults,
        )
        pages = monitor(self.services, depth)
        self.listener = Listener(make_service(self.services, pages), listening, log.event)
        self.endpoint = self._endpoint()
        self.reloads = Reloads(given.file, self.reload) if given.file else None

    def _messages(self) -> Messages | None:
        if self.given.messages is None:
            return None
        return Messages(self.given.messages, socket.gethostname(), self._failed_before, self.given.log.event)

    def _failed_before(self, job: Job) -> bool:
        """Whether the job of the same name before this one failed, as far as the ledger knows."""
        over = (JobStatus.COMPLETED, JobStatus.FAILED)
        with suppress(DunlinError):
            found = self.ledger.jobs.page(job.tenant, job.kind, over, job.label, job.id, 20)
            last = next((each for each in found if each.label == job.label), None)
            return last is not None and last.status is JobStatus.FAILED
        return False

    def _ended(self, job: Job, done: Done) -> None:
        self.backups.ended(job, done)
        if self.messages is not None:
            self.messages.ended(job, done)

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

        return Endpoint(self.metrics, address, "monitor.prometheus_addr")

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

    def _machine(self) -> Machine:
        return machine(self.holder.now, self.ledger)

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
            try:
                self.caps.put()
            except DunlinError as error:
                self.given.log.event(Event(Level.WARN, "configuration.caps", f"{error}; trying again"))

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
        if self.messages is not None:
            self.messages.close()
        if self.endpoint is not None:
            self.endpoint.close()
        self.calls.close()
        self.lookups.close()
        self.publishes.close()
        self.vaults.close()
        self.ready.close()
        if self.offices is not self.queue:
            self.offices.close()
        self.queue.close()
        self.ledger.close()
        self.instance.close()
        log.event(Event(Level.INFO, "service.stopped", "stopped"))

    def _close_runs(self) -> None:
        if not self.runner.close(SHUTDOWN):
            words = f"runs did not stop within {SHUTDOWN:g} seconds; they are continued by the next start"
            self.given.log.event(Event(Level.WARN, "runs.left", words))
