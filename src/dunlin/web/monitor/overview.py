"""The first page: how much waits, who works, which jobs go on."""

from __future__ import annotations

from dunlin.queue.base import QueueStats, WorkerInfo
from dunlin.queue.ledger.words import Job, JobStatus
from dunlin.web.charts import plot, round_up
from dunlin.web.markup import Child, Safe, el
from dunlin.web.monitor.depth import Depth
from dunlin.web.monitor.jobs import jobs_table
from dunlin.web.monitor.shell import Page, age, live, section
from dunlin.web.tables import Cell, number, table

GOING = (JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.INTERRUPTED)
SHOWN = 20
"""Jobs that are shown here; all are on their own page."""


def overview(page: Page, depth: Depth) -> list[Child]:
    """The parts of the page, drawn from what is so now."""
    ledger, queue = page.services.ledger, page.services.queue
    jobs = ledger.jobs.page(page.principal.only, statuses=GOING, count=SHOWN + 1)
    counts = ledger.jobs.counts(page.principal.only)
    queues = queue.stats() if page.shared else []
    workers = queue.workers() if page.shared else []
    parts: list[Child] = [live("cards", _cards(page, queues, workers, counts))]
    parts.append(live("jobs", _jobs(page, jobs)))
    if page.shared:
        parts.append(live("depth", _depth(depth)))
        parts.append(live("queues", _queues(page, queues)))
        parts.append(live("workers", _workers(workers)))
    return parts


def _cards(
    page: Page, queues: list[QueueStats], workers: list[WorkerInfo], counts: dict[JobStatus, int]
) -> Safe:  # fmt: skip
    def card(name: str, value: int, note: str = "", bad: bool = False, to: str = "") -> Safe:
        words = el("b", f"{value:,}")
        figure = el("dd", el("a", words, href=to) if to else words, el("div", note, class_="small") if note else None)
        return el("div", el("dt", name), figure, class_="bad" if bad and value else None)

    failed = counts.get(JobStatus.FAILED, 0)
    cards = [
        card("Jobs running", counts.get(JobStatus.RUNNING, 0), f"{counts.get(JobStatus.QUEUED, 0):,} queued"),
        card("Jobs completed", counts.get(JobStatus.COMPLETED, 0)),
        card("Jobs failed", failed, bad=True, to=page.url("jobs", status="failed")),
    ]
    if page.shared:
        slots, busy = sum(each.slots for each in workers), sum(each.busy for each in workers)
        late = sum(each.delayed for each in queues)
        cards += [
            card("Tasks waiting", sum(each.waiting for each in queues), f"{late:,} for later" if late else ""),
            card("Tasks leased", sum(each.leased for each in queues)),
            card("Tasks dead", sum(each.dead for each in queues), bad=True, to=page.url("tasks", status="dead")),
            card("Workers", len(workers), f"{busy:,} of {slots:,} slots busy" if workers else ""),
        ]
    return el("dl", *cards, class_="cards")


def _jobs(page: Page, jobs: list[Job]) -> Safe:
    more = el("p", el("a", "All jobs", href=page.url("jobs")), class_="more")
    if not jobs:
        return section("Jobs under way", None, el("p", "None.", class_="dim"), more)
    return section("Jobs under way", None, jobs_table(page, jobs[:SHOWN]), more)


def _depth(depth: Depth) -> Safe:
    looks = depth.looks()
    if not looks:
        hint = "Looked at every few seconds, kept for an hour."
        return section("Tasks over time", hint, el("p", "Nothing yet.", class_="dim"))
    seconds = looks[-1].end
    most = round_up(max(1, *(each.waiting for each in looks)), 1000)
    fastest = round_up(max(0.1, *(each.rate for each in looks)), 1000)
    last = looks[-1]

    def when(at: float) -> str:
        left = seconds - at
        return f"{_roughly(left)} ago" if left > 0.5 else "now"

    waiting = plot(
        looks, lambda look: float(look.waiting), seconds, name="Tasks waiting",
        what=f"at most {max(each.waiting for each in looks):,} in {age(seconds)}, now {last.waiting:,}",
        kind="of-bytes", ceiling=most, written=_figure, when=when,
    )  # fmt: skip
    rate = plot(
        looks, lambda look: look.rate, seconds, name="Tasks done per second",
        what=f"at most {max(each.rate for each in looks):.1f}, now {last.rate:.1f}",
        kind="of-files", ceiling=fastest, written=_figure, low=True, when=when,
    )  # fmt: skip
    return section(
        "Tasks over time", f"The last {_roughly(seconds)}.",
        el("h3", "Waiting"), waiting, el("h3", "Done per second"), rate,
    )  # fmt: skip


def _roughly(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds < 120 else f"{seconds / 60:.0f}m"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _queues(page: Page, queues: list[QueueStats]) -> Safe:
    if not queues:
        return section("Queues", None, el("p", "None: nothing was ever put into one.", class_="dim"))
    rows = []
    for each in queues:
        verb, words = ("resume", "Go on") if each.paused else ("pause", "Pause")
        name = el("a", each.queue, href=page.url("tasks", queue=each.queue))
        rows.append(
            [
                Cell([name, el("span", " ⚠ paused", class_="tag t-fair") if each.paused else None], None, "loose"),
                number(each.waiting), number(each.delayed), number(each.leased), number(each.dead),
                number(each.done), number(each.failed + each.lost), Cell(age(each.oldest), each.oldest, "num"),
                Cell(page.button("queues", words, queue=each.queue, verb=verb), None, "do"),
            ]
        )  # fmt: skip
    heads = ["Queue", "Waiting", "For later", "Leased", "Dead", "Done", "Failed or lost", "Oldest", ""]
    return section("Queues", None, table(heads, rows, wide=(2, 5, 6, 7), stack=True))


def _workers(workers: list[WorkerInfo]) -> Safe:
    if not workers:
        hint = "None. The service works by itself on what is published; dunlin worker --queue URL starts another."
        return section("Workers", None, el("p", hint, class_="dim"))
    rows = [
        [
            Cell(each.worker, None, "loose"), Cell(f"{each.host}:{each.pid}", None, "loose"),
            Cell(f"{each.busy} of {each.slots}", each.busy, "num"), Cell(", ".join(each.queues) or "all"),
            Cell(", ".join(each.labels) or "–"), Cell(each.version),
            Cell(age(each.age), each.age, "num"), Cell(f"{age(each.seen)} ago", each.seen, "num"),
        ]
        for each in workers
    ]  # fmt: skip
    heads = ["Worker", "Where", "Busy", "Queues", "Labels", "Version", "For", "Seen"]
    return section("Workers", None, table(heads, rows, wide=(3, 4, 5, 6), stack=True))
