"""The watch job: the same sync again and again, after each interval or as soon as a local source changes.

Each cycle is a run of its own, with its own line in the state: what failed before is tried again because it still
differs, and nothing is kept in memory from one cycle to the next. The first cycle fails like any run when it cannot
begin (a wrong password does not get better by waiting). Later ones wait for the next cycle when a store is away:
that is news, not the end. What makes every further cycle pointless ends the watch: a full or read-only destination,
a damaged state.

File systems tell of changes only where they are made through this machine, so there is a full look after every
interval all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import Result
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report
from dunlin.stores.open import local_path

LOOK = 0.2
"""Seconds between two looks at whether a stop was requested."""

AWAY = frozenset(
    {ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY, ErrorKind.NOT_FOUND, ErrorKind.LOCKED, ErrorKind.IO}
)
"""Kinds of errors at the start of a later cycle that the next one may not meet."""


class Watch(NamedTuple):
    """How to watch. `interval`: seconds between the end of a cycle and the begin of the next. `cycles`: stop after
    so many (0: never); for trials."""

    interval: float = 300.0
    cycles: int = 0


class Waits(Protocol):
    """Waits between two cycles."""

    def __call__(self, seconds: float, stop: Stop) -> bool:
        """Wait until `seconds` have passed, something changed, or a stop is requested; True for a change."""


def watch(once: Callable[[Stop], Result], how: Watch, stop: Stop, report: Report, wait: Waits) -> Result:
    """Run cycle after cycle until `stop` is requested; returns how the last one ended, as interrupted.

    Args:
        once: one run, which obeys the stop that it is given.
        wait: see `Waits`.

    Raises what the first cycle raises, and later what is not worth another cycle.
    """
    cycle = 0
    inner = Stop()

    def pass_on() -> None:
        inner.request(stop.reason)

    # One listener for all cycles: each run adds its own to the stop it is given, and they would pile up.
    stop.tell(pass_on)
    total = Stats()
    while True:
        cycle += 1
        inner = Stop()
        if stop.requested:
            pass_on()
        try:
            result = once(inner)
        except DunlinError as error:
            if stop.requested:
                return Result(total, "interrupted", stop.reason, 130)
            if cycle == 1 or error.kind not in AWAY:
                raise
            message = f"cycle {cycle} could not begin: {error}; the next one tries again"
            report.event(Event(Level.WARN, "watch.away", message, {"cycle": cycle}))
            result = Result(Stats(), "failed", str(error), error.exit_code)
        else:
            if result.status == "failed":
                return result
        if stop.requested or result.status == "interrupted":
            return result._replace(status="interrupted", message=stop.reason or result.message, exit_code=130)
        if how.cycles and cycle >= how.cycles:
            return result
        report.event(
            Event(Level.INFO, "watch.waits", f"cycle {cycle} is through; the next look is in {how.interval:g} s", {})
        )
        if wait(how.interval, stop):
            report.event(Event(Level.INFO, "watch.changed", "the source has changed", {}))
        if _asked(stop):
            return result._replace(status="interrupted", message=stop.reason, exit_code=130)


def _asked(stop: Stop) -> bool:
    """Whether a stop was requested meanwhile, by a signal or another thread."""
    return stop.requested


def pause(seconds: float, stop: Stop, sleep: Callable[[float], object] = time.sleep) -> bool:
    """Wait for the next look. Nothing tells of changes, so the answer is always False."""
    left = seconds
    while left > 0 and not stop.requested:
        sleep(min(LOOK, left))
        left -= LOOK
    return False


def waiting(source: str, ignored: Callable[[str], bool], report: Report) -> Waits:
    """How to wait for changes of this source: its events where it is a local directory, else the clock.

    `ignored` tells of paths whose changes mean nothing: the run's own files.
    """
    path = local_path(source)
    if path is None:
        return pause
    from dunlin.stores.local.changes import Changes

    try:
        changes = Changes(path, ignored)
    except DunlinError as error:
        why = "; ".join(filter(None, (error.reason, error.hint)))
        message = f"changes of {path} are seen after each interval only: {why}"
        report.event(Event(Level.WARN, "watch.deaf", message, {}))
        return pause
    return lambda seconds, stop: changes.wait(seconds, lambda: stop.requested)
