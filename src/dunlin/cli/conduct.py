"""One run from its options to its exit code: reports, signals, the summary."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import click

from dunlin import __version__, config
from dunlin.cli.options import rules_of, sync_options
from dunlin.cli.outlet import Outlet, Telling
from dunlin.cli.signals import Signals
from dunlin.cli.summary import machine, people
from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.sizes import format_duration
from dunlin.pace.stop import Stop
from dunlin.report import Event, Fan, Level


def asked(ctx: click.Context, filters: tuple[str, ...]) -> tuple[SyncOptions, Telling]:
    """What the command line asks for. Raises USAGE and CONFIG."""
    options = sync_options(
        ctx.params,
        rules_of(ctx, filters),
        command=ctx.info_name or "sync",
        now=time.time_ns(),
        user_state=config.user_state_dir(),
        runtime=config.runtime_dir(),
    )
    names = ("as_json", "quiet", "verbose", "progress", "log_level", "log_format")
    telling = Telling(**{name: _plain(ctx.params.get(name), name) for name in names})
    return options, telling


def _plain(value: Any, name: str) -> Any:
    if name in ("progress", "log_format"):
        return value
    return (value or "info") if name == "log_level" else bool(value)


def conduct(options: SyncOptions, telling: Telling) -> int:
    """Do it, tell about it; returns the exit code."""
    from dunlin.jobs.sync import run

    stop = Stop()
    outlet = Outlet(telling, stop, ends=options.mode != "sync")
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
        if not telling.as_json:
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
