"""How many workers a busy machine bears: fewer as soon as it is too busy, more again with patience. Pure.

What is steered is a share of the workers that the user allows, a number between 0 and 1 that is kept as it is and
only rounded to look at it: of ten workers x 0.7 leaves 7, then 5, then 3 (7, 4.9, 3.43), and never less than one.
What steers are gauges, each scaled to 0-1 (`pace.load`), looked at every five seconds.

    * Too busy is when any gauge is above the threshold: x 0.7, starting from the workers that are really in use.
    * Calm is when every gauge would stay at or below the threshold with the workers of the next step, x 1.2.
      What the run causes of a gauge is taken to grow in proportion to its workers, what others cause to stay.
    * In between nothing changes.

Why this comes to rest. Say that a gauge reads a + b(n) with n workers, a being what others cause, and b(n), the run's
own part, growing at most in proportion to n. A step from n to m workers then takes it to at most a + b(n) m/n. A step
up is made only if that is not above the threshold T, so it never causes a step down. So as long as a stays as it is,
there is one row of steps down, until the gauge is below T, then one row of steps up, until the next one would not fit,
and then rest. With whole workers m/n is what counts, not 1.2: from one worker to two the run's part may double.

What does not behave so (a disk that seeks, others that come and go with us) can undo a step up. If that happens within
`REGRET` seconds, the workers of that step are a wall: up to it steps are made as ever, but the one that would reach it
waits, `FIRST` seconds at first, and twice as long each time that it is undone again, up to `MOST`. So such a load is
probed ever less often: until `MOST` is reached, steps down grow like log t, not like t. A step to the wall that
stands was right, and the wall is forgotten.

Steps up are slower than steps down in any case: x 1.2 against x 0.7, and one for every two looks instead of each.
It is the AIMD rule of TCP (Chiu and Jain, 1989) with two differences: growth multiplies, since nobody knows how much
there is to share, and it is held back by a forecast; the wall does what the window of the last loss does in CUBIC
(RFC 9438).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

DOWN = 0.7
UP = 1.2
LOOK = 5.0
"""Seconds between two looks at the gauges."""

FIRST = 10.0
MOST = 320.0
REGRET = 60.0


class Step(NamedTuple):
    """A change: of `before` workers to `after`, because of the gauge `gauge` at `value` (both of the fullest one)."""

    before: int
    after: int
    gauge: str
    value: float

    @property
    def is_down(self) -> bool:
        """Whether it slows the run down."""
        return self.after < self.before


class Throttle:
    """The workers to use, between 1 and `most`.

    Args:
        most: workers that the user allows.
        threshold: reading of a gauge above which the machine is too busy, above 0 and up to 1.
        clock: seconds that never go back.
    """

    def __init__(self, most: int, threshold: float, clock: Callable[[], float] = time.monotonic) -> None:
        if most < 1 or not 0 < threshold <= 1:
            raise ValueError(f"nothing can be throttled to {most} workers at {threshold}")
        self.most = most
        self.threshold = threshold
        self._clock = clock
        self._level = float(most)  # workers, before they are rounded
        self._changed = clock()
        self._raised: float | None = None  # when the last step up was made, until it is known whether it stands
        self._wall = most + 1
        self._patience = FIRST

    @property
    def workers(self) -> int:
        """Workers to use now."""
        return _whole(self._level)

    @property
    def engaged(self) -> bool:
        """Whether there are fewer than the user allows."""
        return self._level < self.most

    @property
    def share(self) -> float:
        """Workers to use as a share of those that the user allows."""
        return self._level / self.most

    def sample(
        self, gauges: Mapping[str, float], wanted: int = 0, own: Mapping[str, float] = MappingProxyType({})
    ) -> Step | None:
        """Take note of the gauges; the change that follows, if the whole number of workers changes.

        Args:
            gauges: readings scaled to 0-1, by name.
            wanted: workers that there would be if the machine bore everything, where those are fewer than the user
                allows; 0: as many.
            own: the part of each gauge that the run causes; of one that is not there: all of it.
        """
        if not gauges:
            return None
        if self._raised is not None and self._clock() - self._raised >= REGRET:
            self._raised = None
            if self.workers >= self._wall:
                self._wall, self._patience = self.most + 1, FIRST
        name, value = max(gauges.items(), key=lambda each: each[1])
        wanted = min(wanted or self.most, self.most)
        before = min(self.workers, wanted)
        if value > self.threshold:
            # What is not in use cannot be given up: from the many that are allowed it would take minutes.
            self._down(max(1.0, min(self._level, float(wanted)) * DOWN))
        elif self.engaged:
            level = min(float(self.most), self._level * UP)
            if self._clock() - self._changed < (FIRST if _whole(level) < self._wall else self._patience):
                return None
            more = _whole(level) / before - 1
            if any(read + own.get(gauge, read) * more > self.threshold for gauge, read in gauges.items()):
                return None
            self._up(level if _whole(level) < wanted else float(self.most))
        after = min(self.workers, wanted)
        return Step(before, after, name, value) if after != before else None

    def _down(self, level: float) -> None:
        now = self._clock()
        if self._raised is not None:
            self._wall, self._patience = self.workers, min(MOST, self._patience * 2)
            self._raised = None
        self._level = level
        self._changed = now

    def _up(self, level: float) -> None:
        self._level = level
        self._raised = self._changed = self._clock()


def _whole(level: float) -> int:
    return max(1, round(level))
