"""Who may do what: guards of routes, and logging in with a browser.

A guard names the least role; what else somebody may see is their tenant's, which each route looks at. Guards are
coroutines, though they wait for nothing: a plain function would be called in a thread, at each request. A browser logs
in with a name and a password and gets a cookie that scripts cannot read and other sites do not send, and a token for
its forms (`gate`). A password is looked at for a few wrong attempts only, by name at an address (of IPv6: in its
network); how many names one address may try is for the rate of requests (`gate`). The answer to a wrong password and to
an unknown name is the same.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery, JSONBody, URLEncodedBody
from litestar.response import Redirect

from dunlin.queue.ledger.words import MadeSession, Role
from dunlin.web.gate import COOKIE
from dunlin.web.limits import client_of
from dunlin.web.markup import el
from dunlin.web.pages import plain
from dunlin.web.palette import style as palette
from dunlin.web.problems import Refused, responses
from dunlin.web.services import Principal, Services

Connection = ASGIConnection[Any, Any, Any, Any]


def principal_of(connection: Connection) -> Principal:
    """Who makes a request that a guard let pass."""
    found: Principal | None = connection.scope["state"].get("principal")
    if found is None:
        raise Refused(401, "a key is needed", headers={"WWW-Authenticate": "Bearer"})
    return found


def _needs(connection: Connection, role: Role) -> None:
    if not principal_of(connection).role.covers(role):
        raise Refused(403, f"this needs the role {role.value}")


async def viewer(connection: Connection, handler: BaseRouteHandler) -> None:
    """The route is for everybody who has a key or a session."""
    _needs(connection, Role.VIEWER)


async def operator(connection: Connection, handler: BaseRouteHandler) -> None:
    """The route is for operators and administrators."""
    _needs(connection, Role.OPERATOR)


async def admin(connection: Connection, handler: BaseRouteHandler) -> None:
    """The route is for administrators."""
    _needs(connection, Role.ADMIN)


class Login(msgspec.Struct):
    """A name and a password. `next`: the path to go to, of this service."""

    user: str
    password: str
    next: str = ""


class LoggedIn(msgspec.Struct):
    """`csrf` goes with every request of this session that changes something, as the header X-CSRF-Token."""

    user: str
    role: str
    csrf: str


def page(note: str = "", next: str = "") -> str:
    """The login page."""
    words = el("p", f"{note[:1].upper()}{note[1:]}.", class_="wrong", role="alert") if note else None
    form = el(
        "form", words, el("input", type="hidden", name="next", value=_own(next)),
        el("label", "User", el("input", name="user", autocomplete="username", required=True, autofocus=True)),
        el(
            "label", "Password",
            el("input", name="password", type="password", autocomplete="current-password", required=True),
        ),
        el("button", "Log in"),
        method="post", action="/login",
    )  # fmt: skip
    return plain("Log in", form)


def _own(path: str) -> str:
    """A path of this service; anything else leads to the pages' root."""
    good = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if good else ""


def _session(services: Services, given: Login, address: str) -> MadeSession:
    """Look at name and password. Raises `Refused`."""
    # By both together: by the name alone anybody could lock it out, by the address alone everybody behind a proxy.
    attempt = f"{client_of(address)} {given.user}"
    wait = services.failures.wait(attempt)
    if wait:
        raise Refused(429, "too many failed logins", headers={"Retry-After": str(int(wait) + 1)})
    user = services.ledger.accounts.login(given.user, given.password)
    if user is None:
        services.failures.note(attempt)
        raise Refused(401, "name or password is wrong", headers={"WWW-Authenticate": "Bearer"})
    services.failures.forget(attempt)
    return services.ledger.sessions.start(user.name, services.settings().session)


def _cookie(request: Request[Any, Any, Any], services: Services, token: str) -> Cookie:
    return Cookie(
        key=COOKIE, value=token, path="/", httponly=True, samesite="lax", secure=request.url.scheme == "https",
        max_age=round(services.settings().session) if token else 0,
    )  # fmt: skip


def routes(services: Services) -> list[Any]:
    """The routes of logging in and out."""

    @get("/login", media_type=MediaType.HTML, include_in_schema=False)
    async def form(next: FromQuery[str] = "") -> str:
        return page(next=next)

    with open(os.path.join(os.path.dirname(__file__), "login.css"), encoding="utf-8") as file:
        styles = palette() + file.read()

    @get("/assets/login.css", media_type="text/css", include_in_schema=False)
    async def style() -> str:
        return styles

    @post("/login", include_in_schema=False)
    async def login(
        request: Request[Any, Any, Any],
        data: URLEncodedBody[Login],
    ) -> Response[Any]:
        address = request.client.host if request.client else ""
        try:
            made = await services.calls(_session, services, data, address)
        except Refused as refused:
            return Response(
                page(refused.detail, data.next), status_code=refused.status, media_type=MediaType.HTML,
                headers=refused.headers,
            )  # fmt: skip
        found = Redirect(_own(data.next) or services.settings().root_path, status_code=303)
        found.set_cookie(_cookie(request, services, made.token))
        return found

    @post("/api/v1/session", status_code=200, summary="Log in", tags=["Access"], responses=responses())
    async def session(request: Request[Any, Any, Any], data: JSONBody[Login]) -> Response[LoggedIn]:
        address = request.client.host if request.client else ""
        made = await services.calls(_session, services, data, address)
        user = made.session.user
        body = LoggedIn(user.name, user.role.value, made.session.csrf)
        return Response(body, cookies=[_cookie(request, services, made.token)])

    @post("/logout", include_in_schema=False)
    async def logout(request: Request[Any, Any, Any]) -> Redirect:
        token = request.cookies.get(COOKIE, "")
        if token:
            await services.calls(services.ledger.sessions.end, token)
            request.scope["state"]["forget"]()
        found = Redirect("/login", status_code=303)
        found.set_cookie(_cookie(request, services, ""))
        return found

    return [form, style, login, session, logout]
