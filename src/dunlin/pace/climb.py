"""How many requests to have under way to a store: as many as bring more, and no more. Pure.

What is to be found. With n requests under way that take t seconds each, n / t are finished in a second (Little's law),
so throughput tells of latency as well: while the store has something to spare, t stays and throughput grows with n; as
soon as something is full (its servers, the link, our processor) throughput stays and t grows with n. Where
one passes into the other is the knee. Below it time is wasted, above it requests only wait in somebody's queue, where
they are in the way of others, and in the end time out. How steep the curve is at n is its elasticity: the growth of
throughput / the growth of n. It is 1 far below the knee and 0 far above it, and where it is 1/2, throughput / latency
is at its greatest (Kleinrock 1979: that is the "power" of a network). A sync wants its files rather than power, so the
least elasticity worth a step up is lower here, `WORTH`; and what a step down may cost is next to nothing, `FREE`.
Between the two nothing is done, which keeps noise from moving anything to and fro.

Nobody knows the curve, so it is tried out. Throughput is measured at a level, then at another one (a *trial*), and the
other is kept or not:

    up    kept if throughput grew by more than `WORTH` of what the requests under way did
    down  kept if it fell by less than `FREE` of that

What counts as work: a request, and so many bytes of content as take about as long (`PIECE`); whichever of the two is
scarce, the sum shows it. Growth is judged against noise, which shows in how much the samples of one level differ: as
long as a difference is not clear of it, more samples are taken, and if it is not after `MOST_SAMPLES` the step is
undone. (Half as clear is enough for a step down: what it could cost lies much farther from what it may.) A sample
lasts until as many requests have ended as are under way, so that it holds whole requests, also where all of them end at
once; what ends just after a change was begun before it and does not count.

Trials come in a fixed order (`_FIRST`, `_AFTER`): wide steps up while they pay; then wide steps down while they cost
nothing; then narrow ones. When none is left, the level stands, and is tried again after `REST` seconds, up and
down; each time that this leads nowhere the rest becomes twice as long, up to `MOST_REST`. A step down that was
clearly wrong is only tried again once that is reached: it is the one kind of trial that costs something, a
third of the throughput for two seconds. A throughput that has changed by a quarter begins the search anew.

A step up after which the store refuses (429, 503, no answer in time) has failed, whatever it brought, and one that
was kept just before is undone. Halving on refusals is another's business, and a quicker one (`pace.gate`), as is the
load of this machine (`pace.throttle`): while they let fewer through than the level, nothing here is measured
("held"), and the same goes for a limit on bandwidth, and where fewer requests than allowed are wanted at all.

BBR (Cardwell et al. 2016) probes up and down around an operating point in the same way, and gradient descent on
concurrency is what the authors of Vegas (Brakmo and Peterson 1994) did with round-trip times; here throughput is used,
because latency depends on the sizes of the files, of which some are a thousand times larger than others.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

START = 32
LEAST = 4
MOST = 128
"""Requests under way in the whole run: at the beginning, and how few and how many there may become."""

PIECE = 64 << 10
"""Bytes of content that count as much as a request does."""

WORTH = 0.3
FREE = 0.1
"""Elasticity above which a step up is kept, and below which a step down is."""

SAMPLES = 3
MOST_SAMPLES = 10
"""Samples for a judgement: at least, and at most."""

SPAN = 0.4
"""Seconds that a sample lasts at least."""

WANTED = 0.6
"""Share of the requests allowed that must be under way: below that, something else decides."""

NOISE = 0.01
"""The least that two measurements are taken to differ by for no reason."""

REST = 15.0
MOST_REST = 240.0
CHANGED = 0.25
"""Change of throughput by which the search begins anew."""

_UP, _MORE, _DOWN, _LESS = 1.5, 1.2, 0.7, 0.85
_FIRST = (_UP, _DOWN, _LESS, _MORE)
_AGAIN = (_MORE, _DOWN, _LESS)
_AFTER = {_UP: (_UP, _MORE, _LESS), _MORE: (_UP, _MORE), _DOWN: (_DOWN, _LESS), _LESS: (_LESS,)}
"""Trials at the beginning, after a rest, and after each kept one: what led here need not be undone to find out."""


class Seen(NamedTuple):
    """What went on for a while.

    Attributes:
        seconds: how long.
        requests: how many ended. moved: bytes of content.
        under_way: how many there were at a time, on average.
        refused: the store asked for less.
        held: something else than the level decided how many there were.
    """

    seconds: float
    requests: int
    moved: int
    under_way: float
    refused: bool = False
    held: bool = False


class Move(NamedTuple):
    """Another level stands now, and why."""

    before: int
    after: int
    why: str


class _Samples:
    """Throughput at one level, and how many requests were under way."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._counts: list[float] = []
        self._open = (0.0, 0, 0.0, 0.0)  # seconds, requests, work, seconds of all requests

    def add(self, seen: Seen) -> None:
        """Take in what was seen; it becomes part of the sample that is open."""
        seconds, requests, work, stayed = self._open
        seconds += seen.seconds
        requests += seen.requests
        work += seen.requests + seen.moved / PIECE
        stayed += seen.under_way * seen.seconds
        self._open = seconds, requests, work, stayed
        if seconds >= SPAN and requests >= max(1.0, seen.under_way):
            self.rates = [*self.rates[1 - MOST_SAMPLES :], work / seconds]
            self._counts = [*self._counts[1 - MOST_SAMPLES :], stayed / seconds]
            self._open = (0.0, 0, 0.0, 0.0)

    @property
    def under_way(self) -> float:
        """Requests at a time, on average."""
        return sum(self._counts) / max(1, len(self._counts))

    @property
    def full(self) -> bool:
        """Whether there has to be one."""
        return len(self.rates) >= MOST_SAMPLES

    @property
    def rate(self) -> float:
        """Work in a second."""
        return sum(self.rates) / len(self.rates)

    @property
    def spread(self) -> float:
        """The squares of what the samples are off by, as shares of `rate`, added up."""
        mean = self.rate
        return sum((rate / mean - 1) ** 2 for rate in self.rates)


def noise_between(here: _Samples, there: _Samples) -> float:
    """By how much rates may differ, as a share, for no reason: the standard error, more where few samples say it."""
    n, m = len(here.rates), len(there.rates)
    return max(NOISE, sqrt((here.spread + there.spread) / (n + m - 2) * (1 / n + 1 / m)) * (1 + 2 / (n + m)))


class Climb:
    """The requests to have under way, between `least` and `most`.

    Args:
        start: with how many to begin.
    """

    def __init__(self, start: int = START, least: int = LEAST, most: int = MOST) -> None:
        if not 1 <= least <= start <= most:
            raise ValueError(f"from {start} requests nobody comes to between {least} and {most}")
        self._least = least
        self._most = most
        self._stands = self._level = start
        self._before = 0  # from where the last kept step led up, as long as a refusal undoes it
        self._here = _Samples()  # at the level that stands
        self._there = _Samples()  # at the level of the trial
        self._settling = 0.0  # requests that were begun at another level
        self._trials: tuple[float, ...] = _FIRST
        self._step = _UP  # of the trial
        self._costly: set[float] = set()  # steps down that were clearly wrong here
        self._rested = self._resting = 0.0
        self._rest = REST
        self._known = 0.0  # throughput when the rest began
        self._from = start  # where the last rest was

    @property
    def level(self) -> int:
        """Requests to have under way now."""
        return self._level

    @property
    def stands(self) -> int:
        """The same without what is only tried."""
        return self._stands

    @property
    def most(self) -> int:
        """How many there may become."""
        return self._most

    def bound(self, most: int) -> Move | None:
        """Have no more than that from now on."""
        self._most = max(self._least, most)
        if self._level > self._most:
            self._undo()
        if self._stands <= self._most:
            return None
        return self._keep(self._most, "the files are large")

    def sample(self, seen: Seen) -> Move | None:
        """Take note of what was seen since the last call, all of it at `level`; the move that follows, if any."""
        if seen.refused:
            return self._refused()
        if seen.held:
            if self._level != self._stands:
                self._trials = (self._step, *self._trials)
            self._undo()
            return None
        if self._settling > 0:
            self._settling -= max(seen.requests, 0)
            return None
        if self._level != self._stands:
            self._there.add(seen)
            return self._judge() if len(self._there.rates) >= SAMPLES else None
        self._here.add(seen)
        if self._resting > 0:
            self._wait(seen.seconds)
        elif len(self._here.rates) > SAMPLES and self._here.under_way >= WANTED * self._stands:
            self._try()
        return None

    def _try(self) -> None:
        """Begin the next trial, or rest."""
        while self._trials:
            step, self._trials = self._trials[0], self._trials[1:]
            level = self._stepped(step)
            if level != self._stands:
                self._change(level)
                self._step = step
                return
        if max(self._stands, self._from) >= 1.4 * min(self._stands, self._from):
            self._rest = REST  # this is another place
        self._from = self._stands
        self._resting, self._rested, self._known = self._rest, 0.0, self._here.rate
        self._rest = min(MOST_REST, self._rest * 2)

    def _stepped(self, step: float) -> int:
        level = round(self._stands * step)
        level = max(level, self._stands + 1) if step > 1 else min(level, self._stands - 1)
        return max(self._least, min(self._most, level))

    def _wait(self, seconds: float) -> None:
        self._rested += seconds
        wanted = self._here.under_way >= WANTED * self._stands
        if self._rested >= REST and wanted and self._here.full and abs(self._here.rate / self._known - 1) > CHANGED:
            self._resting, self._rest, self._trials = 0.0, REST, _FIRST
            self._costly.clear()
        elif self._rested >= self._resting:
            self._resting, self._before = 0.0, 0
            spared = self._costly if self._rest < MOST_REST else ()
            self._trials = tuple(step for step in _AGAIN if step not in spared)

    def _judge(self) -> Move | None:
        here, there = self._here, self._there
        change = there.rate / here.rate - 1
        noise = noise_between(here, there)
        up = self._step > 1
        step = self._level / self._stands - 1
        # Where fewer are wanted than may be, more of them change nothing.
        follows = there.under_way / here.under_way - 1 >= step / 4 if up else True
        excess = change - (WORTH if up else FREE) * step if follows else -1.0
        if abs(excess) <= noise and not there.full:
            return None
        if excess <= (noise if up else noise / 2):
            if not up and excess < -noise:
                self._costly.add(self._step)
            self._undo()
            return None
        why = "throughput grows" if up else "fewer bring as much"
        self._before = self._stands if up else 0
        return self._keep(self._level, why)

    def _refused(self) -> Move | None:
        before, self._before = self._before, 0
        trying = self._level > self._stands
        self._undo()
        if trying or not before:
            return None
        return self._keep(before, "the store refuses")

    def _keep(self, level: int, why: str) -> Move:
        """Let another level stand."""
        move = Move(self._stands, level, why)
        kept = self._level == level
        self._stands = level
        self._costly.clear()
        if kept:
            self._here, self._trials = self._there, _AFTER[self._step]
            self._there = _Samples()
        else:
            self._trials = ()
            self._change(level)
        self._resting = 0.0
        return move

    def _undo(self) -> None:
        """End a trial, and forget what was measured: it was at another level, or something else decided."""
        self._change(self._stands)

    def _change(self, level: int) -> None:
        if level == self._stands:
            self._here = _Samples()
        self._there = _Samples()
        self._settling = float(max(level, self._level))
        self._level = level
