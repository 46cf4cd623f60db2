"""The report protocol, and the reports that keep silent, remember, or pass on."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol


class Level(enum.IntEnum):
    """How much an event matters; the values are those of `logging`."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


class Event(NamedTuple):
    """One piece of news: a stable `name` for machines, a `message` for people, and details.

    `name` is dotted and in lower case: ``file.copied``, ``file.failed``, ``run.resumed``,
    ``throttle.engaged``. `fields` hold plain values only: paths, counts, bytes, seconds.
    """

    level: Level
    name: str
    message: str
    fields: Mapping[str, Any] = MappingProxyType({})


class Task(Protocol):
    """A piece of work with a beginning and an end, shown while it lasts: a file being moved."""

    def advance(self, amount: int) -> None:
        """`amount` more bytes (or whatever the task counts) are done."""

    def end(self) -> None:
        """The task is over, done or failed."""


class Report(Protocol):
    """Where news goes."""

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to the counter `name`: a field of `model.Stats`."""

    def gauge(self, name: str, value: float) -> None:
        """The value of `name` is now `value`: pending files, bytes per second, workers."""

    def event(self, event: Event) -> None:
        """Something happened that a person or a log may want to know."""

    def task(self, name: str, total: int | None) -> Task:
        """Work on `name` begins; `total` is its size in bytes, None when unknown."""


class _NullTask:
    def advance(self, amount: int) -> None:
        pass

    def end(self) -> None:
        pass


class NullReport:
    """A report that keeps silent."""

    def count(self, name: str, n: int = 1) -> None:
        pass

    def gauge(self, name: str, value: float) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def task(self, name: str, total: int | None) -> Task:
        return _NullTask()


class RecordingReport:
    """A report that remembers everything, for tests and for calls that return what happened."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.events: list[Event] = []
        self.tasks: list[tuple[str, int | None]] = []

    def count(self, name: str, n: int = 1) -> None:
        self.counts[name] += n

    def gauge(self, name: str, value: float) -> None:
        self.gauges[name] = value

    def event(self, event: Event) -> None:
        self.events.append(event)

    def task(self, name: str, total: int | None) -> Task:
        self.tasks.append((name, total))
        return _NullTask()

    def named(self, name: str) -> list[Event]:
        """The events of that name, oldest first."""
        return [event for event in self.events if event.name == name]


class _FanTask:
    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks

    def advance(self, amount: int) -> None:
        for task in self._tasks:
            task.advance(amount)

    def end(self) -> None:
        for task in self._tasks:
            task.end()


class Fan:
    """A report that hands all news to several others, in order."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = tuple(reports)

    def count(self, name: str, n: int = 1) -> None:
        for report in self._reports:
            report.count(name, n)

    def gauge(self, name: str, value: float) -> None:
        for report in self._reports:
            report.gauge(name, value)

    def event(self, event: Event) -> None:
        for report in self._reports:
            report.event(event)

    def task(self, name: str, total: int | None) -> Task:
        return _FanTask([report.task(name, total) for report in self._reports])
