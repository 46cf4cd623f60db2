"""The live view as lines of plain text: pure, so that any size of terminal can be looked at in a test.

Every line is made of parts in order of importance; the parts that fit are shown. Names are shortened in the middle of
their path: the end says most, the beginning says where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dunlin.cli.meter import Moving, Picture
from dunlin.pace.sizes import format_number, format_rate, format_size, format_span
from dunlin.report.cells import cells, shorten

MOST_FILES = 6
"""Lines for large files, at most."""

WIDEST = 110
"""Cells of the line of a file: figures far from the name are hard to follow, and a long line breaks when the terminal
becomes narrower."""

STILL = 10.0
"""Seconds without anything that got on after which the view says so."""

BAR = 20
"""Cells of the bar."""


def frame(picture: Picture, width: int, height: int) -> list[str]:
    """The lines of the view, each at most `width` cells wide; at most `height` lines."""
    room = max(1, width - 1)  # a line that fills the last cell makes some terminals wrap
    most = max(1, height - 1)
    told = (_scan, _copied, _pending) if "stage" not in picture.facts else (stage, _no_line, _stage_bar)
    totals = [*(each(picture, room) for each in told), _machine(picture), alerts(picture)]
    # Where there is not room for all: what is wrong, how far it is, what was done, what goes on besides.
    chosen = sorted(sorted((at for at, parts in enumerate(totals) if parts), key=_IMPORTANCE.index)[:most])
    lines = [fit(totals[at], room) for at in chosen]
    files = max(0, min(MOST_FILES, height - len(lines) - 3))
    wide = min(room, WIDEST)
    shown = [_file(each, wide, picture.paused) for each in picture.moving[:files]]
    more = len(picture.moving) - len(shown)
    if more > 0 and shown:
        shown[-1] = fit([f"and {more + 1} more large files"], room)
    return (shown + lines)[-most:]


_IMPORTANCE = (4, 2, 1, 0, 3)


def alerts(picture: Picture) -> list[str]:
    """What keeps the run from going on as it could, and what went wrong; the first is the most important."""
    counts, gauges, facts = picture.counts, picture.gauges, picture.facts
    parts = []
    if gauges.get("stopping"):
        parts.append("STOPPING, saving what is done")
    elif picture.paused:
        parts.append(f"PAUSED ({facts.get('resume', 'dunlin control resume')})")
    elif picture.still >= STILL:
        parts.append(f"nothing got on for {format_span(picture.still)}")
    failed = counts["failed_files"] + counts["failed_directories"]
    if failed:
        parts.append(f"{failed:,} failed")
    if counts["damaged_objects"]:
        parts.append(f"{counts['damaged_objects']:,} damaged")
    if "throttle" in facts:
        parts.append(f"throttled: {facts['throttle']}")
    if "memory" in facts:
        parts.append(facts["memory"])
    held = [name for name in ("files", "memory", "threads") if gauges.get(f"crawl_engaged_{name}")]
    if held:
        parts.append(f"listing waits: {' and '.join(held)} at the limit")
    return parts


def styled(line: str) -> str:
    """A line of the view in colours (ECMA-48): what is wrong in red, what waits in yellow, the time left in cyan."""
    return _STYLES.sub(lambda found: f"\x1b[{_COLORS[found.lastgroup or '']}m{found[0]}\x1b[0m", line)


_STYLES = re.compile(
    r"(?P<wrong>\bPAUSED[^,]*|\bSTOPPING\b|\b[\d,]+ (?:failed|damaged)\b)|"
    r"(?P<waits>\bthrottled: [^,]*|\bnothing got on for \S+|\blisting waits: .*|\bmemory is .*)|"
    r"(?P<left>\bETA +\d[^\s,]*|\bat least \d[^\s,]*)"
)
_COLORS = {"wrong": "1;31", "waits": "33", "left": "36"}


def fit(parts: Sequence[str], width: int) -> str:
    """As many of the parts, from the first, as fit into `width` cells."""
    line = shorten(parts[0], width) if parts else ""
    used = cells(line)
    for part in parts[1:]:
        used += cells(part) + 2
        if used > width:
            break
        line += f", {part}"
    return line


def _file(moving: Moving, width: int, paused: bool) -> str:
    share = ""
    if moving.total:
        share = f"{min(100, moving.done * 100 // moving.total):3d}%"
    parts = [share or format_size(moving.done)]
    if moving.attempt > 1:
        parts.insert(0, f"attempt {moving.attempt}")
    if moving.rate is not None and width >= 36 and not paused:
        parts.append(f"{format_rate(moving.rate):>11}")
    if width >= 54 and not paused:
        parts.append(f"ETA {format_span(moving.left) if moving.left is not None else '-':>6}")
    if moving.total and width >= 100:
        parts.append(f"of {format_size(moving.total):>8}")
    right = "  ".join(parts)
    space = width - len(right) - 2
    if space < 8:
        return fit([right], width)
    name = shorten(moving.name, space)
    return f"{name}{' ' * (space - cells(name))}  {right}"


def stage(picture: Picture, width: int = 0) -> list[str]:
    """In which stage a long look at a repository is, and how much of it is done."""
    facts, done, left = picture.facts, picture.counts["copied_files"], int(picture.gauges.get("pending_files", 0))
    parts = [f"{facts['stage']}: {done:,} of {format_number(done + left, facts['unit'])}"]
    whole = picture.moved_bytes + picture.pending_bytes
    if whole:
        parts.append(f"{format_size(picture.moved_bytes)} of {format_size(whole)}")
    if picture.byte_rate:
        parts.append(format_rate(picture.byte_rate))
    return parts


def _stage_bar(picture: Picture, width: int) -> list[str]:
    share = _share(picture, width)
    return [share, *filter(None, [eta(picture)])] if picture.gauges.get("pending_files") else []


def _no_line(picture: Picture, width: int) -> list[str]:
    return []


def _share(picture: Picture, width: int) -> str:
    """How much is done, with a bar where there is room."""
    share = min(99, int(picture.share * 100))
    full = share * BAR // 100
    return f"[{'#' * full}{'-' * (BAR - full)}] {share}%" if width >= 70 else f"{share}%"


def _scan(picture: Picture, width: int) -> list[str]:
    counts = picture.counts
    word = "scanned" if picture.scanned else "scanning:"
    parts = [f"{word} {format_number(counts['scanned_files'], 'file')}"]
    if counts["scanned_bytes"]:
        parts.append(format_size(counts["scanned_bytes"]))
    if picture.facts.get("mode") not in ("backup", "scan"):
        parts.append(f"{counts['equal_files']:,} in sync")
    parts.append(format_number(counts["scanned_directories"], "directory", "directories"))
    return parts


def _copied(picture: Picture, width: int) -> list[str]:
    counts, mode = picture.counts, picture.facts.get("mode", "sync")
    if mode not in ("sync", "backup"):
        return []
    verb = "read" if mode == "backup" else "copied"
    parts = [f"{verb} {format_number(counts['copied_files'], 'file')}", format_size(picture.moved_bytes)]
    if picture.byte_rate or (picture.moved_bytes and not picture.paused):
        parts.append(format_rate(picture.byte_rate))
    if picture.file_rate >= 1:
        parts.append(f"{picture.file_rate:,.0f} files/s")
    overall = picture.gauges.get("total_bytes", 0)
    if overall > picture.moved_bytes:
        parts.append(f"{format_size(overall)} in all runs")
    return parts


def _pending(picture: Picture, width: int) -> list[str]:
    gauges, known = picture.gauges, picture.scanned
    files, size = gauges.get("pending_files", 0), picture.pending_bytes
    mode = picture.facts.get("mode", "sync")
    if not files and not size and (known or mode != "sync"):
        return ["finishing"] if mode == "sync" else []
    if mode == "plan":
        return [f"would copy {format_number(files, 'file')}", format_size(size), *([] if known else ["more may come"])]
    parts = [*filter(None, [eta(picture)]), f"pending {format_number(files, 'file')}", format_size(size)]
    if not known:
        return [parts[-2], *parts[:-2], parts[-1], "more may come"]
    return [_share(picture, width), *parts]


def eta(picture: Picture) -> str:
    """``ETA 2m05s``; ``at least 2m05s`` while the scan goes on and more may come; "" when nobody can tell.

    What is found is soon copied where files are small: a few seconds are then no estimate of anything.
    """
    if picture.left is None or picture.paused:
        return ""
    if picture.scanned:
        return f"ETA {format_span(picture.left)}"
    return f"at least {format_span(picture.left)}" if picture.left >= 5 else ""


def _machine(picture: Picture) -> list[str]:
    counts, gauges = picture.counts, picture.gauges
    parts = [f"{format_span(picture.seconds)} elapsed"]
    deleted = counts["deleted_files"] + counts["deleted_directories"]
    if deleted:
        parts.append(f"{deleted:,} deleted")
    if limit := gauges.get("limit"):
        reached = picture.byte_rate >= 0.9 * limit
        parts.append(f"{'held to' if reached else 'limit'} {format_rate(limit)}")
    if gauges.get("cpu_limit"):
        parts.append(f"CPU at most {gauges['cpu_limit']:.0%}")
    if gauges.get("movers"):
        parts.append(format_number(gauges["movers"], "mover"))
    if gauges.get("threads"):
        parts.append(format_number(gauges["threads"], "thread"))
    return parts
