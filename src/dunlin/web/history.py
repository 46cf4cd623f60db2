"""The history of a run as one page that needs nothing else: no network, no script, no other file.

Style, script and pictures are in it. A content security policy in its head names the hashes of the two and forbids
everything else, so even a name that got past the escaping could not load or run anything. The script only sorts tables
and switches colours; without it the tables are sorted already and the colours are those of the system.

A page that was made by dunlin begins with `MARK`, so that the next one may take its place.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256

from dunlin.jobs.history import History, Point, Verdict, verdict
from dunlin.model import Stats
from dunlin.pace.sizes import format_duration, format_moment, format_rate, format_size
from dunlin.state.runs import Run
from dunlin.web.charts import bar, clock, columns, plot, round_up, spans
from dunlin.web.markup import Child, Safe, el
from dunlin.web.palette import style
from dunlin.web.tables import Cell, number, table

MARK = "<!doctype html><!-- a history of dunlin -->"

_HERE = os.path.dirname(__file__)
SLOWEST = 10
"""Slowest parts that are shown: about as many lines as what stands beside them has."""

_SIGNS = {"good": "✓", "fair": "⚠", "bad": "✗", "busy": "▶"}
_WORDS = {"good": "Good", "fair": "Look at it", "bad": "Bad", "busy": "Going on"}
_BANDS = ("empty", "under 1 KiB", "1 to 16 KiB", "16 to 128 KiB", "128 KiB to 1 MiB", "1 to 16 MiB", "16 to 128 MiB",
          "128 MiB to 1 GiB", "1 GiB and more")  # fmt: skip
SHOWN_OPTIONS = ("mode", "compare", "checksum", "delete", "watch")
"""Options on record that say something to people; nothing else of them is shown."""


def page(history: History, version: str) -> str:
    """The whole page."""
    view = verdict(history)
    styles, script = style() + _read("history.css"), _read("history.js")
    run = history.run
    title = f"Run {run.id}: {view.title}"
    allowed = f"style-src '{_hash(styles)}'; script-src '{_hash(script)}'"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        Safe(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="generator", content=f"dunlin {version}"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{title} - dunlin"),
        Safe(f"<style>{styles}</style>"),
    )
    top = el(
        "header",
        el("div", el("span", el("b", "dunlin"), f" history of run {run.id}"), _switch(), class_="bar"),
    )
    main = el("main", _lead(history, view), *_sections(history))
    body = el("body", top, main, _footer(history, version), Safe(f"<script>{script}</script>"))
    return f'{MARK}\n<html lang="en">{head.markup}{body.markup}</html>\n'


def _switch() -> Safe:
    return el("button", "Dark colours", id="theme", type="button", hidden=True)


def _sections(history: History) -> Iterator[Child]:
    yield _cards(history)
    if history.bad or history.failed or history.errors:
        yield _failed(history)
    yield _throughput(history)
    yield el("div", _where(history), _slow(history), class_="two")
    if history.survey.files:
        yield el("div", _sizes(history), _areas(history), class_="two")
    yield _events(history)
    yield _compared(history)
    yield el("div", _counts(history), _about(history), class_="two")


def _section(title: str, hint: Child, *content: Child) -> Safe:
    return el("section", el("h2", title), el("p", hint, class_="hint") if hint else None, *content)


# ---- the top ----


def _lead(history: History, view: Verdict) -> Safe:
    run = history.run
    message = " ".join(run.message.split())
    return el(
        "div",
        el("div", f"{_SIGNS[view.level]} {_WORDS[view.level]}", class_="verdict"),
        el("h1", view.title),
        el("p", view.words, class_="words"),
        el("p", message, class_="message") if message else None,
        el(
            "div",
            el("p", el("span", "from ", class_="dim"), el("span", history.source, class_="path")),
            el("p", el("span", "to ", class_="dim"), el("span", history.destination, class_="path")),
            class_="pair",
        ),
        el("p", _when(history), class_="hint"),
        class_=f"lead {view.level}",
    )


def _when(history: History) -> str:
    run = history.run
    words = f"Run {run.id}, begun {_moment(run.started)}"
    words += f", ended {_moment(run.ended)}" if run.ended else f", as it stood {_moment(history.made)}"
    return f"{words}; it continued run {run.continued_from}." if run.continued_from else f"{words}."


def _cards(history: History) -> Safe:
    stats = history.run.stats
    failed = stats.failed_files + stats.failed_directories
    deleted = stats.deleted_files + stats.deleted_directories
    seconds = max(history.seconds, 1e-3)
    held = _held(history)
    cards: list[tuple[str, str, str, str]] = [
        ("Copied", f"{stats.copied_files:,}", format_size(stats.copied_bytes), ""),
        ("In sync already", f"{stats.equal_files:,}", format_size(stats.equal_bytes), ""),
        ("Failed", f"{failed:,}", "files and directories", "bad" if failed else ""),
        ("Deleted", f"{deleted:,}", "at the destination", ""),
        ("Time", format_duration(history.seconds), held, ""),
        ("On average", format_rate(stats.copied_bytes / seconds), _each(stats.copied_files / seconds), ""),
    ]
    if stats.pending_files:
        cards.append(("Waiting", f"{stats.pending_files:,}", format_size(stats.pending_bytes), ""))
    if stats.vanished_files:
        cards.append(("Vanished", f"{stats.vanished_files:,}", "before they were read", ""))
    return el(
        "dl",
        *(
            el("div", el("dt", name), el("dd", el("b", value), el("div", more, class_="small")), class_=kind or None)
            for name, value, more, kind in cards
        ),
        class_="cards",
    )


def _each(rate: float) -> str:
    return f"{rate:,.{0 if rate >= 10 else 1}f} files/s"


def _held(history: History) -> str:
    """How long it was paused or slowed down, of what is on record."""
    sums = {"paused": 0.0, "throttled": 0.0}
    for each in history.stretches:
        sums[each.word] += each.end - each.begin
    words = {"paused": "paused", "throttled": "slowed down"}
    parts = [f"{format_duration(value)} {words[word]}" for word, value in sums.items() if value]
    return ", ".join(parts) or "never paused or slowed down"


# ---- curves ----


def _throughput(history: History) -> Safe:
    points = history.points
    if not points:
        return _section("Throughput", "No samples are on record: they are taken from the third second of a run on.")
    sizes = [point.bytes for point in points if point.bytes is not None]
    files = [point.files for point in points if point.files is not None]
    top_bytes, top_files = round_up(max(sizes, default=0), 1024), round_up(max(files, default=0), 10)
    tips = [_tip(point) for point in points]
    count = sum(point.errors for point in points)
    shared = {"stretches": history.stretches, "tips": tips}
    figures = [
        [
            Cell(f"{clock(each.begin)} to {clock(each.end)}", each.begin),
            number(each.bytes, format_rate),
            number(each.files, lambda value: f"{value:,.1f}"),
            number(each.cpu, lambda value: f"{value:.0f} %"),
            number(each.memory, format_size),
            number(each.errors),
        ]
        for each in points
    ]
    heads = ("since the begin", "bytes", "files/s", "processor", "memory", "errors")
    most = f"at most {format_rate(max(sizes, default=0))}"
    return _section(
        "Throughput",
        "Bytes and files per second over the time of the run; point at a part of it for its figures.",
        plot(points, lambda p: p.bytes, history.seconds, name="Bytes per second", what=most, kind="of-bytes",
             ceiling=top_bytes, written=format_rate, axis=False, **shared),  # type: ignore[arg-type]
        plot(points, lambda p: p.files, history.seconds, name="Files per second",
             what=f"at most {max(files, default=0):,.0f}", kind="of-files", ceiling=top_files,
             written=lambda value: f"{value:,.0f}/s" if top_files >= 10 else f"{value:,.1f}/s", low=True, **shared),  # type: ignore[arg-type]
        _legend(history, count),
        el(
            "details",
            el("summary", "The figures as a table"),
            el("div", table(heads, figures, wide=(3, 4)), class_="scroll", tabindex=0, role="region",
               aria_label="Figures of the curves"),
        ),
    )  # fmt: skip


def _tip(point: Point) -> str:
    parts = [f"{clock(point.begin)} to {clock(point.end)}"]
    if point.bytes is not None:
        parts.append(format_rate(point.bytes))
    if point.files is not None:
        parts.append(f"{point.files:,.1f} files/s")
    if point.errors:
        parts.append(f"{point.errors:,} errors")
    return ", ".join(parts)


def _legend(history: History, errors: int) -> Safe:
    kinds = [("of-bytes", "bytes per second"), ("of-files", "files per second")]
    words = {each.word for each in history.stretches}
    kinds += [(word, text) for word, text in (("paused", "paused"), ("throttled", "slowed down")) if word in words]
    if errors:
        kinds.append(("error", "errors"))

    def key(kind: str) -> Safe:
        return el("svg", el("rect", class_=kind, width=14, height=14), aria_hidden="true")

    return el("ul", *(el("li", key(kind), text) for kind, text in kinds), class_="legend")


# ---- where the time went ----


def _where(history: History) -> Safe:
    rows = [(each.word, "", each.begin, each.end, "of-runs") for each in history.phases]
    rows += [
        ("slowed down" if each.word == "throttled" else each.word, each.cause, each.begin, each.end, each.word)
        for each in history.stretches[:12]
    ]
    if not rows:
        return _section("Phases", "The run was too short to tell its phases apart.")
    strips = spans([(begin, end, kind) for _, _, begin, end, kind in rows], history.seconds)
    cells = [
        [
            Cell(f"{word}: {cause}" if cause else word),
            Cell(strip, kind="share"),
            Cell(f"{clock(begin)} to {clock(end)}", begin, "num"),
        ]
        for (word, cause, begin, end, _), strip in zip(rows, strips, strict=True)
    ]
    more = len(history.stretches) - 12
    return _section(
        "Phases, pauses, throttling",
        "Times since the begin; of moving and slowing down, as far as samples tell. Listing and moving overlap.",
        table(("what", "", "from, to"), cells),
        el("p", f"and {more:,} more", class_="hint") if more > 0 else None,
    )


def _slow(history: History) -> Safe:
    if not history.slow:
        return _section("Slowest parts", "None are on record: a run writes them when it ends, if any took long enough.")
    most = history.slow[0].seconds or 1
    rows = [
        [
            Cell(each.path, kind="path"),
            number(each.files, kind="wide"),
            number(each.bytes, format_size, kind="wide"),
            Cell(bar(each.seconds / most), kind="share"),
            number(each.seconds, format_duration),
        ]
        for each in history.slow[:SLOWEST]
    ]
    more = len(history.slow) - len(rows)
    return _section(
        "Slowest parts",
        "Units of work: a directory (its name ends with /) with the files it copied, or one large file.",
        table(("where", "files", "bytes", "", "time"), rows, wide=(1, 2), sort=True),
        el("p", f"and {more:,} more; dunlin history {history.run.id} --json lists them", class_="hint")
        if more > 0 else None,
    )  # fmt: skip


# ---- what was written ----


def _sample(history: History) -> str:
    found = history.survey
    return "" if found.whole else f" From a sample: {found.looked:,} of {found.total:,} directories."


def _sizes(history: History) -> Safe:
    found = history.survey
    most = max(band.files for band in found.bands) or 1
    rows = [
        [Cell(name), Cell(bar(band.files / most), kind="share"), number(band.files), number(band.bytes, format_size)]
        for name, band in zip(_BANDS, found.bands, strict=True)
    ]
    largest = [[Cell(each.path, kind="path"), number(each.bytes, format_size)] for each in found.largest]
    return _section(
        "Sizes",
        f"The files that this run put on record, by size.{_sample(history)}",
        table(("size", "", "files", "bytes"), rows),
        el("h3", "Largest files"),
        table(("file", "size"), largest, sort=True),
    )


def _areas(history: History) -> Safe:
    found = history.survey
    places = [(each.path or "(files at the top)", each) for each in found.areas]
    if found.rest.files:
        places.append(("all others", found.rest))
    most = max((each.bytes for _, each in places), default=0) or 1
    rows = [
        [
            Cell(name, kind="path"),
            Cell(bar(each.bytes / most), kind="share"),
            number(each.files),
            number(each.bytes, format_size),
        ]
        for name, each in places
    ]
    single = [
        [Cell(each.path or "(the top)", kind="path"), number(each.files), number(each.bytes, format_size)]
        for each in found.directories
    ]
    return _section(
        "Directories",
        f"What this run put on record, with all that lies below.{_sample(history)}",
        table(("directory", "", "files", "bytes"), rows, sort=True),
        el("h3", "Fullest single directories"),
        table(("directory", "files", "bytes"), single, sort=True),
    )


# ---- what went wrong, what happened ----


def _failed(history: History) -> Safe:
    stats = history.run.stats
    kinds = sorted(history.errors.items(), key=lambda each: -each[1])
    most = kinds[0][1] if kinds else 1
    rows = [
        [
            Cell(each.path, kind="path"),
            Cell(each.error, kind="loose"),
            Cell(each.kind.value),
            number(each.size, format_size, kind="wide"),
        ]
        for each in (*history.bad, *history.failed)
    ]
    more = history.failed_files - len(history.failed)
    parts: list[Child] = []
    if kinds:
        bars = [[Cell(name), Cell(bar(count / most), kind="share"), number(count)] for name, count in kinds]
        parts += [el("h3", "Errors by type, of those on record"), table(("type", "", "errors"), bars)]
    if rows:
        parts += [el("h3", "What failed and was not tried again since"),
                  table(("path", "why", "kind", "size"), rows, wide=(2, 3), sort=True)]  # fmt: skip
    if more > 0:
        parts.append(el("p", f"and {more:,} more; dunlin status --failed lists them", class_="hint"))
    retry = ""
    if history.failed and history.run.ended:
        retry = f" dunlin retry {history.run.id} transfers the files again, and so does the next run."
    return _section("Failures", f"{_failures(stats)} failed.{retry}", *parts)


def _failures(stats: Stats) -> str:
    files, directories = stats.failed_files, stats.failed_directories
    words = f"{files:,} {'file' if files == 1 else 'files'}"
    more = f" and {directories:,} {'directory' if directories == 1 else 'directories'}"
    return words + (more if directories else "")


def _events(history: History) -> Safe:
    run = history.run
    rows = [[_at(run.started, run), Cell(el("span", "begin", class_="tag t-busy")), Cell(f"run {run.id} began")]]
    for each in history.events:
        level = "bad" if each.word == "failed" else "fair" if each.word in ("warning", "retry") else "busy"
        words: list[Child] = [each.message]
        if each.path and each.path not in each.message:
            words = [el("span", each.path, class_="path"), ": " if each.message else "", each.message]
        if each.resolved:
            words.append(el("span", " (synced since)", class_="t-good"))
        rows.append([_at(each.time, run), Cell(el("span", each.word, class_=f"tag t-{level}")), Cell(words)])
    if run.ended:
        view = verdict(history)
        rows.append([_at(run.ended, run), Cell(el("span", "end", class_=f"tag t-{view.level}")), Cell(view.title)])
    return _section(
        "What happened",
        "Warnings, errors and orders in the order they came; copied files have no line.",
        table(("when", "what", ""), rows, path=2),
    )


def _at(time_ns: int, run: Run) -> Cell:
    since = max(0.0, (time_ns - run.started) / 1e9)
    return Cell(el("span", f"+{clock(since)}", title=_moment(time_ns)), since, "num left")


# ---- other runs ----


def _compared(history: History) -> Safe:
    if not history.before:
        return _section("Compared with earlier runs", "There are none of this pair on record.")
    runs: Sequence[Run] = [*reversed(history.before), history.run]
    # The run itself may go on; its row does not know for how long it has.
    lasted = [*(run.seconds for run in runs[:-1]), history.seconds]
    views = [*(level(run) for run in runs[:-1]), verdict(history).level]
    tips = [
        f"run {run.id}, {_moment(run.started)}: {format_duration(each)}, {run.stats.copied_files:,} files"
        for run, each in zip(runs, lasted, strict=True)
    ]
    rows = [
        [
            number(run.id),
            Cell(format_moment(run.started), run.started / 1e9),
            Cell(_status(run, view)),
            number(run.stats.copied_files),
            number(run.stats.copied_bytes, format_size),
            number(run.stats.failed_files + run.stats.failed_directories, kind="wide"),
            number(each, format_duration),
        ]
        for run, each, view in list(zip(runs, lasted, views, strict=True))[::-1]
    ]
    return _section(
        "Compared with earlier runs",
        f"How long each of the last {len(runs)} runs of this pair took; the last column is this one.",
        columns(
            list(zip(lasted, views, tips, strict=True)),
            name="Time of each run",
            what="the table below has the figures",
        ),
        table(("run", "begun", "status", "files", "bytes", "failed", "time"), rows, wide=(4, 5), sort=True, this=0),
    )


def _status(run: Run, view: str) -> Safe:
    """The sign and the word of how a run ended; a narrow screen has room for the sign alone."""
    word = el("span", f" {run.status}", class_="wide")
    return el("span", _SIGNS[view], word, class_=f"tag t-{view}", title=run.status)


def level(run: Run) -> str:
    """What to think of another run, in a word."""
    failed = run.stats.failed_files + run.stats.failed_directories
    return "bad" if run.status == "failed" else "fair" if failed or run.status != "completed" else "good"


# ---- the rest ----


def _counts(history: History) -> Safe:
    stats = history.run.stats
    rows = []
    for name in type(stats).__slots__:
        value = getattr(stats, name)
        if value and name != "seconds":
            shown = format_size(value) if name.endswith("_bytes") else f"{value:,}"
            rows.append([Cell(name.replace("_", " ")), Cell(shown, value, "num")])
    options = history.run.options
    said = [[Cell(name), Cell(_said(options[name]))] for name in SHOWN_OPTIONS if name in options]
    return _section(
        "All counts",
        None,
        table(("count", "value"), rows, sort=True),
        (el("h3", "Options"), table(("option", "value"), said)) if said else None,
    )


def _said(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _about(history: History) -> Safe:
    notes = el("ul", *(el("li", note) for note in history.notes), class_="notes") if history.notes else None
    return _section(
        "About this page",
        None,
        el("p", "Made from the state file alone. Times of day are those of the machine that made it."),
        notes,
    )


def _footer(history: History, version: str) -> Safe:
    return el("footer", el("p", f"dunlin {version}, {_moment(history.made)}"))


def _moment(time_ns: int) -> str:
    return format_moment(time_ns, seconds=True)


def _read(name: str) -> str:
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(sha256(content.encode()).digest()).decode()}"
