"""The publisher of a service: accepts publish jobs, walks them, and follows them to their end.

Theory. To accept is to check and to write rows; it takes milliseconds however large a folder is. All else happens in
threads of the service that holds the office of the publisher, one of all services on one ledger and queue:

    watch    claims queued jobs, keeps them as its own, looks for cancels and pauses, and now and then for tasks that
             the queue has lost
    walks    up to `WALKS` at a time: files of jobs become units (`publish_walk`)
    results  news of the queue becomes outcomes (`publish_results`)

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
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import msgspec

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.publish import PublishItem, PublishOptions, Rules, options_of, validate
from dunlin.jobs.publish_records import PublishLedger
from dunlin.jobs.publish_results import Taken, joined, take, unit_key
from dunlin.jobs.publish_tasks import PublishSettings, task_of
from dunlin.jobs.publish_walk import Batcher, Source, walk
from dunlin.pace.retry import Retry
from dunlin.queue.base import News, Queue
from dunlin.queue.ledger.words import Job, JobStatus, NewItem, NewJob, OpenUnit, UnitStatus, Wish
from dunlin.report import Event, Level, Report
from dunlin.workers.publishing import error_line

KIND = "publish"
OFFICE = 10.0
"""Seconds for which the office is held, and jobs are claimed."""
TICK = 0.2
SLOW_TICK = 1.0
RECONCILE = 30.0
"""Seconds between two looks for tasks that the queue has lost."""
WALKS = 4
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
        self._clock = clock
        self._monotonic = monotonic
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._in_office = threading.Event()
        self._lock = threading.Lock()
        self._walking: dict[str, Future[None]] = {}
        self._leaving: set[str] = set()
        self._complained: dict[str, float] = {}
        self._counted: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._depth = (0.0, 0)
        self._pool: ThreadPoolExecutor | None = None
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
        new = NewJob(KIND, msgspec.json.encode(options), tenant, by, label, key=key, body=body)
        job = self._jobs.submit(new, [NewItem(*item) for item in items]).job
        self._wake.set()
        return job

    def retry(self, job: str) -> int:
        """Try a job's failed files again; how many there are. The job is queued, and begins at once."""
        before = self._clock()
        count = 0
        while made := self._files.retry(job, before=before):
            count += sum(len(unit.files) for unit in made)
        if count:
            self._jobs.move(job, JobStatus.QUEUED)
            self._wake.set()
        return count

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
            if job in self._walking:
                self._leaving.add(job)
        queue, after = self._settings().queue, -1
        while units := self._files.units(job, UnitStatus.OPEN, after, 500):
            after = units[-1].number
            self._queue.cancel(queue, [unit_key(job, unit.number) for unit in units])

    # ---- the threads ----

    def start(self) -> None:
        """Begin to work on jobs, as soon as the office is free."""
        self._pool = ThreadPoolExecutor(WALKS, "publish-walk")
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
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            self._guarded("go off duty", self._leave)
        self._threads.clear()

    def _leave(self) -> None:
        for id in self._jobs.renew(self._owner, OFFICE):
            self._jobs.move(id, JobStatus.QUEUED, (JobStatus.RUNNING,))
        self._queue.leave(self._office, self._owner)

    @property
    def _office(self) -> str:
        return f"publisher/{self._settings().queue}"

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
        try:
            held = self._queue.hold(self._office, self._owner, OFFICE)
        except DunlinError:
            self._in_office.clear()
            raise
        if not held:
            self._in_office.clear()
            return
        self._in_office.set()
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
        while self._pool is not None and not self._ended.is_set():
            with self._lock:
                done = [id for id, future in self._walking.items() if future.done()]
                for id in done:
                    del self._walking[id]
                    self._leaving.discard(id)
                if len(self._walking) >= WALKS:
                    return
            job = self._jobs.claim(self._owner, OFFICE, (KIND,))
            if job is None:
                return
            with self._lock:
                self._walking[job.id] = self._pool.submit(self._work_on, job, self._walking.get(job.id))

    def _work_on(self, job: Job, before: Future[None] | None) -> None:
        """Walk a job, from where the ledger stands; `before`: a walk that ends, since the job was paused."""
        if before is not None:
            before.exception()
        with self._lock:
            self._leaving.discard(job.id)
        while not self._ended.is_set():
            try:
                self._put_lost(job)
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
        """Raise INTERRUPTED where a walk is to end."""
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

    def _walk(self, job: Job) -> None:
        asked = options_of(job)
        batcher = Batcher(job.id, self._files, lambda units: self._put(job, asked, units), self._monotonic)
        own = self._settings().own
        done: list[tuple[int, str]] = []
        for item in self._files.items(job.id):
            if item.walked:
                continue
            self._going(job.id)
            before, origin = batcher.seen, asked.sources[item.number]
            source = Source(item.number, origin.root, origin.name, origin.prefix)
            error = walk(source, batcher, asked.within, own, lambda: self._going(job.id), self._report)
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

    def _put(self, job: Job, asked: PublishOptions, units: Sequence[OpenUnit], delay: float = 0.0) -> None:
        """Hand units to the queue; while that is full, wait."""
        while not delay and self._full():
            self._going(job.id)
            self._ended.wait(TICK)
        settings = self._settings()
        self._queue.put([task_of(job, asked, unit, settings, delay) for unit in units])

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
            if not self._in_office.is_set():
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
        for unit in taken.again:
            job = self._jobs.get(unit.job)
            if job is not None:
                self._put(job, options_of(job), [unit], LATER.wait(max(1, unit.tries), 0.0))
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
            return Taken(set(), [], {}, 0)

    def _settle(self, id: str) -> None:
        """Keep how far a job is; end it when nothing is left."""
        ended = self._files.settle(id)
        now = self._monotonic()
        if ended is None and now - self._counted.get(id, float("-inf")) < SLOW_TICK:
            return
        self._counted[id] = now
        totals = self._files.totals(id)
        counts = {name: getattr(totals, name) for name in COUNTED}
        self._jobs.progress(id, counts)
        if ended is not None:
            for known in (self._counted, self._looked):
                known.pop(id, None)
            level = Level.INFO if ended.status is JobStatus.COMPLETED else Level.WARN
            told = f"{totals.uploaded:,} uploaded, {totals.skipped:,} skipped, {totals.failed:,} failed"
            fields = {"job": id, **counts}
            self._report.event(Event(level, "publish.ended", f"{ended.label}: {told}", fields))

    # ---- what the queue has lost ----

    def _reconcile(self) -> None:
        for job in self._jobs.page(kind=KIND, statuses=(JobStatus.RUNNING,)):
            self._put_lost(job)
            self._settle(job.id)

    def _put_lost(self, job: Job) -> None:
        """Put open units into the queue that it does not know: it was emptied, or the service died in between."""
        asked, name, after = options_of(job), self._settings().queue, -1
        while units := self._files.units(job.id, UnitStatus.OPEN, after, 500):
            after = units[-1].number
            keys = {unit_key(job.id, unit.number): unit for unit in units}
            known = self._queue.known(name, list(keys))
            for key in keys.keys() - known:
                self._going(job.id)
                # It may have ended since: then the ledger has its result.
                unit = self._files.unit(job.id, keys[key].number)
                if unit is not None and unit.attempt:
                    unit = self._files.replace(job.id, unit.number)  # a forgotten key counts its attempts anew
                if unit is not None and unit.pending:
                    self._put(job, asked, [unit])


COUNTED = (
    *("total_files", "total_bytes", "uploaded", "skipped", "failed", "cancelled", "uploaded_bytes", "open_units"),
    "pending",
)
