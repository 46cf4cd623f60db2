"""One form for everything that a request may be refused with.

Below `/api/v1` and elsewhere it is a problem (RFC 9457, ``application/problem+json``). `/publish` and `/check` are
older than this service: their clients expect the bodies that Sync4Loong gives, so a refusal takes that form there, with
the same status. Which of the two is decided in one place, `refusal`, also for what is refused before any route is
looked for: a bad token, too many requests, a body that is too large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec

from dunlin.errors import DunlinError, ErrorKind, printable

PROBLEM = "application/problem+json"
RETRY = "1"
"""Seconds after which a request may be made again that met a server which is away."""


class Problem(msgspec.Struct, omit_defaults=True):
    """Why a request was refused (RFC 9457).

    `detail` says it in a sentence, `hint` what can be done about it.
    """

    title: str
    status: int
    detail: str = ""
    hint: str = ""
    type: str = msgspec.field(default="about:blank")


class PublishRefused(msgspec.Struct):
    """Why nothing was published."""

    success: bool
    error: str


class CheckRefused(msgspec.Struct, omit_defaults=True):
    """Why a key was not looked up."""

    error: str
    allowed_prefixes: list[str] | None = None


STATUS = {
    ErrorKind.USAGE: 400,
    ErrorKind.CONFIG: 400,
    ErrorKind.NAME: 400,
    ErrorKind.UNSUPPORTED: 400,
    ErrorKind.DENIED: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.VANISHED: 404,
    ErrorKind.EXISTS: 409,
    ErrorKind.CLASH: 409,
    ErrorKind.CHANGED: 409,
    ErrorKind.AUTH: 502,
    ErrorKind.NETWORK: 503,
    ErrorKind.BUSY: 503,
    ErrorKind.LOCKED: 503,
    ErrorKind.TIMEOUT: 504,
}
"""The status for a kind of error; 500 for any other."""


class Refused(Exception):
    """A request that is not done, with its status."""

    def __init__(
        self, status: int, detail: str, hint: str = "", headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})
        self.more = more


def told(error: DunlinError) -> Refused:
    """The refusal that an error means to a client."""
    status = STATUS.get(error.kind, 500)
    detail = error.reason if error.kind is ErrorKind.USAGE and not error.where else _sentence(error)
    headers = {"Retry-After": RETRY} if status == 503 else {}
    return Refused(status, detail, error.hint, headers)


def _sentence(error: DunlinError) -> str:
    where = f" {printable(error.where)}" if error.where else ""
    return f"cannot {error.operation}{where}: {error.reason or error.kind.value}"


def refusal(path: str, refused: Refused) -> tuple[Any, str]:
    """The body and media type of a refusal, for the path of the request."""
    if path == "/publish":
        return PublishRefused(False, refused.detail), MediaType.JSON
    if path == "/check" or path.startswith("/check/"):
        return CheckRefused(refused.detail, refused.more.get("allowed_prefixes")), MediaType.JSON
    title = HTTPStatus(refused.status).phrase
    return Problem(title, refused.status, refused.detail, refused.hint), PROBLEM


def answer(request: Request[Any, Any, Any], refused: Refused) -> Response[Any]:
    """The response to a request that is refused."""
    body, media = refusal(request.scope["path"], refused)
    return Response(body, status_code=refused.status, media_type=media, headers=refused.headers)


def _dunlin(request: Request[Any, Any, Any], error: DunlinError) -> Response[Any]:
    return answer(request, told(error))


def _foreign(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework refuses: routes, methods, values of parameters and bodies."""
    detail = error.detail if error.status_code < 500 else "a fault of dunlin itself"
    fields = []
    for each in error.extra if isinstance(error.extra, list) else ():
        if isinstance(each, dict):
            fields.append(": ".join(str(each[name]) for name in ("key", "message") if each.get(name)))
    words = "; ".join([_plain(detail), *fields])
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return answer(request, Refused(error.status_code, words, headers=headers))


def _plain(detail: str) -> str:
    # The framework quotes the method and the URL, which the client knows.
    if detail.startswith("Validation failed"):
        return "the request does not fit"
    return {"Not Found": "there is nothing at this path", "Method Not Allowed": "this path knows no such method"}.get(
        detail, re.sub(r" for path /.*", "", detail)
    )


def _deep(request: Request[Any, Any, Any], error: RecursionError) -> Response[Any]:
    return answer(request, Refused(400, "the body is nested too deeply"))


def _fault(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    note = request.scope["state"].get("fault")
    if note is not None:
        note(error)
    return answer(request, Refused(500, "a fault of dunlin itself; the log of the service says more"))


HANDLERS: dict[Any, Any] = {
    DunlinError: _dunlin,
    Refused: answer,
    HTTPException: _foreign,
    RecursionError: _deep,
    Exception: _fault,
}
"""For the application: exception to response."""

_WORDS = {
    400: "What was sent does not fit.",
    401: "No key or session, or one that does not hold.",
    403: "This key or session may not do that.",
    404: "There is no such thing.",
    409: "It clashes with what is there.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    416: "There is no such part of it.",
    422: "The order cannot be obeyed.",
    429: "Too many requests.",
    500: "A fault of dunlin itself.",
    502: "The store failed.",
    503: "The ledger or the queue is away, or it is not set up.",
    504: "The store took too long.",
}
ALWAYS = (400, 401, 403, 413, 429, 500, 503, 504)


def responses(*more: int, form: Any = Problem, media: str = PROBLEM) -> dict[int, ResponseSpec]:
    """The refusals of a route, for the description of the API: those that any may meet, and `more`."""
    return {
        status: ResponseSpec(form, generate_examples=False, description=_WORDS[status], media_type=media)
        for status in sorted({*ALWAYS, *more})
    }
