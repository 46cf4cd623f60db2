"""What live views read: the dashboard, `dunlin status`, `dunlin history`. It writes nothing.

Where the figures come from, and how old they may be:

    the row of a run        counts so far and how it goes (`runs.Life`): every two seconds, at once for a pause
    metric                  samples of rates and load, from the third second of a run on; later means (`thinning`)
    event                   warnings and errors as they come; files that were copied, a few of them each second
    crawl                   how the listing stands, every ten seconds
    past                    what runs did that are too many to be kept, an hour in a row

Whoever shows this reads beside a run that writes. So every call is one or a few short reads (nothing stays open
between them), and each is bounded: by an index, by a limit, or by what thinning leaves of a table. The connection
refuses to write. Figures of two calls may be of two moments.

A run that says "running" may be dead: it was killed, or the machine went down. The state alone cannot tell; what can is
`lives`, which looks at the process. Without it a run that has given no sign for `SILENT` seconds counts as stale.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.left import seconds_left, share
from dunlin.pace.trend import SAMPLES, Trend
from dunlin.report import Level, NullReport
from dunlin.state.codec import MAX
from dunlin.state.news import CrawlMetric, Metric, StoredEvent, to_event, to_metric
from dunlin.state.runs import Life, Run, to_run
from dunlin.state.store import State

SILENT = 30.0
"""Seconds without a sign of life after which a run counts as stale, where nobody can look at its process."""

RATE = 10.0
"""Seconds of samples over which the rates of a run are taken."""

DAY = 24 * 3600
SECOND = 1_000_000_000
HOUR = 3600 * SECOND

PAGE = 500

SERIES = ("cpu", "memory", "network", "disk", "workers", "files", "bytes", "iowait", "busy", "pending_files")
"""What `Overview.series` has curves of: fields of `news.Metric`."""


class PairNow(NamedTuple):
    """A pair, and the status word (see `RunNow`) of its last run; run 0 and "" where it has none."""

    id: int
    source: str
    destination: str
    run: int
    status: str


class RunNow(NamedTuple):
    """How a run stands. Times in ns since 1970, rates per second.

    Attributes:
        status: "running", "paused", "throttled", "stale" (says it is running, and is not); or how it ended:
            "completed", "failed", "interrupted".
        seconds: it has taken, or took.
        done_files, done_bytes: moved, found to be the same, failed or gone; the part of large files that is done is in.
        total_files, total_bytes: with those that wait. While the listing goes on (`listed` is False) more may come.
        files_rate, bytes_rate: over the last seconds, a pause not counted; of a stale run over the last seconds of its
            life; of a run that ended over all of it. None: not known.
        left: seconds until nothing waits any more; None: cannot be told. An estimate at least until `listed`.
        workers, wanted: files in flight at most now, and what they would be if the machine were idle.
        cause: why the run is slowed down: "cpu 91%", "memory"; "" when it is not.
        limit: bytes per second that it may move; 0: as many as it can.
        life: all of the last sign of life.
        run: the row of the run: its number, process, message, counts (`stats`), options.
    """

    run: Run
    source: str
    destination: str
    status: str
    seconds: float
    done_files: int
    total_files: int
    done_bytes: int
    total_bytes: int
    listed: bool
    files_rate: float | None
    bytes_rate: float | None
    left: float | None
    workers: int
    wanted: int
    cause: str
    limit: int
    life: Life

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1, as `pace.left` counts it; None while the total is not known."""
        if self.run.status == "completed":
            return 1.0
        if not self.listed:
            return None
        if not self.total_files and not self.total_bytes:
            return None
        waiting, rest = self.total_files - self.done_files, self.total_bytes - self.done_bytes
        return share(self.done_files, self.done_bytes, waiting, rest, self.limit)

    @property
    def attempts(self) -> int:
        """How often a file is tried at most; 0 where that is not on record."""
        found = self.run.options.get("attempts", 0)
        return found if isinstance(found, int) else 0


class Sample(NamedTuple):
    """A row of `metric`: `time` in ns; for what it holds see `news.Metric`."""

    run: int
    time: int
    metric: Metric


class Statistics(NamedTuple):
    """What the runs that ended within some time did, together; with what a run that goes on has done so far.

    Attributes:
        since: ns; runs are counted that ended later, and those that go on.
        runs: how many. clean: of those that ended by themselves the ones without any failure.
        ended: those that ended by themselves (not interrupted).
        files, bytes: copied. failed: files and directories that failed. deleted: at the destination.
        seconds: that the runs took together.
    """

    since: int
    runs: int
    clean: int
    ended: int
    files: int
    bytes: int
    failed: int
    deleted: int
    seconds: float

    @property
    def success(self) -> float | None:
        """The share of runs that ended by themselves without any failure; None where none ended."""
        return self.clean / self.ended if self.ended else None

    @property
    def failed_share(self) -> float | None:
        """Failures as a share of what was tried."""
        tried = self.files + self.failed
        return self.failed / tried if tried else None

    @property
    def files_rate(self) -> float | None:
        """Files per second on average, while runs went on."""
        return self.files / self.seconds if self.seconds > 0 else None

    @property
    def bytes_rate(self) -> float | None:
        """Bytes per second on average, while runs went on."""
        return self.bytes / self.seconds if self.seconds > 0 else None


class Activity(NamedTuple):
    """One thing that happened, for people.

    Attributes:
        word: "copied", "deleted", "retry", "failed", "warning", "note", or "more" (files without a line of their own).
        path: "" where it is about no file. Names are as in `model`: undecodable bytes are surrogates; show them
            through `errors.printable`.
        size: bytes, None: not known. number: files that it is about.
        attempt: of a retry the attempt that follows; of a failure those that were made.
        message: in words; of what was copied "".
        name, level: of the event, see `report.Event`.
        resolved: what failed was synced later.
    """

    id: int
    run: int | None
    time: int
    word: str
    path: str
    size: int | None
    number: int
    attempt: int
    message: str
    kind: ErrorKind | None
    name: str
    level: int
    resolved: bool

    @property
    def category(self) -> str:
        """The error type for people: network, checksum, disk, auth or unknown."""
        return DunlinError("", "", self.kind).category if self.kind else "unknown"


class Resource(NamedTuple):
    """What listing takes of one thing. `limit` 0: none. `engaged`: it keeps new directories waiting."""

    name: str
    value: float
    limit: float
    engaged: bool


class CrawlNow(NamedTuple):
    """How the crawl of a run stood at its last sample (`time`, ns).

    Trends are "up", "level" or "down", of the last samples. `resources`: files in the window, memory, threads.
    """

    time: int
    crawl: CrawlMetric
    files_trend: str
    directories_trend: str
    resources: tuple[Resource, ...]


def plain(word: str) -> str:
    """A status word as it is told outside of live views: nobody else says "stale" of a run whose process is gone."""
    return "interrupted" if word == "stale" else word


class Overview:
    """Reads one state file for live views. Use it from one thread; many may read one file, each with its own.

    Args:
        state: the file, which is closed with this.
        lives: whether the process of a run that says "running" is there; None: by its signs of life.
        clock: ns since 1970.
    """

    def __init__(
        self, state: State, lives: Callable[[Run], bool] | None = None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._state = state
        self._database = state.database
        self._sql = state.statements
        self._lives = lives
        self._clock = clock

    @classmethod
    def open(
        cls,
        path: str,
        lives: Callable[[Run], bool] | None = None,
        clock: Callable[[], int] = time.time_ns,
        busy_ms: int = 500,
    ) -> Overview:
        """Open a state file for reading; an older one is brought up to date first, where it can be written.

        Args:
            busy_ms: how long to wait for a writer where there is no write-ahead log, milliseconds.

        Raises what `State.open` raises, with NOT_FOUND where there is no file.
        """
        state = State.open(path, NullReport(), create=False, write=False, clock=clock, busy_ms=busy_ms)
        state.database.query("PRAGMA query_only=ON")
        return cls(state, lives, clock)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._state.close()

    def __enter__(self) -> Overview:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def changed(self) -> bool:
        """Whether anything was written since the last call (true on the first); costs a microsecond."""
        return self._database.changed_elsewhere()

    # ---- pairs and runs ----

    def pairs(self) -> list[PairNow]:
        """Every pair, by number."""
        found = []
        for number, source, destination in self._state.pairs():
            last = self._state.last_run(number)
            found.append(
                PairNow(number, source, destination, last.id if last else 0, self.word(last) if last else "")
            )
        return found

    def going(self) -> list[Run]:
        """The runs that go on, the newest first; stale ones are left out."""
        return [run for run in reversed(self._state.running()) if self._is_alive(run)]

    def now(self, run: int | None = None) -> RunNow | None:
        """How a run stands. None for the one that goes on (the newest), else the last one.

        Returns None when there is no such run.
        """
        if run is not None:
            row = self._database.one(self._sql["run_get"], (run,))
            found = [to_run(row)] if row else []
        else:
            found = self.going()[:1] or self.runs(limit=1)
        return self._stands(found[0]) if found else None

    def runs(self, pair: int | None = None, limit: int = 20, before: int = MAX) -> list[Run]:
        """Runs on record, the newest first; a page at a time: give the last id as `before`."""
        if pair is None:
            rows = self._database.query(self._sql["run_before"], (before, limit))
        else:
            rows = self._database.query(self._sql["run_before_of_pair"], (pair, before, limit))
        return [to_run(row) for row in rows]

    def word(self, run: Run) -> str:
        """The status word of a run; see `RunNow.status`."""
        if run.status != "running":
            return run.status
        if not self._is_alive(run):
            return "stale"
        if run.life.paused:
            return "paused"
        return "throttled" if run.life.cause else "running"

    def _is_alive(self, run: Run) -> bool:
        if self._lives is not None:
            return self._lives(run)
        return self._clock() - run.updated <= SILENT * SECOND

    def _stands(self, run: Run) -> RunNow:
        stats, life, word = run.stats, run.life, self.word(run)
        _, source, destination = next(each for each in self._state.pairs() if each[0] == run.pair)
        goes = word in ("running", "paused", "throttled")
        seconds = max(0, (self._clock() if goes else run.ended or run.updated) - run.started) / SECOND
        files_rate, bytes_rate = self._rates(run, seconds, goes or word == "stale")
        # What was under way when a run ended is gone; of one that was killed this is the last that was seen.
        flying = life.flying if goes or word == "stale" else 0
        done = stats.copied_files + stats.hard_links + stats.verified_files + stats.failed_files + stats.vanished_files
        size = stats.copied_bytes + flying
        rest = max(0, stats.pending_bytes - flying)
        left = None
        if word == "completed" or not goes:
            left = 0.0 if word == "completed" else None
        elif word != "paused" and files_rate is not None and bytes_rate is not None:
            left = seconds_left(stats.pending_files, rest, files_rate, bytes_rate, life.limit)
        return RunNow(
            run=run,
            source=source,
            destination=destination,
            status=word,
            seconds=seconds,
            done_files=done,
            total_files=done + stats.pending_files,
            done_bytes=size,
            total_bytes=size + rest,
            listed=life.listed or word == "completed",
            files_rate=files_rate,
            bytes_rate=bytes_rate,
            left=left,
            workers=life.workers,
            wanted=life.wanted,
            cause=life.cause if goes else "",
            limit=life.limit,
            life=life,
        )

    def _rates(self, run: Run, seconds: float, sampled: bool) -> tuple[float | None, float | None]:
        """Files and bytes per second; `sampled`: of the last seconds without a pause, else of all the run."""
        if not sampled:
            if seconds <= 0:
                return None, None
            return run.stats.copied_files / seconds, run.stats.copied_bytes / seconds
        row = self._database.one(self._sql["metric_rate"], (run.id, int(RATE * SECOND)))
        return (row[0], row[1]) if row else (None, None)

    # ---- load and rates ----

    def latest(self, run: int) -> Sample | None:
        """The run's last sample."""
        row = self._database.one(self._sql["metric_latest"], (run,))
        return Sample(row[0], row[1], to_metric(row[2:])) if row else None

    def samples(self, run: int, after: int = 0, limit: int = 1000) -> list[Sample]:
        """The run's samples after the time `after` (ns), oldest first. Older ones are means of a minute or an hour."""
        rows = self._database.query(self._sql["metric_page"], (run, after, limit))
        return [Sample(row[0], row[1], to_metric(row[2:])) for row in rows]

    def series(
        self, field: str, begin: int, end: int, buckets: int, run: int | None = None, pair: int | None = None
    ) -> list[float | None]:
        """A curve for a sparkline: the mean of `field` (one of `SERIES`) in each of so many equal parts of a time.

        Args:
            begin, end: ns. run, pair: only samples of that run, or of that pair's runs; None: all.

        A part without a sample is None: no run went on.
        """
        if field not in SERIES:
            raise ValueError(f"there is no curve of {field}")
        step = max(1, -(-(end - begin) // max(1, buckets)))
        sql = self._sql["metric_series"].replace("/*field*/cpu", field)
        rows = self._database.query(sql, (begin, end, step, run, pair))
        sums = [0.0] * buckets
        weights = [0] * buckets
        for seconds, moment, value, number in rows:
            first = (moment - begin) // step
            last = (moment + max(0, seconds * SECOND - 1) - begin) // step
            for at in range(max(0, first), min(buckets - 1, last) + 1):
                sums[at] += value * number
                weights[at] += number
        return [total / n if n else None for total, n in zip(sums, weights, strict=True)]

    # ---- statistics ----

    def statistics(self, since: int, pair: int | None = None) -> Statistics:
        """What the runs since then did. What is no longer on record by itself counts to the hour.

        A run that began before counts as a whole.
        """
        recent = self._database.one(self._sql["run_sums"], (since, pair))
        past = self._database.one(self._sql["past_sums"], (since // HOUR, pair))
        return Statistics(since, *(a + b for a, b in zip(recent, past, strict=True)))

    def day(self, pair: int | None = None) -> Statistics:
        """The last 24 hours."""
        return self.statistics(self._clock() - DAY * SECOND, pair)

    def ever(self, pair: int | None = None) -> Statistics:
        """Everything that is on record."""
        return self.statistics(0, pair)

    # ---- news ----

    def activity(
        self, limit: int = 100, run: int | None = None, text: str = "", after: int = 0, before: int = MAX
    ) -> list[Activity]:
        """The newest `limit` things that happened, oldest first.

        Args:
            run: only of that run. text: only with this in path or message, whatever the case.
            after, before: only with ids beyond, and below; ids grow with time.
        """
        found = self._matching(self._pages("event_activity", (run,), after, before), limit, text)
        return found[::-1]

    def errors(
        self,
        limit: int = 10,
        run: int | None = None,
        pair: int | None = None,
        kind: str = "",
        text: str = "",
        before: int = MAX,
        resolved: bool = False,
    ) -> list[Activity]:
        """The newest `limit` errors, the newest first; for the next page give the last id as `before`.

        Args:
            kind: an `ErrorKind` value, or one of network, checksum, disk, auth, unknown.
            resolved: with those about files that were synced later.
        """
        pages = self._pages("event_errors", (run, pair, resolved), 0, before)
        if kind:
            pages = (each for each in pages if kind in (each.kind.value if each.kind else "", each.category))
        return self._matching(pages, limit, text)

    def error_counts(self, run: int | None = None, pair: int | None = None) -> dict[str, int]:
        """How many unresolved errors there are by type (network, checksum, disk, auth, unknown), of those on record."""
        counts: Counter[str] = Counter()
        for kind, number in self._database.query(self._sql["event_error_kinds"], (run, pair)):
            counts[DunlinError("", "", ErrorKind(kind)).category if kind else "unknown"] += number
        return dict(counts)

    def _pages(self, statement: str, which: Sequence[Any], after: int, before: int) -> Iterator[Activity]:
        """The events of a statement, the newest first, read a page at a time."""
        while True:
            rows = self._database.query(self._sql[statement], (after, before, PAGE, *which))
            for row in rows:
                yield _activity(to_event(row))
            if len(rows) < PAGE:
                return
            before = rows[-1][0]

    @staticmethod
    def _matching(found: Iterator[Activity], limit: int, text: str) -> list[Activity]:
        wanted = text.casefold()
        hits = (each for each in found if wanted in each.path.casefold() or wanted in each.message.casefold())
        return list(islice(hits, limit))

    # ---- the crawl ----

    def crawl(self, run: int) -> CrawlNow | None:
        """How the listing of a run stands; None where nothing is on record (runs of a few seconds)."""
        rows = self._database.query(self._sql["crawl_last"], (run, SAMPLES))
        if not rows:
            return None
        crawls = [CrawlMetric._make(row[1:]) for row in rows]
        newest = crawls[0]
        files, directories = (
            Trend(getattr(each, name) for each in reversed(crawls)).word
            for name in ("files_per_second", "directories_per_second")
        )
        engaged = newest.engaged.split(",")
        resources = tuple(
            Resource(name, value, limit, name in engaged)
            for name, value, limit in (
                ("files", newest.held, newest.files_limit),
                ("memory", newest.memory, newest.memory_limit),
                ("threads", newest.threads, newest.threads_limit),
            )
        )
        return CrawlNow(rows[0][0], newest, files, directories, resources)


_WORDS = {
    "file.copied": "copied",
    "file.deleted": "deleted",
    "file.retry": "retry",
    "files.more": "more",
}


def _activity(event: StoredEvent) -> Activity:
    word = _WORDS.get(event.name, "")
    if not word:
        word = "failed" if event.level >= Level.ERROR else "warning" if event.level >= Level.WARN else "note"
    return Activity(
        event.id,
        event.run,
        event.time,
        word,
        event.path or "",
        event.size,
        event.number,
        event.attempt,
        event.message,
        event.kind,
        event.name,
        event.level,
        event.resolved,
    )
