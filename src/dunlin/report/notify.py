"""Messages to people who are not looking: when a run failed, ended, stands still, or is well again.

Which news becomes a message:

    failure    a run ended as failed, or some of its files failed; or it could not begin
    finish     a run ended otherwise; in a watch only one that moved something, and the first
    stalled    no count has moved for so long although a run goes on and is not paused
    resumed    something moved again (comes with `stalled`)
    recovery   a run of a pair went well whose run before it had failed; it takes the place of `finish`

Rate. Of each kind one message goes out per pair and interval. What is kept back is counted, and the number told in the
next one of its kind. If no other comes, the last one that was kept back goes out when the interval is over (`look`
finds out), at the latest when the program ends, so that nobody waits for news that a limit has swallowed. A recovery
drops the failures of its pair that were kept back, and tells their number.

Standing still. Counts move whenever a name was listed, compared or moved, and a large file moves them while it is
under way, and so does every byte that a bandwidth limit lets through; so a minute without any means that a mount or a
server does not answer. The clock is looked at by `look`, which somebody calls now and then: the run itself cannot,
since it waits.

This module decides and words; `report.outbox` sends, in threads of its own, so that no call here waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from dunlin.errors import printable
from dunlin.report.base import Event, Level, Task

EVENTS = ("failure", "finish", "stalled", "recovery")
"""What may be asked for."""

DEFAULT_EVENTS = ("failure", "stalled", "recovery")
INTERVAL = 300.0
"""Seconds between two messages of one kind about one pair."""

STALLED_AFTER = 600.0
SHOWN = 5
"""Failures that a message names."""


class Notice(NamedTuple):
    """A message.

    Attributes:
        kind: see the module docstring.
        time: seconds since 1970.
        host: the machine that it comes from.
        subject: one line. text: some more, without the subject.
        fields: plain values for programs.
    """

    kind: str
    time: float
    host: str
    subject: str
    text: tuple[str, ...] = ()
    fields: Mapping[str, Any] = {}


class Notices:
    """A report that decides which news is worth a message.

    Args:
        post: takes a message and returns at once.
        events: words of `EVENTS`.
        host: the machine's name.
        stalled_after: seconds without a count after which a run stands still.
        interval: seconds between two messages of one kind about one pair.
        clock: seconds that never go back. now: seconds since 1970.
    """

    def __init__(
        self,
        post: Callable[[Notice], None],
        events: frozenset[str],
        host: str,
        stalled_after: float = STALLED_AFTER,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._post = post
        self._events = events
        self._host = host
        self._stalled_after = stalled_after
        self._interval = interval
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._sent: dict[tuple[str, int], float] = {}
        self._held: dict[tuple[str, int], tuple[int, Notice]] = {}
        self._moves = self._seen = 0
        self._still_since = clock()
        self._stalled = self._paused = False
        self._flying = 0.0
        self._run: dict[str, Any] | None = None
        self._failing: dict[int, int] = {}
        self._failures: list[str] = []

    # ---- what a run tells ----

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        self._moves += bool(n)

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        if name == "paused":
            self._paused = bool(value)
        elif name == "flying_bytes" and value != self._flying:
            # Under a bandwidth limit a batch of small files may take long, and is counted when it is through.
            self._flying = value
            self._moves += 1

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        return _Moving(self)

    def moved(self, amount: int) -> None:
        """A large file is so many bytes further."""
        self._moves += bool(amount)

    def event(self, event: Event) -> None:
        """See `Report`. Runs begin and end by `run.begins` and `run.ended`, with a field `pair`."""
        if event.name not in ("run.begins", "run.started", "run.ended", "file.failed", "directory.failed"):
            return
        with self._lock:
            if event.name == "run.begins":
                self._begins(event)
            elif event.name == "run.started":
                self._continues(event)
            elif event.name == "run.ended":
                self._ended(event)
            elif len(self._failures) < SHOWN:
                path = event.fields.get("path")
                named = f"{path}: {event.message}" if path and str(path) not in event.message else event.message
                self._failures.append(printable(named))

    def look(self) -> None:
        """Find out whether the run stands still or moves again, and send what was kept back long enough.

        Called every few seconds by whoever has the time.
        """
        with self._lock:
            now = self._clock()
            self._release([key for key in self._held if now - self._sent[key] >= self._interval])
            if self._run is None or self._paused or self._moves != self._seen:
                if self._stalled and self._moves != self._seen:
                    self._stalled = False
                    still = now - self._still_since
                    self._tell("resumed", f"goes on after {_minutes(still)}: {self._pair()}", (), {"seconds": still})
                self._seen, self._still_since = self._moves, now
            elif not self._stalled and now - self._still_since >= self._stalled_after:
                self._stalled = True
                still = now - self._still_since
                lines = ("Nothing was listed, compared or moved in this time. Does a mount or a server not answer?",)
                self._tell("stalled", f"no progress for {_minutes(still)}: {self._pair()}", lines, {"seconds": still})

    def close(self) -> None:
        """The program ends: send what was kept back."""
        with self._lock:
            self._release(list(self._held))

    # ---- what becomes of it ----

    def _release(self, keys: Iterable[tuple[str, int]]) -> None:
        """Send what was kept back, the oldest first."""
        for key in sorted(keys, key=lambda key: self._held[key][1].time):
            number, notice = self._held.pop(key)
            self._sent[key] = self._clock()
            self._post(_with_others(notice, number - 1))

    def _begins(self, event: Event) -> None:
        self._run = dict(event.fields)
        self._failures = []
        self._paused = self._stalled = False
        self._seen, self._still_since = self._moves, self._clock()

    def _continues(self, event: Event) -> None:
        """What the state knows of the pair's last run, by another process perhaps."""
        if event.fields.get("failed_before") and self._run is not None:
            self._failing.setdefault(self._number(), 1)

    def _number(self) -> int:
        return int((self._run or {}).get("pair", 1))

    def _ended(self, event: Event) -> None:
        self._run = {**(self._run or {}), **event.fields}
        number, status = self._number(), str(event.fields.get("status", ""))
        lines = (event.message, *self._failures)
        fields = {**self._run, "errors": list(self._failures)}
        if status == "interrupted":
            self._tell("finish", f"interrupted: {self._pair()}", lines, fields)
        elif event.level >= Level.WARN:
            self._failing[number] = self._failing.get(number, 0) + 1
            word = "failed" if status == "failed" else "some files failed"
            self._tell("failure", f"{word}: {self._pair()}", lines, fields)
        else:
            failed = self._failing.pop(number, 0)
            if failed and "recovery" in self._events:
                self._held.pop(("failure", number), None)
                runs = "a failed run" if failed == 1 else f"{failed} failed runs"
                self._tell("recovery", f"well again after {runs}: {self._pair()}", lines, fields)
            elif int(fields.get("cycle", 0)) <= 1 or not fields.get("idle"):
                word = "differences found" if event.fields.get("exit_code") == 3 else "done"
                self._tell("finish", f"{word}: {self._pair()}", lines, fields)
        self._run, self._stalled = None, False

    def _pair(self) -> str:
        run = self._run or {}
        return printable(run.get("label") or f"{run.get('source', '?')} -> {run.get('destination', '?')}")

    def _tell(self, kind: str, subject: str, lines: tuple[str, ...], fields: Mapping[str, Any]) -> None:
        if {"resumed": "stalled"}.get(kind, kind) not in self._events:
            return
        told = {**(self._run or {}), **fields}
        notice = Notice(kind, self._now(), self._host, f"dunlin on {self._host}: {subject}", lines, told)
        key = kind, self._number()
        now, last = self._clock(), self._sent.get(key)
        others = self._held.pop(key, (0, notice))[0]
        if last is not None and now - last < self._interval:
            self._held[key] = others + 1, notice
            return
        self._sent[key] = now
        self._post(_with_others(notice, others))


class _Moving:
    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    def advance(self, amount: int) -> None:
        self._notices.moved(amount)

    def end(self) -> None:
        self._notices.moved(1)


def _with_others(notice: Notice, number: int) -> Notice:
    if number <= 0:
        return notice._replace(fields={**notice.fields, "suppressed": 0})
    what = "message of this kind was" if number == 1 else "messages of this kind were"
    lines = (*notice.text, f"{number} more {what} not sent since the one before.")
    return notice._replace(text=lines, fields={**notice.fields, "suppressed": number})


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
