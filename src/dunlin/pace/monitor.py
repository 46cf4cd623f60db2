"""The statistics monitor of a crawl: limits of the window that follow how much of them is used. Pure.

Theory. The limits of the window are guesses about the machine (`pace.window`); the monitor corrects them by what it
sees. Every `LOOK` seconds it takes a sample of the resource that is used most (names held, directories being listed,
resident memory; each as a share of its limit), which lies in one of four zones:

    UNDERUTILIZED     below 40 %, while directories that movers have been given wait for a slot: limits x 1.3
    OPTIMAL           from 40 % on: nothing
    SATURATED         from 80 % on: nothing, unless throughput falls: then limits / 1.3
    OVERSATURATED     above 100 %: limits / 1.3

*Why it does not swing.* A single sample says little: the limits are moved only when `consistency` samples in a row lie
in the same zone, and not before `cooldown` seconds after the last change, whose effect has to show first; a change
begins the count anew. Between the zone that raises and the one that lowers lie two in which nothing is done: a step up
would have to multiply what is used by 3.25 (from 40 % of a limit to more than all of 1.3 of it) to be undone, a step
down to divide it by 1.9. Nothing is raised that nobody waits for.

*Throughput falls* when each of the newer half of those samples is below `FALL` times each of the older half: noise does
not look like that. Perhaps more directories at a time have cost more than they brought; perhaps the crawl has only come
to where the files are large. So that step is a trial: if the samples that follow it are no better, it is taken back.

*Bounds.* Directories stay between 1 and `Bounds.directories`, files between `Bounds.least` and `Bounds.files`: what the
user allows, and else what memory and threads allow. A monitor whose limits are at a bound changes nothing and tells
nothing.

It owns the two limits of the window and nothing else: how many files are in flight is the governor's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dunlin.pace.sizes import format_count

LOOK = 2.0
"""Seconds between two samples."""

CONSISTENCY = 10
COOLDOWN = 120.0

STEP = 1.3
LOW, HIGH, FULL = 0.4, 0.8, 1.0
FALL = 0.8

UNDERUTILIZED, OPTIMAL, SATURATED, OVERSATURATED = "UNDERUTILIZED", "OPTIMAL", "SATURATED", "OVERSATURATED"
FALLING = "THROUGHPUT FALLING"
NO_GAIN = "NO GAIN"


class Adjustment(NamedTuple):
    """A change of the limits.

    Attributes:
        reason: "UNDERUTILIZED", "OVERSATURATED", "THROUGHPUT FALLING", or "NO GAIN" where a step is taken back.
        before, after: names that may be held.
        directories_before, directories_after: that may be listed at a time.
    """

    reason: str
    before: int
    after: int
    directories_before: int
    directories_after: int

    @property
    def text(self) -> str:
        """``ADJUSTMENT: UNDERUTILIZED - 6M -> 7.8M``, and the directories where those have changed."""
        parts = []
        if self.before != self.after:
            before, after = format_count(self.before), format_count(self.after)
            if before == after:  # a step that a bound has cut short
                before, after = f"{self.before:,}", f"{self.after:,}"
            parts.append(f"{before} -> {after}")
        if self.directories_before != self.directories_after:
            parts.append(f"{self.directories_before} -> {self.directories_after} directories")
        return f"ADJUSTMENT: {self.reason} - {', '.join(parts)}"


class Bounds(NamedTuple):
    """How far the limits may go: most directories, most names held, and the fewest of those."""

    directories: int
    files: int
    least: int = 1


class Sample(NamedTuple):
    """What the monitor sees.

    Attributes:
        held, active: names held, directories being listed.
        memory: resident memory as a share of its limit; 0 where there is none.
        waits: directories wait for a slot. Those in the queue only wait for their turn: there nearly always are some.
        throughput: files per second since the last sample.
    """

    held: int = 0
    active: int = 0
    memory: float = 0.0
    waits: bool = False
    throughput: float = 0.0


class Monitor:
    """Moves two limits between bounds.

    Args:
        directories, files: the limits to begin with.
        bounds: how far they may go.
        consistency: samples in one zone that it takes. cooldown: seconds between two changes.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        directories: int,
        files: int,
        bounds: Bounds,
        consistency: int = CONSISTENCY,
        cooldown: float = COOLDOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directories = directories
        self.files = files
        self._bounds = bounds
        self._consistency = max(1, consistency)
        self._cooldown = cooldown
        self._clock = clock
        self._changed = float("-inf")
        self._zone = ""
        self._rates: deque[float] = deque(maxlen=max(1, consistency))
        self._trial: tuple[float, int, int] | None = None  # files per second, and limits, before a step on trial
        self.adjustments = 0

    def sample(self, sample: Sample) -> Adjustment | None:
        """Take note of a sample; the change of the limits that follows, if any."""
        zone = zone_of(self.utilisation(sample), sample.waits)
        if zone != self._zone:
            self._zone = zone
            self._rates.clear()
        self._rates.append(sample.throughput)
        if len(self._rates) < self._consistency or self._clock() - self._changed < self._cooldown:
            return None
        if self._trial is not None and (back := self._judged()) is not None:
            return back
        if zone == UNDERUTILIZED:
            return self._step(zone, STEP)
        if zone == OVERSATURATED:
            return self._step(zone, 1 / STEP)
        if zone == SATURATED and falls(self._rates):
            before = min(self._rates), self.files, self.directories
            step = self._step(FALLING, 1 / STEP)
            self._trial = before if step is not None else None
            return step
        return None

    def _judged(self) -> Adjustment | None:
        """The end of a trial: the step back, if it brought nothing."""
        assert self._trial is not None
        (rate, files, directories), self._trial = self._trial, None
        if _mean(self._rates) > rate / FALL:
            return None
        return self._move(NO_GAIN, files, directories)

    def utilisation(self, sample: Sample) -> float:
        """How much of the limit of the scarcest resource is used."""
        return max(sample.held / max(1, self.files), sample.active / max(1, self.directories), sample.memory)

    def _step(self, reason: str, factor: float) -> Adjustment | None:
        aim = self.directories * factor
        if factor > 1:
            aim = max(self.directories + 1, round(aim))  # rounding would keep a single directory single for ever
        return self._move(reason, round(self.files * factor), int(aim))

    def _move(self, reason: str, files: int, directories: int) -> Adjustment | None:
        before = self.files, self.directories
        self.files = _within(min(self._bounds.least, self.files), files, max(self._bounds.files, self.files))
        self.directories = _within(1, directories, max(self._bounds.directories, self.directories))
        if (self.files, self.directories) == before:
            return None
        self.adjustments += 1
        self._changed = self._clock()
        self._rates.clear()
        return Adjustment(reason, before[0], self.files, before[1], self.directories)


def zone_of(utilisation: float, waits: bool) -> str:
    """The zone of a sample; where nobody waits, too little use is as good as any."""
    if utilisation > FULL:
        return OVERSATURATED
    if utilisation >= HIGH:
        return SATURATED
    return UNDERUTILIZED if utilisation < LOW and waits else OPTIMAL


def falls(rates: Sequence[float]) -> bool:
    """Whether every rate of the newer half is well below every one of the older half."""
    older, newer = list(rates)[: len(rates) // 2], list(rates)[(len(rates) + 1) // 2 :]
    return bool(older) and max(newer) < FALL * min(older)


def _mean(rates: Sequence[float]) -> float:
    return sum(rates) / len(rates)


def _within(least: int, number: int, most: int) -> int:
    return max(least, min(number, most))
