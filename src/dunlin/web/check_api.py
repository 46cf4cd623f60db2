"""`GET` and `DELETE /check/{key}`, and the same as `/check?key=`, as Sync4Loong has them.

A key may hold slashes, so it is all of the path behind `/check/`. A key that begins or ends with a slash, or has
two in a row, goes into the query: paths are tidied up on their way.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get
from litestar.params import PathParameter, QueryParameter

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.publish_keys import NOT_ALLOWED as OUTSIDE
from dunlin.jobs.publish_keys import check_key
from dunlin.web.auth import operator, principal_of, viewer
from dunlin.web.problems import CheckRefused, Refused, responses, told
from dunlin.web.services import EVERYBODY, Looks, Services
from dunlin.web.tenancy import tenant_of

Key = Annotated[str, QueryParameter(name="key", description="The key.", min_length=1, max_length=1024)]
KeyPath = Annotated[str, PathParameter(description="The key.")]


class Checked(msgspec.Struct):
    """Whether a key exists. `cached`: the store was not asked now; `timestamp`: when it was; `size`: bytes."""

    exists: bool
    cached: bool
    timestamp: str
    size: int
    s3_key: str


def stamp(moment: float) -> str:
    """Seconds since 1970 as RFC 3339, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _check(key: str, prefixes: tuple[str, ...]) -> None:
    """Raises `Refused` for what is no key, and for one outside the prefixes."""
    try:
        check_key(key, prefixes)
    except DunlinError as error:
        if error.kind is ErrorKind.DENIED:
            raise Refused(403, OUTSIDE, allowed_prefixes=list(prefixes)) from error
        raise Refused(400, error.reason) from error


def _refused(error: DunlinError) -> Refused:
    """The store failed, or is too slow; whatever it says, it is not the client's fault."""
    if error.kind is ErrorKind.TIMEOUT:
        return Refused(504, error.reason or "the store took too long")
    refused = told(error)
    return Refused(502, refused.detail, refused.hint)


def routes(services: Services) -> list[Any]:
    """The routes."""
    known = responses(502, form=CheckRefused, media="application/json")

    def looks() -> Looks:
        if services.existence is None:
            raise Refused(503, "there is nowhere to look: publish.destination is not set")
        return services.existence

    def prefixes_of(request: Request[Any, Any, Any]) -> tuple[str, ...]:
        principal = principal_of(request)
        if principal.tenant == EVERYBODY:
            return services.settings().prefixes
        return tenant_of(services, principal).prefixes

    async def look(request: Request[Any, Any, Any], key: str) -> Checked:
        prefixes = prefixes_of(request)
        _check(key, prefixes)
        try:
            found = await services.lookups(looks().check, key, prefixes)
        except DunlinError as error:
            raise _refused(error) from error
        return Checked(found.exists, found.cached, stamp(found.timestamp), found.size, key)

    async def forget(request: Request[Any, Any, Any], key: str) -> None:
        prefixes = prefixes_of(request)
        _check(key, prefixes)
        try:
            await services.calls(looks().invalidate, key, prefixes)
        except DunlinError as error:
            raise _refused(error) from error

    @get("/check", guards=[viewer], summary="Whether a key exists", responses=known, tags=["Check"])
    async def check(request: Request[Any, Any, Any], s3_key: Key) -> Checked:
        return await look(request, s3_key)

    @get("/check/{s3_key:path}", guards=[viewer], summary="Whether a key exists", responses=known, tags=["Check"])
    async def check_path(request: Request[Any, Any, Any], s3_key: KeyPath) -> Checked:
        return await look(request, s3_key.removeprefix("/"))

    @delete(
        "/check", guards=[operator], status_code=204, summary="Forget what is known of a key", responses=known,
        tags=["Check"],
    )  # fmt: skip
    async def invalidate(request: Request[Any, Any, Any], s3_key: Key) -> None:
        await forget(request, s3_key)

    @delete(
        "/check/{s3_key:path}", guards=[operator], status_code=204, summary="Forget what is known of a key",
        responses=known, tags=["Check"],
    )  # fmt: skip
    async def invalidate_path(request: Request[Any, Any, Any], s3_key: KeyPath) -> None:
        await forget(request, s3_key.removeprefix("/"))

    return [check, check_path, invalidate, invalidate_path]
