"""Samples of a crawl on their way to the report and the state."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.jobs.crawl_told import CrawlTold, metric
from dunlin.model import Stats
from dunlin.report import NullReport, RecordingReport
from dunlin.state import CrawlMetric, State
from dunlin.workers.crawl_news import BRIEF
from dunlin.workers.crawled import Crawled
from dunlin.workers.telling import Telling


@pytest.fixture
def state() -> Iterator[State]:
    opened = State.open(None, NullReport())
    yield opened
    opened.close()


def crew(state: State, report: RecordingReport, begun: float) -> Any:
    run = state.begin_run(state.pair("a", "b", ""), {}, "", 1).id
    return SimpleNamespace(
        state=state,
        run=run,
        telling=Telling(report, lambda *_: None),
        pool=SimpleNamespace(pids=[os.getpid()]),
        crawling=SimpleNamespace(begun=begun),
        rules=SimpleNamespace(settled=None),
        stats=Stats(),
        stopping=False,
    )


def test_samples_reach_the_report_and_the_state(state: State) -> None:
    report = RecordingReport()
    made = crew(state, report, begun=time.monotonic() - BRIEF)
    told = CrawlTold(lambda: made, 2, record=True)
    told.look(Crawled(active=3, total_files=5, memory_bytes=1 << 20, engaged=(("files", 1, 1), ("threads", 2, 2))))
    told.look(Crawled(total_files=9))
    told.end()
    first, last = (stored.crawl for stored in state.crawls(made.run))
    assert (first.active, first.memory, first.engaged, last.total_files) == (3, 1 << 20, "files,threads", 9)
    assert report.named("crawl.progress")[0].fields["total_files"] == 9
    assert 0 <= report.gauges["crawl_cpu"] <= 1


def test_a_check_keeps_no_record_and_a_crawl_without_samples_says_nothing(state: State) -> None:
    report = RecordingReport()
    made = crew(state, report, begun=time.monotonic())
    told = CrawlTold(lambda: made, 2, record=False)
    told.end()
    assert report.events == []
    told.look(Crawled(total_files=9))
    told.end()
    assert state.crawls(made.run) == []
    assert report.named("crawl.progress") != []


def test_every_field_of_a_row_comes_from_the_sample() -> None:
    crawled = Crawled(*range(1, 16), engaged=(("memory", 1.0, 2.0),), adjustments=20, settled=21)
    row = metric(crawled)
    assert all(value for value in row), row
    assert row.engaged == "memory"
    assert (row.memory, row.adjustments, row.settled) == (crawled.memory_bytes, 20, 21)
    assert metric(Crawled()) == CrawlMetric()


@pytest.mark.parametrize(
    ("settled", "skipped", "seen", "stopping", "told"),
    [(5, 0, 9, False, 1), (5, 1, 9, False, 0), (5, 0, 1, False, 0), (None, 0, 9, False, 0), (5, 0, 9, True, 0)],
)
def test_that_nothing_was_skipped_is_told_once_where_something_was_to_be(
    state: State, settled: int | None, skipped: int, seen: int, stopping: bool, told: int
) -> None:
    report = RecordingReport()
    made = crew(state, report, begun=time.monotonic())
    made.rules.settled, made.stopping = settled, stopping
    made.stats = Stats(settled_directories=skipped, scanned_directories=seen)
    CrawlTold(lambda: made, 2, record=True).end()
    assert len(report.named("ctime.none")) == told
