"""What the service does of jobs from the ledger: syncs and checks as the command line would, backups by `backups`.

One thread looks after everything: it takes jobs while there is room, says to the ledger every few seconds that they
are still worked on, hands on their counts, and looks for what people want of them. Each job has a thread of its own
that calls `jobs.sync.run` with the options that its words mean *now*: a job that waited gets the bandwidth limit and
the locations of today, and is checked against the roots of today.

*Pausing* a job ends its run as Ctrl-C would: files in flight are finished or given up, the state knows what is left.
Going on is another run of the same pair, which continues the interrupted one. So a pause survives a restart, holds no
memory and no lock, and there is one mechanism for pausing, shutting down, and a service that was killed: the job is
queued again, and its run continued.

Several services may share a ledger. A job that names paths of one machine is done by a service there (`web.machine`).
A job is this one's for `HELD` seconds after it said so last, and a run has the
*office* of its destination (`jobs.office`). A run whose job is another's by now, or may be (this service slept, or the
ledger was away for too long), is stopped, and nothing that it tells is put on record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.jobs.office import Office
from dunlin.jobs.options import Result, SyncOptions
from dunlin.pace.stop import Stop
from dunlin.queue.ledger.words import ENDED, Job, JobStatus, Share, Wish
from dunlin.report import Event, Fan, Level, Report, Task
from dunlin.report.base import NullReport
from dunlin.stores.open import shown_place
from dunlin.web.kinds import KEEPS, RUNS, SYNCS
from dunlin.web.machine import Machine
from dunlin.web.outcome import Done, ended
from dunlin.web.roots import check_files, check_kept, check_places

if TYPE_CHECKING:
    from dunlin.config.service import Tenant
    from dunlin.web.shares import Shares

HELD = 30.0
"""Seconds after which another service may take it that this one is gone."""

SURE = HELD - 5.0
"""Seconds after which this one must take it that another has its jobs; the rest is for runs to come to a stop."""

RENEW = 5.0
TICK = 0.5
"""Seconds between two looks for new jobs and wishes."""

COUNTED = (
    *("scanned_files", "equal_files", "copied_files", "copied_bytes", "deleted_files", "failed_files"),
    *("missing_files", "differing_files", "extra_files", "skipped_files", "warnings", "damaged_objects"),
)
GAUGED = ("pending_files", "pending_bytes")
Ask = Callable[[str, Mapping[str, Any]], SyncOptions]


class Run(Protocol):
    """`jobs.sync.run`."""

    def __call__(self, options: SyncOptions, stop: Stop, report: Report, *, office: Office | None) -> Result: ...


class Keeps(Protocol):
    """Does the jobs of `kinds.KEEPS`; see `backups.Backups`."""

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str: ...
    def host(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str: ...
    def check_target(self, options: SyncOptions) -> None: ...
    def do(self, job: Job, tenant: Tenant, stop: Stop, report: Report, office: Office) -> Done: ...


class Jobs(Protocol):
    """What is needed of the ledger's jobs; see `queue.ledger.jobs`."""

    def claim(
        self, owner: str, seconds: float, kinds: Any = (), share: Share = ..., host: str = ""
    ) -> Job | None: ...
    def renew(self, owner: str, seconds: float) -> list[str]: ...
    def sweep(self, owner: str = "") -> list[str]: ...
    def get(self, id: str, tenant: str | None = None) -> Job | None: ...
    def page(self, tenant: str | None = None, kind: str = "", statuses: Any = ()) -> list[Job]: ...
    def move(
        self, id: str, to: JobStatus, only: Any = (), error: str = "", result: bytes | None = None, owner: str = ""
    ) -> Job | None: ...
    def progress(self, id: str, counts: Mapping[str, int], owner: str = "") -> bool: ...
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
    """A job that is done at the moment.

    Attributes:
        lost: it is, or may be, another service's. refused: why its run was stopped and fails.
        again: its run was stopped, and is to go on later. over: its run is.
    """

    job: Job
    counting: Counting
    office: Office
    stop: Stop = field(default_factory=Stop)
    lost: bool = False
    refused: str = ""
    again: bool = False
    over: bool = False
    wish: Wish = Wish.NONE
    thread: threading.Thread | None = None
    told: Mapping[str, int] = field(default_factory=dict)


class Runner:
    """Does jobs from `start` to `close`.

    Args:
        jobs: of the ledger. ask: from words to options (`cli.service_ask`). run: `jobs.sync.run`.
        tenant: what is a tenant's, now; None: there is no such tenant any more.
        slots: jobs at a time. owner: names this process. report: the metrics of runs. log: where news goes.
        clock: monotonic seconds. offices: makes the office of a run.
        shares: divides jobs and bytes among tenants; None: whoever comes first has all.
        machine: this one, as it is set up now.
        keeps: does jobs with repositories; None: there are none.
        ended: told of each job that has ended for good, and how.
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
        offices: Callable[[], Office],
        shares: Shares | None = None,
        machine: Callable[[], Machine] = Machine,
        keeps: Keeps | None = None,
        ended: Callable[[Job, Done], None] = lambda job, done: None,
    ) -> None:
        self._jobs, self._ask, self._run, self._tenant = jobs, ask, run, tenant
        self._slots, self._owner, self._report, self._log, self._clock = slots, owner, report, log, clock
        self._offices = offices
        self._shares = shares
        self._machine = machine
        self._keeps, self._ended = keeps, ended
        self._kinds = SYNCS if keeps is None else RUNS
        self._going: dict[str, _Going] = {}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._closing = False
        self._renewed = self._sure = float("-inf")
        self._away = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="runner-clock", daemon=True)

    # ---- asked by the API ----

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """Whether such a job can be done for a tenant; returns its label. Raises USAGE, CONFIG, DENIED."""
        if kind not in self._kinds:
            raise usage(f"{kind}: the service does no such jobs")
        if self._keeps is not None and kind in KEEPS:
            return self._keeps.check(kind, options, tenant)
        asked = self._options(kind, options, tenant)
        return f"{shown_place(asked.source)} -> {shown_place(asked.destination)}"

    def host(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """The label of the machine whose paths such a job names; "": of none. Raises as `check`."""
        if self._keeps is not None and kind in KEEPS:
            return self._keeps.host(kind, options, tenant)
        return self._machine().of_run(self._options(kind, options, tenant), options)

    def _options(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> SyncOptions:
        # Files of patterns are read while the words are understood, so their places come first.
        check_files(options, tenant.roots)
        asked = self._ask(kind, options)
        if tenant.listed:
            check_kept(asked)
        if self._keeps is not None:
            self._keeps.check_target(asked)
        return check_places(asked, options, tenant.roots)

    def wake(self) -> None:
        """There is something new in the ledger."""
        self._woken.set()

    # ---- from start to end ----

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._watcher.start()

    def close(self, patience: float) -> bool:
        """Have all runs stop, their jobs be queued again, and wait; whether they ended within so many seconds."""
        self._closing = True
        self._over.set()
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
        with self._lock:
            going = dict(self._going)
        self.look_at_the_clock()
        if now - self._renewed >= RENEW:
            self._take_back(going, now)
            self._renewed = now
        for each in going.values():
            counts = each.counting.snapshot()
            if counts != each.told and not each.lost:
                self._jobs.progress(each.job.id, counts, self._owner)
                each.told = counts
        for id, wish in self._jobs.wishes(self._owner).items() if going else ():
            if id in going and wish is not Wish.NONE:
                going[id].wish = wish
                going[id].stop.request("paused" if wish is Wish.PAUSE else "cancelled")
        back: list[str] = []
        while len(self._going) < self._slots and not self._closing:
            share = self._shares.claims() if self._shares is not None else Share()
            job = self._jobs.claim(self._owner, HELD, self._kinds, share, self._machine().label)
            if job is None:
                break
            if job.id in self._going:  # lost, and come back before its run has stopped
                back.append(job.id)
                continue
            if not self._going:
                self._sure = now + SURE
            self._begin(job)
        for id in back:  # not before: it would be claimed again at once, before all others
            self._jobs.move(id, JobStatus.QUEUED, (JobStatus.RUNNING,), owner=self._owner)

    def look_at_the_clock(self) -> None:
        """Stop runs whose jobs or offices others may have by now. Asks nobody, so it never has to wait."""
        with self._lock:
            going = list(self._going.values())
        if self._clock() > self._sure:
            self._lose(going, "the ledger did not hear of this service for too long")
        for each in going:
            if not each.over and not each.again and not each.office.sure:
                each.again = True
                each.stop.request("the queue did not hear of this run for too long")

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            self.look_at_the_clock()

    def _lose(self, some: Iterable[_Going], reason: str) -> None:
        """These jobs are another service's, or may be: their runs stop, and what they tell does not count."""
        for each in some:
            if not each.over and not each.lost:
                each.lost = True
                fields = {"job": each.job.id}
                self._log(Event(Level.WARN, "job.lost", f"{each.job.kind} {each.job.label}: {reason}", fields))
                each.stop.request(f"the job is no longer this service's: {reason}")

    def _take_back(self, going: Mapping[str, _Going], now: float) -> None:
        """Say that our jobs go on, keep their offices, and queue those again whose service is gone."""
        held = set(self._jobs.renew(self._owner, HELD))
        self._sure = now + SURE
        self._lose((each for id, each in going.items() if id not in held), "another service has taken it")
        for id in held - going.keys():  # what became of it could not be put on record
            self._jobs.move(id, JobStatus.QUEUED, (JobStatus.RUNNING,), owner=self._owner)
        for each in going.values():
            if not each.over and not each.refused and not each.office.keep():
                each.refused = "another run writes to the same destination, from another machine"
                each.stop.request(each.refused)
        self._jobs.sweep()
        for kind in self._kinds:
            for job in self._jobs.page(kind=kind, statuses=(JobStatus.INTERRUPTED,)):
                self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.INTERRUPTED,))

    def _begin(self, job: Job) -> None:
        going = _Going(job, Counting(job.id, self._log), self._offices())
        going.thread = threading.Thread(target=self._do, args=(going,), name=f"job-{job.id}", daemon=True)
        with self._lock:
            self._going[job.id] = going
        going.thread.start()

    def _do(self, going: _Going) -> None:
        job = going.job
        self._log(Event(Level.INFO, "job.begins", f"{job.kind} {job.label}", {"job": job.id, "tenant": job.tenant}))
        try:
            status, done = self._outcome(going)
            going.over = True
            going.office.leave()
            self._end(going, status, done)
        finally:
            with self._lock:
                self._going.pop(job.id, None)
            self._woken.set()

    def _outcome(self, going: _Going) -> tuple[JobStatus, Done]:
        job = going.job
        try:
            done = self._does(going)
        except DunlinError as error:
            if error.kind is ErrorKind.INTERRUPTED:
                return self._cut(going), Done("interrupted", False, going.refused, {})
            return JobStatus.FAILED, Done("failed", False, str(error), {})
        except Exception as error:
            words = " ".join(str(error).split())
            self._log(Event(Level.ERROR, "fault", f"job {job.id}: {type(error).__name__}: {words}"))
            return JobStatus.FAILED, Done("failed", False, f"a fault of dunlin itself: {type(error).__name__}", {})
        if done.status == "interrupted":
            return self._cut(going), done._replace(message=going.refused)
        if done.good:
            return JobStatus.COMPLETED, done._replace(message="")
        return JobStatus.FAILED, done

    def _does(self, going: _Going) -> Done:
        job = going.job
        tenant = self._tenant(job.tenant)
        if tenant is None:
            raise usage(f"there is no tenant {job.tenant} any more")
        report = Fan([going.counting, self._report])
        if self._keeps is not None and job.kind in KEEPS:
            return self._keeps.do(job, tenant, going.stop, report, going.office)
        options = self._options(job.kind, msgspec.json.decode(job.options), tenant)
        if self._shares is not None:
            options = self._shares.fit(options, tenant, job)
        # A spread run has an office of its own, in the same queue; one that only looks needs none.
        office = going.office if options.mode == "sync" and options.spread is None else None
        return ended(self._run(options, going.stop, report, office=office), compares=True)

    def _cut(self, going: _Going) -> JobStatus:
        """What becomes of a job whose run was cut short."""
        if going.refused:
            return JobStatus.FAILED
        if going.wish is Wish.PAUSE:
            return JobStatus.PAUSED
        if going.wish is Wish.CANCEL:
            return JobStatus.CANCELLED
        # By us, or by `dunlin control stop`, which means it.
        return JobStatus.QUEUED if self._closing or going.again else JobStatus.CANCELLED

    def _end(self, going: _Going, status: JobStatus, done: Done) -> None:
        job, counts = going.job, going.counting.snapshot()
        error, result = done.message, msgspec.json.encode(done.result) if done.result else None
        if going.lost:  # if nobody has taken it after all, it is queued again
            status, error, result = JobStatus.QUEUED, "", None
        level = Level.WARN if status is JobStatus.FAILED else Level.INFO
        fields = {"job": job.id, "status": status.value, **counts}
        self._log(Event(level, "job.ended", f"{job.kind} {job.label}: {error or status.value}", fields))
        try:
            self._jobs.progress(job.id, counts, self._owner)
            if self._jobs.move(job.id, status, (JobStatus.RUNNING,), error, result, self._owner) is None:
                words = f"{job.kind} {job.label}: its end came too late, the job is another service's"
                self._log(Event(Level.WARN, "job.lost", words, {"job": job.id}))
                return
        except DunlinError as away:
            # It is queued again, here or elsewhere: its run finds that nothing is left to do.
            self._log(Event(Level.WARN, "ledger.away", f"the end of job {job.id} could not be put on record: {away}"))
            return
        if status in ENDED:
            self._ended(job, done)
