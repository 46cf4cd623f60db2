"""What keeps a run within its part of the machine: the one place where the limits of a host come together.

Five have a say in how many files are in flight, and the smallest counts:

    the user        `--workers`, or the class of the machine       `Pool`'s `most`, `Setup.hands`
    waiting         threads that pay (`pace.concurrency`)          `Pool.grow`, within the user's
    the store       requests that pay (`pace.climb`)               `Pool.reach` (`workers.requests`), where no user said
    the service     429 and 503 (`pace.gate`)                      in each mover, within its share of the others
    the host        load (`pace.throttle`), memory (`pace.memory`) here, with `Pool.limit`

How many directories are listed, and how many names they hold, is another knob with another owner, the window of the
crawl (`pace.window`, added up by `workers.crawl`). Both look at resident memory, and the window is the first to act:

    from 70 % down      directories go on                                         window
    75 %                files in flight as planned again                          here
    from 80 % up        no directory is begun while others are under way          window
    85 %                one file in flight for each mover, unused memory goes     here
    94 %                nothing is given out while anything is under way          here

The window never changes files in flight, nor does the governor change limits of the window.

Processor time has an owner of its own (`pace.duty`): fewer workers would be too coarse for it, since one
that copies from a cache takes a whole processor.

The governor is asked by the coordinator's loop, so it needs no thread. It does nothing until there are movers,
and psutil is loaded only then: most runs are over before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from dunlin.pace.bucket import Bucket
from dunlin.pace.duty import MILLION, Ration
from dunlin.pace.memory import LOOK as MEMORY_LOOK
from dunlin.pace.memory import Stage, stage
from dunlin.pace.sizes import format_size
from dunlin.pace.throttle import LOOK, Step, Throttle
from dunlin.report import Level

if TYPE_CHECKING:
    from dunlin.pace.load import Gauges, Load
    from dunlin.workers.coordinator import Coordinator

RATION = 0.25
"""Seconds between two settings of the movers' rate."""

BATCH = 1_000
"""Files that a unit copies at most where nothing is throttled, and the fewest where it is."""
LEAST_BATCH = 50


class Enforced(NamedTuple):
    """What a run holds to.

    Attributes:
        cores: processors there are.
        cpu_percent: most of them, 0: all.
        memory_bytes: most resident memory, 0: as much as it likes.
        threshold: reading of a gauge from which the run slows down; 0: it never does.
        link: bytes per second of the network, 0: as the interfaces say.
    """

    cores: float
    cpu_percent: int = 0
    memory_bytes: int = 0
    threshold: float = 0.0
    link: int = 0


class Governor:
    """Keeps one run within `limits`.

    Args:
        limits: what to hold to.
        most: files in flight that the user allows.
        record: gets every look at the load, with the files in flight and whether the run is throttled.
        gauges: makes the gauges for a limit on memory and a link; None: those of this machine.
        clock: seconds that never go back. sleep: how the parent waits.
    """

    def __init__(
        self,
        limits: Enforced,
        most: int,
        record: Callable[[Load, int, bool], None],
        gauges: Callable[[int, int], Gauges] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._limits = limits
        self._most = most
        self._record = record
        self._make = gauges or _this_machine
        self._clock = clock
        self._sleep = sleep
        self._gauges: Gauges | None = None
        self._throttle = Throttle(most, limits.threshold, clock) if limits.threshold else None
        self._stage = Stage.EASY
        self._busy = self._why = ""
        self._next = {"ration": 0.0, "memory": 0.0, "load": 0.0}
        self.quota: Bucket | None = None
        if limits.cpu_percent:
            allowed = limits.cores * limits.cpu_percent / 100
            self.quota = Bucket.create(int(allowed * MILLION))
            self._ration = Ration(allowed, clock=clock)

    def poll(self, crew: Coordinator) -> None:
        """Look at what is due, and steer the crew by it; called a few times a second at least."""
        if not crew.pool.started:
            return
        now = self._clock()
        if self._gauges is None:
            self._gauges = self._make(self._limits.memory_bytes, self._limits.link)
            self._next["load"] = now + LOOK
            crew.report.gauge("cpu_limit", self._limits.cpu_percent / 100)
        if self.quota is not None and self._due("ration", now, RATION):
            self.quota.set_rate(self._ration.rate(self.quota.granted))
            if pause := self._ration.pause:
                self._sleep(pause)
        if self._limits.memory_bytes and self._due("memory", now, MEMORY_LOOK):
            self._mind_memory(crew, self._gauges)
        if self._due("load", now, LOOK):
            self._mind_load(crew, self._gauges)

    @property
    def cause(self) -> str:
        """Why fewer files are in flight than could be: "cpu 91%" (what it is now), "memory"; "" when none are kept."""
        if self._stage > Stage.EASY:
            return "memory"
        return self._why if self._throttle is not None and self._throttle.engaged else ""

    def stop(self) -> None:
        """Let nobody wait for leave to compute any more; a signal handler may call it."""
        if self.quota is not None:
            self.quota.stop()

    def close(self) -> None:
        """Give the shared memory back, once there are no movers any more."""
        if self.quota is not None:
            self.quota.close()

    def _due(self, what: str, now: float, interval: float) -> bool:
        if now < self._next[what]:
            return False
        self._next[what] = now + interval
        return True

    def _mind_memory(self, crew: Coordinator, gauges: Gauges) -> None:
        limit = self._limits.memory_bytes
        resident = gauges.resident(_processes(crew))
        before, self._stage = self._stage, stage(self._stage, resident / limit)
        if self._stage > Stage.EASY and self._stage > before:
            crew.pool.tell("trim")
        if self._stage is before:
            return
        self._steer(crew)
        level, name, words = _MEMORY[self._stage]
        text = f"{words} (resident={format_size(resident)}, limit={format_size(limit)})"
        crew.telling.event(level, name, text, resident=resident, limit=limit)

    def _mind_load(self, crew: Coordinator, gauges: Gauges) -> None:
        load = gauges.look(_processes(crew))
        step = None
        if self._throttle is not None:
            step = self._throttle.sample(load.gauges, self.wanted(crew), load.own)
            if step is not None:
                self._steer(crew)
                self._tell(crew, step, self._throttle)
        throttled = self._throttle is not None and self._throttle.engaged
        if throttled and self._busy in load.gauges:
            self._why = f"{self._busy} {load.gauges[self._busy]:.0%}"
        for name, value in load.gauges.items():
            crew.report.gauge(f"load_{name}", value)
        crew.report.gauge("throttled", float(throttled))
        self._record(load, crew.pool.in_flight, throttled or self._stage > Stage.EASY)

    def wanted(self, crew: Coordinator) -> int:
        """Files that would be in flight if the host had no say: far away requests that pay, else threads that do."""
        return crew.pool.wanted

    def _steer(self, crew: Coordinator) -> None:
        """The host's part of the smallest of five."""
        throttle, pool = self._throttle, crew.pool
        workers, share = 0, 1.0
        if throttle is not None and throttle.engaged:
            workers, share = throttle.workers, throttle.share
            if crew.context.site.hands is not None:
                share = min(1.0, share * self._most / self.wanted(crew))  # else most of them may never be wanted
        if self._stage >= Stage.TIGHT:
            workers, share = min(workers or self._most, pool.size), 0.0
        if self._stage is Stage.FULL:
            workers = 1
        pool.limit(workers, share, self._stage is Stage.FULL)
        crew.batch = max(LEAST_BATCH, int(BATCH * share))

    def _tell(self, crew: Coordinator, step: Step, throttle: Throttle) -> None:
        value = round(step.value, 3)
        fields = {
            "gauge": step.gauge, "value": value, "workers": step.after, "before": step.before, "batch": crew.batch
        }  # fmt: skip
        workers = f"workers={step.before}->{step.after}"
        if step.is_down:
            self._busy = step.gauge
            words = f"Throttling ({step.gauge}={step.value:.0%}, threshold={throttle.threshold:.0%}, {workers})"
            crew.telling.event(Level.WARN, "throttle.engaged", words, **fields)
        elif throttle.engaged:
            crew.telling.event(Level.INFO, "throttle.eased", f"Throttling eased ({workers})", **fields)
        else:
            crew.telling.event(Level.INFO, "throttle.released", f"Throttling ended ({workers})", **fields)


_MEMORY = {
    Stage.EASY: (Level.INFO, "memory.easy", "Memory is enough again"),
    Stage.TIGHT: (Level.INFO, "memory.tight", "Memory is short, less is under way"),
    Stage.FULL: (Level.WARN, "memory.full", "Memory is at its limit, one file at a time"),
}


def _processes(crew: Coordinator) -> list[int]:
    import os

    return [os.getpid(), *crew.pool.pids]


def _this_machine(limit: int, link: int) -> Gauges:
    from dunlin.pace.load import Gauges

    return Gauges(limit, link)
