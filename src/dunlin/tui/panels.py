"""The parts of the dashboard: what each says, in a given number of cells and lines.

Colour never says anything alone: every state has a word or a symbol of its own. What matters most stands first, so
that it is there in the narrowest terminal; what does not fit is left out as a whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dunlin.errors import printable
from dunlin.pace.sizes import (
    format_count,
    format_number,
    format_rate,
    format_share,
    format_size,
    format_span,
    sparkline,
)
from dunlin.report.cells import cells, cut
from dunlin.tui.styles import BAD, DIM, GOOD, PLAIN, STRONG, WARN, Line
from dunlin.tui.text import apart, bar, beside, clip, field, fitting, joined, length, pad, shorten, shown

if TYPE_CHECKING:
    from dunlin.state.overview import Activity, CrawlNow, RunNow, Statistics
    from dunlin.tui.reader import Look

STATES = {
    "running": ("▶ Running", GOOD),
    "paused": ("‖ Paused", WARN),
    "throttled": ("▼ Throttled", WARN),
    "stale": ("? Silent", BAD),
    "completed": ("✓ Completed", GOOD),
    "failed": ("✗ Failed", BAD),
    "interrupted": ("■ Interrupted", WARN),
}
"""Symbol and word of every status, with its style."""

WORDS = {
    "copied": ("✓", "copied", GOOD),
    "deleted": ("-", "deleted", WARN),
    "retry": ("⚠", "retry", WARN),
    "failed": ("✗", "failed", BAD),
    "more": ("✓", "", GOOD),
    "warning": ("⚠", "warning", WARN),
    "note": ("•", "", DIM),
}
"""Symbol, word and style of every kind of activity."""

ARROWS = {"up": "↗", "level": "→", "down": "↘"}

CONTINUED = "`dunlin sync` continues it"

HIGH, BUSY = 0.8, 0.6
"""Shares from which a gauge is red, and yellow."""


# ---- the run ----


def sync(look: Look, width: int) -> list[Line]:
    """The run that is shown: pair, status, how far it is. Five lines."""
    now = look.now
    if now is None:
        words = "no run is on record yet" if look.time else "reading the state file…"
        return [[(words, PLAIN)], [("`dunlin sync SOURCE DESTINATION` makes the first one", DIM)] if look.time else []]
    state, style = STATES.get(now.status, (now.status, PLAIN))
    run = now.run
    began = f"run {run.id} since {day_time(run.started, look.time)}, process {run.pid}"
    if run.ended is not None:
        began = f"run {run.id}, {day_time(run.started, look.time)} to {day_time(run.ended, look.time)}"
    head: Line = apart([(state, f"{style} {STRONG}")], [(cut(began, width - cells(state) - 2), DIM)], width)
    rows = beside(
        [
            field("Files", _of(now.done_files, now.total_files, now, _count)),
            field("Data", _of(now.done_bytes, now.total_bytes, now, format_size)),
        ],
        [
            _speed(now, (width - 2) // 2),
            joined([field("Duration", format_span(now.seconds)), field("ETA", _eta(now))], (width - 2) // 2, "  "),
        ],
        width,
    )
    return [_pair(now, width), head, progress(now, width), *rows, *_message(now, look.watched, width)]


def _pair(now: RunNow, width: int) -> Line:
    source, target = printable(now.source), printable(now.destination)
    room = max(8, width - 3)
    if cells(source) + cells(target) > room:
        source = shorten(now.source, max(room // 2, room - cells(target)))
        target = shorten(now.destination, room - cells(source))
    return [(source, STRONG), (" → ", DIM), (target, STRONG)]


def _message(now: RunNow, watched: bool, width: int) -> list[Line]:
    if now.status == "stale":
        return [[(cut(f"its process is gone; {CONTINUED}", width), BAD)]]
    if now.status == "paused":
        return [[(cut("nothing moves until somebody resumes it: press p", width), WARN)]]
    words = [shown(now.run.message)] if now.run.message else []
    if watched:
        words.insert(0, f"watched by process {now.run.pid}, which waits for its next look")
    elif now.status == "interrupted":
        words.append(CONTINUED)
    style = PLAIN if now.status == "completed" else BAD if now.status == "failed" else WARN
    return [[(cut("; ".join(words), width), style)]] if words else []


def progress(now: RunNow, width: int) -> Line:
    """The bar; while the listing goes on there is no share yet, and nothing pretends that there is."""
    share = now.share
    if share is None:
        words = "still listing, so the total is not known yet"
        if now.run.ended is not None:
            words = "ended before the listing was complete"
        return [("[" + "·" * max(1, width - cells(words) - 3) + "]", DIM), (" ", PLAIN), (cut(words, width - 4), DIM)]
    percent = f" {format_share(share):>4}"
    style = {"failed": BAD, "stale": BAD, "paused": WARN, "interrupted": WARN}.get(now.status, GOOD)
    return [(bar(share, width - len(percent)), style), (percent, STRONG)]


def _of(done: float, total: float, now: RunNow, write: Callable[[float], str]) -> str:
    plus = "" if now.listed else "+"
    return f"{write(done)} / {write(total)}{plus}" if total > done or plus else write(done)


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _speed(now: RunNow, width: int) -> Line:
    name = "Speed" if now.run.ended is None else "Average"
    if now.status == "paused":
        return field(name, "0 files/s (paused)")
    # Files are counted when all of a unit is done, so for a while there may be bytes alone.
    known = now.files_rate is not None and (now.files_rate or not now.bytes_rate)
    files = per_second(now.files_rate or 0.0) if known else ""
    size = format_rate(now.bytes_rate) if now.bytes_rate is not None else ""
    both = ", ".join(filter(None, (files, size))) or "-"
    return fitting(width, field(name, both), field(name, files or size))


def per_second(rate: float) -> str:
    """``148 files/s``; with a digit below ten."""
    return f"{rate:,.0f} files/s" if rate >= 9.95 or rate == 0 else f"{rate:.1f} files/s"


def _eta(now: RunNow) -> str:
    if now.run.ended is not None or now.status == "stale":
        return "-"
    if now.status == "paused":
        return "paused"
    if now.left is None:
        return "unknown"
    return ("" if now.listed else "~") + format_span(now.left)


# ---- the machine ----


def throttling(look: Look) -> Line:
    """What stands beside the title of the resources."""
    now = look.now
    if now is None:
        return []
    if now.run.ended is not None or now.status == "stale":
        return [(f"as it was at {day_time(look.sample.time, look.time)}", DIM)] if look.sample is not None else []
    if now.cause:
        return [("Throttling: ● active ", WARN), (f"({shown(now.cause)})", WARN)]
    return [("Throttling: ○ off", DIM)]


def resources(look: Look, width: int) -> list[Line]:
    """Processors, memory, disk; workers and bandwidth. Three lines, or one that says why there are no figures."""
    now = look.now
    metric = look.sample.metric if look.sample is not None else None
    if now is None or metric is None:
        over = now is not None and now.run.ended is not None
        words = "no figures: it was over by" if over else "no figures yet: samples begin with"
        return [[(cut(f"{words} the third second", width), DIM)]]
    half = (width - 2) // 2
    cpu = None if metric.cpu is None else metric.cpu / 100
    used = None if metric.used is None else metric.used / 100
    busy = None if metric.busy is None else metric.busy / 100
    memory = f"dunlin {format_size(metric.memory)}" if metric.memory is not None else ""
    left = [
        _gauge("CPU", cpu, half),
        _gauge("Memory", used, half),
        _gauge("Disk", busy, half),
    ]
    wait = f"{metric.iowait:.0f}%" if metric.iowait is not None else "-"
    network = "-" if metric.network is None else format_rate(metric.network)
    disk = "-" if metric.disk is None else format_rate(metric.disk)
    right = [
        joined([_workers(now), *([[(memory, PLAIN)]] if memory else [])], half),
        joined([_bandwidth(now, metric.bytes, half), field("Network", network)], half),
        joined([field("I/O wait", wait), field("Disk", disk)], half),
    ]
    return beside(left, right, width)


def _gauge(name: str, share: float | None, width: int) -> Line:
    head = f"{name:7}"
    if share is None:
        return [(head, DIM), ("-", PLAIN)]
    word, style = ("high", BAD) if share >= HIGH else ("busy", WARN) if share >= BUSY else ("ok", GOOD)
    tail = f" {format_share(share):>4} {word:4}"
    return [(head, DIM), (bar(share, min(40, max(4, width - len(head) - len(tail)))), style), (tail, style)]


def _workers(now: RunNow) -> Line:
    if now.wanted > now.workers > 0:
        return [("Workers ", DIM), (f"{now.wanted} → {now.workers} (throttled)", WARN)]
    return field("Workers", str(now.workers) if now.workers else "-")


def _bandwidth(now: RunNow, sampled: float | None, width: int) -> Line:
    """`sampled`: bytes per second of the last sample, which is what all stands for when the run is over."""
    rate = (sampled if now.run.ended is not None else now.bytes_rate) or 0.0
    if now.status == "paused":
        rate = 0.0
    if not now.limit:
        free = field("Bandwidth", format_rate(rate))
        return fitting(width, [*free, (", no limit", DIM)], free)
    style = WARN if rate > 0.9 * now.limit else PLAIN
    used = f"{format_size(rate)} / {format_rate(now.limit)}"
    return fitting(width, field("Bandwidth", used, style), field("Rate", used, style))


# ---- the day, the listing ----


def statistics(look: Look, width: int) -> list[Line]:
    """The last 24 hours. Three lines."""
    day = look.day
    if day is None or not day.runs:
        return [[("no runs in the last 24 hours", DIM)]]
    half = (width - 2) // 2
    rows = beside([_runs(day), _average(day, half)], [_total(day, half), _failures(day)], width)
    head = "Data rate, 24h "
    curve = sparkline(look.curves.get("bytes", []), max(1, width - len(head)))
    return [*rows, [(head, DIM), (curve, GOOD)] if curve.strip() else [(head, DIM), ("no samples yet", DIM)]]


def _runs(day: Statistics) -> Line:
    line = field("Runs", f"{day.runs:,}")
    if day.success is not None:
        style = GOOD if day.success >= 0.999 else WARN if day.success >= 0.9 else BAD
        line += [("  Success ", DIM), (format_share(day.success, 1), style)]
    return line


def _total(day: Statistics, width: int) -> Line:
    size = format_size(day.bytes)
    return fitting(width, field("Copied", f"{format_number(day.files, 'file')}, {size}"), field("Copied", size))


def _average(day: Statistics, width: int) -> Line:
    if day.files_rate is None or day.bytes_rate is None:
        return field("Average", "-")
    files = per_second(day.files_rate)
    return fitting(width, field("Average", f"{files}, {format_rate(day.bytes_rate)}"), field("Average", files))


def _failures(day: Statistics) -> Line:
    if not day.failed:
        return [("Failed ", DIM), ("none", GOOD)]
    share = f" ({format_share(day.failed_share, 1)})" if day.failed_share is not None else ""
    return [("Failed ", DIM), (f"{day.failed:,}{share}", BAD)]


def listing(crawl: CrawlNow | None, now: RunNow | None, width: int) -> list[Line]:
    """How the listing of the run `now` stands; once it is over there are no rates. Two lines."""
    if crawl is None:
        return [[("no figures yet: noted every ten seconds", DIM)]]
    last = crawl.crawl
    seen = field("Seen", f"{format_count(last.total_files)} files in {format_count(last.total_directories)} dirs")
    if now is None or now.listed or now.run.ended is not None or now.status == "stale":
        words = "complete" if now is not None and now.listed else "ended early"
        return [joined([[(words, PLAIN)], seen], width)]
    first = joined(
        [
            field("Directories", f"{last.active:,} active, {last.waiting:,} waiting"),
            field("Window", f"{format_count(last.held)} files"),
            [
                (f"{format_count(last.files_per_second)} files/s {ARROWS.get(crawl.files_trend, '')}", PLAIN),
                (f"  {format_count(last.directories_per_second)} dirs/s ", PLAIN),
                (ARROWS.get(crawl.directories_trend, ""), PLAIN),
            ],
            seen,
        ],
        width,
    )
    states = [_resource(each.name, each.value, each.limit, each.engaged) for each in crawl.resources]
    return [first, joined(states, width)]


def _resource(name: str, value: float, limit: float, engaged: bool) -> Line:
    share = f" {value * 100 / limit:.0f}%" if limit else ""
    if engaged:
        return [(f"{name}{share} ", PLAIN), ("● THROTTLED", WARN)]
    return [(f"{name}{share} ", DIM), ("○ ok", GOOD)]


# ---- what happened ----


def activity_line(item: Activity, now: RunNow | None, width: int) -> Line:
    """``07:41:23 ✓ copied data/…/file_8234.json  1.2 MiB``; `now`: the run that is shown."""
    symbol, word, style = WORDS.get(item.word, ("•", item.word, PLAIN))
    if item.word == "retry":
        most = now.attempts if now is not None and item.run == now.run.id else 0
        of = f"/{max(most, item.attempt)}" if most else ""
        word = "retry" + (f" ({item.attempt}{of})" if item.attempt else "")
    head: Line = [(f"{clock_time(item.time)} ", DIM), (f"{symbol} ", style), (f"{word} " if word else "", style)]
    if item.word == "more":
        return clip([*head, (f"and {format_number(item.number, 'file')} more", DIM)], width)
    message = shown(item.message)
    tail = format_size(item.size) if item.size is not None and item.word == "copied" else ""
    return about(head, item.path, message if item.word != "copied" else "", tail, width)


def error_line(item: Activity, width: int, now: int) -> Line:
    """``• 07:41:23 data/corrupt_file.json: checksum mismatch (3 attempts)``."""
    sign = ("✓ ", GOOD) if item.resolved else ("✗ ", BAD)
    head: Line = [sign, (f"{day_time(item.time, now)} ", DIM)]
    tail = f"{item.attempt} attempts" if item.attempt > 1 else ""
    return about(head, item.path, shown(item.message), tail, width)


def about(head: Line, path: str, message: str, tail: str, width: int) -> Line:
    """A path and what is to be said of it; the tail at the right end, where there is room."""
    room = width - length(head)
    if tail and room - cells(tail) - 2 >= 24:
        room -= cells(tail) + 2
    else:
        tail = ""
    message = reason(printable(path), message)
    if path and message:
        name = shorten(path, max(room // 2, room - cells(message) - 2))
        line: Line = [*head, (name, PLAIN), (": ", DIM), (cut(message, room - cells(name) - 2), PLAIN)]
    else:
        line = [*head, (shorten(path, room) if path else cut(message, room), PLAIN)]
    return clip([*pad(line, width - cells(tail)), (tail, DIM)] if tail else line, width)


def reason(path: str, message: str) -> str:
    """What is left to be said of a path: why first, then what could not be done, and where not at all.

    ``cannot read /source/b/no.txt: Permission denied`` is ``Permission denied (cannot read)`` beside ``b/no.txt``.
    """
    if not path:
        return message
    if message.startswith(path):  # some messages begin with the name
        return message[len(path) :].lstrip(": ")
    where = re.escape(path.removesuffix("/"))
    found = re.match(rf"(cannot [^/:]+?) (?:(?:[a-z][a-z0-9+.-]*:/)?/(?:.*/)?)?{where}: (.+)", message)
    return f"{found[2]} ({found[1]})" if found else message


def by_type(counts: Mapping[str, int]) -> Line:
    """``network 3, disk 1``."""
    words = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()) if number)
    return [(words, BAD)] if words else []


def clock_time(time_ns: int) -> str:
    """``07:41:23``, local time."""
    return time.strftime("%H:%M:%S", time.localtime(time_ns / 1e9))


def day_time(time_ns: int, now: int) -> str:
    """``07:41:23`` of today, else with the day: ``11-20 07:41``."""
    then, today = time.localtime(time_ns / 1e9), time.localtime(now / 1e9)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%m-%d %H:%M", then)
