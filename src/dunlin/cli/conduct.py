"""One run from its options to its exit code, or a watch over many: reports, signals, the summary.

With --json each run prints its object on a line of its own as soon as it is over: one for each pair and, with --watch,
for each cycle (`cycle`). Without, a cycle of a watch that found nothing to do prints no summary, except the first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from dunlin import __version__
from dunlin.cli.asking import Asked
from dunlin.cli.outlet import Outlet, Telling
from dunlin.cli.signals import Hurry, Signals
from dunlin.cli.summary import machine, people
from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs import told
from dunlin.jobs.options import SEVERITY, Result, SyncOptions, Watch
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import Event, Fan, Level

if TYPE_CHECKING:
    from dunlin.jobs.outward import Outward
    from dunlin.jobs.outward import Pair as Seen


def conduct_all(asked: Asked) -> int:
    """Do all that is asked, one run after the other; returns the exit code that is the most severe."""
    if asked.outward is None:
        return _all(asked)
    from dunlin.jobs.outward import Outward

    outward = Outward(asked.outward, len(asked.runs), __version__)
    try:
        return _all(asked._replace(runs=_spawned(asked.runs)), outward)
    finally:
        with Hurry() as hurry:
            outward.close(hurry.asked)


def _spawned(runs: Sequence[SyncOptions]) -> tuple[SyncOptions, ...]:
    """The runs in a process that has threads besides: movers must not be forked from it."""
    return tuple(each._replace(crew=each.crew._replace(start=each.crew.start or "spawn")) for each in runs)


def _all(asked: Asked, outward: Outward | None = None) -> int:
    intervals = [options.watch.interval for options in asked.runs if options.watch is not None]
    if intervals:
        return _watch(asked, Watch(min(intervals)), outward)
    code = 0
    for number, options in enumerate(asked.runs):
        notes = asked.notes if number == 0 else ()
        try:
            ended = conduct(options, asked.telling, notes, outward.pair(number + 1) if outward else None)
        except DunlinError as error:
            if len(asked.runs) == 1 or not _passes(error):
                raise
            from dunlin.cli.main import complain

            ended = complain(error, traceback=asked.telling.log_level == "debug")
        code = min(code, ended, key=SEVERITY.index)
        if ended == 130:
            break
    return code


def _passes(error: DunlinError) -> bool:
    """Whether a run that could not begin is no reason to leave out the next ones."""
    from dunlin.cli.extras import addable

    return error.kind is not ErrorKind.INTERRUPTED and not addable(error)


def conduct(options: SyncOptions, telling: Telling, notes: Sequence[str] = (), seen: Seen | None = None) -> int:
    """Do it once, tell about it; returns the exit code. `notes`: warnings to begin with; `seen`: from outside."""
    stop, stage = Stop(), Stage()
    begun = time.monotonic()
    with Signals(stop, stage.urgent, stage.leave, stage.rest, stage.back):
        try:
            return _one(options, telling, stop, stage, notes, seen=seen).exit_code
        except DunlinError as error:
            if not _tellable(error, telling):
                raise
            return stage.fail(options, telling, error, time.monotonic() - begun).exit_code


class Stage:
    """Which outlet is in use: signals come at any time, and each run has an outlet of its own."""

    def __init__(self) -> None:
        self.outlet: Outlet | None = None

    def urgent(self, text: str) -> None:
        """A line from a signal handler."""
        if self.outlet is not None:
            self.outlet.urgent(text)

    def leave(self) -> None:
        """Restore the terminal."""
        if self.outlet is not None and self.outlet.view is not None:
            self.outlet.view.restore()

    def rest(self) -> None:
        """Ctrl-Z: leave the terminal in order."""
        if self.outlet is not None:
            self.outlet.rest()

    def back(self, seconds: float) -> None:
        """It goes on after so long."""
        if self.outlet is not None:
            self.outlet.back(seconds)

    def fail(
        self, options: SyncOptions, telling: Telling, error: DunlinError, seconds: float, cycle: int = 0
    ) -> Result:
        """Tell that a run could not begin, also as the object of --json."""
        assert self.outlet is not None
        self.outlet.say(f"dunlin: {error}")
        status = "interrupted" if error.kind is ErrorKind.INTERRUPTED else "failed"
        result = Result(Stats(seconds=seconds), status, str(error), error.exit_code)
        return _end(options, telling, self.outlet, result, cycle)


def _tellable(error: DunlinError, telling: Telling) -> bool:
    """Whether an error becomes an object of --json: not if the command begins again with what it lacks."""
    from dunlin.cli.extras import addable

    return telling.as_json and not addable(error)


def _one(
    options: SyncOptions, telling: Telling, stop: Stop, stage: Stage, notes: Sequence[str] = (), cycle: int = 0,
    seen: Seen | None = None,
) -> Result:  # fmt: skip
    """One run and its summary; `cycle` of a watch, from 1. Raises what makes a run impossible, the outlet closed."""
    if options.log.profile:
        from dunlin.jobs.profiled import run
    else:
        from dunlin.jobs.sync import run

    words = told.words_of(options)
    outlet = stage.outlet = Outlet(
        telling, stop, ends=options.mode != "sync", words=words, attempts=options.transfer.attempts,
        facts={"mode": options.mode, "resume": _with_state("dunlin control resume", options)},
    )  # fmt: skip
    for note in notes:
        outlet.log.event(Event(Level.WARN, "configuration", note))
    if cycle <= 1:
        _advise(options, outlet)
    if outlet.by_lines:
        outlet.log.event(told.started(words, options, __version__))
    reports = outlet.reports()
    if seen is not None:
        seen.begins(told.started(words, options, __version__), outlet.log.event)
        reports.append(seen)
    try:
        result = run(options, stop, Fan(reports))
    except Exception as error:
        from dunlin.cli.extras import addable

        ended = told.ended(words, lost := _without_result(error))
        if seen is not None and not addable(error):
            seen.ends(ended, machine(lost, options, cycle=cycle))
        if isinstance(error, DunlinError) and outlet.by_lines and telling.log_format not in (None, "text"):
            # Who reads text finds the same words in the line with which the command ends.
            outlet.log.event(ended)
        raise
    finally:
        with suppress(Exception):
            outlet.close()
    if outlet.by_lines:
        outlet.log.event(told.ended(words, result))
    if seen is not None:
        seen.ends(told.ended(words, result), {**machine(result, options, cycle=cycle), "idle": _nothing(result)})
    return _end(options, telling, outlet, result, cycle)


def _without_result(error: Exception) -> Result:
    """How a run ended that raised."""
    if not isinstance(error, DunlinError):
        return Result(Stats(), "failed", f"a fault of dunlin itself: {type(error).__name__}", 2)
    status = "interrupted" if error.kind is ErrorKind.INTERRUPTED else "failed"
    return Result(Stats(), status, str(error), error.exit_code)


def _watch(asked: Asked, how: Watch, outward: Outward | None = None) -> int:
    """Run all pairs again and again until a stop."""
    from dunlin.cli.extras import prepare_watch
    from dunlin.jobs.watch import Waiting, later, watch
    from dunlin.stores.open import local_path

    for options in asked.runs:
        if local_path(options.source) is not None:
            prepare_watch(options.source)
    stop, stage, telling = Stop(), Stage(), asked.telling
    base = stage.outlet = Outlet(telling, stop, ends=False)
    # A thread of the library that watches runs in this process: movers must not be forked from it.
    runs = [each._replace(watch=how) for each in _spawned(asked.runs)]

    def once(number: int) -> Callable[[Stop, int], Result]:
        def act(inner: Stop, cycle: int) -> Result:
            options = runs[number] if cycle == 1 else later(runs[number], time.time_ns())
            notes = asked.notes if number == 0 and cycle == 1 else ()
            begun = time.monotonic()
            try:
                seen = outward.pair(number + 1, cycle) if outward else None
                return _one(options, telling, inner, stage, notes, cycle, seen)
            except DunlinError as error:
                if _tellable(error, telling):
                    stage.fail(options, telling, error, time.monotonic() - begun, cycle)
                raise

        return act

    with Signals(stop, stage.urgent, stage.leave, stage.rest, stage.back):
        waiting = Waiting(runs, base.log)
        try:
            result = watch([once(number) for number in range(len(runs))], how, stop, base.log, waiting)
        except DunlinError as error:
            if not _tellable(error, telling):
                raise
            return error.exit_code
        finally:
            waiting.close()
    if base.by_lines:
        base.log.event(Event(Level.INFO, "watch.ended", f"Watch ended (reason={result.message or result.status})"))
    return result.exit_code


def _end(options: SyncOptions, telling: Telling, outlet: Outlet, result: Result, cycle: int) -> Result:
    meter = outlet.progress.meter if outlet.progress else None
    skipped = dict(meter.skipped) if meter else {}
    if telling.as_json:
        # ASCII only: names that are not UTF-8 come back from \udcXX as they were.
        outlet.finish(json.dumps(machine(result, options, skipped=skipped, cycle=cycle)))
    elif telling.quiet:
        if result.status != "completed" and result.message:
            outlet.say(f"dunlin: {result.status}: {printable(result.message)}")
        outlet.finish("")
    elif cycle > 1 and _nothing(result):
        outlet.finish("")
    else:
        lines = people(
            result,
            options.mode,
            skipped=skipped,
            failures=meter.failures if meter and not outlet.told_failures else (),
            total_bytes=meter.gauges.get("total_bytes", 0) if meter else 0,
            status_hint=_status_hint(options),
        )
        outlet.finish("\n".join(lines))
    # Results that could not be written are no better than a run that ended in the middle.
    return result._replace(exit_code=2) if outlet.unwritten else result


def _nothing(result: Result) -> bool:
    """Whether a run found nothing to do and did nothing."""
    stats = result.stats
    done = stats.copied_files + stats.deleted_files + stats.deleted_directories + stats.metadata_entries
    made = stats.created_links + stats.created_specials + stats.created_directories + stats.hard_links
    return not (result.exit_code or done or made)


def _status_hint(options: SyncOptions) -> str:
    if options.state_db == "none":
        return ""
    return _with_state("dunlin status --failed", options)


def _with_state(command: str, options: SyncOptions) -> str:
    """A command that is to read the state of this run."""
    return f"{command} --state-db {printable(options.state_db)}" if options.state_db else command


def _advise(options: SyncOptions, outlet: Outlet) -> None:
    remote = any("://" in place and not place.startswith("file://") for place in (options.source, options.destination))
    if remote and options.crew.workers > 24:
        message = f"{options.crew.workers} workers may make the server answer with HTTP 429 (too many requests)"
        outlet.log.event(Event(Level.WARN, "workers.many", message))
