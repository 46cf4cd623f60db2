"""Removing tasks, as far as it lasts.

What waits in a queue, or is under way, stands there for somebody who looks after it: the publisher puts a unit again
that the queue does not know, within half a minute, and the coordinator of a run within seconds. So such a task cannot
be removed; its job can be cancelled, and the run be stopped. A dead one is nobody's any more.
"""

from __future__ import annotations

from dunlin.jobs.publish_results import unit_of
from dunlin.jobs.publish_tasks import QUEUE
from dunlin.queue.base import Status, TaskInfo
from dunlin.web.problems import Refused
from dunlin.web.services import Services
from dunlin.workers.remote import PREFIX


def why_kept(task: TaskInfo) -> str:
    """Why a task cannot be removed, and what can be done instead; "" where it can."""
    if task.status is Status.DEAD:
        return ""
    if task.queue.startswith(PREFIX):
        return "its run would have it done again at once: cancel the run's job, or stop it with dunlin control stop"
    job = job_of(task)
    return f"its job would have it done again within half a minute: cancel job {job}" if job else ""


def job_of(task: TaskInfo) -> str:
    """The publish job that a task belongs to, "" for none."""
    unit = unit_of(task.key) if task.queue == QUEUE else None
    return unit[0] if unit is not None else ""


def remove(services: Services, id: str) -> bool:
    """Remove a task for good; False where there is none of that id. Raises `Refused` where it would come back."""
    found = services.queue.task(id)
    if found is None:
        return False
    if reason := why_kept(found[0]):
        raise Refused(409, reason)
    return bool(services.queue.remove([id]))
