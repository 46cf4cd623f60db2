"""Jobs by HTTP: ask for them, look at them, pause, resume, cancel and retry them.

Whoever asks for a job of another tenant is told that there is none. What changes a job is an order to whoever does it,
so the answer shows the job as it stands at that moment, with the `wish` that waits to be obeyed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from dunlin.config.schema import priority
from dunlin.jobs.hook import KIND as HOOK
from dunlin.queue.ledger.words import ENDED, FileStatus, Job, JobStatus, Wish
from dunlin.queue.ledger.words import NewJob as NewJobRow
from dunlin.web.auth import operator, principal_of, viewer
from dunlin.web.forms import (
    After,
    Count,
    FileShown,
    FileWord,
    IdempotencyKey,
    ItemShown,
    JobShown,
    JobWord,
    ListedKind,
    NewJob,
    Page,
    Search,
    file_shown,
    item_shown,
    job_shown,
)
from dunlin.web.kinds import check_role
from dunlin.web.problems import Refused, responses
from dunlin.web.publish_api import PUBLISH_LATER, items_of, put
from dunlin.web.services import Principal, Services
from dunlin.web.tenancy import tenant_of

JobId = Annotated[str, PathParameter(max_length=64, description="The job's id.")]
TENANT = Annotated[str, QueryParameter(name="tenant", max_length=100, description="Only jobs of this tenant.")]
BRIEF = {
    HOOK: "a command that runs cannot wait: it can be cancelled",
    PUBLISH_LATER: "it becomes a publish job at this moment: that one can be paused and cancelled",
}
"""Kinds of jobs that cannot be paused while they run, and why."""


def submit(services: Services, principal: Principal, form: NewJob, key: str) -> tuple[Job, bool]:
    """Put a job on record; whether it is new. Raises `Refused`, USAGE, DENIED, EXISTS."""
    check_role(principal, form.kind)
    tenant = tenant_of(services, principal, form.tenant)
    if form.kind == "publish":
        if services.publisher is None:
            raise Refused(503, "there is nowhere to publish to: publish.destination is not set")
        if form.options.keys() != {"items"}:
            raise Refused(400, "the options of a publish job are `items`, and nothing else")
        body = msgspec.json.encode(form.options["items"])
        items, urgency = items_of(body), priority(form.priority)
        return put(services.publisher, items, tenant, principal.name, key, body, urgency), True
    label = services.runner.check(form.kind, form.options, tenant)
    new = NewJobRow(
        form.kind, msgspec.json.encode(form.options), tenant.name, principal.name, label, priority(form.priority), key,
        host=services.runner.host(form.kind, form.options, tenant),
    )  # fmt: skip
    made = services.ledger.jobs.submit(new)
    if made.new:
        services.ledger.audit.record(principal.name, "submit", made.job.id, label, tenant.name)
    services.runner.wake()
    return made.job, made.new


def found(services: Services, principal: Principal, id: str) -> Job:
    """A job that somebody may see. Raises `Refused`."""
    job = services.ledger.jobs.get(id, principal.only)
    if job is None:
        raise Refused(404, "there is no such job")
    return job


def pause(services: Services, job: Job) -> None:
    """Have a job wait. Raises `Refused`."""
    if services.ledger.jobs.move(job.id, JobStatus.PAUSED, (JobStatus.QUEUED,)) is not None:
        return
    if job.kind == "publish":
        if services.publisher is not None and services.publisher.pause(job):
            return
    elif job.kind in BRIEF:
        raise Refused(409, BRIEF[job.kind] if job.status is JobStatus.RUNNING else "the job is not queued")
    elif services.ledger.jobs.ask(job.id, Wish.PAUSE):
        return
    raise Refused(409, "the job is neither queued nor running")


def resume(services: Services, job: Job) -> None:
    """Let a job go on. Raises `Refused`."""
    if job.kind == "publish" and services.publisher is not None:
        if not services.publisher.resume(job):
            raise Refused(409, "the job is not paused")
        return
    if services.ledger.jobs.move(job.id, JobStatus.QUEUED, (JobStatus.PAUSED, JobStatus.INTERRUPTED)) is None:
        raise Refused(409, "the job is not paused")


def cancel(services: Services, job: Job) -> None:
    """End a job. One that is over stays as it is. Raises `Refused`."""
    if job.status in ENDED:
        raise Refused(409, "the job is over")
    if job.kind == "publish" and services.publisher is not None:
        services.publisher.cancel(job)
        return
    waiting = (JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.INTERRUPTED)
    if services.ledger.jobs.move(job.id, JobStatus.CANCELLED, waiting) is not None:
        return
    services.ledger.jobs.ask(job.id, Wish.CANCEL)


def retry(services: Services, job: Job) -> None:
    """Do a job again that is over: of a publish its failed files, of a sync what is left. Raises `Refused`."""
    if job.status not in ENDED:
        raise Refused(409, "the job is not over")
    if job.kind == "publish":
        if services.publisher is None or not services.publisher.retry(job):
            raise Refused(409, "no file of the job failed")
    elif services.ledger.jobs.move(job.id, JobStatus.QUEUED, tuple(ENDED)) is None:
        raise Refused(409, "the job is not over")


ORDERS: dict[str, Callable[[Services, Job], None]] = {
    "pause": pause, "resume": resume, "cancel": cancel, "retry": retry
}  # fmt: skip


def obey(services: Services, principal: Principal, id: str, verb: str) -> Job:
    """Carry out one of `ORDERS`; the job as it stands then. Raises `Refused`."""
    job = found(services, principal, id)
    if verb in ("resume", "retry"):
        check_role(principal, job.kind)
    ORDERS[verb](services, job)
    services.ledger.audit.record(principal.name, verb, job.id, job.label, job.tenant)
    services.runner.wake()
    return found(services, principal, id)


def routes(services: Services) -> list[Any]:
    """The routes."""
    calls = services.calls

    @post(
        "/api/v1/jobs", guards=[operator], status_code=201, summary="Ask for a job", tags=["Jobs"],
        responses=responses(409),
    )  # fmt: skip
    async def new(
        request: Request[Any, Any, Any], data: JSONBody[NewJob], idempotency_key: IdempotencyKey = None
    ) -> Response[JobShown]:
        # Its paths are looked at, and may lie where nobody answers.
        job, made = await services.publishes(submit, services, principal_of(request), data, idempotency_key or "")
        headers = {"Location": f"/api/v1/jobs/{job.id}"}
        return Response(job_shown(job), status_code=201 if made else 200, headers=headers)

    @get("/api/v1/jobs", guards=[viewer], summary="Jobs, the newest first", tags=["Jobs"], responses=responses())
    async def listed(
        request: Request[Any, Any, Any],
        tenant_name: TENANT = "",
        kind: FromQuery[ListedKind | None] = None,
        status: FromQuery[list[JobWord] | None] = None,
        search: Search = "",
        after: After = "",
        count: Count = 100,
    ) -> Page[JobShown]:
        principal = principal_of(request)
        tenant = tenant_name or None if principal.only is None else principal.only
        if tenant_name and tenant != tenant_name:
            raise Refused(403, "that is another tenant")
        statuses = tuple(JobStatus(word) for word in status or ())
        jobs = await calls(services.ledger.jobs.page, tenant, kind or "", statuses, search, after, count + 1)
        following = jobs[count - 1].id if len(jobs) > count else None
        return Page([job_shown(each, whole=False) for each in jobs[:count]], following)

    @get("/api/v1/jobs/{id:str}", guards=[viewer], summary="A job", tags=["Jobs"], responses=responses(404))
    async def one(request: Request[Any, Any, Any], id: JobId) -> JobShown:
        principal = principal_of(request)

        def look() -> JobShown:
            job = found(services, principal, id)
            shown = job_shown(job)
            if job.kind == "publish" and services.publisher is not None:
                shown.result = services.publisher.result(job)
            return shown

        return await calls(look)

    @get(
        "/api/v1/jobs/{id:str}/items", guards=[viewer], summary="The items of a publish job", tags=["Jobs"],
        responses=responses(404),
    )  # fmt: skip
    async def items(request: Request[Any, Any, Any], id: JobId) -> Page[ItemShown]:
        job = await calls(found, services, principal_of(request), id)
        return Page([item_shown(each) for each in await calls(services.ledger.files.items, job.id)])

    async def files_of(
        request: Request[Any, Any, Any], id: str, status: FileStatus | None, search: str, after: str, count: int
    ) -> Page[FileShown]:
        if after and not after.isdecimal():
            raise Refused(400, "`after` is `next` of the page before")
        job = await calls(found, services, principal_of(request), id)
        begin = min(int(after), 1 << 62) if after else -1
        files = await calls(services.ledger.files.page, job.id, None, status, search, begin, count + 1)
        following = str(files[count - 1].number) if len(files) > count else None
        return Page([file_shown(each) for each in files[:count]], following)

    @get(
        "/api/v1/jobs/{id:str}/files", guards=[viewer], summary="The files of a publish job", tags=["Jobs"],
        responses=responses(404),
    )  # fmt: skip
    async def files(
        request: Request[Any, Any, Any],
        id: JobId,
        status: FromQuery[FileWord | None] = None,
        search: Search = "",
        after: After = "",
        count: Count = 100,
    ) -> Page[FileShown]:
        wanted = None if status is None else FileStatus[status.upper()]
        return await files_of(request, id, wanted, search, after, count)

    @get(
        "/api/v1/jobs/{id:str}/failures", guards=[viewer], summary="The files of a publish job that failed",
        tags=["Jobs"], responses=responses(404),
    )  # fmt: skip
    async def failures(
        request: Request[Any, Any, Any], id: JobId, search: Search = "", after: After = "", count: Count = 100
    ) -> Page[FileShown]:
        return await files_of(request, id, FileStatus.FAILED, search, after, count)

    return [new, listed, one, items, files, failures, *(_order(services, verb) for verb in ORDERS)]


_ABOUT = {
    "pause": "Have a job wait",
    "resume": "Let a paused job go on",
    "cancel": "End a job",
    "retry": "Do again what failed in a job that is over",
}


def _order(services: Services, verb: str) -> Any:
    @post(
        f"/api/v1/jobs/{{id:str}}/{verb}", guards=[operator], status_code=200, summary=_ABOUT[verb], tags=["Jobs"],
        operation_id=f"{verb}_job", name=f"{verb}_job", responses=responses(404, 409),
    )  # fmt: skip
    async def order(request: Request[Any, Any, Any], id: JobId) -> JobShown:
        return job_shown(await services.calls(obey, services, principal_of(request), id, verb))

    return order
