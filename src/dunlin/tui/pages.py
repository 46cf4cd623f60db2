"""The pages of the dashboard: which panels are where in a terminal of a given size.

`paint` gives as many lines as the terminal has, none longer than it is wide. From 60 × 20 on there is always room for
the run, the load, the last activities and errors; statistics and listing join when there are lines for them, and
stand beside each other when there are columns. What is folded away here is on the page of statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dunlin.errors import printable
from dunlin.pace.sizes import format_moment, format_rate, format_share, format_size, format_span, sparkline
from dunlin.report.cells import cut
from dunlin.tui import panels
from dunlin.tui.frame import filled, framed, help_page, keys, last_line, marked, scrolled, too_small, wrong
from dunlin.tui.styles import BAD, DIM, GOOD, PLAIN, STRONG, TITLE, WARN, Line
from dunlin.tui.text import apart, folded, joined, pad, shorten, shown, title

if TYPE_CHECKING:
    from dunlin.state.overview import Activity, Statistics
    from dunlin.tui.reader import Look

WIDE = 120
"""Columns from which panels stand beside each other; activities and errors from `VERY_WIDE` on."""
VERY_WIDE = 180

ROOM = 11
"""Lines that must be left for activities and errors before a panel that may be folded away takes some of them."""

KINDS = ("", "network", "checksum", "disk", "auth", "unknown")
"""Types of errors, in the order in which `t` goes through them."""

DETAIL = 5
"""Lines in which the page of errors shows the whole of one; more where it is longer, up to half of the page."""

KEYS = (
    ("q  Ctrl+C", "quit; the sync goes on"),
    ("r", "read the state file now"),
    ("p", "pause the run that is shown, or resume it"),
    ("↑ ↓  PgUp PgDn", "scroll; Home: back to the newest"),
    ("/", "search the activity, or the errors; Esc shows all again"),
    ("f", "all errors"),
    ("t  o", "there: one type of error after another; with resolved ones"),
    ("s", "statistics, curves, earlier runs"),
    ("Tab", "the next pair in the state file, Shift+Tab the one before"),
    ("e", "export to a JSON or CSV file"),
    ("?", "this page"),
    ("Esc", "back"),
)
"""Every key, and what it does."""

SIGNS = (
    "1,000+ files, ETA ~2m: the listing goes on, so there may be more.",
    "8 → 5 (throttled): the machine is busy, so fewer files are in flight.",
    "ok below 60%, busy below 80%, high from there on.",
)


@dataclass(slots=True, eq=False, repr=False)
class View:
    """What the person looks at.

    Attributes:
        page: "main", "errors", "statistics" or "help".
        top: the id of the first activity that is shown; None: the newest, whatever comes.
        cursor: which error is chosen. scroll: the first line of a page that is longer than the terminal.
        search, error_search: what was searched for. kind, resolved: which errors are shown.
        note: a line that stands in place of the keys for a moment, and its style.
        asking: an answer is being typed: its explanation stands in place of the keys.
        ordered: what the run was told, until it shows.
    """

    page: str = "main"
    top: int | None = None
    cursor: int = 0
    scroll: int = 0
    search: str = ""
    error_search: str = ""
    kind: str = ""
    resolved: bool = False
    note: tuple[str, str] = ("", PLAIN)
    asking: str = ""
    ordered: str = ""


def paint(look: Look, view: View, width: int, height: int, now: int) -> list[Line]:
    """The lines of the page that is open; `now` in ns. Keeps `view.cursor` and `view.scroll` within what there is."""
    return too_small(view, width, height) or framed(
        _header(look, view, width, now),
        wrong(look.problem, look.time, width),
        lambda room: _PAGES[view.page](look, view, width, room),
        last_line(view, _keys(look, view), width),
        width,
        height,
    )


def _header(look: Look, view: View, width: int, now: int) -> Line:
    left: Line = [("dunlin ", f"{TITLE} {STRONG}"), (_HEADS[view.page], TITLE)]
    if len(look.pairs) > 1 and look.now is not None:
        place = next((at for at, each in enumerate(look.pairs, 1) if each.id == look.now.run.pair), 1)
        left.append((f"  pair {place} of {len(look.pairs)}", DIM))
    clock: Line = [(panels.clock_time(now), STRONG)]
    return apart(left, [*keys([("q", "quit"), ("r", "refresh"), ("?", "help")], width), ("   ", PLAIN), *clock], width)


_HEADS = {"main": "dashboard", "errors": "errors", "statistics": "statistics", "help": "keys"}


def _keys(look: Look, view: View) -> list[tuple[str, str]]:
    """The keys that do something on the page that is open."""
    if view.page == "main":
        status = look.now.status if look.now is not None else ""
        orders = {"running": "pause", "throttled": "pause", "paused": "resume"}
        names = [("p", orders[status])] if status in orders else []
        names += [("f", "errors"), ("s", "statistics"), ("/", "search"), ("↑↓", "scroll"), ("e", "export")]
        return names + ([("Tab", "next pair")] if len(look.pairs) > 1 else [])
    if view.page == "errors":
        names = [("Esc", "back"), ("/", "search"), ("t", "type"), ("o", "resolved too")]
        return [*names, ("↑↓", "choose"), ("e", "export")]
    return [("Esc", "back"), ("↑↓", "scroll")] + ([("e", "export")] if view.page == "statistics" else [])


# ---- the main page ----


def _main(look: Look, view: View, width: int, room: int) -> list[Line]:
    lines = [title("Current sync", width), *panels.sync(look, width)]
    left = room - len(lines)
    if width >= WIDE:
        lines += _beside(_resources, _statistics, look, width)
        left -= 4
        more: tuple[Panel, ...] = (_listing,)
    else:
        lines += _resources(look, width)
        left -= 4
        # While a tree is listed, how that goes says more than what was done yesterday.
        more = (_listing, _statistics) if _lists(look) else (_statistics, _listing)
    for panel in more:
        if left >= ROOM:
            lines += panel(look, width)
            left -= _ROWS[panel]
    if width >= VERY_WIDE:
        first = width * 3 // 5
        happened, errors = activity(look, view, first, left), _errors(look, width - first - 2, left)
        return lines + [[*pad(one, first), ("  ", PLAIN), *two] for one, two in zip(happened, errors, strict=False)]
    number = max(1, min(len(look.errors), 10, left // 3))
    return [*lines, *activity(look, view, width, left - number - 1), *_errors(look, width, number + 1)]


Panel = Callable[["Look", int], list[Line]]


def _lists(look: Look) -> bool:
    """Whether there are figures of a listing that goes on."""
    now = look.now
    goes = now is not None and now.run.ended is None and now.status != "stale" and not now.listed
    return goes and look.crawl is not None


def _beside(one: Panel, two: Panel, look: Look, width: int) -> list[Line]:
    first = (width - 2) // 2
    left, right = one(look, first), two(look, width - 2 - first)
    rows = max(len(left), len(right), 4)
    left, right = filled(left, rows), filled(right, rows)
    return [[*pad(a, first), ("  ", PLAIN), *b] for a, b in zip(left, right, strict=True)]


def _resources(look: Look, width: int) -> list[Line]:
    return filled([title("System resources", width, panels.throttling(look)), *panels.resources(look, width)], 4)


def _statistics(look: Look, width: int) -> list[Line]:
    return filled([title("Last 24 hours", width), *panels.statistics(look, width)], 4)


def _listing(look: Look, width: int) -> list[Line]:
    return filled([title("Listing", width), *panels.listing(look.crawl, look.now, width)], 3)


_ROWS: dict[Panel, int] = {_statistics: 4, _listing: 3}
"""Lines of the panels that are shown where there is room."""


def activity(look: Look, view: View, width: int, rows: int) -> list[Line]:
    """What happened, the newest first, in `rows` lines with the title."""
    items = look.activity
    start = first_shown(items, view.top)
    room = max(0, rows - 1)
    start = max(0, min(start, len(items) - room))
    visible = items[start : start + room]
    right: Line = []
    if view.search:
        right = [("only with ", DIM), (cut(shown(view.search), 20), WARN)]
    elif start:
        right = [(f"▲ {start} newer", WARN)]
    name = "Recent activity" if width < WIDE else f"Recent activity (last {len(items)})"
    lines = [title(name, width, right)]
    lines += [panels.activity_line(item, look.now, width) for item in visible]
    if not items:
        words = f"nothing with {shown(view.search)!r}" if view.search else _nothing_yet(look)
        lines.append([(words, DIM)])
    return filled(lines, rows)[: max(1, rows)]


def _nothing_yet(look: Look) -> str:
    """Files are told of when all of their unit is through, and bytes may move for a while before that."""
    now = look.now
    goes = now is not None and now.run.ended is None and now.done_bytes > 0
    return "no file is through yet" if goes else "nothing happened yet"


def first_shown(items: Sequence[Activity], top: int | None) -> int:
    """The place of the activity with the id `top`, or of the next older one when it is gone."""
    if top is None:
        return 0
    return next((at for at, each in enumerate(items) if each.id <= top), max(0, len(items) - 1))


def _errors(look: Look, width: int, rows: int) -> list[Line]:
    number = sum(look.counts.values())
    right = panels.by_type(look.counts)
    name = f"Errors ({number:,})" if number else "Errors"
    lines = [title(name, width, right)]
    lines += [panels.error_line(each, width, look.time) for each in look.errors[: max(0, rows - 1)]]
    if not look.errors:
        lines.append([("✓ none", GOOD)])
    return filled(lines, rows)[: max(1, rows)]


# ---- the other pages ----


def _error_page(look: Look, view: View, width: int, room: int) -> list[Line]:
    items = look.log
    view.cursor = max(0, min(view.cursor, len(items) - 1))
    detail = _detail(items[view.cursor], width, room // 2) if items else []
    rows = room - max(DETAIL, len(detail)) - 2
    chosen = [view.kind or "all types", *(["with resolved"] if view.resolved else ["unresolved"])]
    chosen += [f"with {shown(view.error_search)!r}"] if view.error_search else []
    place = f"{view.cursor + 1} of {len(items)}" if items else "none"
    lines = [title(", ".join(chosen), width, [(place, DIM)])]
    lines += marked(items, view.cursor, rows, lambda item: panels.error_line(item, width - 2, look.time))
    if not items:
        lines.append([("✓ no errors" if not (view.kind or view.error_search) else "no such errors", GOOD)])
    return [*filled(lines, rows + 1), title("The whole of it", width), *detail]


def _detail(item: Activity, width: int, most: int) -> list[Line]:
    """One error in at most so many lines; the reason is there however long the path is."""
    kind = item.kind.value if item.kind else "unknown"
    head = f"{format_moment(item.time, seconds=True)}  run {item.run or '-'}  {item.category} ({kind})"
    head += f", attempt {item.attempt}" if item.attempt else ""
    head += ", resolved since" if item.resolved else ""
    why = folded(shown(item.message), width)[: most - 2]
    what, room = folded(printable(item.path), width), most - 1 - len(why)
    if len(what) > room:
        what = folded(shorten(item.path, room * (width - 1)), width)[:room]
    return [[(cut(head, width), DIM)], *([(part, STRONG)] for part in what), *([(part, PLAIN)] for part in why)]


def _statistics_page(look: Look, view: View, width: int, room: int) -> list[Line]:
    lines = [title("What the runs did", width), *_table(look, width)]
    lines += [title("Curves", width), *_curves(look, width)]
    lines += [title("Unresolved errors by type", width), panels.by_type(look.counts) or [("✓ none", GOOD)]]
    lines += [title("Listing", width), *panels.listing(look.crawl, look.now, width)]
    lines += [title("Runs of this pair, the newest first", width), *_run_rows(look, width)]
    return scrolled(lines, view, room)


def _table(look: Look, width: int) -> list[Line]:
    spans = (("last 24 hours", look.day), ("on record", look.ever))
    columns = [(name, each) for name, each in spans if each is not None]
    rows: list[tuple[str, Callable[[Statistics], str]]] = [
        ("runs", lambda each: f"{each.runs:,}"),
        ("success", lambda each: "-" if each.success is None else format_share(each.success, 1)),
        ("files copied", lambda each: f"{each.files:,}"),
        ("data copied", lambda each: format_size(each.bytes)),
        ("files deleted", lambda each: f"{each.deleted:,}"),
        ("failed", lambda each: f"{each.failed:,}"),
        ("average", lambda each: "-" if each.files_rate is None else panels.per_second(each.files_rate)),
        ("", lambda each: "" if each.bytes_rate is None else format_rate(each.bytes_rate)),
        ("time", lambda each: format_span(each.seconds)),
    ]
    head: Line = [(" " * 15, PLAIN), *((f"{name:>18}", DIM) for name, _ in columns)]
    table = [[(f"{name:15}", DIM), *((f"{value(each):>18}", PLAIN) for _, each in columns)] for name, value in rows]
    return [head, *table]


_CURVE_NAMES: dict[str, tuple[str, Callable[[float], str]]] = {
    "files": ("files/s", lambda value: f"{value:,.0f}"),
    "bytes": ("data", format_rate),
    "cpu": ("CPU", lambda value: f"{value:.0f}%"),
    "memory": ("memory", format_size),
    "network": ("network", format_rate),
    "disk": ("disk", format_rate),
    "workers": ("workers", lambda value: f"{value:.0f}"),
}


def _curves(look: Look, width: int) -> list[Line]:
    room = max(4, (width - 8 - 2 * 14 - 2) // 2)
    head: Line = [(" " * 8, PLAIN)]
    for at, name in enumerate(("10 minutes", "24 hours")):
        head += [("  " * at, PLAIN), (f"{cut(name, room):{room}}{'most':>14}", DIM)]
    lines = [head]
    for field, (name, form) in _CURVE_NAMES.items():
        if field not in look.curves:
            continue
        line: Line = [(f"{name:8}", DIM)]
        for at, values in enumerate((look.recent.get(field, []), look.curves[field])):
            known = [value for value in values if value is not None]
            line += [("  " * at, PLAIN), (f"{sparkline(values, room):{room}}", GOOD)]
            line.append((f"{form(max(known)) if known else '-':>14}", PLAIN))
        lines.append(line)
    return lines


def _run_rows(look: Look, width: int) -> list[Line]:
    lines: list[Line] = []
    for run, word in look.runs:
        state, style = panels.STATES.get(word, (word, PLAIN))
        stats = run.stats
        failed = stats.failed_files + stats.failed_directories
        lines.append(
            joined(
                [
                    [
                        (f"{run.id:>5}  ", DIM),
                        (f"{state:14}", style),
                        (f"{panels.day_time(run.started, look.time):11}", DIM),
                    ],
                    [(f"{format_span(run.seconds):>7}", PLAIN)],
                    [(f"{stats.copied_files:,} copied, {format_size(stats.copied_bytes)}", PLAIN)],
                    [(f"{failed:,} failed", BAD if failed else DIM)],
                ],
                width,
                "  ",
            )
        )
    return lines or [[("none", DIM)]]


def _help_page(look: Look, view: View, width: int, room: int) -> list[Line]:
    return help_page(KEYS, panels.STATES.values(), SIGNS, view, width, room)


_PAGES: dict[str, Callable[[Look, View, int, int], list[Line]]] = {
    "main": _main,
    "errors": _error_page,
    "statistics": _statistics_page,
    "help": _help_page,
}
