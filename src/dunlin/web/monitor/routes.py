"""The monitor's routes: pages to look at, and forms that give orders."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, URLEncodedBody
from litestar.response import Redirect

from dunlin.config.schema import PRIORITIES
from dunlin.errors import DunlinError
from dunlin.web.auth import operator, viewer
from dunlin.web.dead import try_again
from dunlin.web.general_api import everybody, save_schedule
from dunlin.web.jobs_api import ORDERS, obey
from dunlin.web.kinds import check_role
from dunlin.web.monitor.depth import Depth
from dunlin.web.monitor.jobs import job_page, jobs_page
from dunlin.web.monitor.overview import overview
from dunlin.web.monitor.schedules import Form, asked, schedules_page
from dunlin.web.monitor.shell import Page, back, may_act, page_of, refused, whole
from dunlin.web.monitor.tasks import task_page, tasks_page
from dunlin.web.palette import style
from dunlin.web.priorities import prioritise
from dunlin.web.problems import Refused
from dunlin.web.removed import remove
from dunlin.web.services import EVERYBODY, Services
from dunlin.web.tenancy import tenant_of

_HERE = os.path.dirname(__file__)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

Answer = Response[Any] | Redirect


class Order(msgspec.Struct):
    """What a button sends."""

    verb: str
    id: str = ""
    queue: str = ""
    name: str = ""
    tenant: str = ""


def _read(*names: str) -> str:
    text = []
    for name in names:
        with open(os.path.join(_HERE, name), encoding="utf-8") as file:
            text.append(file.read())
    return "".join(text)


def routes(services: Services, depth: Depth) -> list[Any]:
    """All of them; none where the monitor is off."""
    if not services.settings().monitor:
        return []
    from dunlin.web.backup.routes import routes as backups  # they stand on the shell of these

    return [*_assets(), *_pages(services, depth), *_orders(services), *backups(services)]


def _assets() -> list[Any]:
    styles, script = style() + _read("../history.css", "monitor.css", "../backup/backup.css"), _read("monitor.js")

    @get("/assets/monitor.css", media_type="text/css", include_in_schema=False)
    async def sheet() -> str:
        return styles

    @get("/assets/monitor.js", media_type="text/javascript", include_in_schema=False)
    async def code() -> str:
        return script

    return [sheet, code]


async def _answer(
    services: Services, request: Request[Any, Any, Any], do: Callable[[Page], Answer], looks: bool = False
) -> Answer:
    """Do something in a thread; what is refused becomes a page. `looks`: at paths, which may not answer."""
    page = page_of(services, request)
    try:
        return await (services.publishes(do, page) if looks else services.calls(do, page))
    except (Refused, DunlinError) as error:
        return refused(page, error)


def _pages(services: Services, depth: Depth) -> list[Any]:
    root = services.settings().root_path.rstrip("/")
    look = partial(get, guards=[viewer], include_in_schema=False)

    def shared(page: Page) -> None:
        everybody(page.principal, services)

    @look(root or "/")
    async def first(request: Request[Any, Any, Any]) -> Response[Any]:
        return await _answer(
            services, request, lambda page: whole(page, "Overview", "", *overview(page, depth), fresh=True)
        )

    @look(f"{root}/jobs")
    async def jobs(
        request: Request[Any, Any, Any],
        status: FromQuery[str] = "",
        search: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        return await _answer(
            services, request, lambda page: whole(page, "Jobs", "jobs", *jobs_page(page, status, search, after))
        )

    @look(f"{root}/job")
    async def job(
        request: Request[Any, Any, Any],
        id: FromQuery[str] = "",
        status: FromQuery[str] = "",
        search: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        def draw(page: Page) -> Answer:
            one, parts = job_page(page, id, status, search, after)
            return whole(page, one.label or one.id, "jobs", *parts)

        return await _answer(services, request, draw)

    @look(f"{root}/tasks")
    async def tasks(
        request: Request[Any, Any, Any],
        queue_name: FromQuery[str] = "",
        status: FromQuery[str] = "",
        search: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        queue = queue_name or request.query_params.get("queue", "")

        def draw(page: Page) -> Answer:
            shared(page)
            title = f"Tasks of {queue}" if queue else "Tasks"
            return whole(page, title, "tasks", *tasks_page(page, queue, status, search, after))

        return await _answer(services, request, draw)

    @look(f"{root}/task")
    async def task(request: Request[Any, Any, Any], id: FromQuery[str] = "") -> Response[Any]:
        def draw(page: Page) -> Answer:
            shared(page)
            return whole(page, "Task", "tasks", *task_page(page, id))

        return await _answer(services, request, draw)

    @look(f"{root}/schedules")
    async def schedules(
        request: Request[Any, Any, Any], name: FromQuery[str] = "", tenant_name: FromQuery[str] = ""
    ) -> Response[Any]:
        tenant = tenant_name or request.query_params.get("tenant", "")
        return await _answer(
            services, request, lambda page: whole(page, "Schedules", "schedules", *schedules_page(page, name, tenant))
        )

    return [first, jobs, job, tasks, task, schedules]


def _orders(services: Services) -> list[Any]:
    root = services.settings().root_path.rstrip("/")
    order = partial(post, guards=[operator], include_in_schema=False, status_code=303)

    def answering(do: Callable[[Page, Any], Redirect]) -> Callable[..., Any]:
        async def answer(request: Request[Any, Any, Any], data: Any) -> Answer:
            def obeyed(page: Page) -> Answer:
                may_act(page)
                return do(page, data)

            return await _answer(services, request, obeyed, looks=do is _save)

        return answer

    doers = {"job": _job, "task": _task, "queues": _queue, "schedules": _schedule}

    def route(path: str) -> Any:
        obeyed = answering(doers[path])

        @order(f"{root}/{path}", name=f"monitor_{path}")
        async def give(request: Request[Any, Any, Any], data: URLEncodedBody[Order]) -> Response[Any]:
            found: Response[Any] = await obeyed(request, data)
            return found

        return give

    saved = answering(_save)

    @order(f"{root}/schedules/new")
    async def save(request: Request[Any, Any, Any], data: URLEncodedBody[Form]) -> Response[Any]:
        found: Response[Any] = await saved(request, data)
        return found

    return [*(route(path) for path in doers), save]


def _known(verb: str, *verbs: str) -> None:
    if verb not in verbs:
        raise Refused(400, f"there is no order {verb!r}")


def _job(page: Page, order: Order) -> Redirect:
    _known(order.verb, *ORDERS, *PRIORITIES)
    if order.verb in PRIORITIES:
        prioritise(page.services, page.principal, order.id, order.verb)
        return back(page, "job", id=order.id)
    obey(page.services, page.principal, order.id, order.verb)
    return back(page, "job", id=order.id)


def _task(page: Page, order: Order) -> Redirect:
    everybody(page.principal, page.services)
    _known(order.verb, "retry", "cancel")
    queue = page.services.queue
    found = queue.task(order.id)
    again = order.verb == "retry"
    if found is None or not (try_again(page.services, order.id) if again else remove(page.services, order.id)):
        raise Refused(404, "there is no such task, or it does not stand like that")
    page.services.ledger.audit.record(page.principal.name, f"task.{order.verb}", order.id)
    return back(page, "tasks", queue=found[0].queue)


def _queue(page: Page, order: Order) -> Redirect:
    everybody(page.principal, page.services)
    _known(order.verb, "pause", "resume")
    queue = page.services.queue
    if not any(each.queue == order.queue for each in queue.stats()):
        raise Refused(404, "there is no such queue")
    queue.pause(order.queue, order.verb == "pause")
    page.services.ledger.audit.record(page.principal.name, f"queue.{order.verb}", order.queue)
    return back(page, "")


def _schedule(page: Page, order: Order) -> Redirect:
    _known(order.verb, "run", "enable", "disable", "remove")
    services, by = page.services, page.principal.name
    if page.principal.tenant not in (EVERYBODY, order.tenant):
        raise Refused(403, "that is another tenant")
    schedules = services.ledger.schedules
    known = schedules.get(order.name, order.tenant)
    check_role(page.principal, *([known.new.kind] if known is not None else []))
    done: object
    if order.verb == "run":
        done = schedules.run(order.name, order.tenant, by)
        services.runner.wake()
    elif order.verb == "remove":
        done = schedules.remove(order.name, order.tenant)
    else:
        done = schedules.enable(order.name, order.verb == "enable", order.tenant)
    if not done:
        raise Refused(404, "there is no such schedule")
    services.ledger.audit.record(by, f"schedule.{order.verb}", order.name, "", order.tenant)
    return back(page, "schedules")


def _save(page: Page, form: Form) -> Redirect:
    if not NAME.fullmatch(form.name):
        raise Refused(400, "the name of a schedule holds letters, digits, '_', '-' and '.', 100 at most")
    services, principal = page.services, page.principal
    tenant = tenant_of(services, principal, form.tenant if principal.tenant == EVERYBODY else "").name
    wanted = asked(form, services.ledger.schedules.get(form.name, tenant))
    wanted.tenant = tenant
    save_schedule(services, principal, form.name, wanted)
    return back(page, "schedules")
