"""`dunlin status`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dunlin.cli.base import Command, Option, config_option, echo, log_level_option, state_option

if TYPE_CHECKING:
    from dunlin.cli.glance import Glance
    from dunlin.state import Failed, PairStatus, Run, State

EXAMPLE = """
dunlin status
dunlin status --failed --state-db /var/lib/dunlin/nightly.db
dunlin status --json
"""

SHOWN = 5
"""Failed files that are shown without --failed."""


def status(state_db: str | None, as_json: bool, failed: bool, log_level: str) -> int:
    """Parse, call, print, exit code."""
    import time

    from dunlin.cli.glance import glance
    from dunlin.cli.statefile import lives, open_state, watches
    from dunlin.state.overview import Overview

    state = open_state(state_db, write=False)
    try:
        view = Overview(state, lives)
        pairs = [
            (
                pair,
                [*all_bad(state, pair), *all_failed(state, pair)] if failed else [*pair.bad, *pair.failed][:SHOWN],
                glance(view, pair.id),
            )
            for pair in state.status()
        ]
    finally:
        state.close()
    if as_json:
        import json

        echo(json.dumps({"pairs": [machine(pair, names, lives, watches, more) for pair, names, more in pairs]}))
    elif not pairs:
        echo("no runs yet")
    else:
        now = time.time_ns()
        echo("\n\n".join("\n".join(people(pair, names, lives, now, watches, more)) for pair, names, more in pairs))
    return 0


def all_failed(state: State, pair: PairStatus) -> list[Failed]:
    """Every failed file of the pair's recent runs; what older runs left comes from the overview."""
    if pair.failed_files <= len(pair.failed):
        return pair.failed
    found: dict[tuple[int, str], Failed] = {each.after: each for each in pair.failed}
    for run in pair.runs:
        page, after = state.failed(run.id), None
        while page:
            found |= {each.after: each for each in page}
            after = page[-1].after
            page = state.failed(run.id, after=after)
    return sorted(found.values(), key=lambda each: each.path)


def all_bad(state: State, pair: PairStatus) -> list[Failed]:
    """Every directory that could not be listed or made."""
    return pair.bad if pair.failed_directories <= len(pair.bad) else state.bad_directories(pair.id, -1)


def word(run: Run, lives: Callable[[Run], bool]) -> str:
    """How a run ended; one whose process is gone was interrupted, whatever its record says."""
    return "interrupted" if run.status == "running" and not lives(run) else run.status


def people(
    pair: PairStatus,
    failed: list[Failed],
    lives: Callable[[Run], bool],
    now: int,
    watches: Callable[[Run], bool] = lambda run: False,
    more: Glance | None = None,
) -> list[str]:
    """A pair for people. `now` in ns. `more`: how it goes, and what was done in a day."""
    from dunlin.cli.glance import days, running
    from dunlin.errors import printable
    from dunlin.pace.sizes import format_number, format_size

    lines = [f"{printable(pair.source)} -> {printable(pair.destination)}"]
    last = f"last complete run {_when(pair.last_success, now)}" if pair.last_success else "no complete run yet"
    known = f"{format_number(pair.known_files, 'file')} known, " if pair.known_files else ""
    lines.append(f"  {known}{last}")
    if pair.runs and (newest := pair.runs[0]).status == "running":
        alive = lives(newest)
        lines.append(
            f"  running: run {newest.id}, process {newest.pid}, since {_when(newest.started, now)}"
            if alive
            else f"  run {newest.id} was cut short; `dunlin sync` with the same pair continues it"
        )
        if more is not None and more.now is not None:
            lines += running(more.now)
    elif pair.runs and watches(pair.runs[0]):
        lines.append(f"  watched by process {pair.runs[0].pid}, which waits for its next look")
    if pair.pending_files or pair.queued_directories:
        waiting = f"  pending: {format_number(pair.pending_files, 'file')} ({format_size(pair.pending_bytes)})"
        if pair.queued_directories:
            waiting += f", {format_number(pair.queued_directories, 'directory', 'directories')} not yet listed"
        lines.append(waiting)
    if all_of_them := pair.failed_files + pair.failed_directories:
        kinds = ", ".join(f"{name} {number:,}" for name, number in sorted(pair.failed_by_category.items()))
        what = [f"{format_number(pair.failed_files, 'file')} ({kinds})"] if pair.failed_files else []
        what += [format_number(pair.failed_directories, "directory", "directories")] if pair.failed_directories else []
        lines.append(f"  failed: {', '.join(what)}")
        lines += [f"    {printable(each.path)}: {printable(each.error)}" for each in failed]
        rest = all_of_them - len(failed)
        if rest > 0:
            lines.append(f"    and {rest:,} more" + ("; --failed lists them" if len(failed) <= SHOWN else ""))
        if pair.failed_files:
            lines.append("    `dunlin retry` tries the files of the last run again")
        if pair.failed_directories:
            lines.append("    `dunlin sync` with the same pair tries directories again")
    lines += days(more) if more is not None else []
    if pair.runs:
        lines.append("  runs, the newest first:")
        lines += [f"    {_run(run, lives, now)}" for run in pair.runs]
    return lines


def _in_watch(run: Run, lives: Callable[[Run], bool]) -> bool:
    return bool(run.options.get("watch")) and lives(run)


def _run(run: Run, lives: Callable[[Run], bool], now: int) -> str:
    from dunlin.errors import printable
    from dunlin.pace.sizes import format_duration, format_moment, format_number, format_size

    end = run.ended or (now if run.status == "running" and lives(run) else run.updated)
    stats = run.stats
    parts = [f"copied {format_number(stats.copied_files, 'file')} ({format_size(stats.copied_bytes)})"]
    deleted = stats.deleted_files + stats.deleted_directories
    failed = stats.failed_files + stats.failed_directories
    parts += [f"{number:,} {what}" for number, what in ((deleted, "deleted"), (failed, "failed")) if number]
    if run.continued_from:
        parts.append(f"continued run {run.continued_from}")
    if tried := run.options.get("retry"):
        parts.append(f"tried run {min(tried)} again")
    message = f"; {printable(' '.join(run.message.split()))}" if run.message else ""
    duration = format_duration(max(0, end - run.started) / 1e9)
    head = f"{run.id:>4}  {format_moment(run.started)}  {word(run, lives):11}  {duration:>6}"
    return f"{head}  {', '.join(parts)}{message}"


def _when(time_ns: int, now: int) -> str:
    from dunlin.pace.sizes import format_moment, format_span

    return f"{format_moment(time_ns)} ({format_span(max(0, now - time_ns) / 1e9)} ago)"


def machine(
    pair: PairStatus,
    failed: list[Failed],
    lives: Callable[[Run], bool],
    watches: Callable[[Run], bool] = lambda run: False,
    more: Glance | None = None,
) -> dict[str, Any]:
    """A pair as the value of --json. Times in ns since 1970, sizes in bytes."""
    import dataclasses

    from dunlin.cli.glance import machine as figures

    return {
        "id": pair.id,
        "source": pair.source,
        "destination": pair.destination,
        "known_files": pair.known_files,
        "watched": bool(pair.runs) and (watches(pair.runs[0]) or _in_watch(pair.runs[0], lives)),
        "last_success": pair.last_success,
        "pending_files": pair.pending_files,
        "pending_bytes": pair.pending_bytes,
        "queued_directories": pair.queued_directories,
        "failed_files": pair.failed_files,
        "failed_by_category": pair.failed_by_category,
        "failed_directories": pair.failed_directories,
        "failed": [
            {"path": each.path, "size": each.size, "kind": each.kind.value, "error": each.error, "run": each.run}
            for each in failed
        ],
        "runs": [
            {
                "id": run.id,
                "status": word(run, lives),
                "message": run.message,
                "started": run.started,
                "ended": run.ended,
                "pid": run.pid,
                "continued_from": run.continued_from,
                "stats": dataclasses.asdict(run.stats),
            }
            for run in pair.runs
        ],
        **(figures(more) if more is not None else {}),
    }


command = Command(
    "status",
    help="""
    Show what the state file knows: for every pair how a run goes and when it will be through, what was done in the
    last 24 hours and in all, the last runs, and the files that are pending or failed.

    It may be asked while a run is going on. `dunlin retry` tries again what failed.
    """,
    short_help="show runs, totals, pending and failed files",
    example=EXAMPLE,
    callback=status,
    params=[
        state_option(),
        config_option("Where"),
        Option("--failed", "List all failed files and directories with their reasons.", section="Output", is_flag=True),
        Option("--json", "Print a JSON object.", section="Output", into="as_json", is_flag=True),
        log_level_option(),
    ],
)
