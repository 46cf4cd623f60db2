"""Where the time of a run goes: a profiler for every thread that does its work (`--profile FILE`).

Theory. A profiler sees the thread that it was switched on in and no other, and a run works in many: the loop of the
coordinator, the threads of every mover, and the hands that carry objects. So each of them has one of its own,
switched on for as long as it does a unit, and off while it waits for the next. (The loop's is on all the time: what
it waits for is what the movers do.) When a process is through, it adds its threads up and leaves the sum, in the
format of `marshal` that `pstats` reads, in a directory that the run made for this and that only its owner may enter.
The process that leads adds up what it finds there once all movers have ended. A mover that is killed leaves nothing.

Nothing of this is in the way of a run without a profile: it calls `run_unit` itself, and does not load this module.

cProfile is per thread up to Python 3.11. From 3.12 on it counts for the whole process, and two of them cannot be on at
a time; there the profiler that is written in Python does it, and makes the run several times slower.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Profiler(Protocol):
    """What `cProfile.Profile` and `profile.Profile` have in common."""

    stats: dict[Any, Any]

    def runcall(self, func: Callable[P, T], /, *args: P.args, **kw: P.kwargs) -> T:
        """Call a function and count."""

    def create_stats(self) -> None:
        """Make `stats` out of what was counted."""


def new_profiler(version: tuple[int, ...] = sys.version_info[:2]) -> Profiler:
    """One that sees the thread that calls it and no other. `version`: of Python."""
    if version < (3, 12):
        from cProfile import Profile as InC

        return InC()
    return _InPython()


class _InPython:
    """The profiler that is written in Python; each of those counts one call."""

    def __init__(self) -> None:
        self.stats: dict[Any, Any] = {}

    def runcall(self, func: Callable[P, T], /, *args: P.args, **kw: P.kwargs) -> T:
        import pstats
        from profile import Profile

        profiler = Profile(time.perf_counter)
        try:
            return profiler.runcall(func, *args, **kw)
        finally:
            both = pstats.Stats(profiler)
            if self.stats:
                both.add(_Counted(self.stats))  # type: ignore[arg-type]  # see `Profiles.leave`
            self.stats = both.stats  # type: ignore[attr-defined]

    def create_stats(self) -> None:
        pass


class Profiles:
    """The profilers of one process. Safe to use from many threads.

    Args:
        parts: the directory where their sum is left.
        make: gives a profiler.
    """

    def __init__(self, parts: str, make: Callable[[], Profiler] = new_profiler) -> None:
        self._parts = parts
        self._make = make
        self._mine = threading.local()
        self._all: list[Profiler] = []

    def run(self, function: Callable[P, T], /, *args: P.args, **kw: P.kwargs) -> T:
        """Call a function, and count what this thread does meanwhile. Not to be nested."""
        profiler: Profiler | None = getattr(self._mine, "profiler", None)
        if profiler is None:
            profiler = self._mine.profiler = self._make()
            self._all.append(profiler)
        return profiler.runcall(function, *args, **kw)

    def leave(self) -> None:
        """Leave what all threads of this process have counted, if anything. They are through with it."""
        import pstats

        stats = pstats.Stats()
        for profiler in self._all:
            profiler.create_stats()
            if profiler.stats:
                stats.add(_Counted(profiler.stats))  # type: ignore[arg-type]  # whatever has `create_stats` will do
        self._all = []
        if not stats.stats:  # type: ignore[attr-defined]  # typeshed does not know it
            return
        fd, path = tempfile.mkstemp(suffix=".unfinished", dir=self._parts)
        os.close(fd)
        stats.dump_stats(path)
        os.replace(path, path.removesuffix(".unfinished"))


class _Counted:
    """What `pstats` takes for a profiler that has counted already."""

    def __init__(self, stats: dict[Any, Any]) -> None:
        self.stats = stats

    def create_stats(self) -> None:
        pass


def forget() -> None:
    """In a mover that was just forked: the profiler of the loop it comes from counts here no more."""
    sys.setprofile(None)


def gather(parts: str) -> tuple[Any, int]:
    """All that was left in a directory as one `pstats.Stats`, and how many processes left it."""
    import pstats

    paths = sorted(os.path.join(parts, name) for name in os.listdir(parts) if not name.endswith(".unfinished"))
    return pstats.Stats(*paths), len(paths)
