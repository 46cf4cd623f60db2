"""The load of the machine, as a few gauges scaled to 0-1.

    cpu       how much of the processors that the run may use is busy, whoever keeps them so
    memory    how much of the machine's memory, or of the control group's, is not available
    resident  resident memory of the run's processes / the limit on it
    iowait    how much of the processors' time passed waiting for disks
    network   the busiest interface whose speed is known, in its busier direction / that speed

Of each gauge it is also known, or assumed, how much of it the run itself causes: that part grows with its workers.
Processor time and memory of the run's processes are measured; disks and network are assumed to be the run's alone.
What lies between resident memory and its limit is planned (`jobs.budget`), so workers do not change it.

A gauge is the mean since the last look, which is what the two readings of a counter give. A network whose speed nobody
knows has no gauge, so it never slows a run down; the interface tells it, or `--link-speed`. The loopback is no network.

Resident memory is the sum over the processes (RSS), as tools show it. Pages that forked processes share are then
counted once for each, so the truth is lower: a limit that holds for the sum holds in any case.

What a look costs is said in docs/throttling.md, and is paid once in five seconds; psutil is loaded by the first one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from dunlin.pace.machine import memory_share

LOOPBACK = ("lo", "lo0")

NO_WORK = frozenset({"idle", "iowait", "guest", "guest_nice"})
"""Times of a processor in which it does nothing, or that are part of another one: a guest's is the user's, too."""


class Times(NamedTuple):
    """Seconds since the machine started, summed over processors."""

    busy: float
    iowait: float
    total: float


class Traffic(NamedTuple):
    """Bytes that an interface has sent and received; `speed` in bytes per second, 0 when unknown."""

    sent: int
    received: int
    speed: int


class Probe(Protocol):
    """Where the figures come from."""

    def times(self) -> Times:
        """Of the processors that this process may use."""

    def memory(self) -> tuple[float, int]:
        """The share of memory that is not available, and bytes of memory in all."""

    def processes(self, pids: Iterable[int]) -> Mapping[int, tuple[float, int]]:
        """Seconds of processor time and resident bytes of each; those that have ended are not there."""

    def traffic(self) -> Mapping[str, Traffic]:
        """By interface."""


class Load(NamedTuple):
    """One look. `gauges` are what may slow a run down; the rest is for the record.

    Attributes:
        gauges: readings from 0 to 1 by name; a gauge without a reading is not there.
        own: the part of each that the run causes.
        resident: bytes of memory of the run's processes.
        network: bytes per second over all interfaces, both directions.
    """

    gauges: Mapping[str, float]
    own: Mapping[str, float]
    resident: int
    network: float


class Gauges:
    """Looks at the machine.

    Args:
        limit: bytes of resident memory that the run may take; 0: as many as it likes.
        link: bytes per second of the network, 0: as the interfaces say.
        probe: where figures come from; None: psutil.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        limit: int = 0,
        link: int = 0,
        probe: Probe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._link = link
        self.probe: Probe = probe or Psutil()
        self._clock = clock
        self._before = self.probe.times(), self.probe.traffic(), clock()
        self._processes: Mapping[int, tuple[float, int]] = {}

    def look(self, pids: Iterable[int]) -> Load:
        """The load since the last look, or since the gauges were made.

        Args:
            pids: the run's processes.
        """
        times, traffic, then = self._before
        now = self._clock()
        self._before = new_times, new_traffic, _ = self.probe.times(), self.probe.traffic(), now
        known, self._processes = self._processes, self.probe.processes(pids)
        used = sum(cpu - known.get(pid, (cpu, 0))[0] for pid, (cpu, _) in self._processes.items())
        resident = sum(held for _, held in self._processes.values())
        memory, whole = self.probe.memory()
        gauges = {"cpu": 0.0, "memory": memory, "iowait": 0.0}
        own = {"cpu": 0.0, "memory": _share(resident, max(1, whole)), "iowait": 0.0}
        if (total := new_times.total - times.total) > 0:
            gauges["cpu"] = _share(new_times.busy - times.busy, total)
            own["cpu"] = min(gauges["cpu"], _share(used, total))
            own["iowait"] = gauges["iowait"] = _share(new_times.iowait - times.iowait, total)
        if self._limit:
            gauges["resident"], own["resident"] = resident / self._limit, 0.0
        moved, share = _network(traffic, new_traffic, max(now - then, 1e-3), self._link)
        if share is not None:
            gauges["network"] = own["network"] = share
        return Load(gauges, own, resident, moved)

    def resident(self, pids: Iterable[int]) -> int:
        """Bytes of memory of the run's processes now."""
        return sum(held for _, held in self.probe.processes(pids).values())


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


def _network(
    before: Mapping[str, Traffic], after: Mapping[str, Traffic], seconds: float, link: int
) -> tuple[float, float | None]:
    """Bytes per second in all, and how full the fullest interface of a known speed is."""
    moved, share = 0.0, None
    for name, new in after.items():
        if name in LOOPBACK or name not in before:
            continue
        # A counter that wrapped around, or an interface that was made anew, says nothing this time.
        sent, received = max(0, new.sent - before[name].sent), max(0, new.received - before[name].received)
        moved += (sent + received) / seconds
        if speed := link or new.speed:
            share = max(share or 0.0, _share(max(sent, received) / seconds, speed))
    return moved, share


class Psutil:
    """The figures of this machine. Processes are remembered between looks."""

    def __init__(self) -> None:
        import psutil

        self._psutil: Any = psutil
        self._processes: dict[int, Any] = {}
        self._allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None

    def times(self) -> Times:
        """See `Probe`."""
        busy = iowait = total = 0.0
        for number, each in enumerate(self._psutil.cpu_times(percpu=True)):
            if self._allowed is not None and number not in self._allowed:
                continue
            waiting = getattr(each, "iowait", 0.0)
            # A sum of what only grows only grows, also when it is rounded; a difference of two sums does not.
            working = sum(seconds for name, seconds in each._asdict().items() if name not in NO_WORK)
            total += working + each.idle + waiting
            iowait += waiting
            busy += working
        return Times(busy, iowait, total)

    def memory(self) -> tuple[float, int]:
        """See `Probe`."""
        memory = self._psutil.virtual_memory()
        return max(memory_share(), 1.0 - float(memory.available) / max(1.0, float(memory.total))), int(memory.total)

    def processes(self, pids: Iterable[int]) -> Mapping[int, tuple[float, int]]:
        """See `Probe`."""
        found: dict[int, tuple[float, int]] = {}
        wanted = set(pids)
        self._processes = {pid: process for pid, process in self._processes.items() if pid in wanted}
        for pid in wanted:
            with suppress(self._psutil.Error):
                process = self._processes.get(pid)
                if process is None:
                    process = self._processes[pid] = self._psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    found[pid] = float(times.user + times.system), int(process.memory_info().rss)
        return found

    def traffic(self) -> Mapping[str, Traffic]:
        """See `Probe`."""
        speeds = {name: each.speed * 125_000 for name, each in self._psutil.net_if_stats().items() if each.isup}
        counters = self._psutil.net_io_counters(pernic=True, nowrap=False)
        return {
            name: Traffic(each.bytes_sent, each.bytes_recv, speeds[name])
            for name, each in counters.items()
            if name in speeds
        }
