"""The sliding window of a crawl: how many directories are listed at a time, and how many names they may hold.

Theory. A crawl that lists as fast as it can fills memory with names. What bounds it is a window that slides over the
directories: each takes a *slot* before it is listed and gives it back when its listings have ended, and the names of
its listings count as *held* until the unit that listed them is through. The next directory waits while

    slots     as many directories as `WindowLimits.directories` are being listed
    files     names held: engaged at 100 % of `WindowLimits.files`, released below 85 %
    memory    resident memory over its limit, which only the process that leads can tell: engaged at 80 %, released
              below 70 %
    threads   threads of this process: engaged at 100 % of `WindowLimits.threads`, released below 85 %

*Hysteresis.* A resource that was engaged stays so until it is well below the mark, else directories would be let in
one by one at the very edge. The marks of each are a pair, `Marks`; of files and threads they are options.

*Why it cannot hang.* Whoever has a slot never waits for anything of the window, however much it holds, so every unit
comes to its end, and with it everything that it held is let go, whatever way it ended. And when no unit is inside, the
next one is let in whatever is engaged: memory that others fill, or a limit of one file, make a crawl slow and never
stop it. So the bound is on what waits: names held go over the limit by what the units inside still read, and `run`
makes that small: two sides of so many directories, each in runs of that length, are one limit.

*Waiting* is done on one condition. Who gives back a slot, lets names go, changes a limit or cancels wakes those whose
wait may be over; nobody looks again after some time. Where nobody waits and nothing is engaged, all of it is a lock
and an addition, because every directory passes here twice, and every batch of names once.

*Shares.* Every process that lists has a window of its own with its share of the limits of the run, so nothing is asked
of another process. `workers.crawl` adds them up.

The limits follow from the machine by the derivations of `crawl_parallelism` and `active_files`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind

LEAST_RUN = 1_000
"""The fewest names of a run (`compare.listing`): shorter ones would cost more than they spare."""

ENDLESS = 1 << 40

KEPT_EVENTS = 64

GIB = 1 << 30
FILES_PER_GIB = 500_000
"""Names that may be held for each GiB of memory, whatever a name costs."""

NAME_BYTES = 640
"""Bytes that a held name takes: (name, facts), its key and its place in a table. Measured: 600, at 17 letters."""

LEAST_FILES = 2 * LEAST_RUN
"""The least limit that is derived: both sides of one directory, in the shortest runs."""

LOCAL, S3, OTHER = 4, 8, 2
"""Directories listed at a time for each processor, by the kind of the pair."""


class Marks(NamedTuple):
    """Shares of a limit: from `engage` on a resource keeps directories waiting, until it is below `release`."""

    engage: float = 1.0
    release: float = 0.85


MEMORY = Marks(0.8, 0.7)


class WindowLimits(NamedTuple):
    """What a process, or a run, allows itself; 0: no limit.

    Attributes:
        directories: that are listed at a time. files: names held by listings. threads: of the process.
        marks: of files and threads.
    """

    directories: int = 0
    files: int = 0
    threads: int = 0
    marks: Marks = Marks()


ENDLESS_LIMITS = WindowLimits()


class Numbers(NamedTuple):
    """How a window stands.

    Attributes:
        active: directories being listed. waiting: units that wait for a slot. held: names; peak: the most so far.
        threads: of the process.
        engaged: (resource, value, limit) of those that keep directories waiting.
        events: (resource, engaged or released, percent of the limit) since the last time this was asked.
    """

    active: int = 0
    waiting: int = 0
    held: int = 0
    peak: int = 0
    threads: int = 0
    engaged: tuple[tuple[str, float, float], ...] = ()
    events: tuple[tuple[str, bool, float], ...] = ()


class Resource:
    """One resource with its hysteresis. Not safe by itself.

    Args:
        name: "files", "memory" or "threads".
        marks: when it is engaged and when released.
        limit: what 100 % is; 0: it is never engaged.
    """

    __slots__ = ("engaged", "limit", "marks", "name", "value")

    def __init__(self, name: str, marks: Marks, limit: float = 0.0) -> None:
        self.name = name
        self.marks = marks
        self.limit = limit
        self.value = 0.0
        self.engaged = False

    def look(self, value: float) -> bool:
        """Take note of the value; whether this engaged or released the resource."""
        self.value = value
        share = value / self.limit if self.limit else 0.0
        if self.engaged == (share >= (self.marks.release if self.engaged else self.marks.engage)):
            return False
        self.engaged = not self.engaged
        return True

    @property
    def percent(self) -> float:
        """The value in percent of the limit."""
        return 100.0 * self.value / self.limit if self.limit else 0.0


class Slot:
    """The place of one unit in the window, for `with`; made by `Window.slot`. `held`: names it has in memory."""

    __slots__ = ("_listing", "_window", "held")

    def __init__(self, window: Window) -> None:
        self._window = window
        self.held = 0
        self._listing = False

    def __enter__(self) -> Slot:
        self._window._enter()
        self._listing = True
        return self

    def __exit__(self, *_: object) -> None:
        self._window._leave(self._listing, True, self.held)
        self._listing, self.held = False, 0

    def listed(self) -> None:
        """The listings have ended: the next directory may be listed, while this unit goes on with what it holds."""
        if self._listing:
            self._listing = False
            self._window._leave(True, False, 0)

    def hold(self, n: int) -> None:
        """So many more names are in memory. Never waits."""
        self.held += n
        self._window._hold(n)

    def let_go(self, n: int) -> None:
        """So many are there no more; never more than are held."""
        n = min(n, self.held)
        self.held -= n
        self._window._hold(-n)


class Window:
    """The window of one process. Safe to use from many threads.

    Args:
        limits: to begin with.
        threads: how many threads this process has.
        changed: called when a resource was engaged or released, in the thread that caused it, outside of all locks.
        blocks: called when a unit has to wait, in its thread, before it does, outside of all locks.
    """

    def __init__(
        self,
        limits: WindowLimits = ENDLESS_LIMITS,
        threads: Callable[[], int] = threading.active_count,
        changed: Callable[[], object] = lambda: None,
        blocks: Callable[[], object] = lambda: None,
    ) -> None:
        self._count = threads
        self.changed = changed
        self.blocks = blocks
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._directories = 0
        self._files = Resource("files", limits.marks)
        self._memory = Resource("memory", MEMORY, 1.0)
        self._threads = Resource("threads", limits.marks)
        self._active = self._inside = self._waiting = self._held = self._peak = 0
        self._engaged = False
        self._cancelled = False
        self._events: deque[tuple[str, bool, float]] = deque(maxlen=KEPT_EVENTS)
        self._calm = (-1.0, 0.0)  # between these counts of names nothing is engaged or released
        self.run = ENDLESS
        self.limit(limits.directories, limits.files, limits.threads)

    # ---- for units ----

    def slot(self) -> Slot:
        """A place for one unit: ``with window.slot() as slot`` waits until there is one.

        Entering raises INTERRUPTED once the window is cancelled.
        """
        return Slot(self)

    def _enter(self) -> None:
        told = False
        with self._lock:
            if self._inside and (told := self._look_at_threads()):
                self._free.notify_all()
            if free := self._admits():
                self._begin()
        if told:
            self.changed()
        if free:
            return
        self.blocks()
        with self._lock:
            self._waiting += 1
            try:
                self._free.wait_for(self._admits)
            finally:
                self._waiting -= 1
            self._begin()

    def _begin(self) -> None:
        if self._cancelled:
            raise DunlinError("list", "", ErrorKind.INTERRUPTED, "the run was stopped")
        self._inside += 1
        self._active += 1

    def _admits(self) -> bool:
        """Whether the wait of a unit is over."""
        if not self._inside or self._cancelled:
            return True
        return not self._engaged and (not self._directories or self._active < self._directories)

    def _leave(self, listing: bool, inside: bool, held: int) -> None:
        told = False
        with self._lock:
            self._active -= listing
            self._inside -= inside
            if held:
                self._held -= held
                if self._held < self._calm[0]:
                    told = self._look(self._files, self._held)
            if self._waiting:
                # One slot is one unit's, and so is the place of the last one inside; what was engaged has kept all.
                told = (inside and self._look_at_threads()) or told
                self._free.notify(self._waiting if told else 1)
        if told:
            self.changed()

    def _hold(self, n: int) -> None:
        with self._lock:
            self._held = held = self._held + n
            if held > self._peak:
                self._peak = held
            low, high = self._calm
            if low <= held < high:
                return
            told = self._look(self._files, held)
            if told and self._waiting:
                self._free.notify_all()
        if told:
            self.changed()

    def _look(self, resource: Resource, value: float) -> bool:
        if not resource.look(value):
            return False
        self._engaged = self._files.engaged or self._memory.engaged or self._threads.engaged
        self._set_calm()
        self._events.append((resource.name, resource.engaged, resource.percent))
        return True

    def _set_calm(self) -> None:
        limit, marks = self._files.limit or ENDLESS, self._files.marks
        self._calm = (limit * marks.release, ENDLESS) if self._files.engaged else (-1.0, limit * marks.engage)

    def _look_at_threads(self) -> bool:
        return self._threads.limit > 0 and self._look(self._threads, self._count())

    # ---- for whoever steers ----

    def limit(self, directories: int, files: int, threads: int | None = None) -> None:
        """Change the limits; those whose wait is over go on at once. None: that one stays as it is."""
        with self._lock:
            self._directories = directories
            self._files.limit = files
            if threads is not None:
                self._threads.limit = threads
            self.run = run_length(files, directories)
            self._set_calm()
            told = self._look(self._files, self._held)
            self._free.notify_all()
        if told:
            self.changed()

    def memory(self, share: float) -> None:
        """Take note of the run's resident memory, as a share of its limit."""
        with self._lock:
            told = self._look(self._memory, share)
            if told:
                self._free.notify_all()
        if told:
            self.changed()

    def cancel(self) -> None:
        """Let nobody wait any more, nor begin: who waits, or comes later, is told INTERRUPTED."""
        with self._lock:
            self._cancelled = True
            self._free.notify_all()

    def numbers(self) -> Numbers:
        """How it stands; what has happened is told once."""
        with self._lock:
            if self._look_at_threads():
                self._free.notify_all()
            events = tuple(self._events)
            self._events.clear()
            engaged = tuple(
                (each.name, each.value, each.limit)
                for each in (self._files, self._memory, self._threads)
                if each.engaged
            )
            return Numbers(
                self._active, self._waiting, self._held, self._peak, int(self._count()), engaged, events
            )


def run_length(files: int, directories: int) -> int:
    """Names of a run such that both sides of so many directories, each with one in memory, hold that many files."""
    return max(LEAST_RUN, files // (2 * max(1, directories))) if files else ENDLESS


def crawl_parallelism(cores: int, kinds: Iterable[str]) -> int:
    """Directories to list at a time: 4 for each processor between local places, 8 where a side is S3, 2 otherwise.

    Args:
        cores: processors, at least one.
        kinds: schemes of the URLs of both sides.
    """
    schemes = set(kinds)
    each = S3 if "s3" in schemes else LOCAL if schemes <= {"file", "memory"} else OTHER
    return max(1, cores) * each


def active_files(machine_bytes: int, limit_bytes: int, process_bytes: int) -> tuple[int, int]:
    """(names to hold, most names that memory allows) over all processes.

    Half a million for each GiB is the upper bound of both. What bounds them really is what the processes leave of the
    memory bar: half of it is the most, a quarter what a run begins with. Neither is ever 0, and more memory never
    means fewer.

    Args:
        machine_bytes: memory of the machine or its control group; 0: nobody knows, taken as 4 GiB.
        limit_bytes: most resident memory of the run; 0: all of the machine's.
        process_bytes: what all processes of the run take with nothing under way.
    """
    machine = machine_bytes or 4 * GIB
    free = max(0, min(limit_bytes or machine, machine) - process_bytes)
    # Multiplied before it is divided: a machine of less than one GiB has a part of it, not none.
    upper = machine * FILES_PER_GIB // GIB
    most = max(LEAST_FILES, min(upper, free // 2 // NAME_BYTES))
    return max(LEAST_FILES, min(upper, free // 4 // NAME_BYTES)), most
