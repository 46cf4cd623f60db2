"""What a crawl tells of itself, from samples that a test makes up and a clock that it turns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dunlin.pace.monitor import Adjustment
from dunlin.report import Event, Level, RecordingReport
from dunlin.workers import crawl_news
from dunlin.workers.crawl_news import (
    BRIEF,
    CONTENTION,
    EVENTS,
    EVERY,
    GAUGES,
    PAUSE,
    RECORD,
    CrawlNews,
    span,
)
from dunlin.workers.crawled import Crawled
from dunlin.workers.telling import Telling

LOOK = 2.0
GIB = 1 << 30
PAGE = Path(__file__).parents[3] / "docs" / "observability.md"


class Crawl:
    """News of a crawl that the test makes up."""

    def __init__(self, every: float = EVERY) -> None:
        self.now = 1000.0
        self.report = RecordingReport()
        self.rows: list[Crawled] = []
        telling = Telling(self.report, lambda *_: None)
        self.news = CrawlNews(telling, self.rows.append, lambda: self.now, every)

    def look(self, cpu: float | None = None, after: float = LOOK, **sample: Any) -> list[str]:
        """One sample some seconds later; the lines that it led to."""
        self.now += after
        before = len(self.report.events)
        self.news.look(Crawled(**sample), cpu)
        return [event.message for event in self.report.events[before:]]

    def end(self, after: float = LOOK, **sample: Any) -> list[Event]:
        before = len(self.report.events)
        self.look(after=after, **sample)
        self.news.end()
        return self.report.events[before:]

    def named(self, name: str) -> Event:
        (event,) = self.report.named(name)
        return event


def test_how_things_stand_is_told_in_the_words_and_levels_that_people_have_patterns_for() -> None:
    crawl = Crawl()
    told = crawl.look(
        after=EVERY, cpu=0.65, active=1247, waiting=23, held=8_542_391, total_files=456_000, total_directories=7350,
        directory_seconds=2.4, memory_bytes=int(14.2 * GIB), memory_limit=18 * GIB, settled=1247,
    )  # fmt: skip
    assert told[:1] == ["Active Dirs: 1247 | Wait: 23 | Files: 8.5M"]
    assert "Throughput: 15.2K files/sec, 245 dirs/sec (files →, dirs →)" in told
    assert "Memory utilization: 79% (14.2GiB/18GiB) →" in told
    assert "CPU utilization: 65% →" in told
    assert "Directory processing time: 2.4s avg" in told
    assert "CTime optimization: Skipped 1,247 dirs" in told
    stood = [event for event in crawl.report.events if event.name != "crawl.contention"]
    assert {event.level for event in stood} == {Level.INFO}
    assert crawl.named("crawl.progress").fields["held"] == 8_542_391
    assert crawl.named("crawl.throughput").fields["files_per_second"] == 15_200
    assert crawl.named("crawl.memory").fields["limit"] == 18 * GIB


def test_the_state_of_every_resource_stands_with_its_value_and_limit() -> None:
    crawl = Crawl()
    sample = {"held": 8_500_000, "files_limit": 10_000_000, "memory_bytes": 7 * GIB, "memory_limit": 8 * GIB}
    told = crawl.look(after=EVERY, **sample, threads=45, threads_limit=50, engaged=(("memory", 7.0 * GIB, 6.4 * GIB),))
    words = "Files: [NORMAL] 8.5M/10M (85%), Memory: [THROTTLED] 7GiB/8GiB (88%), Threads: [NORMAL] 45/50 (90%)"
    assert f"Throttling status: {words}" in told
    fields = crawl.named("crawl.limits").fields
    assert (fields["files"], fields["memory"], fields["memory_value"], fields["threads_limit"]) == (
        "normal", "throttled", 7 * GIB, 50,
    )  # fmt: skip


def test_a_resource_without_a_limit_has_no_share_of_it() -> None:
    told = Crawl().look(after=EVERY, memory_bytes=300 << 20)
    assert "Memory utilization: 300MiB →" in told
    assert not [line for line in told if line.startswith("Throttling status")]
    assert not [line for line in Crawl().look(after=EVERY) if "utilization" in line], "nobody looked"


def test_between_two_tellings_samples_set_gauges_only() -> None:
    crawl = Crawl()
    for _ in range(int(EVERY / LOOK) - 1):
        assert crawl.look(active=3, total_files=50, engaged=(("threads", 9.0, 9.0),)) == []
    assert crawl.report.gauges["crawl_active"] == 3
    assert crawl.report.gauges["crawl_files"] == 50
    assert crawl.report.gauges["crawl_engaged_threads"] == 1
    assert crawl.report.gauges["crawl_engaged_files"] == 0
    assert crawl.look() != []


def test_rates_are_those_since_the_line_before() -> None:
    crawl = Crawl()
    crawl.look(after=EVERY, total_files=3000, total_directories=300)
    crawl.look(after=EVERY, total_files=3300, total_directories=303)
    first, second = crawl.report.named("crawl.throughput")
    assert (first.fields["files_per_second"], first.fields["directories_per_second"]) == (100, 10)
    assert (second.fields["files_per_second"], second.fields["directories_per_second"]) == (10, 0.1)
    assert second.message.startswith("Throughput: 10 files/sec, 0.1 dirs/sec ")


def test_at_its_end_a_crawl_tells_its_totals() -> None:
    crawl = Crawl()
    told = crawl.end(after=BRIEF, total_files=77, total_directories=5, directory_seconds=0.0031)
    fields = next(event.fields for event in told if event.name == "crawl.progress")
    assert (fields["total_files"], fields["total_directories"]) == (77, 5)
    assert [event.message for event in told if event.name == "crawl.directories"] == [
        "Directory processing time: 3.1ms avg"
    ]
    assert {event.level for event in told} == {Level.INFO}
    brief = Crawl().end(after=BRIEF / 2, total_files=1)
    assert {event.level for event in brief} == {Level.DEBUG}, "what is over at once needs no statistics"


def test_an_end_right_after_how_things_stood_is_not_told_again() -> None:
    crawl = Crawl()
    told = crawl.end(after=EVERY, total_files=1)
    assert [event.name for event in told].count("crawl.progress") == 1
    assert len(crawl.rows) == 1
    Crawl().news.end()  # a crawl without a sample has nothing to tell


def test_what_was_listed_long_ago_is_not_told_again_and_again() -> None:
    crawl = Crawl()
    listed = {"total_files": 500, "total_directories": 20}
    assert crawl.look(after=EVERY, **listed, active=2, queued=3)
    assert crawl.look(after=EVERY, **listed, active=1), "a long directory is still under way"
    assert crawl.look(after=EVERY, total_files=600, total_directories=21)
    assert crawl.look(after=EVERY, total_files=600, total_directories=21) == []
    assert crawl.end(after=EVERY, total_files=600, total_directories=21) == []


def test_the_time_counts_from_the_begin_of_the_crawl() -> None:
    crawl = Crawl()
    crawl.news = CrawlNews(Telling(crawl.report, lambda *_: None), clock=lambda: crawl.now, begun=crawl.now - 8)
    crawl.end(after=2, total_files=50)
    fields = crawl.named("crawl.throughput").fields
    assert (fields["seconds"], fields["files_per_second"]) == (10, 5)


def test_throttles_are_told_at_once_by_resource_and_together() -> None:
    crawl = Crawl()
    engaged = (("files", 10.0, 10.0), ("memory", 8.0, 8.0))
    assert crawl.look(engaged=engaged, transitions=(("files", True, 100.0), ("memory", True, 80.0))) == [
        "FILES: Engaging throttle at 100.0%",
        "MEMORY: Engaging throttle at 80.0%",
        "THROTTLE ENGAGED: FILES, MEMORY",
    ]
    assert crawl.look(engaged=engaged) == [], "it is not repeated while it lasts"
    told = crawl.look(engaged=(("memory", 8.0, 8.0),), transitions=(("files", False, 85.0),))
    assert told == ["FILES: Releasing throttle at 85.0%"], "memory still holds"
    assert crawl.look(transitions=(("memory", False, 70.0),)) == [
        "MEMORY: Releasing throttle at 70.0%",
        "THROTTLE RELEASED: All resources normal",
    ]
    levels = {event.name: event.level for event in crawl.report.events}
    assert levels == {
        "crawl.engaging": Level.WARN,
        "crawl.engaged": Level.INFO,
        "crawl.releasing": Level.INFO,
        "crawl.released": Level.INFO,
    }
    assert crawl.report.named("crawl.engaged")[0].fields["resources"] == ["files", "memory"]


def test_what_comes_and_goes_within_one_sample_is_told_in_its_order() -> None:
    assert Crawl().look(transitions=(("files", True, 100.0), ("files", False, 84.0))) == [
        "FILES: Engaging throttle at 100.0%",
        "THROTTLE ENGAGED: FILES",
        "FILES: Releasing throttle at 84.0%",
        "THROTTLE RELEASED: All resources normal",
    ]


def test_a_throttle_that_flutters_is_told_now_and_then_and_counted_all_the_same() -> None:
    crawl = Crawl(every=1e9)
    for _ in range(200):
        crawl.look(transitions=(("files", True, 100.0), ("files", False, 85.0)))
    crawl.look(transitions=(("files", True, 101.0),), engaged=(("files", 10.1, 10.0),))
    crawl.end(engaged=(("files", 10.1, 10.0),))
    for name, wanted in (("crawl.engaging", 201), ("crawl.releasing", 200)):
        told = crawl.report.named(name)
        assert sum(event.fields["times"] for event in told) == wanted
        assert len(told) <= 200 * LOOK / PAUSE + 3
    flutter = [event.message for event in crawl.report.named("crawl.engaging")]
    assert flutter[1] == f"FILES: Engaging throttle at 100.0% ({int(PAUSE / LOOK)} times)"
    ends = [event.name for event in crawl.report.events if event.name.startswith(("crawl.eng", "crawl.rel"))]
    assert ends[-1] == "crawl.engaged", "what was told last is how it stands"


def test_an_adjustment_is_told_with_what_it_changed() -> None:
    crawl = Crawl()
    made = Adjustment("UNDERUTILIZED", 6_000_000, 7_800_000, 16, 20)
    assert crawl.look(adjustment=made, adjustments=1) == [
        "ADJUSTMENT: UNDERUTILIZED - 6M -> 7.8M, 16 -> 20 directories"
    ]
    fields = crawl.named("crawl.adjusted").fields
    assert (fields["before"], fields["after"], fields["directories_after"]) == (6_000_000, 7_800_000, 20)
    assert crawl.look(adjustments=1) == []


def test_an_adjustment_of_directories_alone_tells_of_these_alone() -> None:
    made = Adjustment("UNDERUTILIZED", 5_000_000, 5_000_000, 8, 10)
    assert Crawl().look(adjustment=made, adjustments=2) == ["ADJUSTMENT: UNDERUTILIZED - 8 -> 10 directories"]


def test_contention_is_told_from_a_number_on_and_once_while_it_lasts() -> None:
    crawl = Crawl()
    assert crawl.look(waiting=CONTENTION - 1) == []
    assert crawl.look(waiting=23, active=1247) == [], "few, compared with those that are listed"
    assert crawl.look(waiting=45) == ["High contention: 45 dirs waiting"]
    assert crawl.named("crawl.contention").level is Level.WARN
    assert crawl.look(waiting=60) == []
    assert crawl.look(waiting=CONTENTION // 2) == []
    assert crawl.look(waiting=CONTENTION) == [], "it was not over"
    assert crawl.look(waiting=CONTENTION // 2 - 1) == []
    assert crawl.look(waiting=CONTENTION) == [f"High contention: {CONTENTION} dirs waiting"]


def test_rows_go_on_record_at_a_bounded_rate_and_the_last_one_always() -> None:
    crawl = Crawl()
    for n in range(60):
        crawl.look(total_files=n)
    assert len(crawl.rows) == 60 * LOOK / RECORD
    crawl.end(total_files=99)
    assert crawl.rows[-1].total_files == 99
    assert len(crawl.rows) == 60 * LOOK / RECORD + 1


def test_skipped_directories_are_told_when_there_are_more() -> None:
    crawl = Crawl()
    crawl.look(after=EVERY, settled=3)
    crawl.look(after=EVERY, settled=3)
    crawl.look(after=EVERY, settled=1200)
    told = [event.message for event in crawl.report.named("crawl.settled")]
    assert told == ["CTime optimization: Skipped 3 dirs", "CTime optimization: Skipped 1,200 dirs"]


def test_arrows_show_a_trend_and_fields_name_it() -> None:
    crawl = Crawl(every=20)
    for n in range(10):
        told = crawl.look(cpu=1 - n / 20, files_per_second=100.0 * n, memory_bytes=GIB, memory_limit=2 * GIB)
    assert [line for line in told if line.endswith("(files ↗, dirs →)")]
    assert "Memory utilization: 50% (1GiB/2GiB) →" in told
    assert "CPU utilization: 55% ↘" in told
    assert crawl.named("crawl.throughput").fields["files_trend"] == "up"
    assert crawl.named("crawl.cpu").fields["trend"] == "down"


def test_spans_are_seconds_or_milliseconds() -> None:
    assert [span(2.44), span(0.1), span(0.0312), span(0)] == ["2.4s", "0.1s", "31.2ms", "0.0ms"]


def test_every_event_and_gauge_is_documented_and_every_documented_one_exists() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(crawl[._]\w+)` ", page, re.MULTILINE))
    assert named == {*EVENTS, *GAUGES}


def test_events_that_are_told_are_those_that_are_listed() -> None:
    source = Path(crawl_news.__file__).read_text(encoding="utf-8").partition("class CrawlNews")[2]
    assert set(re.findall(r'"(crawl\.\w+)"', source)) == set(EVENTS)
    crawl = Crawl()
    crawl.look(cpu=0.5)
    assert set(crawl.report.gauges) == set(GAUGES)
