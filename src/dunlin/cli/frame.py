"""The live view as lines of plain text: pure, so that any size of terminal can be looked at in a test.

Every line is made of parts in order of importance; the parts that fit are shown. Names are shortened in the middle of
their path: the end says most, the beginning says where.
"""

from __future__ import annotations

from collections.abc import Sequence

from dunlin.cli.meter import Moving, Picture
from dunlin.errors import printable
from dunlin.pace.sizes import format_duration, format_rate, format_size

MOST_FILES = 6
"""Lines for large files, at most."""


def frame(picture: Picture, width: int, height: int) -> list[str]:
    """The lines of the view, each at most `width` cells wide; at most `height` lines."""
    room = max(1, width - 1)  # a line that fills the last cell makes some terminals wrap
    totals = [line for line in (_scan(picture), _copied(picture), _pending(picture), _machine(picture)) if line]
    lines = [fit(parts, room) for parts in totals]
    files = max(0, min(MOST_FILES, height - len(lines) - 3))
    shown = [_file(each, room) for each in picture.moving[:files]]
    more = len(picture.moving) - len(shown)
    if more > 0 and shown:
        shown[-1] = fit([f"and {more + 1} more large files"], room)
    return (shown + lines)[-max(1, height - 1) :]


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


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` cells: the beginning and, twice as long, the end."""
    if cells(text) <= width:
        return text
    if width <= 3:
        return "..."[: max(0, width)]
    head = _take(text, (width - 3) // 3)
    return f"{head}...{_take(text[::-1], width - 3 - cells(head))[::-1]}"


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _take(text: str, width: int) -> str:
    """The longest beginning of `text` that takes at most `width` cells."""
    used = 0
    for at, char in enumerate(text):
        used += cells(char)
        if used > width:
            return text[:at]
    return text


def count(number: float, one: str, many: str = "") -> str:
    """``1 file``, ``12,345 files``."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """Seconds for a view that changes all the time: whole ones."""
    return f"{seconds:.0f}s" if seconds < 59.5 else format_duration(round(seconds))


def _file(moving: Moving, width: int) -> str:
    share = ""
    if moving.total:
        share = f"{min(100, moving.done * 100 // moving.total):3d}%"
    parts = [share or format_size(moving.done)]
    if moving.rate is not None and width >= 36:
        parts.append(f"{format_rate(moving.rate):>11}")
    if width >= 54:
        parts.append(f"ETA {span(moving.left) if moving.left is not None else '-':>6}")
    if moving.total and width >= 100:
        parts.append(f"of {format_size(moving.total)}")
    right = "  ".join(parts)
    space = width - len(right) - 2
    if space < 8:
        return fit([right], width)
    name = shorten(printable(moving.name), space)
    return f"{name}{' ' * (space - cells(name))}  {right}"


def _scan(picture: Picture) -> list[str]:
    counts = picture.counts
    word = "scanned" if picture.scanned else "scanning:"
    parts = [f"{word} {count(counts['scanned_files'], 'file')}"]
    if counts["scanned_bytes"]:
        parts.append(format_size(counts["scanned_bytes"]))
    parts.append(f"{counts['equal_files']:,} in sync")
    parts.append(count(counts["scanned_directories"], "directory", "directories"))
    return parts


def _copied(picture: Picture) -> list[str]:
    counts = picture.counts
    parts = [f"copied {count(counts['copied_files'], 'file')}", format_size(picture.moved_bytes)]
    if picture.moved_bytes or picture.byte_rate:
        parts.append(format_rate(picture.byte_rate))
    if picture.file_rate >= 1:
        parts.append(f"{picture.file_rate:,.0f} files/s")
    overall = picture.gauges.get("total_bytes", 0)
    if overall > picture.moved_bytes:
        parts.append(f"{format_size(overall)} in all runs")
    return parts


def _pending(picture: Picture) -> list[str]:
    gauges = picture.gauges
    files, size = gauges.get("pending_files", 0), picture.pending_bytes
    if not files and not size and not picture.scanned:
        return []
    return [f"pending {count(files, 'file')}", *filter(None, [eta(picture)]), format_size(size)]


def eta(picture: Picture) -> str:
    """``ETA 2m05s``; ``ETA ~2m05s`` while the scan goes on and more may come; "" when nobody can tell."""
    if picture.left is None or picture.gauges.get("paused"):
        return ""
    return f"ETA {'' if picture.scanned else '~'}{span(picture.left)}"


def _machine(picture: Picture) -> list[str]:
    counts, gauges = picture.counts, picture.gauges
    parts = []
    if gauges.get("paused"):
        parts.append("PAUSED (dunlin control resume)")
    failed = counts["failed_files"] + counts["failed_directories"]
    if failed:
        parts.append(f"{failed:,} failed")
    deleted = counts["deleted_files"] + counts["deleted_directories"]
    if deleted:
        parts.append(f"{deleted:,} deleted")
    if gauges.get("limit"):
        parts.append(f"limit {format_rate(gauges['limit'])}")
    if gauges.get("movers"):
        parts.append(count(gauges["movers"], "mover"))
    if gauges.get("threads"):
        parts.append(count(gauges["threads"], "thread"))
    return [*parts, span(picture.seconds)]
