"""The crawl as the process that leads sees it: the windows of all processes added up, and steered.

Theory. Every process that lists has a window of its own (`pace.window`) with its share of the limits of the run. What
only the whole tells is found out here, every `LOOK` seconds: each mover is asked how its window stands, and told how
much of the memory the run has taken; a mover in which a resource was engaged or released answers unasked. From the sum
follow

    * a sample (`workers.crawled`) for the log, the gauges and the state,
    * a move of the limits by the statistics monitor (`pace.monitor`), of which each process is told its share,
    * whether the coordinator hands out directories at all: not while files or memory are engaged, unless none is
      being scanned.

*One crawl, many windows.* A resource is engaged in the run while it is in any process, so the log has one line when the
first one stops and one when the last goes on.

*More threads.* On a mount with latency movers get more threads where these pay (`pace.concurrency`). The derived number
of directories knows nothing of latency, so it follows them upwards; one that the user gave never does.

There is no thread and no timer: the coordinator's loop asks, and is woken by what arrives. A run that is over before
the first sample loads nothing of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from dunlin.pace.memory import resident
from dunlin.pace.window import MEMORY, Numbers, Resource, Window, WindowLimits

if TYPE_CHECKING:  # loaded by the first sample
    from dunlin.pace.monitor import Adjustment, Monitor, Sample
    from dunlin.workers.coordinator import Coordinator
    from dunlin.workers.crawled import Crawled

LOOK = 2.0
"""Seconds between two samples."""


class CrawlPlan(NamedTuple):
    """What a run allows its crawl; `jobs.crawling` derives it.

    Attributes:
        limits: of the windows of all processes together.
        most_directories, most_files: how far the monitor may go. least_files: how far down.
        lifts: the number of directories follows the threads that pay.
        consistency, cooldown: see `pace.monitor.Monitor`.
        memory_bytes: what resident memory is measured by; 0: nobody knows.
        share: of what the coordinator keeps of frontier and backlog in memory where there is enough.
    """

    limits: WindowLimits = WindowLimits()
    most_directories: int = 0
    most_files: int = 0
    least_files: int = 1
    lifts: bool = False
    consistency: int = 10
    cooldown: float = 120.0
    memory_bytes: int = 0
    share: float = 1.0


UNBOUNDED = CrawlPlan()


class Crawl:
    """Steers the crawl of one run.

    Args:
        plan: what it may.
        window: that of this process, which lists while there are no movers.
        news: gets every sample; None: nobody.
        clock: seconds that never go back.
        memory: bytes of resident memory of some processes.
    """

    def __init__(
        self,
        plan: CrawlPlan,
        window: Window,
        news: Callable[[Crawled], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[list[int]], int] = resident,
    ) -> None:
        self._plan = plan
        self._window = window
        self.news = news
        self._clock = clock
        self._resident = memory
        self.directories, self.files = plan.limits.directories, plan.limits.files
        self._monitor: Monitor | None = None
        self.begun = clock()
        self._next = self.begun + LOOK
        self._numbers: dict[int, Numbers] = {}
        self._owed: set[int] = set()
        self._asked = False  # and no sample has been taken since
        self._engaged: dict[str, set[int]] = {}
        self._transitions: list[tuple[str, bool, float]] = []
        self._files = Resource("files", plan.limits.marks, self.files)
        self._memory = Resource("memory", MEMORY, plan.memory_bytes)
        self._seen = (clock(), 0, 0)
        self._took = (0.0, 0)  # seconds and directories since the last sample
        self._all = (0.0, 0)
        self._lifted = 0
        self._stirred = False
        window.changed = self._stir

    def _stir(self) -> None:
        self._stirred = True  # something was engaged or released in this process

    @property
    def holds(self) -> bool:
        """Whether no directory is to be handed out while others are under way."""
        return self._files.engaged or self._memory.engaged

    def threads(self, crew: Coordinator) -> int | None:
        """Threads of a mover that could have a slot, where there are only directories to be done; None: any number."""
        slots = self._plan.most_directories if self._plan.lifts else self.directories
        return None if crew.backlog or not slots else -(-slots // crew.pool.size)

    def took(self, seconds: float) -> None:
        """A directory was scanned in so many seconds."""
        self._took = self._took[0] + seconds, self._took[1] + 1

    def poll(self, crew: Coordinator) -> None:
        """Do what is due; called by every turn of the coordinator's loop."""
        if self._plan.lifts and crew.pool.started and crew.pool.threads > self._lifted:
            self._lift(crew)
        if self._asked and not self._owed:
            self._sample(crew)  # whoever was the last to owe an answer has died
        now = self._clock()
        if now < self._next:
            return
        self._next = now + LOOK
        if self._owed or not crew.pool.started:
            self._sample(crew)  # whoever has not answered by now counts as it last stood
        self._look_at_memory(crew)
        if crew.pool.started:
            self._owed = set(crew.pool.numbers)
            self._asked = bool(self._owed)
            crew.pool.tell("window?", self._memory.percent / 100)

    def end(self, crew: Coordinator) -> None:
        """The crawl is over: one more sample, if there was one before, or something to tell."""
        told = self._monitor or self._transitions or self._stirred or crew.stats.settled_directories
        if self.news is not None and told:
            percents = {name: self._percent(name) for name in self._engaged} | {"files": 0.0}
            self._numbers.clear()
            for name, where in self._engaged.items():
                # What movers have let go with their last directory they may not have told yet.
                for mover in tuple(where):
                    self._note(mover, name, False, percents[name])
            self._sample(crew)

    def heard(self, crew: Coordinator, mover: int, body: tuple[object, ...]) -> None:
        """A mover has told how its window stands."""
        numbers = self._numbers[mover] = Numbers(*body)  # type: ignore[arg-type]
        for name, engaged, percent in numbers.events:
            self._note(mover, name, engaged, percent)
        self._files.look(sum(each.held for each in self._numbers.values()))
        if self._owed:
            self._owed.discard(mover)
            if not self._owed:
                self._sample(crew)

    def gone(self, mover: int) -> None:
        """A mover has died; whatever it held is gone with it."""
        self._numbers.pop(mover, None)
        self._owed.discard(mover)
        self._files.look(sum(each.held for each in self._numbers.values()))
        for name in list(self._engaged):
            self._note(mover, name, False, self._percent(name))

    def _note(self, mover: int, name: str, engaged: bool, percent: float) -> None:
        """Of a resource the first process that stops counts, and the last one that goes on."""
        where = self._engaged.setdefault(name, set())
        before = bool(where)
        (where.add if engaged else where.discard)(mover)
        if bool(where) != before:
            self._transitions.append((name, engaged, percent))

    def _percent(self, name: str) -> float:
        """How much of its limit a resource takes, by what was last heard of the processes that are left."""
        if name == "threads":
            threads = sum(each.threads for each in self._numbers.values()) + threading.active_count()
            return 100.0 * threads / max(1, self._plan.limits.threads)
        return (self._memory if name == "memory" else self._files).percent

    def _look_at_memory(self, crew: Coordinator) -> None:
        held = self._resident([os.getpid(), *crew.pool.pids])
        self._memory.look(held)
        if not crew.pool.started:
            self._window.memory(self._memory.percent / 100)

    # ---- the sample ----

    def _sample(self, crew: Coordinator) -> None:
        from dunlin.pace.monitor import Sample

        self._asked = False
        stats, now = crew.stats, self._clock()
        own = self._window.numbers()
        windows = list(self._numbers.values()) if crew.pool.started else [own]
        for event in own.events:  # also what happened before there were movers
            self._note(-1, *event)
        active, waiting = sum(each.active for each in windows), sum(each.waiting for each in windows)
        held = sum(each.held for each in windows)
        then, files, directories = self._seen
        self._seen = now, stats.scanned_files, stats.scanned_directories
        seconds = max(now - then, 1e-3)
        rate = max(0, stats.scanned_files - files) / seconds
        # What is queued waits for its turn, and would with any number of slots.
        waits = waiting > 0 or 0 < self.directories <= active
        adjustment = self._adjust(crew, Sample(held, active, self._memory.percent / 100, waits, rate))
        if self.news is not None:
            rates = rate, max(0, stats.scanned_directories - directories) / seconds
            self.news(self._crawled(crew, windows, rates, adjustment))
        self._all = self._all[0] + self._took[0], self._all[1] + self._took[1]
        self._took = 0.0, 0
        self._transitions.clear()

    def _crawled(
        self, crew: Coordinator, windows: list[Numbers], rates: tuple[float, float], adjustment: Adjustment | None
    ) -> Crawled:
        from dunlin.workers.crawled import Crawled

        seconds, count = self._took if self._took[1] else self._all
        threads = sum(each.threads for each in windows) + (threading.active_count() if crew.pool.started else 0)
        held = sum(each.held for each in windows)
        values: dict[str, tuple[float, float]] = {
            "files": (held, self.files),
            "memory": (self._memory.value, self._plan.memory_bytes),
            "threads": (threads, self._plan.limits.threads),
        }
        return Crawled(
            active=sum(each.active for each in windows),
            waiting=sum(each.waiting for each in windows),
            queued=crew.frontier.queued,
            held=held,
            files_limit=self.files,
            directories_limit=self.directories,
            total_files=crew.stats.scanned_files,
            total_directories=crew.stats.scanned_directories,
            files_per_second=rates[0],
            directories_per_second=rates[1],
            directory_seconds=seconds / count if count else 0.0,
            memory_bytes=int(self._memory.value),
            memory_limit=self._plan.memory_bytes,
            threads=threads,
            threads_limit=self._plan.limits.threads,
            engaged=tuple((name, *values[name]) for name, where in self._engaged.items() if where),
            transitions=tuple(self._transitions),
            adjustment=adjustment,
            adjustments=self._monitor.adjustments if self._monitor is not None else 0,
            settled=crew.stats.settled_directories,
        )

    # ---- the limits ----

    def _adjust(self, crew: Coordinator, sample: Sample) -> Adjustment | None:
        plan = self._plan
        if not (self.directories and self.files):
            return None
        if self._monitor is None:
            from dunlin.pace.monitor import Bounds, Monitor

            bounds = Bounds(plan.most_directories, plan.most_files, plan.least_files)
            self._monitor = Monitor(
                self.directories, self.files, bounds, plan.consistency, plan.cooldown, self._clock
            )
        adjustment = self._monitor.sample(sample)
        if adjustment is not None:
            self._tell(crew, self._monitor.directories, self._monitor.files)
        return adjustment

    def _lift(self, crew: Coordinator) -> None:
        self._lifted = crew.pool.threads
        wanted = min(self._lifted * crew.pool.size, self._plan.most_directories)
        if wanted <= self.directories:
            return
        if self._monitor is not None:
            self._monitor.directories = wanted
        self._tell(crew, wanted, self.files)

    def _tell(self, crew: Coordinator, directories: int, files: int) -> None:
        self.directories, self.files = directories, files
        self._files.limit = files
        crew.pool.window(WindowLimits(directories, files, self._plan.limits.threads, self._plan.limits.marks))
        self._window.limit(directories, files)
