"""What the service tells Prometheus beside what its runs tell (`report.prometheus`): requests, queues, jobs.

Routes are named by their pattern, so that the number of series is bounded by the program and not by its clients.
Queues are asked when the metrics are read; where the queue is away its metrics are missing, and `dunlin_queue_up` says
so. To write them down costs milliseconds of the one processor that all requests share, so the text stands for `KEPT`
seconds (`Exposition`): whoever asks more often reads the same figures, and slows nobody down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from dunlin.errors import DunlinError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector

    from dunlin.queue.base import QueueStats, WorkerInfo

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
KEPT = 1.0
"""Seconds for which the text of the metrics stands."""

FORMS = 8
"""Formats of which the text is kept: more than there are, and no more than that should a client find others."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ServiceMetric(NamedTuple):
    """A metric of the service; see `report.prometheus.Metric`. `kind` may be "histogram", too."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


REQUESTS = ServiceMetric("dunlin_http_requests", "counter", "Requests answered.", ("method", "route", "status"))
SECONDS = ServiceMetric("dunlin_http_request_seconds", "histogram", "Time until a request was answered.", ("route",))
QUEUE_UP = ServiceMetric("dunlin_queue_up", "gauge", "1 when the queue answered this scrape.")
WAITING = ServiceMetric("dunlin_queue_waiting", "gauge", "Tasks that wait, delayed ones included.", ("queue",))
LEASED = ServiceMetric("dunlin_queue_leased", "gauge", "Tasks that workers have.", ("queue",))
DEAD = ServiceMetric("dunlin_queue_dead", "gauge", "Tasks whose deliveries all failed.", ("queue",))
OLDEST = ServiceMetric("dunlin_queue_oldest_seconds", "gauge", "Age of the oldest task that waits.", ("queue",))
PAUSED = ServiceMetric("dunlin_queue_paused", "gauge", "1 while a queue hands out nothing.", ("queue",))
DONE = ServiceMetric("dunlin_queue_done", "counter", "Tasks done since the queue exists.", ("queue",))
FAILED = ServiceMetric("dunlin_queue_failed", "counter", "Deliveries that failed.", ("queue",))
LOST = ServiceMetric("dunlin_queue_lost", "counter", "Leases that ran out.", ("queue",))
WORKERS = ServiceMetric("dunlin_queue_workers", "gauge", "Workers that are alive.")
SLOTS = ServiceMetric("dunlin_queue_worker_slots", "gauge", "Tasks that they can do at a time.")
JOBS = ServiceMetric("dunlin_jobs", "gauge", "Jobs in the ledger by how they stand.", ("status",))

_SHARE = ("repository", "tenant", "share")


def _of_share(name: str, help: str) -> ServiceMetric:
    return ServiceMetric(f"dunlin_backup_{name}", "gauge", help, _SHARE)


BACKUP_SUCCESS = _of_share("last_success_time_seconds", "When the share was last backed up, as seconds since 1970.")
BACKUP_SECONDS = _of_share("last_duration_seconds", "How long the last good backup took.")
BACKUP_FILES = _of_share("last_files", "Files in it.")
BACKUP_BYTES = _of_share("last_bytes", "Bytes of these files.")
BACKUP_NEW = _of_share("last_new_bytes", "Bytes of content that it found nowhere in the repository.")
BACKUP_STORED = _of_share("last_stored_bytes", "Bytes that these take there.")
BACKUP_VERIFIED = ServiceMetric(
    "dunlin_backup_verified_time_seconds", "gauge", "When a verification last found nothing damaged.", _SHARE[:2]
)
BACKUP_DAMAGED = ServiceMetric(
    "dunlin_backup_damaged_objects", "gauge", "Objects that the last verification found damaged.", _SHARE[:2]
)
BACKUP_JOBS = ServiceMetric(
    "dunlin_backup_jobs", "counter", "Jobs with repositories that have ended here.", ("kind", "status")
)

SERVICE_METRICS = (
    *(REQUESTS, SECONDS, QUEUE_UP, WAITING, LEASED, DEAD, OLDEST, PAUSED, DONE, FAILED, LOST, WORKERS, SLOTS, JOBS),
    *(BACKUP_SUCCESS, BACKUP_SECONDS, BACKUP_FILES, BACKUP_BYTES, BACKUP_NEW, BACKUP_STORED, BACKUP_VERIFIED),
    *(BACKUP_DAMAGED, BACKUP_JOBS),
)
"""Every metric of the service; docs/metrics.md has a row for each."""


class Exposition:
    """The text of the metrics, made anew once in `KEPT` seconds at most. Safe from several threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, metrics: Collector, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._clock = metrics, clock
        self._making = threading.Lock()
        self._texts: dict[str, tuple[float, bytes]] = {}

    def kept(self, accept: str) -> tuple[bytes, str] | None:
        """The text in the format that a client accepts, and its media type; None where it must be made. Asks nobody."""
        if not self._texts:
            return None
        from prometheus_client.exposition import choose_encoder

        _, media = choose_encoder(accept)
        made, text = self._texts.get(media, (float("-inf"), b""))
        return (text, media) if self._clock() - made < KEPT else None

    def make(self, accept: str) -> tuple[bytes, str]:
        """The same; where several need it one makes it, and the others wait for that."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        with self._making:
            kept = self.kept(accept)
            if kept is not None:
                return kept
            now = self._clock()
            registry = CollectorRegistry(auto_describe=False)
            registry.register(self._metrics)
            encode, media = choose_encoder(accept)
            text = encode(registry)
            others = self._texts if len(self._texts) < FORMS else {}
            self._texts = {**others, media: (now, text)}
            return text, media


class ServiceMetrics:
    """Keeps figures of requests; asks queue and ledger when it is scraped. Safe from several threads."""

    def __init__(
        self,
        runs: Collector,
        stats: Callable[[], Sequence[QueueStats]],
        workers: Callable[[], Sequence[WorkerInfo]],
        jobs: Callable[[], Mapping[str, int]],
        backups: Callable[[], Mapping[ServiceMetric, Sequence[tuple[tuple[str, ...], float]]]] = dict,
    ) -> None:
        """Args:
        runs: the metrics of runs.
        stats, workers: of the queue. jobs: how many there are by status. backups: samples of those
            (`backup_metrics`). They may raise `DunlinError`.
        """
        self._runs, self._stats, self._workers, self._jobs = runs, stats, workers, jobs
        self._backups = backups
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[str, list[float]] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = (method if method in METHODS else "other", route, str(status))
        with self._lock:
            self._requests[key] = self._requests.get(key, 0) + 1
            row = self._seconds.setdefault(route, [0.0] * (len(BUCKETS) + 2))
            row[next((at for at, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))] += 1
            row[-1] += seconds

    def collect(self) -> Iterator[Family]:
        """The families, as a registry of prometheus-client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        yield from self._runs.collect()
        with self._lock:
            requests, seconds = dict(self._requests), {route: list(row) for route, row in self._seconds.items()}
        counter = CounterMetricFamily(REQUESTS.name, REQUESTS.help, labels=REQUESTS.labels)
        for key, times in requests.items():
            counter.add_metric(key, times)
        yield counter
        histogram = HistogramMetricFamily(SECONDS.name, SECONDS.help, labels=SECONDS.labels)
        for route, row in seconds.items():
            total, buckets = 0.0, []
            for bound, number in zip((*map(str, BUCKETS), "+Inf"), row[:-1], strict=True):
                total += number
                buckets.append((bound, total))
            histogram.add_metric([route], buckets, row[-1])
        yield histogram
        for metric, samples in self._asked().items():
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for labels, value in samples:
                family.add_metric(labels, value)
            yield family

    def _asked(self) -> dict[ServiceMetric, list[tuple[tuple[str, ...], float]]]:
        found: dict[ServiceMetric, list[tuple[tuple[str, ...], float]]] = {}
        try:
            for each in self._stats():
                values = {
                    WAITING: each.waiting + each.delayed, LEASED: each.leased, DEAD: each.dead, OLDEST: each.oldest,
                    PAUSED: each.paused, DONE: each.done, FAILED: each.failed, LOST: each.lost,
                }  # fmt: skip
                for metric, value in values.items():
                    found.setdefault(metric, []).append(((each.queue,), float(value)))
            workers = self._workers()
            found[WORKERS] = [((), float(len(workers)))]
            found[SLOTS] = [((), float(sum(each.slots for each in workers)))]
            found[QUEUE_UP] = [((), 1.0)]
        except DunlinError:
            found = {QUEUE_UP: [((), 0.0)]}
        with suppress(DunlinError):
            found[JOBS] = [((status,), float(number)) for status, number in sorted(self._jobs().items())]
        with suppress(DunlinError):
            found |= {metric: list(samples) for metric, samples in self._backups().items()}
        return found
