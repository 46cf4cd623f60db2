"""A dead task that somebody wants to be tried again: what comes of it must be taken down."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.jobs.publish_results import unit_key
from dunlin.queue.base import NewTask, Status
from dunlin.queue.ledger.words import Job, JobStatus, NewItem, NewJob
from tests.unit.web.served import Served, served


def dead(made: Served, key: str, queue: str = "publish") -> str:
    """The id of a task whose only delivery failed."""
    made.services.queue.put([NewTask(queue, key, b"", retries=0)])
    [lease] = made.services.queue.lease("w", 1, 9.0)
    assert made.services.queue.nack(lease, "out of memory")
    [task] = made.services.queue.tasks(queue, Status.DEAD)
    return task.id


def job(made: Served, status: JobStatus) -> Job:
    found = made.services.ledger.jobs.submit(NewJob("publish", b"{}"), [NewItem("/x", "store/")]).job
    for step in (JobStatus.RUNNING, status):
        made.services.ledger.jobs.move(found.id, step)
    return found


def test_of_a_publish_job_the_failed_files_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path) as made:
        asked: list[str] = []

        def retry(job: Job) -> int:
            asked.append(job.id)
            return 1

        monkeypatch.setattr(made.publisher, "retry", retry)
        over = job(made, JobStatus.FAILED)
        id = dead(made, unit_key(over.id, 3))
        assert made.post(f"/api/v1/tasks/{id}/retry").status_code == 204
        assert asked == [over.id]
        assert made.services.queue.lease("w", 1, 9.0) == []  # the publisher is who drops it, and puts new ones


def test_of_a_job_that_goes_on_nothing_is_tried_again(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        id = dead(made, unit_key(job(made, JobStatus.RUNNING).id, 3))
        answer = made.post(f"/api/v1/tasks/{id}/retry")
        assert (answer.status_code, answer.json()["detail"]) == (409, "the job is not over")
        assert made.services.queue.lease("w", 1, 9.0) == []


@pytest.mark.parametrize("queue", ["publish", "run/1"])
def test_a_task_of_no_publish_job_is_delivered_again(tmp_path: Path, queue: str) -> None:
    with served(tmp_path) as made:
        id = dead(made, "2zzzzzzzzzzzz/0", queue)
        assert made.post(f"/api/v1/tasks/{id}/retry").status_code == 204
        assert len(made.services.queue.lease("w", 1, 9.0)) == 1
        assert made.post(f"/api/v1/tasks/{id}/retry").status_code == 404
