"""What a run has done so far, as one picture that can be drawn: totals, rates, the time that is left.

Rates are over the last ten seconds or so of samples; a sample is taken with every picture. They begin with the first
byte, so that the time until then does not make a run look slow, and their clock stands still in a pause, so that a run
that goes on is as fast as it was. What share is done and how long the rest takes is told by `pace.left`, as in the
dashboard. While the scan goes on more may come, so it is the least that is left.

A mover tells how far it is with a large file, that it is through, and a moment later, with all else of its unit, what
became of it. The gauge `flying_bytes` knows of bytes that are under way otherwise: those of small files under a limit.
It holds for the moment it comes, so what was counted then is added to it at once. In between the bytes belong to a file
that has landed: they are moved and not pending. If the file then fails or is begun again they were moved for nothing,
and totals go back by them.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from dunlin.pace.left import seconds_left, share
from dunlin.report import Event

WINDOW = 10.0
"""Seconds over which rates are taken."""

SMOOTH = 3.0
"""Seconds after which a sample of a file's rate counts for a third."""

LANDED = 64
"""Files of which is remembered that they landed and are not counted yet."""

MOVED = ("copied_files", "hard_links", "verified_files", "failed_files", "vanished_files")
"""Counts of files that are no longer pending."""


@dataclass(slots=True, eq=False, repr=False)
class Moving:
    """A large file being moved. `rate`: bytes per second, smoothed; None until it got on.

    `attempt`: from 1; more when bytes of the file were moved for nothing before.
    """

    name: str
    total: int | None
    done: int = 0
    rate: float | None = None
    ended: Callable[[Moving], None] = lambda moving: None
    advanced: Callable[[], None] = lambda: None
    attempt: int = 1
    _last: tuple[float, int] | None = None
    _weighed: tuple[float, float] = (0.0, 0.0)

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
        span = now - before
        if span < 0.05:
            return
        # Bytes and seconds fade alike: at first this is the mean since the beginning, without a bias to one sample.
        fade = math.exp(-span / SMOOTH)
        moved, took = self._weighed
        self._weighed = moved * fade + self.done - done, took * fade + span
        self._last = now, self.done
        if self.done:
            self.rate = self._weighed[0] / self._weighed[1]

    @property
    def left(self) -> float | None:
        """Seconds until it is done, if that can be told."""
        if self.total is None or not self.rate:
            return None
        return max(0.0, (self.total - self.done) / self.rate)


class Picture(NamedTuple):
    """The run at one moment. Rates per second; `left` in seconds, None when it cannot be told.

    `moved_bytes` holds the part of large files that is done, `pending_bytes` does not. `facts`: what else is to be
    known, in words, by what it is about; `share` of the work that is done, 0 to 1; `still`: seconds since anything
    got on, a pause not counted.
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
    facts: Mapping[str, str] = {}
    share: float = 0.0
    still: float = 0.0

    @property
    def scanned(self) -> bool:
        """The scan is complete: what is pending is all there will be."""
        return bool(self.gauges.get("scan_complete"))

    @property
    def paused(self) -> bool:
        """Nothing moves until somebody says so."""
        return bool(self.gauges.get("paused"))


class Meter:
    """Collects counts, gauges and tasks. `clock` gives seconds; only differences matter.

    `facts`: see `Picture`; whoever made the meter may add some.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.facts: dict[str, str] = {}
        self.skipped: Counter[str] = Counter()
        self.failures: list[str] = []
        self.moving: list[Moving] = []
        self.started = clock()
        self._looked = self.started
        self._rested = 0.0  # seconds that count for nobody: pauses
        self._resting = False
        self._samples = deque([(self.started, 0, 0)])
        self._landed: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        self._wasted = 0
        self._most = 0
        self._flown = 0  # bytes copied and under way when the gauge last came
        self._void = 0  # of those under way: moved for nothing in this run
        self._progress: tuple[float, ...] = ()
        self._progressed = self.started
        self._workers = 0

    def gauge(self, name: str, value: float) -> None:
        """The value of `name` is now `value`; see `Report`."""
        self.gauges[name] = value
        if name == "flying_bytes":
            self._flown = self.counts["copied_bytes"] + max(0, int(value) - self._void)

    def event(self, event: Event) -> None:
        """Remember what the view and the summary will tell: what holds the run back, what was skipped, what failed."""
        name, fields = event.name, event.fields
        if name == "file.skipped" or fields.get("verb") == "skip":
            self.skipped[str(fields.get("reason", ""))] += int(fields.get("files", 1))
        elif name in ("file.failed", "directory.failed"):
            self._waste(str(fields.get("path", "")))
            if len(self.failures) < 3:
                self.failures.append(event.message)
        elif name == "run.begins":
            self._void = 0
        elif name == "stage.begins":
            self._stage(event)
        elif name.startswith("throttle."):
            self._throttle(event)
        elif name.startswith("memory."):
            self.facts.pop("memory", None)
            if words := _MEMORY.get(name):
                self.facts["memory"] = words

    def _stage(self, event: Event) -> None:
        """A stage of its own begins: what was done before it belongs to others."""
        self.facts |= {"stage": event.message, "unit": str(event.fields.get("unit", ""))}
        self.gauges["scan_complete"] = 1
        self.counts["copied_files"] = self.counts["copied_bytes"] = 0
        self._most = 0
        self._samples = deque([(self.clock() - self._rested, 0, 0)])

    def _throttle(self, event: Event) -> None:
        fields = event.fields
        if event.name == "throttle.released":
            self._workers = 0
            self.facts.pop("throttle", None)
            return
        with suppress(KeyError, TypeError, ValueError):  # news of another version is no reason to end a run
            self._workers = self._workers or int(fields["before"])
            cause = f"{fields['gauge']} was {float(fields['value']):.0%}"
            self.facts["throttle"] = f"workers {self._workers} -> {fields['workers']} ({cause})"

    def begin(self, name: str, total: int | None, advanced: Callable[[], None]) -> Moving:
        """A large file begins to move; `advanced` is called whenever it gets on."""
        moving = Moving(name, total, ended=self._end, advanced=advanced)
        if self._waste(name):
            self._attempts[name] = moving.attempt = self._attempts.get(name, 1) + 1
        self.moving.append(moving)
        return moving

    def _waste(self, name: str) -> bool:
        """What was moved of a file was for nothing; whether anything was."""
        amount = self._landed.pop(name, 0)
        self._wasted += amount
        return amount > 0

    def _end(self, moving: Moving) -> None:
        # By identity: two files of one name and size may be on their way.
        left = [each for each in self.moving if each is not moving]
        if len(left) == len(self.moving):
            return
        self.moving[:] = left
        if moving.done:
            self._landed[moving.name] = moving.done
            if len(self._landed) > LANDED:
                del self._landed[next(iter(self._landed))]

    def rest(self, seconds: float) -> None:
        """The process stood still for so long: that is nobody's speed."""
        self._rested += seconds
        self._looked += seconds

    def picture(self) -> Picture:
        """The run now; also a sample for the rates."""
        wall = self.clock()
        if self._resting:
            self._rested += wall - self._looked
        self._looked = wall
        self._resting = paused = bool(self.gauges.get("paused"))
        now = wall - self._rested
        for each in self.moving:
            each.sample(now)
        flying = sum(each.done for each in self.moving)
        if self._wasted:
            self._go_back()
        # A finished file leaves `moving` a moment before its bytes are counted; totals do not go back for that.
        self._most = max(self._most, self.counts["copied_bytes"] + flying, self._flown)
        files = sum(self.counts[name] for name in MOVED)
        before, size, number = self._sample(now, files)
        span = now - before
        measured = max(0.0, (self._most - size) / span) if span > 0 else 0.0
        byte_rate = self.gauges.get("bytes_per_second") or measured
        file_rate = (files - number) / span if span > 0 else 0.0
        pending = max(0.0, self.gauges.get("pending_bytes", 0) + self.counts["copied_bytes"] - self._most)
        waiting = self.gauges.get("pending_files", 0)
        limit = self.gauges.get("limit", 0)
        left = seconds_left(waiting, pending, file_rate, byte_rate, limit)
        if left and (span < 1 or paused):
            left = None
        if paused:
            byte_rate = file_rate = 0.0
        return Picture(
            self.counts, self.gauges, self.moving, self._most, pending, byte_rate, file_rate, left,
            wall - self.started, self.facts, share(files, self._most, waiting, pending, limit), self._still(now),
        )  # fmt: skip

    def _go_back(self) -> None:
        """Take what was moved for nothing out of the total and out of the samples: it is no negative speed."""
        gone = min(self._wasted, self._most)
        self._most -= gone
        self._flown -= self._wasted
        self._void += self._wasted
        self._wasted = 0
        self._samples = deque((when, max(0, size - gone), files) for when, size, files in self._samples)

    def _sample(self, now: float, files: int) -> tuple[float, int, int]:
        """Add the present to the samples; returns the one that rates begin with."""
        samples = self._samples
        samples.append((now, self._most, files))
        window = WINDOW if self._most or files else 1.0
        while len(samples) > 2 and now - samples[1][0] >= window:
            samples.popleft()
        return samples[0]

    def _still(self, now: float) -> float:
        """Seconds since anything got on."""
        counts = self.counts
        progress = (self._most, *(float(counts[name]) for name in _PROGRESS))
        if progress != self._progress:
            self._progress, self._progressed = progress, now
        return now - self._progressed


_PROGRESS = (*MOVED, "scanned_files", "scanned_directories", "equal_files", "deleted_files", "deleted_directories")

_MEMORY = {
    "memory.tight": "memory is short, less is under way",
    "memory.full": "memory is at its limit, one file at a time",
}
