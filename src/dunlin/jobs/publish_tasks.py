"""From a unit of the ledger to a task of the queue: what travels to the workers."""

from __future__ import annotations

from typing import NamedTuple

from dunlin.errors import printable
from dunlin.jobs.publish import PublishOptions
from dunlin.jobs.publish_results import unit_key
from dunlin.jobs.publish_walk import full_path
from dunlin.queue.base import NewTask
from dunlin.queue.ledger.words import Job, OpenUnit
from dunlin.workers.publishing import VERSION, PublishFile, PublishUnit, Root, is_within, pack


class PublishSettings(NamedTuple):
    """How it is published; may change while jobs run.

    Attributes:
        destination: a location by name, or a URL without credentials: workers open it with what they have.
        bucket: how the existence cache calls it.
        queue: the name of the queue; services with ledgers of their own on one queue server need one each.
        max_retry: how often a file that failed is tried again.
        seconds: that a file may take.
        host: the label of workers that reach this machine's paths; "": all do. shared: directories that all reach.
        own: absolute paths of files that are never published: the service's own.
    """

    destination: str
    bucket: str
    queue: str = "publish"
    max_retry: int = 3
    seconds: float = 1800.0
    host: str = ""
    shared: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()


def task_of(
    job: Job, asked: PublishOptions, unit: OpenUnit, settings: PublishSettings, delay: float = 0.0
) -> NewTask:
    """The task of a unit: those of its files that have no outcome."""
    numbers = sorted({unit.files[place].item for place in unit.pending})
    roots = [Root(origin.root, origin.delete, origin.overwrite) for origin in (asked.sources[n] for n in numbers)]
    files = [
        PublishFile(place, numbers.index(file.item), file.path, file.key, file.size)
        for place, file in ((place, unit.files[place]) for place in unit.pending)
    ]
    payload = PublishUnit(
        VERSION,
        job.id,
        unit.number,
        unit.tries,
        asked.destination,
        asked.bucket,
        settings.seconds,
        job.created,
        asked.within,
        roots,
        files,
    )
    shared = all(is_within(root.path, settings.shared) for root in roots)
    label = printable(full_path(roots[0].path, files[0].path))
    return NewTask(
        settings.queue,
        unit_key(job.id, unit.number),
        pack(payload),
        job.priority,
        delay,
        max(1, settings.max_retry),  # that a worker dies is not the fault of a file
        (f"tenant:{job.tenant}",) if job.tenant else (),
        "" if shared else settings.host,
        label[:200],
    )
