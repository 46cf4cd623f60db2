"""A command watched from outside: processor time and resident memory of all of its processes, as a series.

`bench.measure` keeps the highest value; a limit that is to hold *over a minute* and in *every window* needs all values.
Processor time is that of the kernel's clock of each process (`clock_getcpuclockid`), which counts all threads to the
nanosecond; what a process had used when it was last seen stays counted after its end.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from bench.measure import descendants, proportional, resident

EVERY = 0.05
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Look:
    """At a moment (seconds of the monotonic clock): CPU seconds used so far, bytes resident, bytes of PSS."""

    at: float
    cpu: float
    resident: int
    proportional: int


class Outside(threading.Thread):
    """Watches all below the process that its call names, from that call on; a `watch` of `bench.measure.run`.

    Args:
        stop_after: seconds after which the command is asked to end (SIGTERM); None: it ends by itself.
    """

    def __init__(self, stop_after: float | None = None) -> None:
        super().__init__(daemon=True)
        self._stop_after = stop_after
        self._guard = 0
        self._over = threading.Event()
        self._cpu: dict[int, float] = {}
        self.looks: list[Look] = []

    def __call__(self, guard: int) -> None:
        self._guard = guard
        self.start()

    def run(self) -> None:
        begun = time.monotonic()
        asked = False
        while not self._over.wait(EVERY):
            pids = descendants(self._guard)
            if not pids:
                if self.looks:
                    return
                continue
            for pid in pids:
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), cpu_seconds(pid))
            memory = sum(map(resident, pids)), sum(map(proportional, pids))
            self.looks.append(Look(time.monotonic(), sum(self._cpu.values()), *memory))
            if self._stop_after is not None and not asked and time.monotonic() - begun > self._stop_after:
                asked = True
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pids[0], signal.SIGTERM)

    def end(self) -> None:
        """Watch no longer."""
        self._over.set()
        self.join()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all of its threads, without its children; 0 when it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): the clock of a process by its number
    except OSError:
        return 0.0


def mean_rate(looks: list[Look]) -> float:
    """CPU seconds per second from the first look to the last; the first is taken to have begun with nothing used."""
    return looks[-1].cpu / (looks[-1].at - looks[0].at + EVERY)


def busiest(looks: list[Look], window: float) -> float:
    """The most CPU seconds per second in any window of so many seconds, which begins and ends at looks."""
    most, first = 0.0, 0
    for look in looks:
        if look.at - looks[first].at < window:
            continue
        while look.at - looks[first + 1].at >= window:
            first += 1
        most = max(most, (look.cpu - looks[first].cpu) / (look.at - looks[first].at))
    return most


def mean_resident(looks: list[Look]) -> float:
    """Bytes resident on average; looks come at about the same distance."""
    return sum(look.resident for look in looks) / len(looks)
