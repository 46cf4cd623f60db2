"""What a run has done so far, as one picture that can be drawn: totals, rates, the time that is left.

Rates are over the last ten seconds or so of samples; a sample is taken with every picture. For the time that is left
a file counts as its bytes and `PER_FILE` more, which is about what opening, naming and closing cost: so the bytes
decide where files are large and their number where they are small, and a backlog that holds both does not jump
between two estimates. While the scan goes on more may come, so it is an estimate.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dunlin.report import Event

WINDOW = 10.0
"""Seconds over which rates are taken."""

PER_FILE = 64 << 10
"""What a file costs beside its bytes, in bytes."""

MOVED = ("copied_files", "hard_links", "verified_files", "failed_files", "vanished_files")
"""Counts of files that are no longer pending."""


@dataclass(slots=True, eq=False, repr=False)
class Moving:
    """A large file being moved. `rate`: bytes per second, smoothed; None until two pictures were taken."""

    name: str
    total: int | None
    done: int = 0
    rate: float | None = None
    ended: Callable[[Moving], None] = lambda moving: None
    advanced: Callable[[], None] = lambda: None
    _last: tuple[float, int] | None = None

    def advance(self, amount: int) -> None:
        """`amount` more bytes are done."""
        self.done += amount
        self.advanced()

    def end(self) -> None:
        """The file is over."""
        self.ended(self)

    def sample(self, now: float) -> None:
        """Take the rate since the last sample into account; `now` in seconds."""
        if self._last is None:
            self._last = now, self.done
            return
        before, done = self._last
        if now - before < 0.05:
            return
        current = (self.done - done) / (now - before)
        weight = 1 - math.exp((before - now) / 3)
        self.rate = current if self.rate is None else self.rate + weight * (current - self.rate)
        self._last = now, self.done

    @property
    def left(self) -> float | None:
        """Seconds until it is done, if that can be told."""
        if self.total is None or not self.rate:
            return None
        return max(0.0, (self.total - self.done) / self.rate)


class Picture(NamedTuple):
    """The run at one moment. Rates per second; `left` in seconds, None when it cannot be told.

    `moved_bytes` holds the part of large files that is done, `pending_bytes` does not.
    """

    counts: Counter[str]
    gauges: dict[str, float]
    moving: list[Moving]
    moved_bytes: int
    pending_bytes: float
    byte_rate: float
    file_rate: float
    left: float | None
    seconds: float

    @property
    def scanned(self) -> bool:
        """The scan is complete: what is pending is all there will be."""
        return bool(self.gauges.get("scan_complete"))


class Meter:
    """Collects counts, gauges and tasks. `clock` gives seconds; only differences matter."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.skipped: Counter[str] = Counter()
        self.failures: list[str] = []
        self.moving: list[Moving] = []
        self.started = clock()
        self._samples = deque([(self.started, 0, 0)])
        self._most = 0

    def event(self, event: Event) -> None:
        """Remember what the summary will tell: why names were skipped, the first failures."""
        if event.name == "file.skipped" or event.fields.get("verb") == "skip":
            self.skipped[str(event.fields.get("reason", ""))] += int(event.fields.get("files", 1))
        elif event.name in ("file.failed", "directory.failed") and len(self.failures) < 3:
            self.failures.append(event.message)

    def begin(self, name: str, total: int | None, advanced: Callable[[], None]) -> Moving:
        """A large file begins to move; `advanced` is called whenever it gets on."""
        moving = Moving(name, total, ended=self._end, advanced=advanced)
        self.moving.append(moving)
        return moving

    def _end(self, moving: Moving) -> None:
        # By identity: two files of one name and size may be on their way.
        self.moving[:] = [each for each in self.moving if each is not moving]

    def picture(self) -> Picture:
        """The run now; also a sample for the rates."""
        now = self.clock()
        for each in self.moving:
            each.sample(now)
        flying = sum(each.done for each in self.moving)
        # A finished file leaves `moving` a moment before its bytes are counted; totals do not go back for that.
        self._most = max(self._most, self.counts["copied_bytes"] + flying)
        files = sum(self.counts[name] for name in MOVED)
        samples = self._samples
        samples.append((now, self._most, files))
        while len(samples) > 2 and now - samples[1][0] >= WINDOW:
            samples.popleft()
        before, size, number = samples[0]
        span = now - before
        measured = (self._most - size) / span if span > 0 else 0.0
        byte_rate = self.gauges.get("bytes_per_second") or measured
        file_rate = (files - number) / span if span > 0 else 0.0
        seconds = now - self.started
        pending = max(0.0, self.gauges.get("pending_bytes", 0) - flying)
        work = pending + PER_FILE * self.gauges.get("pending_files", 0)
        speed = byte_rate + PER_FILE * file_rate
        left = 0.0 if not work else work / speed if speed and seconds >= 1 else None
        return Picture(
            self.counts, self.gauges, self.moving, self._most, pending, byte_rate, file_rate, left, seconds
        )
