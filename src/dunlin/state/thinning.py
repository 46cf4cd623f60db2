"""What is dropped as it grows old, so that the state of a watch that goes on for months stays small.

    samples      each for an hour; then one a minute, the mean of it, until they are a day old; then one an hour for
                 each pair until they are 30 days old
    events       the newest 1,000 of what went well; the newest 10,000 warnings and errors, none longer than 30 days,
                 and what was resolved no longer than 7
    runs         the newest 1,000 of each pair, and older ones that something refers to: files that failed in them and
                 were not synced since, directories that wait, the chain that is being continued, the last run that
                 went well. What the others did is added up by the hour (table `past`), and what is older than 30
                 days in one row; so totals hold for ever
    orders       those that were taken 30 days ago
    crawls       the newest 10,000 (`news`)

A mean takes the place, and the number, of the first sample that it stands for, so that whoever reads on from a number
gets nothing twice. Rates, load and workers are means; of memory and what is pending it is the most. It counts as
throttled, or paused, if that was so for half of the time. Minutes and hours are those of the clock (UTC), and only
whole ones are put together.

The one process that writes does this once a minute while a run goes on, and some run of many does it at its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from dunlin.sqlite import Database
from dunlin.state.news import News

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

KEEP_RUNS = 1_000
BATCH = 500
"""Runs that are dropped at a time: it happens while a run goes on."""


class Thinning:
    """Thins one state file."""

    def __init__(self, database: Database, sql: dict[str, str], now: Callable[[], int], news: News) -> None:
        self._database = database
        self._sql = sql
        self._now = now
        self._news = news

    def thin(self, pair: int) -> None:
        """Drop what is too old by the rules above; of runs, those of one pair. A few short statements."""
        now = self._now()
        with self._database.transaction():
            self._means("metric_minutes", 0, 60, (now - HOUR) // MINUTE * MINUTE)
            self._means("metric_hours", 60, 3600, (now - DAY) // HOUR * HOUR)
            self._database.execute(self._sql["metric_thin"], (3600, now - 30 * DAY))
            self._news.trim_events()
            self._database.execute(self._sql["event_age"], (now - 30 * DAY, now - 7 * DAY))
            self._database.execute(self._sql["control_age"], (now - 30 * DAY,))
            self._runs(pair, now)

    def _means(self, statement: str, old: int, new: int, before: int) -> None:
        """Samples of `old` seconds each that are older than `before` (ns) become means of `new` seconds."""
        means = self._database.query(self._sql[statement], (before, new))
        if means:
            self._database.execute(self._sql["metric_thin"], (old, before))
            self._database.many(self._sql["metric_mean"], means)

    def _runs(self, pair: int, now: int) -> None:
        last = self._database.value(self._sql["run_old"], (pair, KEEP_RUNS))
        if last is None:
            return
        good = [number or 0 for number in self._database.one(self._sql["run_good"], (pair,))]
        rows = self._database.query(self._sql["run_spare"], (pair, last, *good, BATCH))
        for _, status, hour, seconds, text in rows:
            count = json.loads(text).get
            failed = count("failed_files", 0) + count("failed_directories", 0)
            deleted = count("deleted_files", 0) + count("deleted_directories", 0)
            clean = status == "completed" and not failed and not count("source_errors", 0)
            ended = status in ("completed", "failed")
            moved = count("copied_files", 0), count("copied_bytes", 0)
            self._database.execute(
                self._sql["past_add"], (pair, hour, ended, clean, *moved, failed, deleted, seconds)
            )
        self._database.many(self._sql["slow_drop"], [(row[0],) for row in rows])
        self._database.many(self._sql["run_drop"], [(row[0],) for row in rows])
        oldest = (pair, (now - 30 * DAY) // HOUR)
        self._database.execute(self._sql["past_fold"], oldest)
        self._database.execute(self._sql["past_drop"], oldest)
