"""How much processor time some processes take: cheaper than a look at the whole machine (`pace.load`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping


def processor_seconds(pids: Iterable[int]) -> Mapping[int, float]:
    """Seconds that each of these processes has computed so far, of those that are still there.

    The 14th and 15th field of /proc/PID/stat (proc(5)), in clock ticks; where there is no such file, psutil is asked.
    """
    try:
        tick = os.sysconf("SC_CLK_TCK")
        os.stat("/proc/self/stat")
    except (OSError, ValueError, AttributeError):
        from dunlin.pace.load import Psutil

        return {pid: seconds for pid, (seconds, _) in Psutil().processes(pids).items()}
    found = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()  # the name before may hold anything
            found[pid] = (int(fields[11]) + int(fields[12])) / tick
        except (OSError, IndexError):
            continue
    return found


class Processor:
    """The share of a machine's processors that some processes take.

    Args:
        cores: processors there are.
        seconds: as `processor_seconds`. clock: seconds that never go back.
    """

    def __init__(
        self,
        cores: float,
        seconds: Callable[[Iterable[int]], Mapping[int, float]] = processor_seconds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cores = max(cores, 1e-3)
        self._seconds = seconds
        self._clock = clock
        self._known: tuple[float, Mapping[int, float]] | None = None

    def share(self, pids: Iterable[int]) -> float | None:
        """What they took since the last look, from 0 to 1; None at the first look."""
        now, found, known = self._clock(), self._seconds(pids), self._known
        self._known = now, found
        if known is None or now <= known[0]:
            return None
        used = sum(max(0.0, seconds - known[1].get(pid, seconds)) for pid, seconds in found.items())
        return min(1.0, used / (now - known[0]) / self._cores)
