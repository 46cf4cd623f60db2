"""A run's news as Prometheus metrics: one table that says which count, gauge or event becomes which metric.

Names follow Prometheus's "Metric and label naming": a prefix of our own, base units (bytes, seconds, ratios from 0 to
1) in plural at the end, `_total` behind what only grows, labels with few values: a kind of error, a resource, a
status, the number of a pair. Never a path, a name or a URL: those would make a series each, and a scrape is read by
people who may not read the tree.

Counters belong to the process and add up over its runs, so `rate()` holds across the cycles of a watch. Gauges belong
to the run that goes on; most are 0 while none does. What is known of the last run of a pair has the label `pair`: the
number of the pair on the command line or in the list of jobs, from 1.

Figures are kept here in plain numbers, and become families of prometheus-client only while somebody scrapes, in the
thread that answers: a run pays for additions, and this module imports nothing heavy.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dunlin.errors import ErrorKind
from dunlin.report.base import Event, Level, Task

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

STATUSES = ("completed", "failed", "interrupted")
NO_COUNTERS = ("pending_files", "pending_bytes", "seconds")
"""Fields of `model.Stats` that do not only grow: they are gauges."""

_COUNTS = {
    "scanned_files": "Files listed at the source.",
    "scanned_directories": "Directories listed at the source.",
    "scanned_bytes": "Bytes of the files listed at the source.",
    "settled_directories": "Directories whose destination was not listed, by --ctime-skip.",
    "equal_files": "Files that were in sync already.",
    "equal_bytes": "Bytes of the files that were in sync already.",
    "copied_files": "Files copied, updated ones included.",
    "copied_bytes": "Bytes of copied files, counted when a file is whole.",
    "updated_files": "Copied files that replaced an older version.",
    "metadata_entries": "Names whose metadata alone was set.",
    "created_directories": "Directories made.",
    "created_links": "Symbolic links made.",
    "created_specials": "Sockets, FIFOs and devices made.",
    "hard_links": "Names made as further names of a file.",
    "verified_files": "Files found equal by reading both sides.",
    "deleted_files": "Files deleted at the destination.",
    "deleted_directories": "Directories deleted at the destination.",
    "extra_files": "Files found only at the destination.",
    "extra_directories": "Directories found only at the destination.",
    "missing_files": "Files found missing at the destination.",
    "missing_directories": "Directories found missing at the destination.",
    "differing_files": "Files found to differ.",
    "skipped_files": "Names left alone by a rule or an option.",
    "vanished_files": "Files that were listed and gone when they were read.",
    "failed_files": "Files that failed.",
    "failed_directories": "Directories that could not be listed or made.",
    "source_errors": "Errors while reading the source; any of them disables deleting in its run.",
    "warnings": "Warnings counted by the run.",
}


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: as exposed, without the `_total` of a counter.
        kind: "counter" or "gauge".
        help: one sentence.
        labels: names of its labels.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed(self) -> str:
        """The name of its samples."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"dunlin_{name}", "gauge", help, labels)


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"dunlin_{name}", "counter", help, labels)


COUNTS = {field: _counter(field, help) for field, help in _COUNTS.items()}
"""Counts of `Report.count` -> metric."""

_LOAD = _gauge("load_ratio", "Load of the machine by resource, from 0 to 1, as throttling sees it.", "resource")
_HELD = _gauge("crawl_throttled", "1 while this resource holds the crawl back.", "resource")
GAUGES: dict[str, tuple[Metric, tuple[str, ...]]] = {
    "pending_files": (_gauge("pending_files", "Files found and not moved yet."), ()),
    "pending_bytes": (_gauge("pending_bytes", "Bytes of the files found and not moved yet."), ()),
    "total_bytes": (_gauge("pair_copied_bytes", "Bytes copied in all runs of the pair that is being synced."), ()),
    "scan_complete": (_gauge("scan_complete", "1 when the listing is over and what is pending is all there is."), ()),
    "movers": (_gauge("movers", "Processes that move files."), ()),
    "threads": (_gauge("mover_threads", "Threads in each mover."), ()),
    "workers": (_gauge("run_workers", "Workers that can take units of a run that goes over a queue."), ()),
    "requests_limit": (_gauge("requests_limit", "Requests to the store that may be under way, as seen to pay."), ()),
    "requests": (_gauge("requests", "Requests to the store under way, where their number follows throughput."), ()),
    "limit": (_gauge("bandwidth_limit_bytes_per_second", "The bandwidth limit that holds now; 0: none."), ()),
    "cpu_limit": (_gauge("cpu_limit_ratio", "The share of all processors that the run may take; 0: all."), ()),
    "flying_bytes": (_gauge("moving_bytes", "Bytes moved and not counted as copied yet: files under way."), ()),
    "paused": (_gauge("paused", "1 while the run is paused by `dunlin control pause`."), ()),
    "throttled": (_gauge("throttled", "1 while the load of the machine holds the run back."), ()),
    **{f"load_{name}": (_LOAD, (name,)) for name in ("cpu", "memory", "iowait", "resident", "network")},
    "crawl_active": (_gauge("crawl_active_directories", "Directories that are being listed."), ()),
    "crawl_waiting": (_gauge("crawl_waiting_directories", "Directories that wait for room in the window."), ()),
    "crawl_queued": (_gauge("crawl_queued_directories", "Directories found and not listed yet."), ()),
    "crawl_held": (_gauge("crawl_held_files", "Names held in memory by the window."), ()),
    "crawl_files_limit": (_gauge("crawl_limit_files", "Names that the window may hold."), ()),
    "crawl_directories_limit": (_gauge("crawl_limit_directories", "Directories that may be listed at once."), ()),
    "crawl_files": (_gauge("crawl_seen_files", "Names that this crawl has seen."), ()),
    "crawl_directories": (_gauge("crawl_seen_directories", "Directories that this crawl has listed."), ()),
    "crawl_files_per_second": (_gauge("crawl_files_per_second", "Names seen per second."), ()),
    "crawl_directories_per_second": (_gauge("crawl_directories_per_second", "Directories listed per second."), ()),
    "crawl_directory_seconds": (_gauge("crawl_directory_seconds", "Mean time for one directory."), ()),
    "crawl_memory": (_gauge("crawl_memory_bytes", "Resident memory, as the window measures it."), ()),
    "crawl_memory_limit": (_gauge("crawl_memory_limit_bytes", "The memory that the window keeps to; 0: none."), ()),
    "crawl_threads": (_gauge("crawl_threads", "Threads of the run."), ()),
    "crawl_threads_limit": (_gauge("crawl_limit_threads", "Threads that the run may have."), ()),
    "crawl_adjustments": (_gauge("crawl_adjustments", "Changes of the window's limits in this crawl."), ()),
    "crawl_settled": (_gauge("crawl_settled_directories", "Directories of this crawl skipped by --ctime-skip."), ()),
    "crawl_cpu": (_gauge("crawl_cpu_ratio", "Share of the machine's processors that the run takes."), ()),
    **{f"crawl_engaged_{name}": (_HELD, (name,)) for name in ("files", "memory", "threads")},
}
"""Gauges of `Report.gauge` -> metric and the values of its labels."""

ERRORS = _counter("errors", "Files and directories that failed, by kind of error.", "kind")
RETRIES = _counter("retries", "Files that were tried once more.")
LOST = _counter("movers_lost", "Times that units were taken back from a mover that died.")
THROTTLES = _counter("throttle_steps", "Times that a busy resource took workers away.", "resource")
TOLD = _counter("warning_events", "Events at level warn and above, by level.", "level")
MOVED = _counter("moved_bytes", "Bytes moved, those of files under way included.")
RUNS = _counter("runs", "Runs that have ended, by status.", "pair", "status")
SCRAPES = _counter("scrapes", "Times that these metrics were read.")
MOVING = _gauge("moving_files", "Large files under way.")
WORKERS = _gauge("workers", "Files in flight at most; 0 until files begin to be moved.")
RUNNING = _gauge("running", "1 while a run goes on.")
BEGAN = _gauge("run_start_time_seconds", "When the pair's last run began, as seconds since 1970.", "pair")
ENDED = _gauge("run_end_time_seconds", "When the pair's last run ended, as seconds since 1970.", "pair")
SUCCESS = _gauge("run_last_success_time_seconds", "When the pair's last good run ended; 0: none yet.", "pair")
CODE = _gauge("run_exit_code", "The exit code of the pair's last run.", "pair")
LASTED = _gauge("run_duration_seconds", "How long the pair's last run took.", "pair")
CYCLE = _gauge("watch_cycle", "The cycle of a watch, from 1; 0 without --watch.")
CPU = _counter("process_cpu_seconds", "Processor time of all processes of the run.")
RESIDENT = _gauge("process_resident_bytes", "Resident memory of all processes of the run.")
PROCESSES = _gauge("processes", "Processes of the run.")
STARTED = _gauge("process_start_time_seconds", "When the program was started, as seconds since 1970.")
BUILD = _gauge("build_info", "1; the versions are labels.", "version", "python")

OTHERS = (
    *(ERRORS, RETRIES, LOST, THROTTLES, TOLD, MOVED, RUNS, SCRAPES, MOVING, WORKERS, RUNNING, BEGAN, ENDED, SUCCESS),
    *(CODE, LASTED, CYCLE, CPU, RESIDENT, PROCESSES, STARTED, BUILD),
)
METRICS = tuple(dict.fromkeys((*COUNTS.values(), *(metric for metric, _ in GAUGES.values()), *OTHERS)))
"""Every metric that is exported, each once; docs/metrics.md has a row for each."""

_KEPT = frozenset({"pending_files", "pending_bytes", "total_bytes", "limit"})
"""Gauges that still hold when a run is over."""

_KINDS = frozenset(kind.value for kind in ErrorKind)
_RESOURCES = frozenset(name.removeprefix("load_") for name in GAUGES if name.startswith("load_"))


class Usage(NamedTuple):
    """What the processes of a run have taken: seconds of processor time in all, resident bytes and processes now."""

    cpu_seconds: float
    resident_bytes: int
    processes: int


Key = tuple[Metric, tuple[str, ...]]


class Metrics:
    """A report that keeps figures; `collect` hands them out, from any thread.

    Args:
        version: of the program.
        pairs: how many there are: their series are there from the beginning.
        usage: what the processes take; asked at each scrape; None: not told.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        version: str,
        pairs: int = 1,
        usage: Callable[[], Usage] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._usage = usage
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[Key, float] = {(metric, ()): 0.0 for metric in METRICS if not metric.labels}
        self._values |= {(STARTED, ()): clock(), (BUILD, (version, platform.python_version())): 1.0}
        for pair in map(str, range(1, pairs + 1)):
            self._values |= {(RUNS, (pair, status)): 0.0 for status in STATUSES}
            self._values[SUCCESS, (pair,)] = 0.0
        for kind in sorted(_KINDS):
            self._values[ERRORS, (kind,)] = 0.0
        if usage is None:
            for metric in (CPU, RESIDENT, PROCESSES):
                del self._values[metric, ()]
        self._copied = 0
        self._moving: dict[int, int] = {}

    # ---- what a run tells ----

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`. What does not only grow comes as a gauge."""
        metric = COUNTS.get(name)
        if metric is None or n <= 0:
            return
        with self._lock:
            self._values[metric, ()] += n
            if name == "copied_bytes":
                self._copied += n
                self._moved()

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        if (key := GAUGES.get(name)) is not None:
            with self._lock:
                self._values[key] = float(value)
                if name == "flying_bytes":
                    self._moved(value)

    def event(self, event: Event) -> None:
        """See `Report`. Which run begins and ends is told by the events `run.begins` and `run.ended` of `jobs.told`."""
        with self._lock:
            if event.level >= Level.WARN:
                self._add((TOLD, (event.level.name.lower(),)))
            if event.name == "run.begins":
                self._begins(event)
            elif event.name == "run.ended":
                self._ended(event)
            elif event.name == "transfer.begins":
                self._values[WORKERS, ()] = float(event.fields.get("workers") or 0)
            elif event.name in ("file.failed", "directory.failed"):
                kind = event.fields.get("kind")
                kind = kind.value if isinstance(kind, ErrorKind) else str(kind)
                self._add((ERRORS, (kind if kind in _KINDS else ErrorKind.INTERNAL.value,)))
            elif event.name == "file.retry":
                self._add((RETRIES, ()))
            elif event.name == "mover.lost":
                self._add((LOST, ()))
            elif event.name.startswith("throttle."):
                self._throttle(event)

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`. Of a large file the bytes count, not the name."""
        return _Moving(self)

    def _add(self, key: Key) -> None:
        self._values[key] = self._values.get(key, 0.0) + 1

    def _throttle(self, event: Event) -> None:
        self._values[WORKERS, ()] = float(event.fields.get("workers") or 0)
        resource = str(event.fields.get("gauge", ""))
        if event.name == "throttle.engaged" and resource in _RESOURCES:
            self._add((THROTTLES, (resource,)))

    def _begins(self, event: Event) -> None:
        self._forget()
        pair = str(event.fields.get("pair", 1))
        self._values[BEGAN, (pair,)] = self._clock()
        self._values[CYCLE, ()] = float(event.fields.get("cycle", 0))
        self._values[RUNNING, ()] = 1.0

    def _ended(self, event: Event) -> None:
        pair, now = str(event.fields.get("pair", 1)), self._clock()
        status = str(event.fields.get("status", ""))
        self._forget(_KEPT)
        self._values[RUNNING, ()] = 0.0
        self._add((RUNS, (pair, status if status in STATUSES else "failed")))
        self._values[ENDED, (pair,)] = now
        self._values[CODE, (pair,)] = float(event.fields.get("exit_code", 0))
        self._values[LASTED, (pair,)] = float(event.fields.get("seconds", 0))
        if event.level < Level.WARN:
            self._values[SUCCESS, (pair,)] = now

    def _forget(self, kept: frozenset[str] = frozenset()) -> None:
        for name, key in GAUGES.items():
            if name not in kept and key in self._values:
                self._values[key] = 0.0
        self._values[WORKERS, ()] = 0.0
        self._moving.clear()

    def _moved(self, flying: float = 0) -> None:
        # A finished file leaves a moment before its bytes are counted; a counter must not go back for that.
        flying = max(flying, sum(self._moving.values()))
        self._values[MOVED, ()] = max(self._values[MOVED, ()], float(self._copied + flying))

    def moving(self, task: int, amount: int | None) -> None:
        """`amount` more bytes of a large file are through; None: it is over."""
        with self._lock:
            if amount is None:
                self._moving.pop(task, None)
            else:
                self._moving[task] = self._moving.get(task, 0) + amount
                self._moved()

    # ---- what is scraped ----

    def samples(self) -> dict[Key, float]:
        """Every value now, by metric and values of its labels. Another scrape is counted."""
        usage = self._usage() if self._usage is not None else None
        with self._lock:
            self._add((SCRAPES, ()))
            self._values[MOVING, ()] = float(len(self._moving))
            if usage is not None:
                cpu = max(self._values[CPU, ()], usage.cpu_seconds)
                self._values |= {(CPU, ()): cpu, (RESIDENT, ()): float(usage.resident_bytes)}
                self._values[PROCESSES, ()] = float(usage.processes)
            return dict(self._values)

    def collect(self) -> Iterator[Family]:
        """The families, as a registry of prometheus-client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        values = self.samples()
        for metric in METRICS:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for (found, labels), value in values.items():
                if found == metric:
                    family.add_metric(labels, value)
            if family.samples:
                yield family


class _Moving:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        metrics.moving(id(self), 0)

    def advance(self, amount: int) -> None:
        self._metrics.moving(id(self), amount)

    def end(self) -> None:
        self._metrics.moving(id(self), None)
