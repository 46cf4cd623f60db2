"""`dunlin history`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli.base import Command, Option, config_option, echo, log_level_option, state_option
from dunlin.cli.parameters import whole
from dunlin.errors import printable, usage

if TYPE_CHECKING:
    from dunlin.jobs.history import History
    from dunlin.state import Run
    from dunlin.state.overview import Overview

EXAMPLE = """
dunlin history
dunlin history latest
dunlin history 12 --html run12.html
dunlin history latest --json
"""

SHOWN = 10
"""Lines of each list in the text of a run."""

_WIDTH = 60


def history(
    run: str | None, html: str | None, force: bool, limit: int | None, state_db: str | None, as_json: bool,
    log_level: str,
) -> int:  # fmt: skip
    """Parse, call, print, exit code."""
    from dunlin.cli.statefile import lives, open_state
    from dunlin.jobs.history import choose, gather
    from dunlin.state.overview import Overview

    if html is not None and as_json:
        raise usage("--html and --json are two answers", "ask for one of them")
    if html == "":
        raise usage("--html needs the name of a file", "or - for standard output")
    if limit is not None and (run is not None or html is not None):
        raise usage("--limit is for the list of runs", "leave it out, or leave out RUN and --html")
    word = parse(run, html)
    if html not in (None, "-"):
        from dunlin.web.file import check

        check(str(html), force)
    state = open_state(state_db, write=False)
    with Overview(state, lives) as overview:
        state.database.query("PRAGMA query_only=ON")
        if word is None:
            listing(overview, limit or 20, as_json)
            return 0
        found = gather(state, overview, choose(overview, word), time.time_ns)
    if html is not None:
        put(found, html, force)
    elif as_json:
        import json

        echo(json.dumps(machine(found)))
    else:
        echo("\n".join(people(found)))
    return 0


def parse(run: str | None, html: str | None) -> str | None:
    """What was asked for: a number, "latest", or None for the list. Raises USAGE."""
    if run is None:
        return None if html is None else "latest"
    if run != "latest" and not (run.isascii() and run.isdigit() and 0 < int(run) < 1 << 62):
        raise usage(f"{printable(run)} is no run", "write its number or latest; `dunlin history` lists the runs")
    return run


def put(found: History, path: str, force: bool) -> None:
    """Write the page, and say so."""
    from dunlin import __version__
    from dunlin.web.file import write
    from dunlin.web.history import page

    text = page(found, __version__)
    if path == "-":
        echo(text.rstrip("\n"))
        return
    write(path, text, force)
    echo(f"wrote {printable(path)}; open it with a browser")


# ---- the list ----


def listing(overview: Overview, limit: int, as_json: bool) -> None:
    """Print the runs, the newest first."""
    from dunlin.state.overview import plain

    runs = overview.runs(limit=limit)
    pairs = {pair.id: (pair.source, pair.destination) for pair in overview.pairs()}
    if as_json:
        import json

        names = ("source", "destination")
        rows = [row(run, plain(overview.word(run))) | dict(zip(names, pairs[run.pair], strict=True)) for run in runs]
        echo(json.dumps({"runs": rows}))
        return
    if not runs:
        echo("no runs yet")
        return
    lines = table(
        ("run", "begun", "status", "files", "bytes", "time", "failed"),
        [_cells(run, plain(overview.word(run))) for run in runs],
        left=(1, 2),
    )
    shown = {run.pair for run in runs}
    if len(shown) == 1:
        echo(_pair(*pairs[runs[0].pair]))
        echo("\n".join(lines))
    else:
        ends = ["", *(_pair(*pairs[run.pair]) for run in runs)]
        echo("\n".join(f"{line}  {end}".rstrip() for line, end in zip(lines, ends, strict=True)))
    if len(runs) == limit and overview.runs(limit=1, before=runs[-1].id):
        echo("there are older ones; --limit N shows more")


def row(run: Run, word: str) -> dict[str, Any]:
    """A run as a value of --json. Times in ns since 1970, sizes in bytes."""
    import dataclasses

    return {
        "id": run.id,
        "status": word,
        "message": run.message,
        "started": run.started,
        "ended": run.ended,
        "seconds": round(run.seconds, 3),
        "continued_from": run.continued_from,
        "stats": dataclasses.asdict(run.stats),
    }


def _cells(run: Run, word: str) -> tuple[str, ...]:
    from dunlin.pace.sizes import format_duration, format_moment, format_size

    stats = run.stats
    failed = stats.failed_files + stats.failed_directories
    return (
        *(str(run.id), format_moment(run.started), word, f"{stats.copied_files:,}", format_size(stats.copied_bytes)),
        *(format_duration(run.seconds), f"{failed:,}" if failed else "-"),
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Lines with columns: those in `left` begin, all others end, where their widest does."""
    widths = [max(len(line[at]) for line in (heads, *rows)) for at in range(len(heads))]
    return [
        "  ".join(
            text.ljust(width) if at in left else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (heads, *rows)
    ]


def _pair(source: str, destination: str) -> str:
    return f"{printable(source)} -> {printable(destination)}"


# ---- one run ----


def people(found: History) -> Iterator[str]:
    """The history of a run as lines."""
    from dunlin.jobs.history import verdict
    from dunlin.pace.sizes import format_moment

    run, view = found.run, verdict(found)
    yield f"Run {run.id}: {view.title}"
    yield view.words
    if run.message:
        yield printable(" ".join(run.message.split()))
    yield _pair(found.source, found.destination)
    ended = f"ended {format_moment(run.ended)}" if run.ended else "and has not ended"
    yield f"begun {format_moment(run.started)}, {ended}" + (
        f"; it continued run {run.continued_from}" if run.continued_from else ""
    )
    for title, lines in (
        ("throughput", list(_curves(found))),
        ("phases, pauses, throttling", list(_phases(found))),
        ("what happened", list(_events(found))),
        ("errors by type", [f"{name}: {count:,}" for name, count in sorted(found.errors.items())]),
        ("failed", list(_failed(found))),
        ("slowest parts", list(_slow(found))),
        ("directories, with all below", list(_areas(found))),
        ("largest files", list(_largest(found))),
        ("earlier runs of the pair", _before(found)),
        ("to know", list(found.notes)),
    ):
        if lines:
            yield ""
            yield f"{title}:"
            yield from (f"  {line}" for line in lines)


def _curves(found: History) -> Iterator[str]:
    from dunlin.pace.sizes import format_rate, sparkline

    for name, values, written in (
        ("bytes/s", [point.bytes for point in found.points], format_rate),
        ("files/s", [point.files for point in found.points], lambda value: f"{value:,.0f}"),
    ):
        most = max((value for value in values if value is not None), default=None)
        if most is not None:
            yield f"{name}  {sparkline(values, _WIDTH)}  at most {written(most)}"


def _phases(found: History) -> Iterator[str]:
    from dunlin.pace.sizes import format_duration

    for phase in found.phases:
        yield f"{phase.word}: {format_duration(phase.begin)} to {format_duration(phase.end)}"
    for each in found.stretches[:SHOWN]:
        why = f" ({printable(each.cause)})" if each.cause else ""
        yield f"{each.word}{why}: {format_duration(each.begin)} to {format_duration(each.end)}"
    yield from _more(len(found.stretches))


def _events(found: History) -> Iterator[str]:
    from dunlin.pace.sizes import format_duration

    # What failed has a list of its own.
    news = [each for each in found.events if each.word != "failed"]
    if len(news) > SHOWN:
        yield f"{len(news) - SHOWN:,} more before that"
    for each in news[-SHOWN:]:
        path = "" if not each.path or each.path in each.message else f"{each.path}: "
        since = format_duration(max(0, each.time - found.run.started) / 1e9)
        yield f"{since:>7}  {each.word:8} {printable(path + each.message)}"


def _failed(found: History) -> Iterator[str]:
    for each in [*found.bad, *found.failed][:SHOWN]:
        yield f"{printable(each.path)}: {printable(each.error)}"
    yield from _more(found.failed_files + len(found.bad))


def _slow(found: History) -> Iterator[str]:
    from dunlin.pace.sizes import format_duration, format_number, format_size

    for each in found.slow[:SHOWN]:
        what = f"{format_number(each.files, 'file')}, {format_size(each.bytes)}"
        yield f"{format_duration(each.seconds):>7}  {printable(each.path)} ({what})"


def _areas(found: History) -> Iterator[str]:
    from dunlin.pace.sizes import format_number, format_size

    for each in found.survey.areas[:SHOWN]:
        path = printable(each.path) or "(files at the top)"
        yield f"{format_size(each.bytes):>10}  {path} ({format_number(each.files, 'file')})"
    yield from _more(len(found.survey.areas))


def _largest(found: History) -> Iterator[str]:
    from dunlin.pace.sizes import format_size

    for each in found.survey.largest[: SHOWN // 2]:
        yield f"{format_size(each.bytes):>10}  {printable(each.path)}"


def _before(found: History) -> list[str]:
    rows = [_cells(run, run.status) for run in found.before[:SHOWN]]
    return table(("run", "begun", "status", "files", "bytes", "time", "failed"), rows, left=(1, 2)) if rows else []


def _more(number: int) -> Iterator[str]:
    if number > SHOWN:
        yield f"and {number - SHOWN:,} more"


def machine(found: History) -> dict[str, Any]:
    """The history of a run as the value of --json. Times in ns since 1970 or seconds since it began, sizes in bytes."""
    from dunlin.jobs.history import verdict
    from dunlin.state.overview import plain

    view = verdict(found)
    return {
        **row(found.run, plain(found.word)),
        "seconds": round(found.seconds, 3),
        "source": found.source,
        "destination": found.destination,
        "verdict": view._asdict(),
        "points": [each._asdict() for each in found.points],
        "stretches": [each._asdict() for each in found.stretches],
        "phases": [each._asdict() for each in found.phases],
        "errors_by_category": found.errors,
        "events": [
            {
                "time": each.time,
                "word": each.word,
                "path": each.path,
                "message": each.message,
                "resolved": each.resolved,
            }
            for each in found.events
        ],
        "failed_files": found.failed_files,
        "failed": [
            {"path": each.path, "size": each.size, "kind": each.kind.value, "error": each.error}
            for each in (*found.bad, *found.failed)
        ],
        "slowest": [each._asdict() for each in found.slow],
        "sizes": [each._asdict() for each in found.survey.bands],
        "largest": [{"path": each.path, "bytes": each.bytes} for each in found.survey.largest],
        "directories": [each._asdict() for each in found.survey.areas],
        "directories_seen": found.survey.looked,
        "directories_written": found.survey.total,
        "sample": not found.survey.whole,
        "earlier": [row(run, run.status) for run in found.before],
        "notes": list(found.notes),
    }


command = Command(
    "history",
    help="""
    List the runs on record, or tell of one: what happened, how fast, where the time went, what failed, how the runs
    before it were. With --html as a page for a browser, in one file that needs no network.

    RUN is the number of a run, or latest. A run may be asked about while it goes on.
    """,
    short_help="list the runs, or tell of one, as text or as a page",
    example=EXAMPLE,
    callback=history,
    params=[
        click.Argument(["run"], metavar="[RUN|latest]", required=False),
        state_option(),
        config_option("Where"),
        Option("--html", "Write a page to this file, - for standard output; without RUN about the latest run. A page "
               "that was there is replaced.", section="Output", metavar="FILE"),
        Option("--force", "Let the page replace any other file.", section="Output", is_flag=True),
        Option("--limit", "How many runs the list shows. Default: 20.", section="Output", type=whole(1), metavar="N"),
        Option("--json", "Print a JSON object.", section="Output", into="as_json", is_flag=True),
        log_level_option(),
    ],
)  # fmt: skip
