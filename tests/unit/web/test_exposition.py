"""Metrics of the service, and their page."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import QueueStats, WorkerInfo
from dunlin.report.prometheus import METRICS, Metrics
from dunlin.web import exposition
from dunlin.web.exposition import KEPT, SERVICE_METRICS, Exposition, ServiceMetrics
from tests.unit.web.served import served

PAGE = Path(__file__).resolve().parents[3] / "docs" / "service.md"


def stats() -> list[QueueStats]:
    return [QueueStats("publish", 5, 2, 3, 1, 0, 11, 4, 2, 1, 7.5, False)]


def workers() -> list[WorkerInfo]:
    return [WorkerInfo("w", "h", 1, 4, 2, (), (), "1", 1.0, 1.0)]


def values(metrics: ServiceMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    from prometheus_client import generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_requests_queues_and_jobs() -> None:
    metrics = ServiceMetrics(Metrics("1"), stats, workers, lambda: {"running": 2})
    metrics.request("GET", "/api/v1/jobs", 200, 0.02)
    metrics.request("GET", "/api/v1/jobs", 200, 20.0)
    metrics.request("BREW", "other", 405, 0.001)
    found = values(metrics)
    labels = (("method", "GET"), ("route", "/api/v1/jobs"), ("status", "200"))
    assert found["dunlin_http_requests_total", labels] == 2
    other = (("method", "other"), ("route", "other"), ("status", "405"))
    assert found["dunlin_http_requests_total", other] == 1
    route = ("route", "/api/v1/jobs")
    bucket = "dunlin_http_request_seconds_bucket"
    counts = [found[bucket, (("le", bound), route)] for bound in ("0.01", "0.025", "10.0", "+Inf")]
    assert counts == [0, 1, 1, 2]
    queue = (("queue", "publish"),)
    assert found["dunlin_queue_waiting", queue] == 7
    assert found["dunlin_queue_done_total", queue] == 4
    assert found["dunlin_queue_worker_slots", ()] == 4
    assert found["dunlin_queue_up", ()] == 1
    assert found["dunlin_jobs", (("status", "running"),)] == 2


def test_a_queue_that_is_away_is_said_and_the_rest_is_there() -> None:
    def away() -> Sequence[QueueStats]:
        raise DunlinError("ask", "", ErrorKind.NETWORK)

    found = values(ServiceMetrics(Metrics("1"), away, workers, lambda: {"queued": 1}))
    assert found["dunlin_queue_up", ()] == 0
    assert not any(name.startswith("dunlin_queue_w") for name, _ in found)
    assert found["dunlin_jobs", (("status", "queued"),)] == 1
    assert found["dunlin_copied_files_total", ()] == 0


class Asked:
    """What metrics ask; counts how often."""

    def __init__(self) -> None:
        self.times = 0
        self.now = 100.0
        self.slow = threading.Event()
        self.slow.set()

    def stats(self) -> list[QueueStats]:
        self.times += 1
        assert self.slow.wait(10)
        return stats()

    def exposition(self) -> Exposition:
        metrics = ServiceMetrics(Metrics("1"), self.stats, workers, lambda: {"running": self.times})
        return Exposition(metrics, lambda: self.now)


def test_the_text_is_made_once_a_second_however_many_read_it() -> None:
    asked = Asked()
    kept = asked.exposition()
    assert kept.kept("") is None
    made = kept.make("")
    assert b'dunlin_jobs{status="running"} 1.0' in made[0]
    asked.now += 0.9 * KEPT
    assert [kept.kept(""), kept.make("")] == [made, made]
    assert asked.times == 1
    asked.now += 0.2 * KEPT
    assert kept.kept("") is None
    assert b'dunlin_jobs{status="running"} 2.0' in kept.make("")[0]
    assert asked.times == 2


def test_each_client_reads_the_format_that_it_accepts() -> None:
    asked = Asked()
    kept = asked.exposition()
    plain = kept.make("text/plain")
    assert kept.kept("application/openmetrics-text; version=1.0.0") is None
    other = kept.make("application/openmetrics-text; version=1.0.0")
    assert other[1].startswith("application/openmetrics-text")
    assert other[0].endswith(b"# EOF\n")
    assert kept.kept("text/plain") == plain
    assert kept.kept("application/openmetrics-text; version=1.0.0") == other


def test_those_that_ask_at_a_time_wait_for_one() -> None:
    asked = Asked()
    asked.slow.clear()
    kept = asked.exposition()
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(kept.make, "") for _ in range(4)]
        asked.slow.set()
        assert len({each.result(10) for each in found}) == 1
    assert asked.times == 1


def test_the_service_keeps_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path) as made:
        times = Counter[str]()
        monkeypatch.setattr(ServiceMetrics, "_asked", lambda self: times.update(["asked"]) or {})
        monkeypatch.setattr(exposition, "KEPT", 60.0)
        assert len({made.get("/metrics").text for _ in range(5)}) == 1
        assert times == {"asked": 1}


def test_every_metric_is_documented_and_no_name_is_used_twice() -> None:
    rows = re.findall(r"^\| `(dunlin_[a-z_]+)` \| (\w+) \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    ends = {"counter": "_total", "gauge": "", "histogram": ""}
    expected = [
        (each.name + ends[each.kind], each.kind, ", ".join(f"`{label}`" for label in each.labels))
        for each in SERVICE_METRICS
    ]
    assert rows == expected
    assert not {each.name for each in METRICS} & {each.name for each in SERVICE_METRICS}


def test_routes_are_named_by_their_pattern(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        for path in ("/check/store/a", "/check/store/b", "/nowhere/1", "/nowhere/2"):
            made.get(path)
        lines = [line for line in made.get("/metrics").text.splitlines() if line.startswith("dunlin_http_requests")]
        assert any('route="/check/{s3_key}"' in line and line.endswith(" 2.0") for line in lines), lines
        assert any('route="other",status="404"' in line and line.endswith(" 2.0") for line in lines), lines
