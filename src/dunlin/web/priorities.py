"""Priorities of jobs by HTTP: words or numbers, and how that of a job is changed before it is over.

A step is worth a minute of waiting, for jobs (`queue.ledger.jobs`) as for tasks (`queue.rules`).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import JSONBody, PathParameter

from dunlin.config.schema import PRIORITIES
from dunlin.config.schema import priority as understood
from dunlin.queue.ledger.words import Job
from dunlin.web.auth import operator, principal_of
from dunlin.web.forms import JobShown, Priority, job_shown
from dunlin.web.jobs_api import found
from dunlin.web.problems import Refused, responses
from dunlin.web.services import Principal, Services

JobId = Annotated[str, PathParameter(max_length=64, description="The job's id.")]


class NewPriority(msgspec.Struct, forbid_unknown_fields=True):
    """low (-10), normal (0), high (10), or a number from -100 to 100."""

    priority: Priority


def word(priority: int) -> str:
    """What people call a priority."""
    return next((name for name, number in PRIORITIES.items() if number == priority), str(priority))


def prioritise(services: Services, principal: Principal, id: str, priority: int | str) -> Job:
    """Give a job another priority; the job as it stands then. Raises `Refused`.

    It counts for when the job is begun, and for the tasks that it puts from then on: a run that goes on keeps the one
    that it began with.
    """
    job = found(services, principal, id)
    try:
        wanted = understood(priority)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    if not services.ledger.jobs.prioritise(job.id, wanted):
        raise Refused(409, "the job is over")
    services.ledger.audit.record(principal.name, "priority", job.id, f"{job.label}: {word(wanted)}", job.tenant)
    services.runner.wake()
    return found(services, principal, id)


def routes(services: Services) -> list[Any]:
    """The route."""

    @post(
        "/api/v1/jobs/{id:str}/priority", guards=[operator], status_code=200, summary="Change a job's priority",
        tags=["Jobs"], responses=responses(404, 409),
    )  # fmt: skip
    async def change(request: Request[Any, Any, Any], id: JobId, data: JSONBody[NewPriority]) -> JobShown:
        return job_shown(await services.calls(prioritise, services, principal_of(request), id, data.priority))

    return [change]
