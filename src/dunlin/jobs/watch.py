"""The watch job: the same syncs again and again, after each interval or as soon as a local source changes.

Each cycle makes a run of each pair, with its own line in the state: what failed before is tried again because it
still differs, and nothing is kept in memory from one cycle to the next. The first cycle fails like any run when it
cannot begin (a wrong password does not get better by waiting). Later ones wait for the next cycle when a store is
away: that is news, not the end, and the other pairs have their runs all the same. What makes every further cycle
pointless ends the watch: a full or read-only destination, a damaged state.

File systems tell of changes only where they are made through this machine, so there is a full look after every
interval all the same. Between two of them only the pairs have a run whose source has changed, and after each run the
watch rests as long as that took (at most `REST` seconds): a source that changes all the time does not take more than
half of the machine's time.

`dunlin control stop` speaks to runs through the state file. While the watch waits there is none, so it listens for the
orders to the runs that were the last ones (`Orders`).
"""

from __future__ import annotations

import gc
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import Result, SyncOptions, Watch, worst
from dunlin.jobs.record import own_paths
from dunlin.model import Stats
from dunlin.pace.sizes import format_duration, parse_age
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, NullReport, Report
from dunlin.state.location import locate
from dunlin.state.store import State
from dunlin.stores.open import local_path

LOOK = 0.2
"""Seconds between two looks at whether a stop was requested."""

REST = 10.0
"""The most seconds between the end of a run and one that a change asks for."""

AWAY = frozenset(
    {ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY, ErrorKind.NOT_FOUND, ErrorKind.LOCKED, ErrorKind.IO}
)
"""Kinds of errors at the start of a later cycle that the next one may not meet."""

Once = Callable[[Stop, int], Result]
"""One run of a pair, which obeys the stop that it is given; the number is that of the cycle, from 1."""


class Waits(Protocol):
    """Waits between two cycles."""

    def __call__(self, seconds: float, stop: Stop, runs: Sequence[int]) -> frozenset[int]:
        """Wait until `seconds` have passed, something changed, or a stop is requested.

        `runs`: the last run of each pair, by its number in the state. Returns the numbers of the pairs (from 0) whose
        source has changed; none when that is not why the wait ended.
        """


def watch(
    pairs: Sequence[Once],
    how: Watch,
    stop: Stop,
    report: Report,
    wait: Waits,
    rest: Callable[[float, Stop], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Run cycle after cycle until `stop` is requested; returns how the last one ended, as interrupted.

    Args:
        pairs: one run of each pair.
        wait: see `Waits`. rest: waits for so many seconds or a stop; default `pause`.
        clock: seconds that never go back.

    Raises what the first cycle raises, and later what is not worth another cycle.
    """
    inner = Stop()

    def pass_on() -> None:
        inner.request(stop.reason)

    # One listener for all cycles: each run adds its own to the stop it is given, and they would pile up.
    stop.tell(pass_on)
    last = [Result(Stats(), "interrupted", "", 130)] * len(pairs)
    cycle, due, chosen = 0, 0.0, frozenset(range(len(pairs)))
    while True:
        cycle += 1
        begun = clock()
        for at in sorted(chosen):
            inner = Stop()
            if stop.requested:
                pass_on()
            last[at] = _once(pairs[at], inner, cycle, last[at], stop, report)
            if inner.requested:
                # `dunlin control stop` spoke to the run, and means the watch.
                stop.request(inner.reason)
            if stop.requested or last[at].status == "interrupted":
                return _stopped(last[at], stop)
            if last[at].status == "failed" and last[at].exit_code == 2:
                return last[at]
        # A run leaves cycles of references, and has told the collector to come seldom.
        gc.collect()
        ended = clock()
        if how.cycles and cycle >= how.cycles:
            return worst(last)
        if len(chosen) == len(pairs):
            due = ended + how.interval
        left = max(0.0, due - ended)
        _tell(report, cycle, left, [last[at] for at in chosen])
        chosen = wait(left, stop, [result.run for result in last])
        if chosen and not _asked(stop):
            report.event(Event(Level.INFO, "watch.changed", "the source has changed", {"cycle": cycle + 1}))
            (rest or _rest)(ended + min(REST, ended - begun) - clock(), stop)
        if _asked(stop):
            return _stopped(worst(last), stop)
        chosen = chosen or frozenset(range(len(pairs)))


def _once(pair: Once, inner: Stop, cycle: int, before: Result, stop: Stop, report: Report) -> Result:
    """One run; one that could not begin because a store is away ends as failed, with an exit code below 2."""
    try:
        result = pair(inner, cycle)
    except DunlinError as error:
        if stop.requested:
            return before._replace(status="interrupted")
        if cycle == 1 or error.kind not in AWAY:
            raise
        message = f"cycle {cycle} could not begin: {error}; the next one tries again"
        report.event(Event(Level.WARN, "watch.away", message, {"cycle": cycle}))
        return Result(Stats(), "failed", str(error), 1, run=before.run)
    return result if result.run else result._replace(run=before.run)


def _stopped(result: Result, stop: Stop) -> Result:
    return result._replace(status="interrupted", message=stop.reason or result.message, exit_code=130)


def _tell(report: Report, cycle: int, left: float, results: Sequence[Result]) -> None:
    # A cycle that found nothing to do is no news, except the first: it says that the watch has begun.
    moved = any(result.exit_code or result.stats.copied_files for result in results)
    level = Level.INFO if moved or cycle == 1 else Level.DEBUG
    message = f"cycle {cycle} is through; the next full look is in {format_duration(round(left))}"
    report.event(Event(level, "watch.waits", message, {"cycle": cycle, "seconds": round(left, 1)}))


def _asked(stop: Stop) -> bool:
    """Whether a stop was requested meanwhile, by a signal or another thread."""
    return stop.requested


def pause(
    seconds: float,
    stop: Stop,
    sleep: Callable[[float], object] = time.sleep,
    look: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait for so long, or for a stop; `look` is called a few times a second and may request one."""
    until = clock() + seconds
    while (left := until - clock()) > 0:
        look()
        if stop.requested:
            return
        sleep(min(LOOK, left))


def _rest(seconds: float, stop: Stop) -> None:
    pause(seconds, stop)


def later(options: SyncOptions, now: int) -> SyncOptions:
    """The options of a cycle that is not the first, `now` in ns.

    What was asked for once (transfer everything again, look at a source that may be another one) is not asked for
    again, and ages are counted from now.
    """
    young, old = options.selection.ages
    selection = options.selection
    if young or old:
        from dataclasses import replace

        selection = replace(
            selection,
            newer_than=parse_age(old, now) if old else None,
            older_than=parse_age(young, now) if young else None,
        )
    return options._replace(
        rescan=False,
        force_resync=False,
        accept_source=False,
        policy=options.policy._replace(force=options.policy.force and not options.force_resync),
        selection=selection,
    )


def own(pairs: Iterable[SyncOptions], streams: Iterable[int] = (1, 2)) -> Callable[[str], bool]:
    """Tells of absolute paths that dunlin itself writes there: their changes mean nothing.

    These are the state, logs and reports, temporary files, a destination within the source, and whatever the process
    writes to (`streams`: descriptors): a log in the source would otherwise ask for the next run for ever.
    """
    files: set[str] = set()
    below: list[str] = []
    for options in pairs:
        state = locate(options.state_db, os.getcwd(), options.user_state).path
        files.update(own_paths(options, state))
        target = local_path(options.destination)
        source = local_path(options.source)
        if target is None or source is None:
            continue
        places = [target] if options.backup_dir is None else [target, os.path.join(target, options.backup_dir)]
        root = os.path.realpath(source).rstrip("/") + "/"
        below += [place + "/" for place in map(os.path.realpath, places) if place.startswith(root)]
    written = {(there.st_dev, there.st_ino) for there in map(_file, streams) if there is not None}

    def ignored(path: str) -> bool:
        if path in files or "/.dunlin-" in path or any((path + "/").startswith(each) for each in below):
            return True
        there = _file(path)
        return there is not None and (there.st_dev, there.st_ino) in written

    return ignored


def _file(what: str | int) -> os.stat_result | None:
    """The status of a regular file."""
    try:
        there = os.stat(what)
    except OSError:
        return None
    return there if stat.S_ISREG(there.st_mode) else None


class Orders:
    """What `dunlin control` tells the last runs of the pairs while a watch waits: of its orders only to stop counts."""

    def __init__(self, paths: Sequence[str | None], runs: Sequence[int], stop: Stop, report: Report) -> None:
        """Args:
        paths: the state file of each pair, None where there is none. runs: their last runs, 0 where there was none.
        stop: asked when the order comes.
        """
        self._stop = stop
        self._report = report
        self._open: dict[str, State] = {}
        self._runs: list[tuple[State, int]] = []
        for path, run in zip(paths, runs, strict=True):
            if path is None or not run:
                continue
            # A state that cannot be opened now will be an error of the next run.
            with suppress(DunlinError):
                state = self._open.get(path) or State.open(path, NullReport(), create=False)
                self._open[path] = state
                self._runs.append((state, run))

    def look(self) -> None:
        """Obey what was told since the last call."""
        changed = {id(state): state.database.changed_elsewhere() for state in self._open.values()}
        for state, run in self._runs:
            if not changed[id(state)]:
                continue
            with suppress(DunlinError):
                for order in state.orders(run):
                    if order.verb == "stop":
                        self._stop.request("stopped by `dunlin control stop`")
                    else:
                        message = f"order: {order.verb}: no run is going on, it is forgotten"
                        self._report.event(Event(Level.WARN, "control", message, {"verb": order.verb}))

    def close(self) -> None:
        """Close the state files."""
        for state in self._open.values():
            state.close()


class Waiting:
    """How to wait between two cycles of these pairs: for events of local sources, orders, and the clock."""

    def __init__(
        self, pairs: Sequence[SyncOptions], report: Report, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Raises nothing: where changes cannot be noticed at once, that is told, and the clock decides."""
        from dunlin.stores.local.changes import Changes

        self._report = report
        self._sleep = sleep
        self._states = [locate(each.state_db, os.getcwd(), each.user_state).path for each in pairs]
        self._local: list[int] = []
        self._changes: Changes | None = None
        paths = []
        for at, each in enumerate(pairs):
            if (path := local_path(each.source)) is not None:
                self._local.append(at)
                paths.append(path)
        if not paths:
            return
        try:
            self._changes = Changes(paths, own(pairs))
        except DunlinError as error:
            why = "; ".join(filter(None, (error.reason, error.hint)))
            message = f"changes of {', '.join(paths)} are seen after each interval only: {why}"
            report.event(Event(Level.WARN, "watch.deaf", message, {}))

    def __call__(self, seconds: float, stop: Stop, runs: Sequence[int]) -> frozenset[int]:
        """See `Waits`."""
        orders = Orders(self._states, runs, stop, self._report)

        def asked() -> bool:
            orders.look()
            return stop.requested

        try:
            if self._changes is None:
                pause(seconds, stop, self._sleep, orders.look)
                return frozenset()
            return frozenset(self._local[at] for at in self._changes.wait(seconds, asked, self._sleep))
        finally:
            orders.close()

    def close(self) -> None:
        """Give the system's watches back."""
        if self._changes is not None:
            self._changes.close()
