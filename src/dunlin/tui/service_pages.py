"""The pages of the dashboard of a service: what stands where in a terminal of a given size.

As in `pages`: `paint` gives as many lines as the terminal has, none longer than it is wide, and from 60 × 20 on there
is room for the jobs, the whole of the chosen one, queues, workers and what happened last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dunlin.errors import printable
from dunlin.pace.sizes import format_moment, format_number, format_rate, format_share, format_size, format_span
from dunlin.report.cells import cells, cut
from dunlin.tui import panels
from dunlin.tui.frame import filled, framed, help_page, keys, last_line, marked, too_small, wrong
from dunlin.tui.pages import WIDE
from dunlin.tui.styles import BAD, DIM, GOOD, PLAIN, STRONG, TITLE, WARN, Line
from dunlin.tui.text import apart, bar, beside, field, folded, joined, length, pad, shorten, shown, title

if TYPE_CHECKING:
    from dunlin.tui.remote import Failure, Happening, JobNow, QueueNow, ServiceLook, WorkerNow

STATES = {
    **{word: panels.STATES[word] for word in ("running", "paused", "completed", "failed", "interrupted")},
    "queued": ("○ Queued", PLAIN),
    "cancelled": ("■ Cancelled", WARN),
}
"""Symbol and word of every status of a job, with its style."""

HAPPENED = {
    "asked": ("•", "asked for", DIM),
    "begun": ("▶", "begun", GOOD),
    "resumed": ("▶", "resumed", GOOD),
    "paused": ("‖", "paused", WARN),
    "completed": ("✓", "completed", GOOD),
    "failed": ("✗", "failed", BAD),
    "cancelled": ("■", "cancelled", WARN),
    "interrupted": ("■", "interrupted", WARN),
}
"""Symbol, word and style of what may happen to a job."""

KEYS = (
    ("q  Ctrl+C", "quit; the service and its jobs go on"),
    ("r", "ask the service now"),
    ("↑ ↓  PgUp PgDn", "choose a job; Home: the first"),
    ("Enter", "open the chosen job: all its figures, files that failed"),
    ("p", "pause the chosen job, or let it go on"),
    ("c", "cancel the chosen job, after a question"),
    ("/", "search jobs by name, or files that failed; Esc shows all again"),
    ("?", "this page"),
    ("Esc", "back"),
)
"""Every key, and what it does."""

SIGNS = (
    "Jobs that are not over stand first. Files and data of one that runs grow while its source is listed.",
    "Speed is that of the last ten seconds; of a job that is over, that of all of it.",
    "Queues and workers are shared by all tenants, so a key of one tenant does not show them.",
)

STATE = 13
"""Cells of a status."""

LABEL = 24
"""Cells that the name of a job keeps before a column is left out."""

HEAD = 90
"""Columns from which the first line names more keys than one."""

CHOSEN = 6
"""Lines of the chosen job."""


@dataclass(slots=True, eq=False, repr=False)
class ServiceView:
    """What the person looks at.

    Attributes:
        page: "main", "job" or "help".
        chosen: the id of the chosen job; "": the first one.
        cursor: which of the files that failed is chosen. scroll: the first line of the help.
        search, failed_search: what was searched for.
        note: a line that stands in place of the keys for a moment, and its style.
        asking: an answer is being typed: its explanation stands in place of the keys.
    """

    page: str = "main"
    chosen: str = ""
    cursor: int = 0
    scroll: int = 0
    search: str = ""
    failed_search: str = ""
    note: tuple[str, str] = ("", PLAIN)
    asking: str = ""


def place_of(look: ServiceLook, view: ServiceView) -> int:
    """Where the chosen job stands in the list; the first where it is gone."""
    return next((at for at, job in enumerate(look.jobs) if job.id == view.chosen), 0)


def chosen(look: ServiceLook, view: ServiceView) -> JobNow | None:
    """The job that orders are for; None where there is none."""
    if view.page == "job":
        return look.job
    return look.jobs[place_of(look, view)] if look.jobs else None


def paint(look: ServiceLook, view: ServiceView, url: str, width: int, height: int, now: int) -> list[Line]:
    """The lines of the page that is open; `now` in ns. Keeps `view.cursor` and `view.scroll` within what there is."""
    return too_small(view, width, height) or framed(
        _header(view, url, width, now),
        wrong(look.problem, look.time, width),
        lambda room: _PAGES[view.page](look, view, width, room),
        last_line(view, _keys(look, view), width),
        width,
        height,
    )


def _header(view: ServiceView, url: str, width: int, now: int) -> Line:
    head = {"main": "service", "job": "job", "help": "keys"}[view.page]
    names = [("q", "quit"), ("r", "refresh"), ("?", "help")] if width >= HEAD else [("?", "help")]
    right: Line = [*keys(names, width), ("   ", PLAIN), (panels.clock_time(now), STRONG)]
    left: Line = [("dunlin ", f"{TITLE} {STRONG}"), (f"{head} ", TITLE)]
    room = width - length(left) - length(right) - 2
    return apart([*left, (shorten(url, room), STRONG)], right, width)


def _keys(look: ServiceLook, view: ServiceView) -> list[tuple[str, str]]:
    """The keys that do something on the page that is open."""
    if view.page == "help":
        return [("Esc", "back"), ("↑↓", "scroll")]
    job, orders = chosen(look, view), []
    if job is not None and not job.over:
        orders = [("p", "resume" if job.status in ("paused", "interrupted") else "pause"), ("c", "cancel")]
    first = ("Enter", "open") if view.page == "main" else ("Esc", "back")
    return [first, *orders, ("/", "search"), ("↑↓", "choose")]


# ---- the main page ----


def _main(look: ServiceLook, view: ServiceView, width: int, room: int) -> list[Line]:
    machines = _machines(look, width, room)
    left = room - CHOSEN - len(machines)
    rows = max(4, min(len(look.jobs) + 1, left * 3 // 5))
    lines = [*_jobs(look, view, width, rows), *_chosen(look, view, width), *machines]
    return [*lines, *_activity(look, width, room - len(lines))]


def _jobs(look: ServiceLook, view: ServiceView, width: int, rows: int) -> list[Line]:
    counts = [(word, sum(job.status == word for job in look.jobs)) for word in ("running", "paused", "queued")]
    right: Line = [(", ".join(f"{number} {word}" for word, number in counts if number), GOOD)]
    if view.search:
        right = [("only with ", DIM), (cut(shown(view.search), 20), WARN)]
    lines = [title(f"Jobs ({len(look.jobs)})" if look.jobs else "Jobs", width, right if right[0][0] else None)]
    if not look.jobs:
        words = "asking the service…" if not look.time else "no job was asked for yet"
        lines.append([(f"no job with {shown(view.search)!r}" if view.search else words, DIM)])
    lines += marked(look.jobs, place_of(look, view), rows - 1, lambda job: job_line(job, width - 2))
    return filled(lines, rows)


def job_line(job: JobNow, width: int) -> Line:
    """``▶ Running         45%  /srv/photos -> loc://offsite/photos   12.3 MiB/s  2m05s  1,234 files``."""
    state, style = state_of(job)
    share = f"{format_share(job.share):>4}" if job.share is not None else "   -"
    head: Line = [*pad([(state, style)], STATE), (f" {share}  ", style)]
    columns = [
        (11, format_rate(job.bytes_rate) if job.bytes_rate is not None else "-"),
        (7, _eta(job)),
        (13, format_number(job.done_files, "file")),
        (9, format_size(job.done_bytes)),
        (8, job.kind),
        (12, cut(shown(job.created_by), 12)),
    ]
    room = width - STATE - cells(share) - 3
    tail = ""
    for size, text in columns:
        if room - size - 2 < LABEL:
            break
        room -= size + 2
        tail += f"  {text:>{size}}"
    return [*head, *pad([(named(job.label, room), PLAIN)], room), (tail, DIM)]


def named(label: str, width: int) -> str:
    """What a job is about in at most `width` cells; where that is a pair, both sides keep their ends."""
    source, arrow, target = label.partition(" -> ")
    if not arrow or cells(printable(label)) <= width:
        return shorten(label, width)
    room = width - len(arrow)
    second = shorten(target, max(room // 2, room - cells(printable(source))))
    return shorten(source, room - cells(second)) + arrow + second


def state_of(job: JobNow) -> tuple[str, str]:
    """Symbol and word of its status, and their style; a status of a newer service is shown as it came."""
    return STATES.get(job.status, (cut(shown(f"? {job.status}"), STATE), PLAIN))


def _eta(job: JobNow) -> str:
    left = job.seconds_left
    return format_span(left) if left is not None else "-"


def _chosen(look: ServiceLook, view: ServiceView, width: int) -> list[Line]:
    job = chosen(look, view)
    if job is None:
        return filled([], CHOSEN)
    words, style = message(job)
    lines = [
        title(f"Chosen: {job.kind} {shown(job.id)}", width, [(_when(job, look.time), DIM)]),
        [(named(job.label, width), STRONG)],
        *figures(job, look.time, width),
        [(cut(words, width), style)],
    ]
    return filled(lines, CHOSEN)


def figures(job: JobNow, now: int, width: int) -> list[Line]:
    """The bar, files and data, speed and time. Three lines."""
    style = state_of(job)[1] or DIM
    if job.share is None:
        words = "not known how much there is" if job.started else "not begun"
        words = "over before all was known" if job.over else words
        first: Line = [("[" + "·" * (width - cells(words) - 3) + "] ", DIM), (words, DIM)]
    else:
        percent = f" {format_share(job.share):>4}"
        first = [(bar(job.share, width - len(percent)), style), (percent, STRONG)]
    half = (width - 2) // 2
    files, size = f"{job.done_files:,.0f}", format_size(job.done_bytes)
    if job.left_files and not job.over:
        files += f", {job.left_files:,.0f} left"
    if job.left_bytes and not job.over:
        size += f", {format_size(job.left_bytes)} left"
    rates = []
    if job.files_rate is not None and job.bytes_rate is not None:
        rates = [format_rate(job.bytes_rate), panels.per_second(job.files_rate)]
    seconds = job.seconds(now)
    time: list[Line] = [field("Duration", format_span(seconds) if seconds is not None else "-")]
    if not job.over:
        time.append(field("ETA", _eta(job)))
    if job.failed:
        time.append([("Failed ", DIM), (f"{job.failed:,.0f}", BAD)])
    left: list[Line] = [field("Files", files), field("Data", size)]
    right: list[Line] = [field("Average" if job.over else "Speed", ", ".join(rates) or "-"), joined(time, half, "  ")]
    return [first, *beside(left, right, width)]


def message(job: JobNow) -> tuple[str, str]:
    """What is to be said of a job beside its figures, and its style."""
    if job.error:
        return shown(job.error), BAD
    if job.wish and not job.over:
        return f"told to {shown(job.wish)}; it does so at the next safe point", WARN
    words = {
        "paused": ("nothing moves until somebody lets it go on: press p", WARN),
        "queued": ("waits for its turn", DIM),
        "interrupted": ("the service takes it up again", WARN),
    }
    return words.get(job.status, ("", PLAIN))


def _when(job: JobNow, now: int) -> str:
    if job.ended:
        return f"over since {panels.day_time(job.ended, now)}"
    return f"since {panels.day_time(job.started or job.created, now)}"


# ---- queues and workers ----


def _machines(look: ServiceLook, width: int, room: int) -> list[Line]:
    """Queues and workers: sums, or one line for each where there is room."""
    if look.shared:
        return [title("Queues and workers", width), [(cut(shown(look.shared), width), DIM)], []]
    rows = min(max(len(look.queues), len(look.workers), 1), max(1, room // 5))
    if width < WIDE:
        return [
            title("Queues and workers", width),
            joined([field("Queues", str(len(look.queues))), *_queue_sums(look.queues)], width, "  "),
            joined([field("Workers", str(len(look.workers))), *_worker_sums(look.workers)], width, "  "),
        ]
    half = (width - 2) // 2
    left = [title("Queues", half, joined(_queue_sums(look.queues), half, "  ") or None)]
    left += [_queue_line(each, half) for each in look.queues[:rows]] or [[("none", DIM)]]
    right = [title("Workers", half, joined(_worker_sums(look.workers), half, "  ") or None)]
    right += [_worker_line(each, half) for each in look.workers[:rows]] or [[("none is alive", DIM)]]
    return beside(left, right, width)


def _queue_sums(queues: Sequence[QueueNow]) -> list[Line]:
    dead = sum(each.dead for each in queues)
    return [
        [(f"{sum(each.waiting for each in queues):,} waiting", PLAIN)],
        [(f"{sum(each.leased for each in queues):,} leased", PLAIN)],
        [(f"{dead:,} dead", BAD if dead else DIM)],
        *([[("● paused", WARN)]] if any(each.paused for each in queues) else []),
    ]


def _worker_sums(workers: Sequence[WorkerNow]) -> list[Line]:
    busy, slots = sum(each.busy for each in workers), sum(each.slots for each in workers)
    return [[(f"{busy:,} of {format_number(slots, 'slot')} busy", GOOD if busy else DIM)]]


def _queue_line(queue: QueueNow, width: int) -> Line:
    tail = joined([*_queue_sums([queue]), field("oldest", format_span(queue.oldest))], width - LABEL // 2, "  ")
    room = width - length(tail) - 2
    return [*pad([(shorten(queue.name, room), PLAIN)], room), ("  ", PLAIN), *tail]


def _worker_line(worker: WorkerNow, width: int) -> Line:
    sign = f"  seen {format_span(worker.seen)} ago"
    tail: Line = [*_worker_sums([worker])[0], (sign, DIM)]
    room = width - length(tail) - 2
    name = worker.name if worker.host in worker.name else f"{worker.host} {worker.name}"
    return [*pad([(shorten(name, room), PLAIN)], room), ("  ", PLAIN), *tail]


# ---- what happened ----


def _activity(look: ServiceLook, width: int, rows: int) -> list[Line]:
    lines = [title("What happened to jobs", width)]
    lines += [_happening(each, look.time, width) for each in look.activity[: max(0, rows - 1)]]
    if not look.activity:
        lines.append([("nothing yet", DIM)])
    return lines[:rows]


def _happening(item: Happening, now: int, width: int) -> Line:
    symbol, word, style = HAPPENED.get(item.word, ("•", shown(item.word), DIM))
    head: Line = [(f"{panels.day_time(item.time, now)} ", DIM), (f"{symbol} {word} ", style)]
    said = shown(item.message)
    room = width - length(head)
    name = named(item.label, max(room // 2, room - cells(said) - 2) if said else room)
    return [*head, (name, PLAIN), *([(": ", DIM), (said, PLAIN)] if said else [])]


# ---- one job, the keys ----


def _job_page(look: ServiceLook, view: ServiceView, width: int, room: int) -> list[Line]:
    job = look.job
    if job is None:
        asked = look.want.job and not look.problem
        return [[("this job is not on record any more" if asked else "asking the service…", DIM)]]
    state, style = state_of(job)
    lines = [title(f"{job.kind} {shown(job.id)}", width, [(state, style)])]
    lines += [[(part, STRONG)] for part in folded(printable(job.label), width)[:2]]
    lines += figures(job, look.time, width)
    lines += [[(part, DIM)] for part in folded(_history(job), width)[:2]]
    words, style = message(job)
    lines += [[(part, style)] for part in folded(words, width)[:4]] if words else []
    counts = [field(shown(name.replace("_", " ")), f"{value:,.0f}") for name, value in job.counts.items() if value]
    while counts and len(lines) < room - 8:
        row = [counts.pop(0)]
        while counts and sum(map(length, (*row, counts[0]))) + 2 * len(row) <= width:
            row.append(counts.pop(0))
        lines.append(joined(row, width, "  "))
    return [*lines, *_failures(look, view, job, width, room - len(lines))]


def _history(job: JobNow) -> str:
    parts = [f"asked for {format_moment(job.created)}" + (f" by {shown(job.created_by)}" if job.created_by else "")]
    parts += [f"begun {format_moment(job.started, seconds=True)}"] if job.started else []
    parts += [f"over {format_moment(job.ended, seconds=True)}"] if job.ended else []
    return ", ".join([*parts, *([f"tenant {shown(job.tenant)}"] if job.tenant else [])])


def _failures(look: ServiceLook, view: ServiceView, job: JobNow, width: int, room: int) -> list[Line]:
    items = look.failures
    view.cursor = max(0, min(view.cursor, len(items) - 1))
    place = f"{view.cursor + 1} of {len(items)}{'+' if look.more_failures else ''}" if items else ""
    right: Line = [(f"with {shown(view.failed_search)!r}  " if view.failed_search else "", WARN), (place, DIM)]
    lines = [title("Files that failed", width, right if place or view.failed_search else None)]
    if not items:
        return [*lines, _no_failures(view, job, width)]
    why = folded(shown(items[view.cursor].error), width)[:2]
    rows = max(1, room - 1 - len(why) - 1)
    lines += marked(items, view.cursor, rows, lambda item: _failure(item, look.time, width - 2))
    return [*lines, title("Why", width), *([(part, PLAIN)] for part in why)]


def _no_failures(view: ServiceView, job: JobNow, width: int) -> Line:
    if view.failed_search:
        return [("no such files", DIM)]
    if job.failed and job.kind != "publish":  # the service has the names in its state file alone
        words = f"{job.failed:,.0f}; `dunlin dashboard` beside the service, and its log, name them"
        return [(cut(words, width), BAD)]
    return [("✓ none", GOOD)]


def _failure(item: Failure, now: int, width: int) -> Line:
    head: Line = [("✗ ", BAD), (f"{panels.day_time(item.updated, now)} ", DIM)]
    tail = f"{item.attempt} attempts" if item.attempt > 1 else ""
    return panels.about(head, item.path, shown(item.error), tail, width)


def _help(look: ServiceLook, view: ServiceView, width: int, room: int) -> list[Line]:
    return help_page(KEYS, STATES.values(), SIGNS, view, width, room)


_PAGES: dict[str, Callable[[ServiceLook, ServiceView, int, int], list[Line]]] = {
    "main": _main,
    "job": _job_page,
    "help": _help,
}
