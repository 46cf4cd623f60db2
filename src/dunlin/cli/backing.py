"""One backup or scan from its command line to its exit code: reports, signals, the summary."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping, parameters
from dunlin.cli.base import settings_of
from dunlin.cli.conduct import Stage
from dunlin.cli.outlet import Outlet, Telling
from dunlin.cli.signals import Signals
from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.pace.stop import Stop
from dunlin.report import Event, Fan, Level

if TYPE_CHECKING:
    from dunlin.backup.repository import Repository
    from dunlin.jobs.backup import Options, Result

SHOWN_FAILURES = 3


def conduct(ctx: click.Context, *, content: bool) -> int:
    """Make the snapshot that the command line asks for, and tell about it; returns the exit code."""
    from dunlin.cli.asking import notes_of, telling_of
    from dunlin.cli.extras import addable

    opening = keeping.opening(ctx)
    options = asked(ctx, content)
    telling, stop, stage = telling_of(ctx), Stop(), Stage()
    mode = "backup" if options.content and not options.dry else "scan"
    outlet = stage.outlet = Outlet(telling, stop, ends=options.dry, facts={"mode": mode})
    for note in notes_of(ctx):
        outlet.log.event(Event(Level.WARN, "configuration", note))
    begun = time.monotonic()
    try:
        # Who types a password may still change his mind: signals are not caught before.
        with (
            closing(opening()) as opened,
            Signals(stop, stage.urgent, stage.leave, stage.rest, stage.back),
        ):
            result = _run(options, opened, stop, outlet)
    except DunlinError as error:
        if not telling.as_json or addable(error):
            raise
        outlet.say(f"dunlin: {error}")
        result = _failed(error, time.monotonic() - begun)
    finally:
        with suppress(Exception):
            outlet.close()
    _end(result, options, telling, outlet)
    return 2 if outlet.unwritten else result.exit_code


def _end(result: Result, options: Options, telling: Telling, outlet: Outlet) -> None:
    if telling.as_json:
        outlet.finish(json.dumps(machine(result, options)))
    elif telling.quiet:
        if result.status != "completed":
            outlet.say(f"dunlin: {result.status}: {printable(result.message)}")
        outlet.finish("")
    else:
        outlet.finish("\n".join(people(result, options, told=outlet.told_failures)))


def _failed(error: DunlinError, seconds: float) -> Result:
    """How a run ended that raised."""
    from dunlin.backup.manifest import Totals
    from dunlin.jobs.backup import Result

    status = "interrupted" if error.kind is ErrorKind.INTERRUPTED else "failed"
    return Result(status, error.exit_code, None, Totals(), seconds, message=str(error))


def _run(options: Options, opened: Repository, stop: Stop, outlet: Outlet) -> Result:
    from dunlin.jobs.backup import run

    what = "Backup" if options.content else "Scan"
    if outlet.by_lines:
        message = f"{what} started (source={_shown(options.source)}, repository={_shown(options.repository.url)})"
        outlet.log.event(Event(Level.INFO, "run.begins", message))
    result = run(options, opened, stop, Fan(outlet.reports()))
    if outlet.by_lines:
        level = Level.INFO if result.exit_code in (0, 24) else Level.WARN
        outlet.log.event(Event(level, "run.ended", f"{what} {result.status}", {"exit_code": result.exit_code}))
    return result


def asked(ctx: click.Context, content: bool) -> Options:
    """What the command line asks for. Raises USAGE and CONFIG."""
    from dunlin.cli.asking import flags_of, spread_of
    from dunlin.cli.options import bandwidth, rules_of, selection
    from dunlin.config.logins import place
    from dunlin.jobs.backup import Options

    values = ctx.params
    if not values["source"].strip():
        raise usage("SOURCE is empty", "is a variable of the shell unset?")
    repository = keeping.place_of(ctx)
    source = place(values["source"], "source", flags_of(ctx), settings_of(ctx))
    if source.exposed:
        ctx.meta["dunlin.shown"] = ["the URL"]
    return Options(
        source.url,
        repository,
        login=source.login,
        tenant=keeping.tenant_of(ctx),
        share=values.get("share") or "",
        tags=tuple(dict.fromkeys(tag for tag in values.get("tag") or () if tag)),
        selection=selection(values, rules_of(ctx, parameters.FILTERS), time.time_ns()),
        content=content,
        force=bool(values.get("force")),
        dry=bool(values.get("dry_run")),
        accept_source=bool(values.get("accept_source")),
        xattrs=values.get("xattrs") is not False,
        attempts=values.get("attempts") or 3,
        movers=values.get("movers") or 0,
        bandwidth=bandwidth(values.get("bwlimit")),
        share_snapshot=bool(values.get("share_snapshot")),
        host=platform.node(),
        timeout=repository.timeout,
        request_timeout=repository.request_timeout,
        spread=None if values.get("dry_run") else spread_of(ctx, settings_of(ctx), values["source"], values["repo"]),
    )


def people(result: Result, options: Options, *, told: bool = False) -> Iterator[str]:
    """How it ended, in two lines and one for everything that a person may want to act on."""
    from dunlin.pace.sizes import format_duration, format_number, format_size

    totals, made = result.totals, result.snapshot
    news = [f"{totals.new_files:,} new", f"{totals.changed_files:,} changed"]
    if totals.removed_files:
        news.append(f"{totals.removed_files:,} gone")
    held = f"{format_number(totals.files, 'file')} ({format_size(totals.bytes)})"
    if result.status != "completed" or made is None:
        reason = _line(result.message) or result.status
        reason = reason if reason.startswith(result.status) else f"{result.status} ({reason})"
        yield f"{reason}: no snapshot was made; {held} seen, {', '.join(news)}"
        yield f"{format_duration(result.seconds)}; what was stored is found by the next backup"
        return
    if options.dry:
        yield f"would make a snapshot of {made.tenant}/{made.share}: {held}, {', '.join(news)}"
        yield format_duration(result.seconds)
    else:
        yield f"snapshot {made.id[:8]} of {made.tenant}/{made.share}: {held}, {', '.join(news)}"
        yield ", ".join(_speed(result, options))
    if totals.torn_files:
        yield f"{format_number(totals.torn_files, 'file')} changed while being read, and may be a mixture"
    if not told:
        yield from (f"failed: {_line(str(error))}" for error in result.errors[:SHOWN_FAILURES])
    failed = max(len(result.errors), totals.failed_entries)
    if failed > SHOWN_FAILURES or (told and failed):
        yield f"{failed:,} failed; they stand as in the snapshot before, or not at all"
    if result.vanished:
        yield f"{format_number(result.vanished, 'name')} vanished before being read"


def _speed(result: Result, options: Options) -> Iterator[str]:
    from dunlin.pace.sizes import format_duration, format_rate, format_size

    totals, seconds = result.totals, max(result.seconds, 1e-9)
    if options.content:
        yield f"stored {format_size(totals.stored_bytes)} for {format_size(totals.new_bytes)} of new content"
    yield format_duration(result.seconds)
    if totals.read_bytes:
        yield f"read {format_rate(totals.read_bytes / seconds)}"
    yield f"{totals.files / seconds:,.0f} files/s"


def machine(result: Result, options: Options) -> dict[str, Any]:
    """The object of --json. Sizes in bytes, times in ns since 1970."""
    import dataclasses

    made = None if options.dry or result.snapshot is None else keeping.described(result.snapshot)
    return {
        "mode": "plan" if options.dry else "backup" if options.content else "scan",
        "status": result.status,
        "exit_code": result.exit_code,
        "message": result.message,
        "source": _shown(options.source),
        "repository": _shown(options.repository.url),
        "seconds": round(result.seconds, 3),
        "snapshot": made,
        "totals": dataclasses.asdict(result.totals),
        "vanished": result.vanished,
        "errors": [_error(each) for each in result.errors[:100]],
    }


def _error(error: Any) -> dict[str, str]:
    return {"path": error.where, "kind": error.kind.value, "error": str(error)}


def _shown(place: str) -> str:
    from dunlin.stores.open import shown_place

    return shown_place(place)


def _line(text: str) -> str:
    return printable(" ".join(text.splitlines()))
