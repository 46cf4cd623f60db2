"""Jobs that begin and end between two looks are told, once."""

from __future__ import annotations

from pathlib import Path

from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import ENDED, JobStatus, NewJob
from dunlin.web.hub import Hub, Watcher


def test_a_job_that_was_over_before_anybody_looked(tmp_path: Path) -> None:
    ledger, hub = open_ledger(str(tmp_path / "ledger.db")), Hub()
    jobs = ledger.jobs
    going = tuple(each for each in JobStatus if each not in ENDED)
    watcher = Watcher(
        hub, lambda: jobs.page(statuses=going), jobs.get, lambda job: [job.label, job.status.value],
        lambda: jobs.page(count=50),
    )  # fmt: skip

    def short(label: str) -> None:
        job = jobs.submit(NewJob("sync", label=label)).job
        jobs.move(job.id, JobStatus.RUNNING)
        jobs.move(job.id, JobStatus.COMPLETED)

    short("long ago")
    assert watcher.look() == 0
    short("short")
    waits = jobs.submit(NewJob("sync", label="waits")).job
    assert watcher.look() == 2
    assert watcher.look() == 0
    jobs.move(waits.id, JobStatus.CANCELLED)
    short("another")
    assert watcher.look() == 2
    assert watcher.look() == 0
    told = {each.body for each in hub.since(0) or ()}
    assert told == {
        b'["short","completed"]', b'["waits","queued"]', b'["waits","cancelled"]', b'["another","completed"]'
    }  # fmt: skip
    ledger.close()
