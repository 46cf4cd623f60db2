"""Schedules, queues, tasks, workers, runs, locations and health by HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from dunlin.config.schema import priority
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Status
from dunlin.queue.ledger.words import NewSchedule
from dunlin.web.auth import operator, principal_of, viewer
from dunlin.web.check_api import stamp
from dunlin.web.dead import try_again
from dunlin.web.exposition import Exposition
from dunlin.web.forms import (
    After,
    Count,
    Health,
    LocationShown,
    NewScheduleForm,
    Page,
    QueueShown,
    RunShown,
    ScheduleShown,
    Search,
    TaskShown,
    TaskWord,
    WorkerShown,
    legible,
    queue_shown,
    schedule_shown,
    task_shown,
    worker_shown,
)
from dunlin.web.kinds import check_role
from dunlin.web.machine import machine
from dunlin.web.problems import Refused, responses
from dunlin.web.publish_api import PUBLISH_LATER, items_of
from dunlin.web.removed import remove
from dunlin.web.roots import concerns
from dunlin.web.services import EVERYBODY, Principal, Services
from dunlin.web.tenancy import FOR_TENANT, tenant_of

ScheduleName = Annotated[str, PathParameter(pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$", description="Its name.")]
QueueName = Annotated[str, QueryParameter(name="queue", max_length=200, description="Only this queue.")]
TaskId = Annotated[str, PathParameter(max_length=200)]
Pair = Annotated[int | None, QueryParameter(name="pair", ge=1, le=(1 << 63) - 1, description="Only runs of this pair.")]
Before = Annotated[
    int | None, QueryParameter(name="before", ge=1, le=(1 << 63) - 1, description="`next` of the page before.")
]  # fmt: skip


def shared(principal: Principal, services: Services) -> bool:
    """Whether somebody may see what all tenants share: there are none, or it is one of the whole service."""
    return not services.settings().tenants or principal.tenant == EVERYBODY


def everybody(principal: Principal, services: Services) -> None:
    """Queues are shared: where there are tenants only administrators of the whole service look into them."""
    if not shared(principal, services):
        raise Refused(403, "queues are shared by all tenants; this needs a key of the whole service")


def schedules(services: Services) -> list[Any]:
    """The routes of schedules."""
    calls = services.calls

    @get("/api/v1/schedules", guards=[viewer], summary="Schedules", tags=["Schedules"], responses=responses())
    async def listed(request: Request[Any, Any, Any]) -> Page[ScheduleShown]:
        found = await calls(services.ledger.schedules.all, principal_of(request).only)
        return Page([schedule_shown(each) for each in found])

    @get(
        "/api/v1/schedules/{name:str}", guards=[viewer], summary="A schedule", tags=["Schedules"],
        responses=responses(404),
    )  # fmt: skip
    async def one(request: Request[Any, Any, Any], name: ScheduleName, tenant_name: FOR_TENANT = "") -> ScheduleShown:
        tenant = tenant_of(services, principal_of(request), tenant_name).name
        found = await calls(services.ledger.schedules.get, name, tenant)
        if found is None:
            raise Refused(404, "there is no such schedule")
        return schedule_shown(found)

    @put(
        "/api/v1/schedules/{name:str}", guards=[operator], summary="Make or change a schedule", tags=["Schedules"],
        responses=responses(),
    )  # fmt: skip
    async def save(
        request: Request[Any, Any, Any], name: ScheduleName, data: JSONBody[NewScheduleForm]
    ) -> ScheduleShown:
        # Its job's paths are looked at, and may lie where nobody answers.
        return await services.publishes(save_schedule, services, principal_of(request), name, data)

    @delete(
        "/api/v1/schedules/{name:str}", guards=[operator], status_code=204, summary="Remove a schedule",
        tags=["Schedules"], responses=responses(404),
    )  # fmt: skip
    async def remove(request: Request[Any, Any, Any], name: ScheduleName, tenant_name: FOR_TENANT = "") -> None:
        principal = principal_of(request)
        tenant = tenant_of(services, principal, tenant_name).name
        known = await calls(services.ledger.schedules.get, name, tenant)
        check_role(principal, *([known.new.kind] if known is not None else []))
        if not await calls(services.ledger.schedules.remove, name, tenant):
            raise Refused(404, "there is no such schedule")
        await calls(services.ledger.audit.record, principal.name, "schedule.remove", name, "", tenant)

    return [listed, one, save, remove]


def save_schedule(services: Services, principal: Principal, name: str, form: NewScheduleForm) -> ScheduleShown:
    """Check a schedule and its job, and put it on record. Raises `Refused`, USAGE, DENIED."""
    tenant = tenant_of(services, principal, form.tenant)
    known = services.ledger.schedules.get(name, tenant.name)
    check_role(principal, form.kind, *([known.new.kind] if known is not None else []))
    if form.kind == "publish":
        if form.options.keys() != {"items"}:
            raise Refused(400, "the options of a publish job are `items`, and nothing else")
        items = items_of(msgspec.json.encode(form.options["items"]))
        label = f"{len(items)} items"
        here = machine(services.settings(), services.ledger)
        host = here.of_paths(item.source for item in items)
    else:
        label = services.runner.check(form.kind, form.options, tenant)
        host = services.runner.host(form.kind, form.options, tenant)
    new = NewSchedule(
        name, PUBLISH_LATER if form.kind == "publish" else form.kind, msgspec.json.encode(form.options), tenant.name,
        form.cron, form.interval, form.zone,
        form.enabled, form.overlap, label, priority(form.priority), host,
    )  # fmt: skip
    saved = services.ledger.schedules.put(new, principal.name)
    services.ledger.audit.record(principal.name, "schedule.save", name, label, tenant.name)
    return schedule_shown(saved)


def queues(services: Services) -> list[Any]:
    """The routes of queues, tasks and workers."""
    calls, queue = services.calls, services.queue

    @get("/api/v1/queues", guards=[viewer], summary="Queues", tags=["Queues"], responses=responses())
    async def listed(request: Request[Any, Any, Any]) -> Page[QueueShown]:
        everybody(principal_of(request), services)
        return Page([queue_shown(each) for each in await calls(queue.stats)])

    def pausing(verb: str, summary: str) -> Any:
        def do(principal: Principal, name: str) -> QueueShown:
            if not any(each.queue == name for each in queue.stats()):
                raise Refused(404, "there is no such queue")
            queue.pause(name, verb == "pause")
            services.ledger.audit.record(principal.name, f"queue.{verb}", name)
            return next(queue_shown(each) for each in queue.stats() if each.queue == name)

        @post(
            f"/api/v1/queues/{{name:str}}/{verb}", guards=[operator], status_code=200, summary=summary, tags=["Queues"],
            operation_id=f"{verb}_queue", name=f"{verb}_queue", responses=responses(404),
        )  # fmt: skip
        async def paused(request: Request[Any, Any, Any], name: TaskId) -> QueueShown:
            everybody(principal_of(request), services)
            return await calls(do, principal_of(request), name)

        return paused

    pause, resume = pausing("pause", "Hand out nothing of a queue"), pausing("resume", "Hand out its tasks again")

    @get("/api/v1/workers", guards=[viewer], summary="Workers that are alive", tags=["Queues"], responses=responses())
    async def workers(request: Request[Any, Any, Any]) -> Page[WorkerShown]:
        everybody(principal_of(request), services)
        return Page([worker_shown(each) for each in await calls(queue.workers)])

    return [listed, pause, resume, workers, *tasks(services)]


def tasks(services: Services) -> list[Any]:
    """The routes of tasks."""
    calls, queue = services.calls, services.queue

    @get("/api/v1/tasks", guards=[viewer], summary="Tasks, by id", tags=["Queues"], responses=responses())
    async def listed(
        request: Request[Any, Any, Any],
        queue_name: QueueName = "",
        status: FromQuery[TaskWord | None] = None,
        search: Search = "",
        after: After = "",
        count: Count = 100,
    ) -> Page[TaskShown]:
        everybody(principal_of(request), services)
        wanted = None if status is None else Status(status)
        found = await calls(queue.tasks, queue_name, wanted, search, after, count + 1)
        following = found[count - 1].id if len(found) > count else None
        return Page([task_shown(each) for each in found[:count]], following)

    def order(verb: str, summary: str, do: Any) -> Any:
        @post(
            f"/api/v1/tasks/{{id:str}}/{verb}", guards=[operator], status_code=204, summary=summary, tags=["Queues"],
            operation_id=f"{verb}_task", name=f"{verb}_task", responses=responses(404, 409),
        )  # fmt: skip
        async def ordered(request: Request[Any, Any, Any], id: TaskId) -> None:
            everybody(principal_of(request), services)
            if not await calls(do, [id]):
                raise Refused(404, "there is no such task, or it does not stand like that")
            await calls(services.ledger.audit.record, principal_of(request).name, f"task.{verb}", id)

        return ordered

    summary = "Do a dead task again, or all failed files of its publish job"
    revive = order("retry", summary, lambda ids: try_again(services, ids[0]))
    removed = order("cancel", "Remove a task that is dead, or nobody's", lambda ids: remove(services, ids[0]))
    return [listed, revive, removed]


def _run_shown(run: Any, pairs: dict[int, tuple[str, str]]) -> RunShown:
    source, destination = pairs.get(run.pair, ("", ""))
    counts = {name: value for name, value in msgspec.to_builtins(run.stats).items() if value}
    return RunShown(
        run.id, run.pair, legible(source), legible(destination), run.status, legible(run.message),
        stamp(run.started / 1e9), counts, stamp(run.ended / 1e9) if run.ended else None,
    )  # fmt: skip


def runs_of(path: str, pair: int | None, before: int | None, count: int, run: int | None = None) -> list[RunShown]:
    """Runs on record in a state file, the newest first; none where there is no file.

    `run`: that one only. Pages go back from the number `before`.
    """
    from dunlin.state.overview import Overview

    if not path:
        return []
    try:
        overview = Overview.open(path)
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return []
        raise
    with overview:
        pairs = {each.id: (each.source, each.destination) for each in overview.pairs()}
        if run is not None:
            found = overview.now(run)
            return [_run_shown(found.run, pairs)] if found is not None else []
        more = {} if before is None else {"before": before}
        return [_run_shown(each, pairs) for each in overview.runs(pair, count, **more)]


def runs(services: Services) -> list[Any]:
    """The routes of runs and locations."""
    calls = services.calls

    @get("/api/v1/runs", guards=[viewer], summary="Runs of syncs", tags=["Runs"], responses=responses())
    async def listed(
        request: Request[Any, Any, Any], pair: Pair = None, before: Before = None, count: Count = 100
    ) -> Page[RunShown]:
        everybody(principal_of(request), services)
        found = await calls(runs_of, services.states(), pair, before, count + 1)
        following = str(found[count - 1].id) if len(found) > count else None
        return Page(found[:count], following)

    @get("/api/v1/runs/{id:int}", guards=[viewer], summary="A run", tags=["Runs"], responses=responses(404))
    async def one(
        request: Request[Any, Any, Any], id: Annotated[int, PathParameter(ge=1, le=(1 << 63) - 1)]
    ) -> RunShown:
        everybody(principal_of(request), services)
        found = await calls(runs_of, services.states(), None, None, 1, id)
        if not found:
            raise Refused(404, "there is no such run")
        return found[0]

    @get("/api/v1/locations", guards=[viewer], summary="Places by name", tags=["Runs"], responses=responses())
    async def locations(request: Request[Any, Any, Any]) -> Page[LocationShown]:
        settings, principal = services.settings(), principal_of(request)
        roots = None if shared(principal, services) else tenant_of(services, principal).roots
        return Page([
            LocationShown(name, kind)
            for name, kind in sorted(settings.locations.items())
            if roots is None or any(concerns(place, roots) for place in settings.lie.get(name, ()))
        ])  # fmt: skip

    return [listed, one, locations]


def health(services: Services) -> list[Any]:
    """Whether it lives, whether it can work, and its metrics."""
    failing = {503: ResponseSpec(Health, generate_examples=False, description="Some part is away.")}
    exposition = Exposition(services.metrics)

    @get("/healthz", summary="Whether the process answers", tags=["Health"])
    async def alive() -> Health:
        return Health("ok", {})

    @get("/readyz", summary="Whether ledger, queue and store can be reached", tags=["Health"], responses=failing)
    async def ready(request: Request[Any, Any, Any]) -> Response[Health]:
        return await _ready(request)

    @get(
        "/api/v1/health", guards=[viewer], summary="Whether ledger, queue and store can be reached", tags=["Health"],
        responses=responses() | failing,
    )  # fmt: skip
    async def healthy(request: Request[Any, Any, Any]) -> Response[Health]:
        return await _ready(request)

    async def _ready(request: Request[Any, Any, Any]) -> Response[Health]:
        parts = dict(await services.calls(services.ready))
        good = all(word == "ok" for word in parts.values())
        principal = request.scope["state"].get("principal")
        if principal is None or not shared(principal, services):
            # What a database or store says names hosts, and more.
            parts = {name: word if word == "ok" else "failing" for name, word in parts.items()}
        return Response(Health("ok" if good else "failing", parts), status_code=200 if good else 503)

    @get("/metrics", guards=[viewer], media_type="text/plain", summary="Metrics for Prometheus", tags=["Health"],
         responses=responses())  # fmt: skip
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        everybody(principal_of(request), services)
        accept = request.headers.get("accept", "")
        kept = exposition.kept(accept)
        body, media = kept if kept is not None else await services.calls(exposition.make, accept)
        return Response(body, headers={"Content-Type": media})

    return [alive, ready, healthy, metrics]


def routes(services: Services) -> list[Any]:
    """All of them."""
    return [*schedules(services), *queues(services), *runs(services), *health(services)]


