"""Jobs: the list, and one of them with its items and files."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dunlin.config.schema import PRIORITIES
from dunlin.pace.sizes import format_size
from dunlin.queue.ledger.words import ENDED, File, FileStatus, Item, Job, JobStatus
from dunlin.web.charts import bar
from dunlin.web.forms import legible
from dunlin.web.jobs_api import found
from dunlin.web.kinds import KEEPS, RUNS
from dunlin.web.markup import Child, Safe, el
from dunlin.web.monitor.shell import Page, age, following, lines, live, moment, perhaps, search_form, section, state
from dunlin.web.priorities import word
from dunlin.web.problems import Refused
from dunlin.web.tables import Cell, number, table

COUNT = 50
"""Lines of a page of a list."""

VERBS = {
    JobStatus.QUEUED: ("pause", "cancel"),
    JobStatus.RUNNING: ("pause", "cancel"),
    JobStatus.PAUSED: ("resume", "cancel"),
    JobStatus.INTERRUPTED: ("resume", "cancel"),
    JobStatus.FAILED: ("retry",),
    JobStatus.CANCELLED: ("retry",),
    JobStatus.COMPLETED: (),
}
"""What may be wanted of a job that stands so."""

WORDS = {"pause": "Pause", "resume": "Go on", "cancel": "Cancel", "retry": "Try again"}


def share(job: Job) -> float | None:
    """How much of a job is done, 0 to 1; None where nobody knows."""
    counts = job.counts
    if job.status is JobStatus.COMPLETED:
        return 1.0
    if job.kind in RUNS:
        done, left = counts.get("copied_files", 0), counts.get("pending_files", 0)
        return done / (done + left) if left else None
    total = counts.get("total_files", 0)
    return 1.0 - min(total, counts.get("pending", 0)) / total if total else None


def lasted(job: Job, now: float) -> float | None:
    """Seconds from its begin to its end, or to now."""
    return None if job.started is None else max(0.0, (job.ended or now) - job.started)


def jobs_table(page: Page, jobs: list[Job]) -> Safe:
    """Jobs as lines."""
    now = page.services.clock()
    rows = []
    for job in jobs:
        part, seconds = share(job), lasted(job, now)
        rows.append(
            [
                Cell(el("a", job.label or job.id, href=page.url("job", id=job.id)), None, "loose"),
                Cell(f"{job.kind}, {word(job.priority)}" if job.priority else job.kind), Cell(state(job.status.value)),
                Cell([bar(part), f"{part:.0%}"], part, "share") if part is not None else perhaps(None, "share"),
                Cell(age(seconds) if seconds is not None else "–", seconds or 0.0, "num"),
                Cell(moment(job.created), job.created, "num"), Cell(job.created_by or "–"),
            ]
        )  # fmt: skip
    heads = ["Job", "Kind", "Status", "Done", "Time", "Asked (UTC)", "By"]
    return table(heads, rows, wide=(1, 4, 6), stack=True)


def jobs_page(page: Page, status: str, search: str, after: str) -> list[Child]:
    """The list, the newest first."""
    statuses = tuple(each for each in JobStatus if each.value == status)
    jobs = page.services.ledger.jobs.page(page.principal.only, "", statuses, search, after, COUNT + 1)
    then = jobs[COUNT - 1].id if len(jobs) > COUNT else None
    asks = search_form(page, "jobs", {"search": search}, [each.value for each in JobStatus], status)
    shown: Child = jobs_table(page, jobs[:COUNT]) if jobs else el("p", "None.", class_="dim")
    more = following(page, "jobs", then, status=status, search=search)
    return [asks, live("jobs", el("section", shown, more))]


def job_page(page: Page, id: str, status: str, search: str, after: str) -> tuple[Job, list[Child]]:
    """One job. Raises `Refused` where there is none that may be seen."""
    job = found(page.services, page.principal, id)
    parts: list[Child] = [live("job", _lead(page, job), _counts(job))]
    if job.kind == "publish":
        parts.append(live("items", _items(page.services.ledger.files.items(job.id))))
        parts.append(_files(page, job, status, search, after))
    if job.kind in KEEPS and job.result:
        parts.append(live("result", _result(job)))
    parts.append(_asked(job))
    return job, parts


def _lead(page: Page, job: Job) -> Safe:
    part, seconds = share(job), lasted(job, page.services.clock())
    tone = {"completed": "good", "failed": "bad", "running": "busy", "queued": "busy"}.get(job.status.value, "fair")
    facts = [f"{job.kind} of {moment_words(job.created)} by {job.created_by or 'nobody in particular'}"]
    if seconds is not None:
        facts.append(f"{'took' if job.status in ENDED else 'for'} {age(seconds)}")
        if part and part < 1 and job.status is JobStatus.RUNNING:
            facts.append(f"about {age(seconds * (1 - part) / part)} left")
    if job.priority:
        facts.append(f"{word(job.priority)} priority")
    if job.wish.value:
        facts.append(f"{job.wish.value} is wanted")
    orders = [
        page.button("job", WORDS[verb], sure=verb == "cancel", id=job.id, verb=verb)
        for verb in (*VERBS[job.status], *(("retry",) if _again(job) else ()))
    ]
    orders += [
        page.button("job", f"{name.capitalize()} priority", id=job.id, verb=name)
        for name, number in PRIORITIES.items()
        if job.status not in ENDED and number != job.priority
    ]
    progress = el("div", bar(part), el("span", f"{part:.0%}"), class_="progress") if part is not None else None
    error = el("p", job.error, class_="message") if job.error else None
    return el(
        "section", el("p", state(job.status.value), class_="verdict"), el("p", ", ".join(facts)), progress, error,
        el("div", orders, class_="orders") if any(orders) else None, class_=f"lead {tone}",
    )  # fmt: skip


def _again(job: Job) -> bool:
    return job.status is JobStatus.COMPLETED and bool(job.counts.get("failed_files") or job.counts.get("failed"))


def moment_words(seconds: float) -> Child:
    """A moment within a sentence."""
    import datetime

    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def _counts(job: Job) -> Child:
    if not job.counts:
        return None
    cards = [
        el("div", el("dt", name.replace("_", " ")), el("dd", format_size(n) if name.endswith("bytes") else f"{n:,}"))
        for name, n in job.counts.items()
    ]
    return el("dl", *cards, class_="cards")


def _items(items: list[Item]) -> Safe:
    rows = [
        [
            Cell(legible(each.source), None, "loose"), Cell(legible(each.to), None, "loose"),
            number(each.total_files), number(each.uploaded), number(each.skipped), number(each.failed),
            perhaps(each.error or ("" if each.walked else "still being walked"), "loose"),
        ]
        for each in items
    ]  # fmt: skip
    heads = ["From", "To", "Files", "Uploaded", "Skipped", "Failed", "Why"]
    return section("Items", None, table(heads, rows, stack=True) if rows else el("p", "None.", class_="dim"))


def _files(page: Page, job: Job, status: str, search: str, after: str) -> Safe:
    if after and not after.isdecimal():
        raise Refused(400, "`after` is a number")
    words = {each.word: each for each in FileStatus}
    begin = min(int(after), 1 << 62) if after else -1
    files = page.services.ledger.files.page(job.id, None, words.get(status), search, begin, COUNT + 1)
    then = str(files[COUNT - 1].number) if len(files) > COUNT else None
    asks = search_form(page, "job", {"id": job.id, "search": search}, list(words), status)
    shown: Child = _files_table(files[:COUNT]) if files else el("p", "None.", class_="dim")
    more = following(page, "job", then, id=job.id, status=status, search=search)
    return section("Files", None, asks, live("files", shown, more))


def _files_table(files: list[File]) -> Safe:
    rows = [
        [
            Cell(legible(each.path), None, "path"), Cell(legible(each.key), None, "path"),
            Cell(format_size(each.size), each.size, "num"), Cell(state(each.status.word)),
            perhaps(each.error, "loose why"),
        ]
        for each in files
    ]  # fmt: skip
    return table(["File", "Key", "Size", "Status", "Why"], rows, wide=(1,), stack=True)


def _result(job: Job) -> Safe:
    return el("section", el("details", el("summary", "What came of it"), lines(pretty(job.result))))


def _asked(job: Job) -> Safe:
    return el("section", el("details", el("summary", "What was asked for"), lines(pretty(job.options))))


def pretty(raw: bytes) -> str:
    """JSON as people read it, not too much of it."""
    value: Any = msgspec.json.decode(raw) if raw else {}
    words = json.dumps(value, indent=1, ensure_ascii=False)
    return words if len(words) <= 20_000 else f"{words[:20_000]}\n… and more"
