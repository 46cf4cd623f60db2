"""What a crawl tells of itself: samples become lines of the log, gauges, and rows of the state.

    INFO  Active Dirs: 1247 | Wait: 23 | Files: 8.5M
    INFO  Throughput: 15.2K files/sec, 245 dirs/sec (files ↗, dirs →)
    INFO  Memory utilization: 78% (14.2GiB/18GiB) ↗
    INFO  Directory processing time: 2.4s avg
    WARN  FILES: Engaging throttle at 100.0%
    INFO  THROTTLE ENGAGED: FILES, MEMORY
    INFO  FILES: Releasing throttle at 85.0%
    INFO  THROTTLE RELEASED: All resources normal
    INFO  ADJUSTMENT: UNDERUTILIZED - 6M -> 7.8M, 16 -> 21 directories
    INFO  CTime optimization: Skipped 1,247 dirs
    WARN  High contention: 45 dirs waiting

The words are those of the SyncOrchestrator, whose logs people have patterns for; "files" in the first line are names
held in memory. docs/observability.md lists every event with its fields, and a test compares it with `EVENTS`.

When. A sample comes every two seconds. What changes (a limit reached, an adjustment, contention) is told with the
sample that shows it; how things stand only every `EVERY` seconds and when the crawl is over. A small window may be
full and free again many times a second: of each resource an engagement and a release are told once in `PAUSE`
seconds at most, and those in between are counted and told with the next (`times`), so that no count is lost.

Rates are exact: what was seen since the line before, by the seconds since then. A trend compares the newer half of
the last samples with the older one; a small change is none (`pace.trend`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from dunlin.pace.sizes import format_count, format_size
from dunlin.pace.trend import Trend
from dunlin.report import Level, Report
from dunlin.workers.crawled import Crawled

EVERY = 30.0
"""Seconds between two tellings of how things stand."""

PAUSE = 30.0
"""Seconds in which a resource's throttle is told to engage, and to release, once."""

RECORD = 10.0
"""Seconds between two rows of the state."""

BRIEF = 2.0
"""A crawl that was over in fewer seconds tells at debug level how it stood at its end."""

CONTENTION = 8
"""Contention is high from so many directories on that wait for a slot, if they are as many as those that are listed.

It is over below half of either.
"""

EVENTS = {
    "crawl.progress": "Active Dirs: … | Wait: … | Files: …",
    "crawl.throughput": "Throughput: … files/sec, … dirs/sec",
    "crawl.memory": "Memory utilization: …",
    "crawl.cpu": "CPU utilization: …",
    "crawl.limits": "Throttling status: …",
    "crawl.directories": "Directory processing time: … avg",
    "crawl.settled": "CTime optimization: Skipped … dirs",
    "crawl.engaging": "FILES: Engaging throttle at …",
    "crawl.engaged": "THROTTLE ENGAGED: …",
    "crawl.releasing": "FILES: Releasing throttle at …",
    "crawl.released": "THROTTLE RELEASED: All resources normal",
    "crawl.adjusted": "ADJUSTMENT: … - … -> …",
    "crawl.contention": "High contention: … dirs waiting",
}
"""Every event that is told here, with its words."""

_ARROWS = {"up": "↗", "level": "→", "down": "↘"}
_GAUGES = {
    "active": "crawl_active",
    "waiting": "crawl_waiting",
    "queued": "crawl_queued",
    "held": "crawl_held",
    "files_limit": "crawl_files_limit",
    "directories_limit": "crawl_directories_limit",
    "total_files": "crawl_files",
    "total_directories": "crawl_directories",
    "files_per_second": "crawl_files_per_second",
    "directories_per_second": "crawl_directories_per_second",
    "directory_seconds": "crawl_directory_seconds",
    "memory_bytes": "crawl_memory",
    "memory_limit": "crawl_memory_limit",
    "threads": "crawl_threads",
    "threads_limit": "crawl_threads_limit",
    "adjustments": "crawl_adjustments",
    "settled": "crawl_settled",
}
RESOURCES = ("files", "memory", "threads")

GAUGES = (*_GAUGES.values(), "crawl_cpu", *(f"crawl_engaged_{name}" for name in RESOURCES))
"""Every gauge that is set here."""


class Tells(Protocol):
    """Who passes the news on; see `workers.telling`."""

    report: Report

    def event(self, level: Level, name: str, message: str, **fields: object) -> None:
        """Tell one thing."""


class CrawlNews:
    """Tells of one crawl.

    Args:
        telling: gets the events; its report the gauges.
        record: puts a sample on record; None: nobody does.
        clock: seconds that never go back.
        every: seconds between two tellings of how things stand.
        begun: when the crawl began, by that clock; None: now.
    """

    def __init__(
        self,
        telling: Tells,
        record: Callable[[Crawled], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        every: float = EVERY,
        begun: float | None = None,
    ) -> None:
        self._telling = telling
        self._record = record
        self._clock = clock
        self._every = every
        self._begun = self._told = clock() if begun is None else begun
        self._next_record = 0.0
        self._last: tuple[Crawled, float] | None = None
        self._recorded: Crawled | None = None
        self._cpu: float | None = None
        self._files = self._directories = self._settled = 0  # as told last
        self._trends = {name: Trend() for name in ("files", "directories", "memory", "cpu")}
        self._throttles = Throttles(telling)
        self._contended = False

    def look(self, crawled: Crawled, cpu: float | None = None) -> None:
        """Take a sample: tell what changed, and now and then how things stand.

        `cpu`: share of the machine's processors that the run took since the last sample; None: nobody looked.
        """
        now = self._clock()
        self._cpu = self._cpu if cpu is None else cpu
        self._last = crawled, now
        self._take(crawled, cpu, now)
        if now >= self._told + self._every and not self._rests(crawled):
            self._stand(crawled, now, Level.INFO)
        if self._record is not None and now >= self._next_record:
            self._next_record = now + RECORD
            self._recorded = crawled
            self._record(crawled)

    def end(self) -> None:
        """The crawl is over: tell how it stood at the last sample, what was kept back included; put that on record."""
        if self._last is None:
            return
        crawled, now = self._last
        if now > self._told and not self._rests(crawled):
            self._stand(crawled, now, Level.INFO if now - self._begun >= BRIEF else Level.DEBUG)
        if self._record is not None and crawled is not self._recorded:
            self._record(crawled)

    def _rests(self, crawled: Crawled) -> bool:
        """Whether everything was listed by the last telling: transfers may go on for days, which others tell of."""
        under_way = crawled.active or crawled.waiting or crawled.queued
        return not under_way and 0 < self._directories == crawled.total_directories

    def _take(self, crawled: Crawled, cpu: float | None, now: float) -> None:
        self._gauge(crawled, cpu)
        self._trends["files"].put(crawled.files_per_second)
        self._trends["directories"].put(crawled.directories_per_second)
        self._trends["memory"].put(crawled.memory_bytes)
        if cpu is not None:
            self._trends["cpu"].put(cpu)
        self._throttles.take(crawled, now)
        self._adjusted(crawled)
        self._contention(crawled)

    def _gauge(self, crawled: Crawled, cpu: float | None) -> None:
        gauge = self._telling.report.gauge
        for field, name in _GAUGES.items():
            gauge(name, float(getattr(crawled, field)))
        if cpu is not None:
            gauge("crawl_cpu", cpu)
        engaged = {each[0] for each in crawled.engaged}
        for name in RESOURCES:
            gauge(f"crawl_engaged_{name}", float(name in engaged))

    def _adjusted(self, crawled: Crawled) -> None:
        made = crawled.adjustment
        if made is None:
            return
        self._tell("crawl.adjusted", made.text, adjustments=crawled.adjustments, **made._asdict())

    def _contention(self, crawled: Crawled) -> None:
        waiting, much = crawled.waiting, max(CONTENTION, crawled.active)
        if self._contended:
            self._contended = waiting * 2 >= much
        elif waiting >= much:
            self._contended = True
            words = f"High contention: {waiting} dirs waiting"
            self._tell("crawl.contention", words, Level.WARN, waiting=waiting, active=crawled.active)

    def _stand(self, crawled: Crawled, now: float, level: Level) -> None:
        """How things stand."""
        seconds = max(now - self._told, 1e-9)
        files = (crawled.total_files - self._files) / seconds
        directories = (crawled.total_directories - self._directories) / seconds
        self._told, self._files, self._directories = now, crawled.total_files, crawled.total_directories
        self._tell(
            "crawl.progress",
            f"Active Dirs: {crawled.active} | Wait: {crawled.waiting} | Files: {format_count(crawled.held)}",
            level,
            active=crawled.active,
            waiting=crawled.waiting,
            queued=crawled.queued,
            held=crawled.held,
            files_limit=crawled.files_limit,
            directories_limit=crawled.directories_limit,
            total_files=crawled.total_files,
            total_directories=crawled.total_directories,
        )
        trends = {name: trend.word for name, trend in self._trends.items()}
        arrows = f"(files {_ARROWS[trends['files']]}, dirs {_ARROWS[trends['directories']]})"
        self._tell(
            "crawl.throughput",
            f"Throughput: {format_count(files)} files/sec, {format_count(directories)} dirs/sec {arrows}",
            level,
            files_per_second=round(files, 3),
            directories_per_second=round(directories, 3),
            seconds=round(seconds, 3),
            files_trend=trends["files"],
            directories_trend=trends["directories"],
        )
        self._machine(crawled, trends, level)
        self._tell(
            "crawl.directories",
            f"Directory processing time: {span(crawled.directory_seconds)} avg",
            level,
            directory_seconds=round(crawled.directory_seconds, 6),
        )
        if crawled.settled > self._settled:
            self._settled = crawled.settled
            words = f"CTime optimization: Skipped {crawled.settled:,} dirs"
            self._tell("crawl.settled", words, settled=crawled.settled)
        self._throttles.flush(crawled, now)

    def _machine(self, crawled: Crawled, trends: dict[str, str], level: Level) -> None:
        cpu = self._cpu
        memory, limit = crawled.memory_bytes, crawled.memory_limit
        if memory:
            share = f"{memory / limit:.0%} ({_size(memory)}/{_size(limit)})" if limit else _size(memory)
            words = f"Memory utilization: {share} {_ARROWS[trends['memory']]}"
            self._tell("crawl.memory", words, level, resident=memory, limit=limit, trend=trends["memory"])
        if cpu is not None:
            words = f"CPU utilization: {cpu:.0%} {_ARROWS[trends['cpu']]}"
            self._tell("crawl.cpu", words, level, cpu_percent=round(cpu * 100, 1), trend=trends["cpu"])
        fields: dict[str, object] = {}
        parts = []
        engaged = {name for name, _, _ in crawled.engaged}
        for name, value, most in _used(crawled):
            state = "throttled" if name in engaged else "normal"
            fields |= {name: state, f"{name}_value": value, f"{name}_limit": most}
            shown = (_size(value), _size(most)) if name == "memory" else (format_count(value), format_count(most))
            parts.append(f"{name.title()}: [{state.upper()}] {shown[0]}/{shown[1]} ({value / most:.0%})")
        if parts:
            self._tell("crawl.limits", f"Throttling status: {', '.join(parts)}", level, **fields)

    def _tell(self, name: str, words: str, level: Level = Level.INFO, **fields: object) -> None:
        self._telling.event(level, name, words, **fields)


class Throttles:
    """Tells when resources keep new directories waiting, and no longer; see the module docstring.

    Args:
        telling: gets the events.
    """

    def __init__(self, telling: Tells) -> None:
        self._telling = telling
        self._engaged: dict[str, None] = {}  # as told, in order
        self._next: dict[tuple[str, bool], float] = {}
        self._kept: dict[tuple[str, bool], tuple[int, float]] = {}

    def take(self, crawled: Crawled, now: float) -> None:
        """Tell the transitions of a sample, or keep them for later."""
        visible: list[tuple[str, bool, float, int]] = []
        for name, engages, percent in crawled.transitions:
            key = (name, engages)
            times = self._kept.get(key, (0, 0.0))[0] + 1
            if now < self._next.get(key, now):
                self._kept[key] = times, percent
                continue
            self._kept.pop(key, None)
            self._next[key] = now + PAUSE
            visible.append((name, engages, percent, times))
        self._tell(visible)

    def flush(self, crawled: Crawled, now: float) -> None:
        """Tell what was kept back; last what holds now."""
        engaged = {name for name, _, _ in crawled.engaged}
        kept = sorted(self._kept.items(), key=lambda item: (item[0][0], item[0][1] == (item[0][0] in engaged)))
        self._kept = {}
        for key, _ in kept:
            self._next[key] = now + PAUSE
        self._tell([(name, engages, percent, times) for (name, engages), (times, percent) in kept])

    def _tell(self, visible: list[tuple[str, bool, float, int]]) -> None:
        fresh = False
        for name, engages, percent, times in visible:
            if fresh and not engages:
                self._all()
            fresh = engages
            word, level = ("Engaging", Level.WARN) if engages else ("Releasing", Level.INFO)
            words = f"{name.upper()}: {word} throttle at {percent:.1f}%{f' ({times} times)' if times > 1 else ''}"
            event = "crawl.engaging" if engages else "crawl.releasing"
            fields: dict[str, Any] = {"resource": name, "percent": round(percent, 1), "times": times}
            self._telling.event(level, event, words, **fields)
            if engages:
                self._engaged[name] = None
                continue
            was = self._engaged.pop(name, True) is None
            if was and not self._engaged:
                words = "THROTTLE RELEASED: All resources normal"
                self._telling.event(Level.INFO, "crawl.released", words)
        if fresh:
            self._all()

    def _all(self) -> None:
        names = list(self._engaged)
        words = f"THROTTLE ENGAGED: {', '.join(name.upper() for name in names)}"
        self._telling.event(Level.INFO, "crawl.engaged", words, resources=names)


def span(seconds: float) -> str:
    """``2.4s``; milliseconds where that would be next to nothing: ``3.1ms``."""
    return f"{seconds:.1f}s" if seconds >= 0.1 else f"{seconds * 1000:.1f}ms"


def _size(size: float) -> str:
    return format_size(size).replace(" ", "").replace(".0", "")


def _used(crawled: Crawled) -> list[tuple[str, int, int]]:
    """Resource, value and limit, of those that have one."""
    used = [
        ("files", crawled.held, crawled.files_limit),
        ("memory", crawled.memory_bytes, crawled.memory_limit),
        ("threads", crawled.threads, crawled.threads_limit),
    ]
    return [each for each in used if each[2] > 0]
