"""Tasks of the queue: the list, and one of them with what it holds."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dunlin.pace.sizes import format_size
from dunlin.queue.base import Status, TaskInfo
from dunlin.web.forms import legible
from dunlin.web.markup import Child, Safe, el
from dunlin.web.monitor.shell import Page, age, facts, following, lines, live, perhaps, search_form, state
from dunlin.web.problems import Refused
from dunlin.web.removed import job_of, why_kept
from dunlin.web.tables import Cell, number, table

COUNT = 50
MOST = 8_000
"""Characters of a payload that are shown."""


def tasks_page(page: Page, queue: str, status: str, search: str, after: str) -> list[Child]:
    """The list."""
    wanted = next((each for each in Status if each.value == status), None)
    found = page.services.queue.tasks(queue, wanted, search, after, COUNT + 1)
    then = found[COUNT - 1].id if len(found) > COUNT else None
    fields = {"queue": queue, "search": search} if queue else {"search": search}
    asks = search_form(page, "tasks", fields, [each.value for each in Status], status)
    shown: Child = _table(page, found[:COUNT]) if found else el("p", "None.", class_="dim")
    more = following(page, "tasks", then, queue=queue, status=status, search=search)
    return [asks, live("tasks", el("section", shown, more))]


def _table(page: Page, tasks: list[TaskInfo]) -> Safe:
    rows = [
        [
            Cell(el("a", legible(each.label or each.key), href=page.url("task", id=each.id)), None, "loose"),
            Cell(legible(each.queue), None, "loose"), Cell(state(each.status.value)), number(each.attempt),
            perhaps(each.worker, "loose"), Cell(age(each.age), each.age, "num"),
            perhaps(each.error, "loose why"),
            Cell([_orders(page, each)], None, "do"),
        ]
        for each in tasks
    ]  # fmt: skip
    heads = ["Task", "Queue", "Status", "Attempt", "Worker", "Age", "Why", ""]
    return table(heads, rows, wide=(1,), stack=True)


def _orders(page: Page, task: TaskInfo) -> Child:
    again = page.button("task", "Try again", id=task.id, verb="retry") if task.status is Status.DEAD else None
    if not (reason := why_kept(task)):
        return [again, page.button("task", "Remove", sure=True, id=task.id, verb="cancel")]
    job = job_of(task)
    return el("a", "Job", href=page.url("job", id=job), title=reason) if job else None


def task_page(page: Page, id: str) -> list[Child]:
    """One task. Raises `Refused` where there is none."""
    found = page.services.queue.task(id)
    if found is None:
        raise Refused(404, "there is no such task, or no more")
    task, payload = found
    about_it: list[tuple[str, Child]] = [
        ("Status", state(task.status.value)),
        ("Queue", el("a", legible(task.queue), href=page.url("tasks", queue=task.queue))),
        ("Key", legible(task.key)),
        ("Label", legible(task.label) or "–"),
        ("Priority", task.priority),
        ("Attempt", f"{task.attempt}, {task.retries} more after a failure"),
        ("Worker", task.worker or "–"),
        ("Age", age(task.age)),
        ("Due", f"in {age(task.due)}" if task.due > 0 else "now"),
        ("Error", task.error or "–"),
        ("Payload", format_size(task.size)),
    ]
    about = el("section", facts(*about_it), el("div", _orders(page, task), class_="orders"))
    return [live("task", about), el("section", el("h2", "What it holds"), lines(readable(payload)))]


def readable(payload: bytes) -> str:
    """A payload for people: what MessagePack or JSON says, else how long it is."""
    for decode in (msgspec.json.decode, msgspec.msgpack.decode):
        try:
            value: Any = decode(payload)
        except (msgspec.DecodeError, ValueError):
            continue
        words = json.dumps(value, indent=1, default=_foreign, ensure_ascii=False, skipkeys=True)
        return words if len(words) <= MOST else f"{words[:MOST]}\n… and more"
    return f"{len(payload):,} bytes that are neither JSON nor MessagePack"


def _foreign(value: object) -> str:
    if isinstance(value, bytes):
        text = value[:200].decode("utf-8", "backslashreplace")
        return text if len(value) <= 200 else f"{text}… ({len(value):,} bytes)"
    return str(value)
