"""News for people and other processes: events, metrics, how crawls stood, and orders to a run.

All but orders are bounded: the oldest go when there are too many (`thinning` says which, and what becomes of
samples). Warnings and errors are counted apart from the rest, so that no number of copied files pushes one out. An
order (`control_put`) is one row per run it is meant for, taken exactly once; a run looks for orders a few times a
second, and `PRAGMA data_version` tells in a microsecond that no other process has written anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dunlin.errors import ErrorKind
from dunlin.sqlite import Database
from dunlin.state.codec import decode_name, encode_name

KEEP_EVENTS = 10_000  # warnings and errors
KEEP_MINOR = 1_000  # of the rest: files that were copied and the like
KEEP_METRICS = 50_000  # thinning leaves fewer by far, unless very many runs go on at a time
KEEP_CRAWLS = 10_000  # a day at one in ten seconds
_TRIM_EVERY = 256

VERBS = frozenset({"pause", "resume", "stop", "bwlimit"})
"""What a run can be told; bwlimit takes a rate or a timetable as its argument."""


class Metric(NamedTuple):
    """One sample of a run, or the mean of many.

    Attributes:
        cpu: percent of the machine that is busy. memory: bytes resident of the run's processes.
        network, disk: bytes per second of the machine. workers: files in flight at most.
        files, bytes: that the run moved, per second.
        throttled: the host, or memory, has the run slowed down. cause: why ("cpu 91%", "memory"), or "".
        iowait: percent of the processors' time. busy: percent of the time the busiest disk had something to do.
        used: percent of the machine's memory that is not available.
        wanted: what `workers` would be if the host had no say.
        paused: nothing was moved. bandwidth: limit in bytes per second, 0: none.
        pending_files, pending_bytes: known, and not moved yet.
        seconds: 0 for a sample; else it is the mean of so many seconds (`thinning`).
    """

    cpu: float | None = None
    memory: int | None = None
    network: float | None = None
    disk: float | None = None
    workers: int | None = None
    files: float | None = None
    bytes: float | None = None
    throttled: bool = False
    iowait: float | None = None
    busy: float | None = None
    used: float | None = None
    wanted: int | None = None
    cause: str = ""
    paused: bool = False
    bandwidth: int = 0
    pending_files: int | None = None
    pending_bytes: int | None = None
    seconds: int = 0


class CrawlMetric(NamedTuple):
    """How a crawl stood; the fields are those of `workers.crawled`, in bytes and seconds.

    `engaged`: what kept new directories waiting, with commas between.
    """

    active: int = 0
    waiting: int = 0
    queued: int = 0
    held: int = 0
    files_limit: int = 0
    directories_limit: int = 0
    total_files: int = 0
    total_directories: int = 0
    files_per_second: float = 0.0
    directories_per_second: float = 0.0
    directory_seconds: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    threads: int = 0
    threads_limit: int = 0
    engaged: str = ""
    adjustments: int = 0
    settled: int = 0


class StoredCrawl(NamedTuple):
    """How a crawl stood, as it was stored; `time` in ns."""

    id: int
    run: int
    time: int
    crawl: CrawlMetric


class StoredMetric(NamedTuple):
    """A sample as it was stored; `time` in ns."""

    id: int
    run: int
    time: int
    metric: Metric


class StoredEvent(NamedTuple):
    """An event as it was stored; `time` in ns, `level` as in `logging`, `size` in bytes.

    `number`: of files that it is about, where it stands for many.
    """

    id: int
    run: int | None
    time: int
    level: int
    name: str
    message: str
    path: str | None
    kind: ErrorKind | None
    attempt: int
    resolved: bool
    size: int | None = None
    number: int = 1


class Order(NamedTuple):
    """Something a run was told."""

    id: int
    verb: str
    argument: str


class News:
    """Events, metrics and orders of one state file."""

    def __init__(self, database: Database, sql: dict[str, str], now: Callable[[], int]) -> None:
        self._database = database
        self._sql = sql
        self._now = now

    def put_event(
        self,
        run: int | None,
        level: int,
        name: str,
        message: str,
        path: str | None = None,
        kind: ErrorKind | None = None,
        attempt: int = 0,
        size: int | None = None,
        number: int = 1,
    ) -> None:
        """Remember an event (see `StoredEvent`). `message` must be printable (`errors.printable`)."""
        stored = None if path is None else encode_name(path)
        with self._database.transaction():
            row = (run, self._now(), level, name, message, stored, kind.value if kind else None, attempt, size, number)
            self._database.execute(self._sql["event_put"], row)
            if self._database.last_id() % _TRIM_EVERY == 0:
                self.trim_events()

    def resolve(self, pair: int, path: str) -> None:
        """The errors of the pair about `path` no longer hold: it was synced."""
        self._database.execute(self._sql["event_resolve"], (pair, encode_name(path)))

    def events(self, after: int | None = None, limit: int = 100) -> list[StoredEvent]:
        """Events after the id `after`, oldest first; without it the newest `limit`, oldest first."""
        if after is None:
            rows = self._database.query(self._sql["event_last"], (limit,))[::-1]
        else:
            rows = self._database.query(self._sql["event_after"], (after, limit))
        return [to_event(row) for row in rows]

    def put_metric(self, run: int, metric: Metric) -> None:
        """Remember a sample; of the newest 50,000 what `thinning` leaves is kept."""
        with self._database.transaction():
            self._database.execute(self._sql["metric_put"], (run, self._now(), *metric))
            if self._database.last_id() % _TRIM_EVERY == 0:
                self._database.execute(self._sql["metric_trim"], (KEEP_METRICS,))

    def metrics(self, run: int, after: int = 0, limit: int = 1000) -> list[StoredMetric]:
        """The run's samples after the id `after`, oldest first."""
        rows = self._database.query(self._sql["metric_after"], (run, after, limit))
        return [StoredMetric(row[0], row[1], row[2], to_metric(row[3:])) for row in rows]

    def put_crawl(self, run: int, crawl: CrawlMetric) -> None:
        """Remember how the crawl of a run stands; the newest 10,000 are kept."""
        with self._database.transaction():
            self._database.execute(self._sql["crawl_put"], (run, self._now(), *crawl))
            last = self._database.last_id()
            if last > KEEP_CRAWLS and last % _TRIM_EVERY == 0:
                self._database.execute(self._sql["crawl_trim"], (last - KEEP_CRAWLS,))

    def crawls(self, run: int, after: int = 0, limit: int = 1000) -> list[StoredCrawl]:
        """How the run's crawl stood, after the id `after`, oldest first."""
        rows = self._database.query(self._sql["crawl_after"], (run, after, limit))
        return [StoredCrawl(row[0], row[1], row[2], CrawlMetric._make(row[3:])) for row in rows]

    def trim_events(self) -> None:
        """Drop the oldest events where there are too many."""
        self._database.execute(self._sql["event_trim_minor"], (KEEP_MINOR,))
        self._database.execute(self._sql["event_trim"], (KEEP_EVENTS,))

    def control_put(self, run: int | None, verb: str, argument: str = "") -> int:
        """Tell a running run (None: every running run) to do something; returns how many were told.

        The last run of a watch can be told, too: the watch listens for it while it waits.
        """
        if verb not in VERBS:
            raise ValueError(f"a run cannot be told to {verb}")
        order = (run, self._now(), verb, argument)
        with self._database.transaction():
            told = self._database.execute(self._sql["control_put"], order)
            return told or self._database.execute(self._sql["control_watch"], order)

    def control_waiting(self, run: int) -> int:
        """How many orders the run has not taken yet."""
        return int(self._database.value(self._sql["control_waiting"], (run,)))

    def control_poll(self, run: int) -> list[Order]:
        """The orders to this run since the last call, each given once. Cheap when nothing was written."""
        return self.orders(run) if self._database.changed_elsewhere() else []

    def orders(self, run: int) -> list[Order]:
        """The orders to this run that nobody has taken, each given once."""
        orders = [Order(*row) for row in self._database.query(self._sql["control_open"], (run,))]
        if orders:
            now = self._now()
            with self._database.transaction():
                self._database.many(self._sql["control_done"], [(order.id, now) for order in orders])
        return orders


def to_metric(row: tuple[Any, ...]) -> Metric:
    """A `Metric` from the columns of a row, in the order of its fields."""
    metric = Metric._make(row)
    return metric._replace(throttled=bool(metric.throttled), paused=bool(metric.paused))


def to_event(row: tuple[Any, ...]) -> StoredEvent:
    """A `StoredEvent` from a row of the event_* statements."""
    path = None if row[6] is None else decode_name(row[6])
    kind = ErrorKind(row[7]) if row[7] else None
    return StoredEvent._make((*row[:6], path, kind, row[8], bool(row[9]), *row[10:]))
