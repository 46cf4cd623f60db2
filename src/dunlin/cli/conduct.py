"""One run from its options to its exit code: reports, signals, the summary."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress

from dunlin import __version__
from dunlin.cli.asking import Asked
from dunlin.cli.outlet import Outlet, Telling
from dunlin.cli.signals import Signals
from dunlin.cli.summary import machine, people
from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.sizes import format_duration
from dunlin.pace.stop import Stop
from dunlin.report import Event, Fan, Level

SEVERITY = (1, 2, 130, 25, 23, 3, 24, 0)
"""Exit codes, the most severe first."""


def conduct_all(asked: Asked) -> int:
    """Do all that is asked, one run after the other; returns the exit code that is the most severe."""
    code = 0
    for number, options in enumerate(asked.runs):
        ended = conduct(options, asked.telling, asked.notes if number == 0 else ())
        code = min(code, ended, key=SEVERITY.index)
        if ended == 130:
            break
    return code


def conduct(options: SyncOptions, telling: Telling, notes: Sequence[str] = ()) -> int:
    """Do it, tell about it; returns the exit code. `notes`: warnings to begin with."""
    from dunlin.jobs.sync import run

    if options.watch is not None:
        from dunlin.cli.extras import prepare_watch

        prepare_watch(options.source)
    stop = Stop()
    outlet = Outlet(telling, stop, ends=options.mode != "sync")
    for note in notes:
        outlet.log.event(Event(Level.WARN, "configuration", note))
    _advise(options, outlet)
    report = Fan(outlet.reports())
    leave = outlet.view.restore if outlet.view else lambda: None
    if outlet.by_lines:
        what = f"{options.mode} {printable(options.source)} -> {printable(options.destination)}"
        outlet.log.event(Event(Level.INFO, "run.begins", f"dunlin {__version__}: {what}"))
    begun = time.monotonic()
    try:
        with Signals(stop, outlet.urgent, leave):
            result = run(options, stop, report)
    except DunlinError as error:
        outlet.close()
        from dunlin.cli.extras import addable

        if not telling.as_json or addable(error):
            raise
        outlet.say(f"dunlin: {error}")
        result = _failed(error, time.monotonic() - begun)
    finally:
        with suppress(Exception):
            outlet.close()
    return _end(options, telling, outlet, result)


def _end(options: SyncOptions, telling: Telling, outlet: Outlet, result: Result) -> int:
    meter = outlet.progress.meter if outlet.progress else None
    skipped = dict(meter.skipped) if meter else {}
    if outlet.by_lines:
        words = f"{result.status} in {format_duration(result.stats.seconds)}, exit code {result.exit_code}"
        level = Level.INFO if result.exit_code in (0, 3, 24) else Level.WARN
        outlet.log.event(Event(level, "run.ended", words, {"exit_code": result.exit_code}))
    if telling.as_json:
        # ASCII only: names that are not UTF-8 come back from \udcXX as they were.
        outlet.finish(json.dumps(machine(result, options, skipped=skipped)))
    elif telling.quiet:
        if result.status != "completed" and result.message:
            outlet.say(f"dunlin: {result.status}: {printable(result.message)}")
        outlet.finish("")
    else:
        lines = people(
            result,
            options.mode,
            skipped=skipped,
            failures=meter.failures if meter else (),
            total_bytes=meter.gauges.get("total_bytes", 0) if meter else 0,
            status_hint=_status_hint(options),
        )
        outlet.finish("\n".join(lines))
    # Results that could not be written are no better than a run that ended in the middle.
    return 2 if outlet.unwritten else result.exit_code


def _status_hint(options: SyncOptions) -> str:
    if options.state_db == "none":
        return ""
    where = f" --state-db {printable(options.state_db)}" if options.state_db else ""
    return f"dunlin status --failed{where}"


def _failed(error: DunlinError, seconds: float) -> Result:
    status = "interrupted" if error.kind is ErrorKind.INTERRUPTED else "failed"
    return Result(Stats(seconds=seconds), status, str(error), error.exit_code)


def _advise(options: SyncOptions, outlet: Outlet) -> None:
    remote = any("://" in place and not place.startswith("file://") for place in (options.source, options.destination))
    if remote and options.crew.workers > 24:
        message = f"{options.crew.workers} workers may make the server answer with HTTP 429 (too many requests)"
        outlet.log.event(Event(Level.WARN, "workers.many", message))
