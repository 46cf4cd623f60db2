"""What every request passes before any route is looked for.

In this order, since each step is cheaper than the one behind it, and none tells more than the one before:

    the body     larger than http.max_body: 413; what was sent is read to its end first, or the answer would be lost
    through      what a known proxy says of a request is believed; an open service refuses what came through any other
    who          a key, a session, or on an open service nobody in particular; a bad key is always 401
    how often    429 with Retry-After, by key, user or address (of IPv6: its network). A key or session that is not
                 known yet costs a question to the ledger, so its address pays for that first: half of what a request
                 costs it
    from where   what changes something must not come from another site's page

The last one needs an argument. A browser sends requests of any page to 127.0.0.1, so a service that trusts whoever
reaches it must tell a page from a program. Programs send no Origin and no Sec-Fetch-Site; pages cannot keep them away.
And a page whose name was made to point to 127.0.0.1 (DNS rebinding) is of the same origin, so an open service answers
to names of this machine alone. With a session the forms carry a token besides (`_csrf`, or the header X-CSRF-Token),
since other services of the same site may set cookies.

Headers that keep a browser careful are put on every answer, here and nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec

from dunlin.config.service import DEFAULT_TENANT
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.words import Role
from dunlin.report.address import is_loopback
from dunlin.web.bodies import Message, Receive, again, drain, limited, too_large
from dunlin.web.limits import client_of
from dunlin.web.markup import el
from dunlin.web.pages import plain
from dunlin.web.problems import Refused, refusal, told
from dunlin.web.proxies import believe, check_direct
from dunlin.web.services import EVERYBODY, Principal, Services
from dunlin.web.tenancy import check_tenant

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "dunlin_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC = frozenset({"/healthz", "/readyz", "/login", "/api/v1/session", "/api/v1/openapi.json"})
"""What anybody may ask for, beside what lies below `ASSETS`."""

ASSETS = "/assets/"

FORM = 64 * 1024
"""Bytes of a form that is looked into for its token."""

KNOWN_FOR = 5.0
"""Seconds that a key or session is taken to be good without asking the ledger again: so long a revoked one may work."""

SLOW = 300.0
"""Seconds that a client may take for a part of an answer, a few MiB at most: then it ends, and what it held is free."""

HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
     b"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)  # fmt: skip


class Gate:
    """The application with all of that before it."""

    def __init__(self, app: App, services: Services) -> None:
        self._app = app
        self._services = services
        self._known: dict[bytes, tuple[float, Principal | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI 3.0."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, seen = time.perf_counter(), {"status": 500}

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message["headers"] = _careful(message.get("headers", ()), scope["path"])
            try:
                async with asyncio.timeout(SLOW):
                    await send(message)
            except TimeoutError:
                why = f"the client took nothing for {SLOW:g} seconds"
                raise DunlinError("answer", scope["path"], ErrorKind.TIMEOUT, why) from None

        ending = ExitStack()  # what is to be given back when this request has ended, however it did
        scope.setdefault("state", {}).update(fault=self._services.fault, forget=self.forget, ending=ending)
        try:
            try:
                receive = await self._pass(scope, receive)
            except DunlinError as error:
                raise told(error) from error
            await self._app(scope, receive, stamped)
        except Refused as refused:
            if refused.more.get("unread"):
                await drain(receive)
            if self._is_page(scope):
                root = self._services.settings().root_path
                await (_to_login(scope, root, stamped) if refused.status == 401 else _page(root, refused, stamped))
            else:
                await _refuse(scope["path"], refused, stamped)
        finally:
            ending.close()
            route = scope.get("path_template") or "other"
            self._services.metrics.request(scope["method"], route, seen["status"], time.perf_counter() - begun)

    def _is_page(self, scope: Scope) -> bool:
        """Whether a browser asks for a page of the monitor, or sends one of its forms."""
        root = self._services.settings().root_path.rstrip("/")
        below = scope["path"] == root or scope["path"].startswith(f"{root}/")
        accepts = dict(scope["headers"]).get(b"accept", b"")
        return below and b"text/html" in accepts

    async def _pass(self, scope: Scope, receive: Receive) -> Receive:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        settings = self._services.settings()
        believe(scope, headers, settings.proxies)
        length = headers.get(b"content-length", "")
        if length.isdecimal() and int(length) > settings.max_body:
            raise too_large(settings.max_body)
        receive = limited(receive, settings.max_body)
        public = scope["path"] in PUBLIC or scope["path"].startswith(ASSETS)
        if not settings.guarded and not public:
            check_direct(headers)
            _check_host(headers)
        address = f"address:{client_of((scope.get('client') or ('', 0))[0])}"
        principal = await self._who(headers, settings.guarded, public, partial(self._take, address, 2 * settings.rate))
        if principal is not None and not public:
            check_tenant(settings, principal)
        name = address
        if principal is not None and principal.way != "local":
            name = f"{principal.way}:{principal.tenant}:{principal.id or principal.name}"
        if scope["path"] not in ("/healthz", "/readyz"):
            self._take(name, settings.rate)
        scope["state"].update(client=name, again=partial(self._again, headers))
        if scope["method"] not in SAFE:
            _check_origin(headers)
            if principal is not None and principal.way == "session":
                receive = await _check_token(headers, receive, principal.csrf)
        scope["state"]["principal"] = principal
        return receive

    def _take(self, client: str, rate: float) -> None:
        """Raise `Refused` where a client asks too often; a request costs it `1 / rate` seconds, and it may owe two."""
        wait = self._services.rates.take(client, rate, 2 * rate)
        if wait:
            raise Refused(429, "too many requests", headers={"Retry-After": str(int(wait) + 1)})

    async def _again(self, headers: Mapping[bytes, str]) -> Principal | None:
        """Who it is now, for a request that goes on and on; None: nobody who may."""
        settings = self._services.settings()
        try:
            found = await self._who(headers, settings.guarded, False, lambda: None)
            if found is not None:
                check_tenant(settings, found)
        except (Refused, DunlinError):
            return None
        return found

    async def _who(
        self, headers: Mapping[bytes, str], guarded: bool, public: bool, pay: Callable[[], None]
    ) -> Principal | None:
        """Who it is; None for nobody, where that is allowed. `pay`: called before the ledger is asked."""
        words = headers.get(b"authorization", "")
        if words:
            scheme, _, text = words.partition(" ")
            found = await self._key(text.strip(), pay) if scheme.lower() == "bearer" else None
            if found is None:
                raise Refused(401, "this key is not good", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
            return found
        token = _cookie(headers.get(b"cookie", ""))
        if token:
            found = await self._session(token, pay)
            if found is not None:
                return found
        if not guarded:
            return Principal("local", Role.ADMIN, DEFAULT_TENANT, "local")
        if public:
            return None
        raise Refused(
            401, "a key is needed", "send `Authorization: Bearer dk_...`; `dunlin key add` makes one",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    async def _key(self, text: str, pay: Callable[[], None]) -> Principal | None:
        def ask() -> Principal | None:
            key = self._services.ledger.keys.verify(text)
            if key is None:
                return None
            return Principal(key.label or key.id, key.role, self._tenant(key.tenant), "key", id=key.id)

        return await self._remembered(b"key", text, ask, pay)

    async def _session(self, token: str, pay: Callable[[], None]) -> Principal | None:
        def ask() -> Principal | None:
            found = self._services.ledger.sessions.verify(token)
            if found is None:
                return None
            user = found.user
            return Principal(user.name, user.role, self._tenant(user.tenant), "session", found.csrf)

        return await self._remembered(b"session", token, ask, pay)

    def _tenant(self, name: str) -> str:
        if name:
            return name
        return EVERYBODY if self._services.settings().tenants else DEFAULT_TENANT

    async def _remembered(
        self, kind: bytes, secret: str, ask: Callable[[], Principal | None], pay: Callable[[], None]
    ) -> Principal | None:
        digest = hashlib.sha256(kind + b":" + secret.encode("utf-8", "surrogateescape")).digest()
        now = time.monotonic()
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        pay()
        found = await self._services.calls(ask)
        if found is not None:
            if len(self._known) > 1000:
                self._known.clear()
            self._known[digest] = (now + KNOWN_FOR, found)
        return found

    def forget(self) -> None:
        """Ask the ledger again about every key and session."""
        self._known.clear()


def _careful(headers: Any, path: str) -> list[tuple[bytes, bytes]]:
    found = [*headers]
    names = {name.lower() for name, _ in found}
    found += [each for each in HEADERS if each[0] not in names]
    if b"cache-control" not in names and not path.startswith(ASSETS):
        found.append((b"cache-control", b"no-store"))
    return found


async def _refuse(path: str, refused: Refused, send: Send) -> None:
    body, media = refusal(path, refused)
    raw = msgspec.json.encode(body)
    headers = [(b"content-type", media.encode()), (b"content-length", str(len(raw)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


async def _page(root: str, refused: Refused, send: Send) -> None:
    """A refusal for people."""
    words = [el("p", f"{each[:1].upper()}{each[1:]}.") for each in (refused.detail, refused.hint) if each]
    raw = plain("Not done", el("div", words, el("p", el("a", "To the overview", href=root)), class_="box")).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(raw)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


async def _to_login(scope: Scope, root: str, send: Send) -> None:
    """Send a browser to the login page, and back to where it wanted to go; a form is lost."""
    asked = scope.get("query_string", b"").decode("latin-1")
    path = scope["path"] + (f"?{asked}" if asked else "") if scope["method"] in SAFE else root
    where = quote(path, safe="")
    headers = [(b"location", f"/login?next={where}".encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _check_host(headers: Mapping[bytes, str]) -> None:
    host = headers.get(b"host", "")
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name and not is_loopback(name):
        raise Refused(403, "this service answers to names of this machine only", "ask for 127.0.0.1 or localhost")


def _check_origin(headers: Mapping[bytes, str]) -> None:
    """Refuse what a page of another site sends."""
    site, origin = headers.get(b"sec-fetch-site", ""), headers.get(b"origin", "")
    if site and site not in ("same-origin", "none"):
        raise Refused(403, "a page of another site may not do that")
    if origin and origin.partition("://")[2] != headers.get(b"host", ""):
        raise Refused(403, "a page of another site may not do that")


async def _check_token(headers: Mapping[bytes, str], receive: Receive, csrf: str) -> Receive:
    """Refuse a session's request without its token; what was read of the body is handed on."""
    import hmac

    given, body = headers.get(b"x-csrf-token", ""), b""
    form = headers.get(b"content-type", "").startswith("application/x-www-form-urlencoded")
    if not given and form:
        more = True
        while more and len(body) <= FORM:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if more:
            raise Refused(413, "the form is too large")
        given = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)).get("_csrf", "")
        receive = again(body, receive)
    if not hmac.compare_digest(given.encode(), csrf.encode()) or not csrf:
        raise Refused(403, "the form is too old", "load the page again")
    return receive


def _cookie(words: str) -> str:
    for part in words.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
