"""The publisher of a service: accepts publish jobs, walks them, and follows them to their end.

Theory. To accept is to check and to write rows; it takes milliseconds however large a folder is. All else happens in
threads of the service that holds the office for it:

    watch    claims queued jobs, keeps them as its own, looks for cancels and pauses, and now and then for tasks that
             the queue has lost
    walks    up to `WALKS` at a time: files of jobs become units (`publish_walk`)
    results  news of the queue becomes outcomes (`publish_results`)

Only walks look at paths of jobs, which may lie on a share whose server is gone. A walk of which nothing was seen for
`STILL` seconds holds no place any more (`pace.aside`), so that others are walked; its job stays this service's, goes on
when the share is back, and can be cancelled. A service that ends waits for none.

A path means another file on another machine. So a job keeps the label of the machine where its paths were checked
(`NewJob.host`), and is claimed, looked at and walked there: the office for this is one of each label. A job whose paths
all machines have in common has none, and is anybody's. News comes for all jobs in one order: the office for results is
one of all services on one queue. A unit that is to be tried again is put by whoever may look at its paths.

A claimed job is walked from where the ledger stands: items that were walked to their end are left alone, files that
are known are kept, and open units that the queue does not know (the service was killed in between, or the queue was
emptied) are put again. So starting, going on after a crash, resuming a paused job and trying failed files again are
one path.

What the office's holder was doing when it died is done by the next one, after `OFFICE` seconds; its jobs are found by
the ledger's `sweep`. Two that hold it for a moment (one was asleep) do no harm: every step bears being done twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.publish import PublishItem, PublishOptions, Rules, narrowed, validate
from dunlin.jobs.publish_place import look_here
from dunlin.jobs.publish_records import PublishLedger
from dunlin.jobs.publish_results import Taken, joined, take, unit_key
from dunlin.jobs.publish_tasks import PublishSettings, task_of
from dunlin.jobs.publish_walk import Batcher, Rivals, Source, walk
from dunlin.model import is_within
from dunlin.pace.aside import Aside
from dunlin.pace.retry import Retry
from dunlin.queue.base import News, Queue, Status
from dunlin.queue.ledger.words import Job, JobStatus, NewItem, NewJob, OpenUnit, UnitStatus, Wish
from dunlin.report import Event, Level, Report
from dunlin.workers.publish_record import LASTS, record_name
from dunlin.workers.publishing import error_line

KIND = "publish"
OFFICE = 10.0
"""Seconds for which the office is held, and jobs are claimed."""
TICK = 0.2
SLOW_TICK = 1.0
RECONCILE = 30.0
"""Seconds between two looks for tasks that the queue has lost."""
WALKS = 4
STILL = 60.0
"""Seconds after which a walk that gets nowhere makes room for another."""
HUNG = 60
"""Walks that may hang; from then on none is begun."""
ENDING = 10.0
"""Seconds that walks have to end in, when the service does."""
AHEAD = 4_000
"""Units that wait in the queue at most before a walk waits, too."""
NEWS = 200
MANY_ITEMS = 500
"""Items of single files that share units."""
COMPLAIN = 60.0
LATER = Retry(base=5.0, cap=300.0)
"""How long a file waits that failed and is tried again."""


class Uploads(Protocol):
    """Told of what was uploaded: the existence cache."""

    def uploaded_many(self, bucket: str, keys: Mapping[str, int]) -> None:
        """The keys exist now, each with so many bytes. Must not raise."""


class Publisher:
    """See the module docstring. `publish`, `retry`, `cancel`, `pause`, `resume` work without `start`, too.

    Args:
        settings: asked for at each step.
        uploads: told of the keys that exist now.
        uploaded: called with the number of files that news brought as uploaded: the command hook.
        rules: what a tenant may publish now, None for one that is gone: they may be narrower than when a job was
            accepted, and are looked at whenever more of it is begun.
        clock: seconds since 1970. monotonic: seconds that never go back.
    """

    def __init__(
        self,
        ledger: PublishLedger,
        queue: Queue,
        settings: Callable[[], PublishSettings],
        report: Report,
        *,
        owner: str,
        rules: Callable[[str], Rules | None],
        uploads: Uploads | None = None,
        uploaded: Callable[[int], object] = lambda count: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs, self._files = ledger.jobs, ledger.files
        self._queue = queue
        self._settings = settings
        self._report = report
        self._owner = owner
        self._uploads = uploads
        self._uploaded = uploaded
        self._rules = rules
        self._clock = clock
        self._monotonic = monotonic
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._in_office = threading.Event()
        self._reads = threading.Event()
        self._lock = threading.Lock()
        self._walks = Aside("publish-walk", WALKS, STILL, WALKS + HUNG, monotonic)
        self._next: dict[str, Job] = {}
        self._leaving: set[str] = set()
        self._complained: dict[str, float] = {}
        self._counted: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._depth = (0.0, 0)
        self._threads: list[threading.Thread] = []

    # ---- what is asked for ----

    def publish(
        self,
        items: Sequence[PublishItem],
        rules: Rules,
        *,
        tenant: str = "",
        by: str = "",
        key: str = "",
        body: bytes = b"",
        priority: int = 0,
    ) -> Job:
        """Check all items and put the job on record; it begins at once.

        Args:
            key, body: the idempotency key and the request that it stands for.

        Raises what `validate` does, EXISTS for a key that was used for another request, and what the ledger raises.
        """
        if key and body and (known := self._jobs.asked(tenant, key, body)) is not None:
            return known  # what it asked for may be done, and its files be gone
        settings = self._settings()
        checked = validate(items, rules)
        sources = [each.origin for each in checked]
        options = PublishOptions(settings.destination, settings.bucket, rules.within, sources)
        first = items[0]
        more = f" and {len(items) - 1:,} more" if len(items) > 1 else ""
        label = printable(f"{first.source} -> {first.to}{more}")
        host = "" if all(is_within(each.root, settings.shared) for each in sources) else settings.machine
        new = NewJob(KIND, msgspec.json.encode(options), tenant, by, label, priority, key, body, host)
        job = self._jobs.submit(new, [NewItem(*item) for item in items]).job
        self._wake.set()
        return job

    def retry(self, job: str) -> int:
        """Try a job's failed files again; how many there are. The job is queued, and begins at once.

        Its dead tasks go: what they were to do is done by new ones. Raises what `narrowed` does.
        """
        if (found := self._jobs.get(job)) is not None:
            self._asked(found)
        before = self._clock()
        count = 0
        while made := self._files.retry(job, before=before):
            count += sum(len(unit.files) for unit in made)
        if count:
            self._drop_dead(job)
            self._jobs.move(job, JobStatus.QUEUED)
            self._wake.set()
        return count

    def _drop_dead(self, job: str) -> None:
        name, after = self._settings().queue, ""
        while tasks := self._queue.tasks(name, Status.DEAD, unit_key(job, 0)[:-1], after, 500):
            after = tasks[-1].id
            self._queue.remove([task.id for task in tasks])

    def cancel(self, job: str) -> bool:
        """Do no more of a job; False when it has ended."""
        live = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.INTERRUPTED)
        if self._jobs.move(job, JobStatus.CANCELLED, live) is None:
            return False
        self._withdraw(job)
        self._files.cancel(job)
        return True

    def pause(self, job: str) -> bool:
        """Do no more of a job for now; False when it does not wait or run."""
        if self._jobs.move(job, JobStatus.PAUSED, (JobStatus.QUEUED, JobStatus.RUNNING)) is None:
            return False
        self._withdraw(job)
        return True

    def resume(self, job: str) -> bool:
        """Go on with a job that was paused or interrupted; False when it was not."""
        moved = self._jobs.move(job, JobStatus.QUEUED, (JobStatus.PAUSED, JobStatus.INTERRUPTED))
        self._wake.set()
        return moved is not None

    def _withdraw(self, job: str) -> None:
        """Take what waits out of the queue; workers find out about what they are at."""
        with self._lock:
            if self._walks.going(job):
                self._leaving.add(job)
        queue, after = self._settings().queue, -1
        while units := self._files.units(job, UnitStatus.OPEN, after, 500):
            after = units[-1].number
            self._queue.cancel(queue, [unit_key(job, unit.number) for unit in units])

    # ---- the threads ----

    def start(self) -> None:
        """Begin to work on jobs, as soon as the office is free."""
        for target in (self._watch, self._results):
            thread = threading.Thread(target=target, name=f"publish-{target.__name__.strip('_')}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End the threads; jobs that are not done go back to be claimed, here or elsewhere. Safe to call twice."""
        self._ended.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()
        if self._threads:
            self._walks.wait(ENDING)
            self._guarded("go off duty", self._leave)
        self._threads.clear()

    def _leave(self) -> None:
        for id in self._jobs.renew(self._owner, OFFICE):
            self._jobs.move(id, JobStatus.QUEUED, (JobStatus.RUNNING,))
        for office in self._offices:
            self._queue.leave(office, self._owner)

    @property
    def _offices(self) -> tuple[str, str]:
        """That of the walks of this machine, and that of the results."""
        settings = self._settings()
        results = f"publisher/{settings.queue}"
        return f"{results}/{settings.machine}", results

    def _watch(self) -> None:
        slow = reconciled = float("-inf")
        while not self._ended.is_set():
            now = self._monotonic()
            if now - slow >= SLOW_TICK:
                slow = now
                self._guarded("keep the office", self._keep_office)
            if self._in_office.is_set():
                self._guarded("begin jobs", self._claim)
                if now - reconciled >= RECONCILE:
                    reconciled = now
                    self._guarded("look for lost tasks", self._reconcile)
            self._wake.wait(TICK)
            self._wake.clear()

    def _guarded(self, what: str, act: Callable[[], object]) -> bool:
        """Whether it went well. What is away for now comes back: it is told once a minute."""
        try:
            act()
            return True
        except DunlinError as error:
            self._complain(what, error)
            return False
        except Exception as error:
            self._fault(what, error)
            return False

    def _fault(self, what: str, error: Exception) -> DunlinError:
        """A fault of ours ends no thread of a service: it is told."""
        fault = DunlinError(what, "", ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")
        self._report.event(Event(Level.ERROR, "publish.fault", str(fault)))
        return fault

    def _complain(self, what: str, error: DunlinError) -> None:
        now = self._monotonic()
        if now - self._complained.get(what, float("-inf")) >= COMPLAIN:
            self._complained[what] = now
            message = f"the publisher cannot {what}: {error}; trying again"
            self._report.event(Event(Level.WARN, "publish.trouble", message, {"error": str(error)}))

    def _keep_office(self) -> None:
        for office, mine in zip(self._offices, (self._in_office, self._reads), strict=True):
            try:
                held = self._queue.hold(office, self._owner, OFFICE)
            except DunlinError:
                mine.clear()
                raise
            if held:
                mine.set()
            else:
                mine.clear()
        if not self._in_office.is_set():
            return
        self._jobs.renew(self._owner, OFFICE)
        self._jobs.sweep()
        for job in self._jobs.page(kind=KIND, statuses=(JobStatus.INTERRUPTED,)):
            self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.INTERRUPTED,))
        for id, wish in self._jobs.wishes(self._owner).items():
            if wish is Wish.CANCEL:
                self.cancel(id)
            elif wish is Wish.PAUSE:
                self.pause(id)

    def _claim(self) -> None:
        going = self._walks.keys
        with self._lock:
            self._leaving &= going
        for id in self._walks.silent():
            self._tell_silent(id)
        for id in self._next.keys() - going:
            self._begin(self._next.pop(id))
        while self._walks.room and not self._ended.is_set():
            job = self._jobs.claim(self._owner, OFFICE, (KIND,), host=self._settings().machine)
            if job is None:
                return
            if self._walks.going(job.id):  # it was paused, and its walk has not come to know of that
                self._next[job.id] = job
            else:
                self._begin(job)

    def _begin(self, job: Job) -> None:
        """Walk a job. Raises BUSY where the system has no thread left: it is walked a moment later, then."""
        try:
            self._walks.begin(job.id, partial(self._work_on, job))
        except DunlinError:
            self._next[job.id] = job
            raise

    def _tell_silent(self, id: str) -> None:
        job = self._jobs.get(id)
        label = job.label if job is not None else id
        message = f"{label}: what is to be published has not answered for {STILL:g} seconds; the job waits for it"
        self._report.event(Event(Level.WARN, "publish.hung", message, {"job": id}))

    def _work_on(self, job: Job) -> None:
        """Walk a job, from where the ledger stands. Raises nothing."""
        with self._lock:
            self._leaving.discard(job.id)
        while not self._ended.is_set():
            self._walks.moved(job.id)
            try:
                self._put_lost(job, self._asked(job))
                self._walk(job)
                self._settle(job.id)
                return
            except DunlinError as error:
                if error.kind in (ErrorKind.INTERRUPTED, ErrorKind.NOT_FOUND):
                    return  # it was cancelled or paused, or the service ends
                if not error.retryable and error.kind is not ErrorKind.LOCKED:
                    self._guarded("end a job", partial(self._fail, job, error))
                    return
                self._complain("walk a job", error)
                self._ended.wait(1.0)
            except Exception as error:
                self._guarded("end a job", partial(self._fail, job, self._fault("publish", error)))
                return

    def _fail(self, job: Job, error: DunlinError) -> None:
        self._withdraw(job.id)
        self._jobs.move(job.id, JobStatus.FAILED, (JobStatus.RUNNING,), error_line(error))
        self._files.cancel(job.id)

    # ---- the walk ----

    def _going(self, job: str) -> None:
        """A walk gets on. Raise INTERRUPTED where it is to end."""
        self._walks.moved(job)
        with self._lock:
            leaving = job in self._leaving
        now = self._monotonic()
        if not leaving and now - self._looked.get(job, float("-inf")) >= 1.0:
            self._looked[job] = now
            leaving = not self._runs(job)
        if leaving or self._ended.is_set():
            raise DunlinError("walk", job, ErrorKind.INTERRUPTED, "the job was called off, or the service ends")

    def _runs(self, job: str) -> bool:
        found = self._jobs.get(job)
        return found is not None and found.status is JobStatus.RUNNING

    def _asked(self, job: Job) -> PublishOptions:
        return narrowed(job, self._rules(job.tenant))

    def _walk(self, job: Job) -> None:
        asked = self._asked(job)
        sources = [Source(n, each.root, each.name, each.prefix) for n, each in enumerate(asked.sources)]
        rivals = Rivals(sources if len(sources) > 1 else ())
        batcher = Batcher(job.id, self._files, lambda units: self._put(job, asked, units), self._monotonic, rivals)
        own = self._settings().own
        done: list[tuple[int, str]] = []
        for item in self._files.items(job.id):
            if item.walked:
                continue
            self._going(job.id)
            before, source = batcher.seen, sources[item.number]
            here = look_here(self._settings().target)  # each time: the first upload may have made it
            error = walk(source, batcher, asked.within, own, lambda: self._going(job.id), self._report, here=here)
            if not error and batcher.seen == before and not item.total_files:
                error = "the folder holds no files"
            done.append((item.number, error))
            if len(done) >= MANY_ITEMS:
                self._walked(job.id, batcher, done)
        self._walked(job.id, batcher, done)

    def _walked(self, job: str, batcher: Batcher, done: list[tuple[int, str]]) -> None:
        """Put on record what was found of some items, then that there is no more."""
        batcher.flush()
        for number, error in done:
            self._files.walked(job, number, error)
        done.clear()

    def _put(
        self, job: Job, asked: PublishOptions, units: Sequence[OpenUnit], delay: float = 0.0, again: bool = False
    ) -> None:
        """Hand units to the queue; while that is full, wait. `again`: see `PublishUnit`."""
        while not delay and self._full():
            self._going(job.id)
            self._ended.wait(TICK)
        settings = self._settings()
        self._queue.put([task_of(job, asked, unit, settings, delay, again) for unit in units])

    def _full(self) -> bool:
        """Whether more units wait than is good; looked at once a second."""
        now = self._monotonic()
        if now - self._depth[0] >= 1.0:
            name = self._settings().queue
            self._depth = (now, sum(each.waiting for each in self._queue.stats() if each.queue == name))
        return self._depth[1] > AHEAD

    # ---- results ----

    def _results(self) -> None:
        while not self._ended.is_set():
            if not self._reads.is_set():
                self._ended.wait(TICK)
            elif not self._guarded("read results", self.collect):
                self._ended.wait(1.0)

    def collect(self, wait: float = 0.5) -> int:
        """Take in what is new of the queue, waiting up to so many seconds for some; how much there was."""
        settings = self._settings()
        news = self._queue.collect(settings.queue, NEWS, wait)
        if not news:
            return 0
        taken = self._take(news, settings.max_retry)
        for (job_id, number), mark in taken.marks.items():
            self._queue.write(record_name(job_id, number), mark, LASTS)
        for unit in taken.again:
            job = self._jobs.get(unit.job)
            if job is not None:
                self._put_again(job, unit)
        if self._uploads is not None:
            for bucket, keys in taken.there.items():
                if keys:
                    self._uploads.uploaded_many(bucket, keys)
        if taken.uploaded:
            self._uploaded(taken.uploaded)
        for id in taken.jobs:
            self._settle(id)
        self._queue.confirm(settings.queue, news[-1].number)
        return len(news)

    def _put_again(self, job: Job, unit: OpenUnit) -> None:
        """Put a unit of files that failed, to be tried once more, if they may be; another machine sees to its own."""
        if not self._here(job):
            return
        try:
            asked = self._asked(job)
        except DunlinError as error:
            self._fail(job, error)
        else:
            self._put(job, asked, [unit], LATER.wait(max(1, unit.tries), 0.0))

    def _take(self, news: Sequence[News], max_retry: int) -> Taken:
        """See `take`. News on which we fail is left out: all that comes behind it would wait for ever."""
        try:
            return take(news, self._files, max_retry, self._runs)
        except DunlinError:
            raise  # the ledger is away; later
        except Exception as error:
            if len(news) > 1:
                parts = [self._take([each], max_retry) for each in news]
                return joined(parts)
            self._fault(f"take in the result of {news[0].key}", error)
            return Taken(set(), [], {}, 0, {})

    def _settle(self, id: str) -> None:
        """Keep how far a job is; end it when nothing is left. Whoever sees that it has ended sees all that it did."""
        totals, now = self._files.totals(id), self._monotonic()
        if not totals.done and now - self._counted.get(id, float("-inf")) < SLOW_TICK:
            return
        self._counted[id] = now
        counts = {name: getattr(totals, name) for name in COUNTED}
        self._jobs.progress(id, counts)
        ended = self._files.settle(id) if totals.done else None
        if ended is not None:
            for known in (self._counted, self._looked):
                known.pop(id, None)
            level = Level.INFO if ended.status is JobStatus.COMPLETED else Level.WARN
            told = f"{totals.uploaded:,} uploaded, {totals.skipped:,} skipped, {totals.failed:,} failed"
            fields = {"job": id, **counts}
            self._report.event(Event(level, "publish.ended", f"{ended.label}: {told}", fields))

    # ---- what the queue has lost ----

    def _here(self, job: Job) -> bool:
        """Whether the paths of a job are this machine's, too."""
        return job.host in ("", self._settings().machine)

    def _reconcile(self) -> None:
        for job in self._jobs.page(kind=KIND, statuses=(JobStatus.RUNNING,)):
            if not self._here(job):
                continue
            try:
                asked = self._asked(job)
            except DunlinError as error:
                self._fail(job, error)
                continue
            self._put_lost(job, asked)
            self._settle(job.id)

    def _put_lost(self, job: Job, asked: PublishOptions) -> None:
        """Put open units into the queue that it does not know: it was emptied, or the service died in between.

        A walk may be putting the same units just now. So of each that seems to be lost the ledger is asked first, and
        then the queue once more: a unit of which something was told had been put before that, and is lost indeed.
        """
        name, after = self._settings().queue, -1
        while units := self._files.units(job.id, UnitStatus.OPEN, after, 500):
            after = units[-1].number
            keys = {unit_key(job.id, unit.number): unit for unit in units}
            known = self._queue.known(name, list(keys))
            for key in keys.keys() - known:
                self._going(job.id)
                # It may have ended since: then the ledger has its result.
                unit = self._files.unit(job.id, keys[key].number)
                if unit is None or self._queue.known(name, [key]):
                    continue
                if unit.attempt:
                    unit = self._files.replace(job.id, unit.number)  # a forgotten key counts its attempts anew
                if unit is not None and unit.pending:
                    self._put(job, asked, [unit], again=True)


COUNTED = (
    *("total_files", "total_bytes", "uploaded", "skipped", "failed", "cancelled", "uploaded_bytes", "open_units"),
    "pending",
)
