"""What a run says of itself while it goes on: samples, signs of life, and files that were copied, in the state.

    from 2 s on, every 2 s     one row of `metric`, one sign of life in the row of the run, at most 12 rows of `event`
    at once                    a sign of life, when the run is paused or resumed
    a few times a second       whether the listing is over; the time of that is part of the next sign of life
    every 60 s                 old rows are dropped (`state.thinning`)
    at the end                 the last sample, if there was any; the files since then

All of one time goes in with one transaction. A run that is over in two seconds writes no sample, and its load is not
looked at: psutil is loaded with the first sample. That one has no load yet, which takes two looks. Where limits hold
the run down, the governor (`workers.governor`) looks at the load anyway, and its looks are taken.

Rates are what was counted since the sample before, by the seconds since then; bytes that are on their way
(`workers.flying`) count, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from dunlin.report import Level
from dunlin.state.news import Metric
from dunlin.state.resolved import resolve_errors
from dunlin.state.runs import Life
from dunlin.workers.activity import Activity
from dunlin.workers.flying import Flying

if TYPE_CHECKING:  # loaded with the first sample
    from dunlin.pace.disk import Disks, Used
    from dunlin.pace.load import Gauges, Load
    from dunlin.transfer.outcome import Outcome
    from dunlin.workers.coordinator import Coordinator

FIRST = 2.0
EVERY = 2.0
"""Seconds until the first sample, and between two."""

THIN = 60.0
"""Seconds between two times that old rows are dropped."""

FRESH = 6.0
"""Seconds for which a look of the governor, which looks every five, is taken for the load."""

ONE_OF = 16
"""Of so many runs without a sample one drops old rows at its end."""

MESSAGES = {"files.more": "and {:,} more", "files.more_deleted": "and {:,} more deleted"}


class Holds(Protocol):
    """What holds the run down; see `workers.governor.Governor`."""

    @property
    def cause(self) -> str:
        """Why fewer files are in flight than could be, or ""."""

    def wanted(self, crew: Coordinator) -> int:
        """Files that would be in flight if the host had no say."""


class Sampler:
    """Samples one run.

    Args:
        holds: gives what holds it down, or None.
        begun: when the run began, by `clock`, in seconds that never go back.
        gauges, disks: make what looks at the load; None: those of this machine.
    """

    def __init__(
        self,
        holds: Callable[[], Holds | None],
        begun: float,
        clock: Callable[[], float] = time.monotonic,
        gauges: Callable[[], Gauges] | None = None,
        disks: Callable[[], Disks] | None = None,
    ) -> None:
        self._holds = holds
        self._clock = clock
        self._make = gauges or _gauges, disks or _disks
        self._looks: tuple[Gauges | None, Disks] | None = None
        self._noted: tuple[Load, float] | None = None
        self._before = begun, 0, 0
        self._next = begun + FIRST
        self._thin = begun + THIN
        self._paused = False
        self._listed_at = 0
        self._rates = 0.0, 0.0
        self._sampled = False
        self.activity = Activity()
        self.flying = Flying()

    def outcome(self, directory: str, outcome: Outcome) -> None:
        """Take in what became of one unit."""
        self.activity.take(directory, outcome)

    def note(self, load: Load, workers: int, throttled: bool) -> None:
        """A look at the load that somebody else made."""
        self._noted = load, self._clock()

    def poll(self, crew: Coordinator) -> None:
        """Put on record what is due; called a few times a second."""
        if not crew.state.database.path:
            return  # --state-db none: nobody could read it
        now = self._clock()
        paused = crew.bucket.paused
        self._mind_listing(crew)
        if now >= self._next:
            self._next = max(self._next + EVERY, now + EVERY / 2)
            self._sample(crew, now)
        elif paused != self._paused:
            crew.state.update_run(crew.run, crew.stats, self._life(crew))
        self._paused = paused

    def end(self, crew: Coordinator) -> None:
        """The run is over; what ends it goes on record elsewhere."""
        now = self._clock()
        self._mind_listing(crew)
        with crew.state.transaction():
            if self._sampled and now > self._before[0]:
                self._sample(crew, now)
            self._tell(crew)
            resolve_errors(crew.state, crew.pair, crew.run)
            if self._sampled or crew.run % ONE_OF == 0:
                crew.state.thin(crew.pair)

    def _mind_listing(self, crew: Coordinator) -> None:
        listed = _listed(crew)
        if listed != bool(self._listed_at):
            self._listed_at = crew.state.now() if listed else 0

    def _sample(self, crew: Coordinator, now: float) -> None:
        self._sampled = True
        stats = crew.stats
        files = stats.copied_files + stats.hard_links + stats.verified_files
        size = stats.copied_bytes + self.flying.bytes(crew)
        then, files_before, size_before = self._before
        self._before = now, files, max(size, size_before)
        seconds = max(now - then, 1e-3)
        # A large file leaves those under way a moment before it is counted.
        self._rates = max(0, files - files_before) / seconds, max(0, size - size_before) / seconds
        life = self._life(crew)
        metric = self._metric(crew, life, now)
        with crew.state.transaction():
            crew.state.put_metric(crew.run, metric)
            crew.state.update_run(crew.run, stats, life)
            self._tell(crew)
            if now >= self._thin:
                self._thin = now + THIN
                crew.state.thin(crew.pair)

    def _life(self, crew: Coordinator) -> Life:
        holds = self._holds()
        workers = crew.pool.in_flight if crew.pool.started else 1
        cause = holds.cause if holds is not None else ""
        return Life(
            paused=crew.bucket.paused,
            listed=_listed(crew),
            limit=crew.bucket.rate,
            workers=workers,
            wanted=max(workers, holds.wanted(crew)) if holds is not None and cause else workers,
            cause=cause,
            flying=self.flying.bytes(crew),
            files=round(self._rates[0], 3),
            bytes=round(self._rates[1], 3),
            listed_at=self._listed_at,
        )

    def _metric(self, crew: Coordinator, life: Life, now: float) -> Metric:
        load, used = self._load(crew, now)
        stats = crew.stats
        metric = Metric(
            workers=life.workers,
            files=self._rates[0],
            bytes=self._rates[1],
            throttled=bool(life.cause),
            wanted=life.wanted,
            cause=life.cause,
            paused=life.paused,
            bandwidth=life.limit,
            pending_files=stats.pending_files,
            pending_bytes=stats.pending_bytes,
        )
        if load is not None:
            metric = metric._replace(
                cpu=load.gauges["cpu"] * 100,
                memory=load.resident,
                network=load.network,
                iowait=load.gauges["iowait"] * 100,
                used=load.gauges["memory"] * 100,
            )
        if used is not None:
            metric = metric._replace(disk=used.moved, busy=None if used.busy is None else used.busy * 100)
        return metric

    def _load(self, crew: Coordinator, now: float) -> tuple[Load | None, Used | None]:
        """What the machine does; nothing the first time."""
        noted = self._noted[0] if self._noted is not None and now <= self._noted[1] + FRESH else None
        if self._looks is None:
            # Who holds the run down looks at the load itself.
            own = self._make[0]() if self._holds() is None else None
            self._looks = own, self._make[1]()
            return noted, None
        gauges, disks = self._looks
        return gauges.look(processes(crew)) if gauges is not None else noted, disks.look()

    def _tell(self, crew: Coordinator) -> None:
        for name, path, size, number in self.activity.give():
            message = MESSAGES[name].format(number) if name in MESSAGES else ""
            word = "files.more" if name in MESSAGES else name
            crew.state.put_event(crew.run, int(Level.INFO), word, message, path or None, size=size, number=number)


def _listed(crew: Coordinator) -> bool:
    return not crew.frontier and not crew.scanning


def processes(crew: Coordinator) -> list[int]:
    """The process that leads, and the movers."""
    import os

    return [os.getpid(), *crew.pool.pids]


def _gauges() -> Gauges:
    from dunlin.pace.load import Gauges

    return Gauges()


def _disks() -> Disks:
    from dunlin.pace.disk import Disks

    return Disks()
