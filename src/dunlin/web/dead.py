"""Tasks that are dead, and somebody wants them to be tried again.

What became of a unit of a publish job stands in the ledger, and from the moment at which its last delivery failed that
is final: a task that was simply delivered once more would upload and delete, and nobody would take down what came of
it. So there the job's failed files are tried again, in new units, and its dead tasks go.
"""

from __future__ import annotations

from dunlin.jobs.publish_results import unit_of
from dunlin.jobs.publish_tasks import QUEUE
from dunlin.queue.base import Status
from dunlin.web.jobs_api import retry
from dunlin.web.services import Services


def try_again(services: Services, id: str) -> bool:
    """Have a dead task done again; False where there is none of that id. Raises `Refused` as retrying its job does."""
    found = services.queue.task(id)
    if found is None or found[0].status is not Status.DEAD:
        return False
    unit = unit_of(found[0].key) if found[0].queue == QUEUE else None
    job = services.ledger.jobs.get(unit[0]) if unit is not None else None
    if job is None:
        return bool(services.queue.revive([id]))
    retry(services, job)
    return True
