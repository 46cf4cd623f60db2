"""How many threads a mover should use: grow while waiting dominates and growing pays. Pure.

The facts behind it: on a fast mount four threads of one process take twice the time of one (they fight for the
interpreter's lock); on a mount with 2 ms per call one thread does almost nothing. Which of the two it is shows in
each finished unit: its wall time against the CPU time of its thread.

    * Start with one thread. Growing is considered only while wall time is over `WAITING` (3) times CPU time.
    * Each change is a *trial*. Growing doubles (from `FAR` times CPU time on: by four); it is kept if throughput
      rose by at least `GAIN` (10 %).
      If throughput stayed the same (the link is full, or the interpreter) the old number returns.
      If it fell by more than 10 %, the number shrinks by x 0.7 until the old number or the old throughput is back.
    * When the threads together keep about one core busy the interpreter is full, and waiting for its lock
      looks like waiting for the mount. Then *fewer* threads (x 0.7) are tried, and kept unless that cost 10 %.
    * After a trial that failed nothing is tried for `HOLD` seconds: the world may have changed by then.

Throughput at n threads is n * (work done / wall time spent on it), from units that began after the last change:
a unit that began earlier ran partly beside another number of threads. `NEEDED` such units make a judgement.
Where nothing at all comes out of a trial, it has failed.

A unit may have waited for leave to begin, for a place that only so many units may take at a time. A thread that waits
for that is no sign of a slow mount, so it counts for nothing when growing is considered; but its time is spent, so it
counts in throughput: threads that take turns bring no more than one. `most` says how many could have leave together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

WAITING = 3.0
FAR = 12.0
"""Wall time over CPU time from which the number of threads is not doubled but multiplied by four."""
GAIN = 0.1
LOSS = 0.9
SHRINK = 0.7
BUSY = 0.9
"""Cores that the threads keep busy together from which the interpreter counts as full."""
NEEDED = 3
HOLD = 10.0


class Concurrency:
    """The number of threads to use, between 1 and `cap`. `clock` gives seconds. Threads may share it."""

    def __init__(self, cap: int, clock: Callable[[], float] = time.monotonic) -> None:
        if cap < 1:
            raise ValueError(f"a pool cannot have {cap} threads")
        self._cap = cap
        self._clock = clock
        self._lock = threading.Lock()
        self._target = 1
        self._most = cap
        self._changed = float("-inf")  # when the target last changed
        self._hold = float("-inf")  # until then nothing is tried
        self._trial: tuple[int, float] | None = None  # number of threads and throughput before the trial
        self._reset()

    @property
    def target(self) -> int:
        """How many threads should work now."""
        return self._target

    def sample(self, wall: float, cpu: float, work: float, waited: float = 0.0, most: int | None = None) -> int:
        """Take note of a finished unit and return the new `target`.

        Args:
            wall, cpu: seconds and the thread's CPU seconds that it took.
            work: what it did, in any measure that makes units comparable: calls, or files plus bytes / 64 KiB.
            waited: seconds before these for which it had no leave to begin.
            most: threads beyond which none are added at present; None: only the cap counts.
        """
        with self._lock:
            self._most = self._cap if most is None else most
            if self._clock() - wall - waited >= self._changed:
                self._wall += wall
                self._waited += waited
                self._cpu += cpu
                self._work += work
                self._units += 1
                if self._units >= NEEDED and self._wall > 0:
                    self._judge()
            return self._target

    def _judge(self) -> None:
        throughput = self._target * self._work / (self._wall + self._waited)
        if self._trial is not None:
            before, reference = self._trial
            if self._target > before and throughput < reference * LOSS:
                self._go(max(before, int(self._target * SHRINK)))
                if self._target == before:
                    self._end_trial()
                return
            # A smaller step than a doubling (the last one, up to the cap) has to gain in proportion.
            more = self._target > before
            limit = 1 + GAIN * (self._target / before - 1) if more else LOSS
            if throughput < reference * limit or (more and not throughput):
                self._go(before)
                self._end_trial()
                return
            self._trial = None
        self._propose(throughput)

    def _propose(self, throughput: float) -> None:
        """Begin the next trial, if there is anything to try."""
        busy = self._target * self._cpu / (self._wall + self._waited)
        waiting = self._wall > WAITING * self._cpu
        far = self._wall > FAR * self._cpu
        self._reset()
        if self._clock() < self._hold:
            return
        if self._target > 1 and busy >= BUSY:
            self._trial = (self._target, throughput)
            self._go(max(1, int(self._target * SHRINK)))
        elif waiting and self._target < (most := min(self._cap, self._most)):
            self._trial = (self._target, throughput)
            # Next to nothing but waiting: doubling would take too many rounds of units that are slow themselves.
            self._go(min(most, self._target * (4 if far else 2)))

    def _end_trial(self) -> None:
        self._trial = None
        self._hold = self._clock() + HOLD

    def _go(self, target: int) -> None:
        self._target = target
        self._changed = self._clock()
        self._reset()

    def _reset(self) -> None:
        self._wall = self._cpu = self._work = self._waited = 0.0
        self._units = 0
