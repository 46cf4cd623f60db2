"""Syncs and checks that the service does: jobs from the ledger, each run as the command line would run it.

One thread looks after everything: it takes jobs while there is room, says to the ledger every few seconds that they
are still worked on, hands on their counts, and looks for what people want of them. Each job has a thread of its own
that calls `jobs.sync.run` with the options that its words mean *now*: a job that waited gets the bandwidth limit and
the locations of today, and is checked against the roots of today.

*Pausing* a job ends its run as Ctrl-C would: files in flight are finished or given up, the state knows what is left.
Going on is another run of the same pair, which continues the interrupted one. So a pause survives a restart, holds no
memory and no lock, and there is one mechanism for pausing, shutting down, and a service that was killed: the job is
queued again, and its run continued.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.jobs.options import Result, SyncOptions
from dunlin.pace.stop import Stop
from dunlin.queue.ledger.words import Job, JobStatus, Wish
from dunlin.report import Event, Fan, Level, Report, Task
from dunlin.report.base import NullReport
from dunlin.stores.open import shown_place
from dunlin.web.roots import check_files, check_places

if TYPE_CHECKING:
    from dunlin.config.service import Tenant

KINDS = ("sync", "check")
HELD = 30.0
"""Seconds after which another service may take it that this one is gone."""

RENEW = 5.0
TICK = 0.5
"""Seconds between two looks for new jobs and wishes."""

COUNTED = (
    *("scanned_files", "equal_files", "copied_files", "copied_bytes", "deleted_files", "failed_files"),
    *("missing_files", "differing_files", "extra_files", "skipped_files", "warnings"),
)
GAUGED = ("pending_files", "pending_bytes")
GOOD = (0, 3, 24)
"""Exit codes of a run that did what it was asked for."""

Ask = Callable[[str, Mapping[str, Any]], SyncOptions]
Run = Callable[[SyncOptions, Stop, Report], Result]


class Jobs(Protocol):
    """What is needed of the ledger's jobs; see `queue.ledger.jobs`."""

    def claim(self, owner: str, seconds: float, kinds: Any = ()) -> Job | None: ...
    def renew(self, owner: str, seconds: float) -> list[str]: ...
    def sweep(self, owner: str = "") -> list[str]: ...
    def get(self, id: str, tenant: str | None = None) -> Job | None: ...
    def page(self, tenant: str | None = None, kind: str = "", statuses: Any = ()) -> list[Job]: ...
    def move(
        self, id: str, to: JobStatus, only: Any = (), error: str = "", result: bytes | None = None, owner: str = ""
    ) -> Job | None: ...
    def progress(self, id: str, counts: Mapping[str, int]) -> None: ...
    def wishes(self, owner: str) -> dict[str, Wish]: ...


class Counting:
    """A report that adds up what the ledger shows of a run, and passes its news on to a log."""

    def __init__(self, job: str, log: Callable[[Event], None]) -> None:
        self._job, self._log = job, log
        self._counts = dict.fromkeys(COUNTED, 0)
        self._lock = threading.Lock()

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        if name in self._counts:
            with self._lock:
                self._counts[name] += n

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        if name in GAUGED:
            with self._lock:
                self._counts[name] = int(value)

    def event(self, event: Event) -> None:
        """See `Report`. News of single files that is no trouble is for the audit log of the run."""
        single = event.name == "plan" or event.name.startswith(("file.", "directory."))
        if event.level >= (Level.WARN if single else Level.INFO):
            fields = {("run_id" if name == "run" else name): value for name, value in event.fields.items()}
            self._log(event._replace(fields={"job": self._job, **fields}))

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        return NullReport().task(name, total)

    def snapshot(self) -> dict[str, int]:
        """The counts now, without those that are nothing."""
        with self._lock:
            return {name: value for name, value in self._counts.items() if value}


@dataclass(slots=True, eq=False)
class _Going:
    """A job that is done at the moment."""

    job: Job
    counting: Counting
    stop: Stop = field(default_factory=Stop)
    wish: Wish = Wish.NONE
    thread: threading.Thread | None = None
    told: Mapping[str, int] = field(default_factory=dict)


class Runner:
    """Does jobs from `start` to `close`.

    Args:
        jobs: of the ledger. ask: from words to options (`cli.service_ask`). run: `jobs.sync.run`.
        tenant: what is a tenant's, now; None: there is no such tenant any more.
        slots: jobs at a time. owner: names this process. report: the metrics of runs. log: where news goes.
    """

    def __init__(
        self,
        jobs: Jobs,
        ask: Ask,
        run: Run,
        tenant: Callable[[str], Tenant | None],
        slots: int,
        owner: str,
        report: Report,
        log: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._jobs, self._ask, self._run, self._tenant = jobs, ask, run, tenant
        self._slots, self._owner, self._report, self._log, self._clock = slots, owner, report, log, clock
        self._going: dict[str, _Going] = {}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._closing = False
        self._renewed = float("-inf")
        self._away = False
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)

    # ---- asked by the API ----

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """Whether such a job can be done for a tenant; returns its label. Raises USAGE, CONFIG, DENIED."""
        if kind not in KINDS:
            raise usage(f"{kind}: the service does no such jobs")
        asked = self._options(kind, options, tenant)
        return f"{shown_place(asked.source)} -> {shown_place(asked.destination)}"

    def _options(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> SyncOptions:
        # Files of patterns are read while the words are understood, so their places come first.
        check_files(options, tenant.roots)
        asked = self._ask(kind, options)
        check_places(asked, options, tenant.roots)
        return asked

    def wake(self) -> None:
        """There is something new in the ledger."""
        self._woken.set()

    # ---- from start to end ----

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, patience: float) -> bool:
        """Have all runs stop, their jobs be queued again, and wait; whether they ended within so many seconds."""
        self._closing = True
        with self._lock:
            going = list(self._going.values())
        for each in going:
            each.stop.request("the service is shutting down")
        self._woken.set()
        end = self._clock() + patience
        for each in going:
            if each.thread is not None:
                each.thread.join(max(0.0, end - self._clock()))
        if self._thread.is_alive():
            self._thread.join(max(0.1, end - self._clock()))
        return not any(each.thread is not None and each.thread.is_alive() for each in going)

    @property
    def busy(self) -> int:
        """Jobs that are done at the moment."""
        return len(self._going)

    def _loop(self) -> None:
        while not self._closing:
            try:
                self.look()
                self._away = False
            except DunlinError as error:
                if not self._away:
                    self._log(Event(Level.WARN, "ledger.away", f"jobs wait: {error}"))
                self._away = True
            self._woken.wait(TICK)
            self._woken.clear()

    def look(self) -> None:
        """One look: leases, counts, wishes, new jobs. Raises what the ledger raises."""
        now = self._clock()
        if now - self._renewed >= RENEW:
            self._take_back()
            self._renewed = now
        with self._lock:
            going = dict(self._going)
        for each in going.values():
            counts = each.counting.snapshot()
            if counts != each.told:
                self._jobs.progress(each.job.id, counts)
                each.told = counts
        for id, wish in self._jobs.wishes(self._owner).items() if going else ():
            if id in going and wish is not Wish.NONE:
                going[id].wish = wish
                going[id].stop.request("paused" if wish is Wish.PAUSE else "cancelled")
        while len(self._going) < self._slots and not self._closing:
            job = self._jobs.claim(self._owner, HELD, KINDS)
            if job is None:
                return
            self._begin(job)

    def _take_back(self) -> None:
        """Say that our jobs go on, and queue those again whose service is gone."""
        self._jobs.renew(self._owner, HELD)
        self._jobs.sweep()
        for kind in KINDS:
            for job in self._jobs.page(kind=kind, statuses=(JobStatus.INTERRUPTED,)):
                self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.INTERRUPTED,))

    def _begin(self, job: Job) -> None:
        going = _Going(job, Counting(job.id, self._log))
        going.thread = threading.Thread(target=self._do, args=(going,), name=f"job-{job.id}", daemon=True)
        with self._lock:
            self._going[job.id] = going
        going.thread.start()

    def _do(self, going: _Going) -> None:
        job = going.job
        self._log(Event(Level.INFO, "job.begins", f"{job.kind} {job.label}", {"job": job.id, "tenant": job.tenant}))
        try:
            status, error, result = self._outcome(going)
            self._end(going, status, error, result)
        finally:
            with self._lock:
                self._going.pop(job.id, None)
            self._woken.set()

    def _outcome(self, going: _Going) -> tuple[JobStatus, str, bytes | None]:
        job = going.job
        try:
            tenant = self._tenant(job.tenant)
            if tenant is None:
                raise usage(f"there is no tenant {job.tenant} any more")
            options = self._options(job.kind, msgspec.json.decode(job.options), tenant)
            result = self._run(options, going.stop, Fan([going.counting, self._report]))
        except DunlinError as error:
            if error.kind is ErrorKind.INTERRUPTED:
                return self._cut(going), "", None
            return JobStatus.FAILED, str(error), None
        except Exception as error:
            words = " ".join(str(error).split())
            self._log(Event(Level.ERROR, "fault", f"job {job.id}: {type(error).__name__}: {words}"))
            return JobStatus.FAILED, f"a fault of dunlin itself: {type(error).__name__}", None
        body = msgspec.json.encode(told(result))
        if result.status == "interrupted":
            return self._cut(going), "", body
        if result.exit_code in GOOD:
            return JobStatus.COMPLETED, "", body
        failed = result.stats.failed_files + result.stats.failed_directories
        return JobStatus.FAILED, result.message or f"{failed:,} files failed (exit code {result.exit_code})", body

    def _cut(self, going: _Going) -> JobStatus:
        """What becomes of a job whose run was cut short."""
        if going.wish is Wish.PAUSE:
            return JobStatus.PAUSED
        if going.wish is Wish.CANCEL:
            return JobStatus.CANCELLED
        # By us, or by `dunlin control stop`, which means it.
        return JobStatus.QUEUED if self._closing else JobStatus.CANCELLED

    def _end(self, going: _Going, status: JobStatus, error: str, result: bytes | None) -> None:
        job, counts = going.job, going.counting.snapshot()
        level = Level.WARN if status is JobStatus.FAILED else Level.INFO
        fields = {"job": job.id, "status": status.value, **counts}
        self._log(Event(level, "job.ended", f"{job.kind} {job.label}: {error or status.value}", fields))
        try:
            self._jobs.progress(job.id, counts)
            self._jobs.move(job.id, status, (JobStatus.RUNNING,), error, result)
        except DunlinError as away:
            # The lease runs out, and the job is taken up again: its run finds that nothing is left to do.
            self._log(Event(Level.WARN, "ledger.away", f"the end of job {job.id} could not be put on record: {away}"))


def told(result: Result) -> dict[str, Any]:
    """How a run ended, for the ledger."""
    stats = msgspec.to_builtins(result.stats)
    return {
        "status": result.status, "message": result.message, "exit_code": result.exit_code, "run": result.run,
        "continued": result.continued, "stats": {name: value for name, value in stats.items() if value},
    }  # fmt: skip
