"""What every request passes before any route is looked for.

In this order, since each step is cheaper than the one behind it, and none tells more than the one before:

    the body     larger than http.max_body: 413; what was sent is read to its end first, or the answer would be lost
    who          a key, a session, or on an open service nobody in particular; a bad key is always 401
    how often    429 with Retry-After, by key, user or address
    from where   what changes something must not come from another site's page

The last one needs an argument. A browser sends requests of any page to 127.0.0.1, so a service that trusts whoever
reaches it must tell a page from a program. Programs send no Origin and no Sec-Fetch-Site; pages cannot keep them away.
And a page whose name was made to point to 127.0.0.1 (DNS rebinding) is of the same origin, so an open service answers
to names of this machine alone. With a session the forms carry a token besides (`_csrf`, or the header X-CSRF-Token),
since other services of the same site may set cookies.

Headers that keep a browser careful are put on every answer, here and nowhere else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec

from dunlin.config.service import DEFAULT_TENANT, is_loopback
from dunlin.errors import DunlinError
from dunlin.queue.ledger.words import Role
from dunlin.web.markup import el
from dunlin.web.pages import plain
from dunlin.web.problems import Refused, refusal, told
from dunlin.web.services import EVERYBODY, Principal, Services

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "dunlin_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC = frozenset({"/healthz", "/readyz", "/login", "/api/v1/session", "/api/v1/openapi.json"})
"""What anybody may ask for, beside what lies below `ASSETS`."""

ASSETS = "/assets/"

FORM = 64 * 1024
"""Bytes of a form that is looked into for its token."""

DRAINED = 64 << 20
"""Bytes of a body that is too large which are still read, so that the client gets to the answer."""

KNOWN_FOR = 5.0
"""Seconds that a key or session is taken to be good without asking the ledger again: so long a revoked one may work."""

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
            await send(message)

        scope.setdefault("state", {}).update(fault=self._services.fault, forget=self.forget)
        try:
            try:
                receive = await self._pass(scope, receive)
            except DunlinError as error:
                raise told(error) from error
            await self._app(scope, receive, stamped)
        except Refused as refused:
            if refused.more.get("unread"):
                await _drain(receive)
            if self._is_page(scope):
                root = self._services.settings().root_path
                await (_to_login(scope, root, stamped) if refused.status == 401 else _page(root, refused, stamped))
            else:
                await _refuse(scope["path"], refused, stamped)
        finally:
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
        length = headers.get(b"content-length", "")
        if length.isdecimal() and int(length) > settings.max_body:
            raise _too_large(settings.max_body)
        receive = _limited(receive, settings.max_body)
        public = scope["path"] in PUBLIC or scope["path"].startswith(ASSETS)
        if not settings.guarded and not public:
            _check_host(headers)
        principal = await self._who(headers, settings.guarded, public)
        client = (scope.get("client") or ("", 0))[0]
        name = f"{principal.way}:{principal.name}" if principal and principal.way != "local" else f"address:{client}"
        wait = self._services.rates.take(name, settings.rate, 2 * settings.rate)
        if wait and scope["path"] not in ("/healthz", "/readyz"):
            raise Refused(429, "too many requests", headers={"Retry-After": str(int(wait) + 1)})
        if scope["method"] not in SAFE:
            _check_origin(headers)
            if principal is not None and principal.way == "session":
                receive = await _check_token(headers, receive, principal.csrf)
        scope["state"]["principal"] = principal
        return receive

    async def _who(self, headers: Mapping[bytes, str], guarded: bool, public: bool) -> Principal | None:
        """Who it is; None for nobody, where that is allowed."""
        words = headers.get(b"authorization", "")
        if words:
            scheme, _, text = words.partition(" ")
            found = await self._key(text.strip()) if scheme.lower() == "bearer" else None
            if found is None:
                raise Refused(401, "this key is not good", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
            return found
        token = _cookie(headers.get(b"cookie", ""))
        if token:
            found = await self._session(token)
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

    async def _key(self, text: str) -> Principal | None:
        def ask() -> Principal | None:
            key = self._services.ledger.keys.verify(text)
            return None if key is None else Principal(key.label or key.id, key.role, self._tenant(key.tenant), "key")

        return await self._remembered(b"key", text, ask)

    async def _session(self, token: str) -> Principal | None:
        def ask() -> Principal | None:
            found = self._services.ledger.sessions.verify(token)
            if found is None:
                return None
            user = found.user
            return Principal(user.name, user.role, self._tenant(user.tenant), "session", found.csrf)

        return await self._remembered(b"session", token, ask)

    def _tenant(self, name: str) -> str:
        if name:
            return name
        return EVERYBODY if self._services.settings().tenants else DEFAULT_TENANT

    async def _remembered(self, kind: bytes, secret: str, ask: Callable[[], Principal | None]) -> Principal | None:
        digest = hashlib.sha256(kind + b":" + secret.encode("utf-8", "surrogateescape")).digest()
        now = time.monotonic()
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            return known[1]
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


def _too_large(most: int) -> Refused:
    detail = f"the body is larger than {most:,} bytes"
    return Refused(413, detail, "http.max_body in the configuration allows more", unread=True)


def _limited(receive: Receive, most: int) -> Receive:
    """The body, which may come without its length, up to so many bytes."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > most:
                raise _too_large(most)
        return message

    return limited


async def _drain(receive: Receive) -> None:
    """Read a body of which nothing was read yet, to its end; there is nothing to wait for behind that."""
    total = 0
    while total < DRAINED:
        message = await receive()
        total += len(message.get("body", b"")) + 1
        if message["type"] != "http.request" or not message.get("more_body"):
            return


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
        receive = _again(body, receive)
    if not hmac.compare_digest(given.encode(), csrf.encode()) or not csrf:
        raise Refused(403, "the form is too old", "load the page again")
    return receive


def _again(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _cookie(words: str) -> str:
    for part in words.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
