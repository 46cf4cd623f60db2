"""From a unit of the ledger to a task of the queue: what travels to the workers."""

from __future__ import annotations

from typing import NamedTuple

from dunlin.errors import printable
from dunlin.jobs.groups import all_groups, directory_groups
from dunlin.jobs.publish import PublishOptions
from dunlin.jobs.publish_results import unit_key
from dunlin.jobs.publish_walk import full_path
from dunlin.model import is_within
from dunlin.queue.base import NewTask
from dunlin.queue.caps import PUBLISHING
from dunlin.queue.ledger.words import Job, OpenUnit
from dunlin.workers.publish_words import VERSION, PublishFile, PublishUnit, Root, pack

QUEUE = "publish"
"""The queue of a service's units, unless the settings name another."""


class PublishSettings(NamedTuple):
    """How it is published; may change while jobs run.

    Attributes:
        destination: a location by name, or a URL without credentials: workers open it with what they have.
        bucket: how the existence cache calls it.
        queue: the name of the queue; services with ledgers of their own on one queue server need one each.
        max_retry: how often a file that failed is tried again.
        seconds: that a file may take.
        host: the label of workers that reach this machine's paths; "": all do. shared: directories that all reach.
        machine: the label of the services that do, where services elsewhere have the same ledger; "": there are none.
        own: absolute paths of files that are never published: the service's own.
        target: the destination's path, where that is a directory of this machine; else "".
        groups: of the destination (`jobs.groups`). capped: directories with a cap.
    """

    destination: str
    bucket: str
    queue: str = QUEUE
    max_retry: int = 3
    seconds: float = 1800.0
    host: str = ""
    shared: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()
    target: str = ""
    groups: tuple[str, ...] = ()
    capped: tuple[str, ...] = ()
    machine: str = ""


def task_of(
    job: Job, asked: PublishOptions, unit: OpenUnit, settings: PublishSettings, delay: float = 0.0, again: bool = False
) -> NewTask:
    """The task of a unit: those of its files that have no outcome. `again`: see `PublishUnit`."""
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
        again,
        accounts=(PUBLISHING, *all_groups(job.tenant)),
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
        all_groups(job.tenant, directory_groups([root.path for root in roots], settings.capped), settings.groups),
        "" if shared else settings.host,
        label[:200],
    )
